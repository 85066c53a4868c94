"""The external check: a program of the operator's looks at the server, and its exit status is the verdict (manual "option external-check").

Arguments: the address and port of the first listener of the section (NOT_USED in a backend), then the server's. The environment holds
what the manual lists under "external-check command", and nothing else unless "preserve-env". Only says what to run: ``master/errands.py``
starts it.
"""

from __future__ import annotations

import os

from forkproxy import registry
from forkproxy.health.conversation import About, Command, Result
from forkproxy.health.status import Status
from forkproxy.plan import Address, Check

_NOT_USED = "NOT_USED"


class ExternalProgram:
    """What to run for one server."""

    __slots__ = ("_command", "_listener", "_path", "_preserve")

    def __init__(self, check: Check) -> None:
        self._command = str(check.options["command"])
        self._path = str(check.options.get("path", ""))
        self._preserve = bool(check.options.get("preserve"))
        self._listener: Address | None = check.options.get("listener")

    def begin(self, about: About) -> Command:
        """The command with its environment of the moment."""
        server, backend = about.server, about.backend
        here, there = _pair(self._listener), _pair(server.address)
        env = dict(os.environ) if self._preserve else {}
        env |= {
            "HAPROXY_PROXY_NAME": backend.name,
            "HAPROXY_PROXY_ID": str(backend.id),
            "HAPROXY_PROXY_ADDR": "" if self._listener is None else here[0],
            "HAPROXY_PROXY_PORT": "" if here[1] == _NOT_USED else here[1],
            "HAPROXY_SERVER_NAME": server.name,
            "HAPROXY_SERVER_ID": str(server.id),
            "HAPROXY_SERVER_ADDR": there[0],
            "HAPROXY_SERVER_PORT": "" if there[1] == _NOT_USED else there[1],
            "HAPROXY_SERVER_MAXCONN": str(server.maxconn),
            "HAPROXY_SERVER_CURCONN": str(about.view().sessions),
            "HAPROXY_SERVER_SSL": "0",
            "HAPROXY_SERVER_PROTO": "h1" if backend.mode == "http" else "tcp",
        }
        if self._path or not self._preserve:
            env["PATH"] = self._path
        return Command((self._command, *here, *there), env)


def _pair(address: Address | None) -> tuple[str, str]:
    """Address and port as words."""
    if address is None:
        return _NOT_USED, _NOT_USED
    if address.family in ("ipv4", "ipv6"):
        return address.host, str(address.port)
    return address.host, _NOT_USED


def verdict(returncode: int) -> Result:
    """What an exit status means; negative: ended by a signal."""
    if not returncode:
        return Result(Status.PROCOK)
    return Result(Status.PROCERR, returncode if returncode > 0 else -1)


@registry.check("external-check", synopsis="option external-check")
def external(check: Check) -> ExternalProgram:
    """Run a program; exit status 0 is a good server."""
    return ExternalProgram(check)
