"""All kinds of checks: importing this registers them. Who only reads states (statistics) does not need it."""

from __future__ import annotations

from forkproxy.health import agent, external, http, ldap, mysql, pgsql, redis, smtp, spop, ssl_hello, tcp

KINDS = (tcp, http, agent, external, redis, smtp, ldap, mysql, pgsql, spop, ssl_hello)
