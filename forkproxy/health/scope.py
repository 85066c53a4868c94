"""What expressions and formats of checks may look at: a transaction without a client (manual: "tcp-check", "http-check", column be-check).

Made only for checks that have something to evaluate. ``res_body`` is what the server has sent since the last question, ``res`` the head
of its answer in an HTTP check. ``check.*`` variables live as long as the check; ``proc.*`` ones are those of all processes.
"""

from __future__ import annotations

from typing import Any

from forkproxy.clock import Clock
from forkproxy.plan import Backend, Server
from forkproxy.rules.txn import Origin, Txn


class Party:
    """A backend or a server as fetches ask for it."""

    __slots__ = ("name", "plan")

    def __init__(self, plan: Backend | Server) -> None:
        self.name = plan.name
        self.plan: Any = plan


class Scope(Txn):
    """One check. Everything of a client is absent: the table of places keeps fetches away that would ask."""

    __slots__ = ()

    def __init__(self, backend: Party, server: Party, clock: Clock) -> None:
        self.fe = self.be = backend
        self.srv = server
        self.clock = clock
        self.origin = Origin()
        self.origin.vars = None
        self.vars = None
        self.marks = self.first_line = None
        self.req = self.res = None
        self.body = self.res_body = b""
        self.body_done = self.res_done = True
        self.id = self.status = 0
        self.wall_start = clock.wall
        self.t_start = clock.now
