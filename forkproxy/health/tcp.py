"""The plain check: the server is well when a connection can be established (manual 5.2 "check")."""

from __future__ import annotations

from forkproxy import registry
from forkproxy.health.conversation import Hop, Next, Result, View
from forkproxy.health.status import Status
from forkproxy.plan import Check

_CONNECTED = Result(Status.L4OK)


class TcpConversation:
    """Ends with the first connection."""

    __slots__ = ("_hop",)

    def __init__(self, hop: Hop) -> None:
        self._hop = hop

    def hop(self) -> Hop:
        return self._hop

    def start(self) -> Next:
        return _CONNECTED

    def feed(self, data: bytes) -> Next:
        return _CONNECTED

    def eof(self) -> Next:
        return _CONNECTED

    def timeout(self) -> Result:
        return Result(Status.L4TOUT)


class TcpProgram:
    """Nothing to compile: every check is the same."""

    __slots__ = ("_conversation",)

    needs_view = False

    def __init__(self, check: Check) -> None:
        self._conversation = TcpConversation(Hop(send_proxy=check.send_proxy))

    def begin(self, view: View | None) -> TcpConversation:
        return self._conversation  # it has no state to share


@registry.check("tcp")
def tcp(check: Check) -> TcpProgram:
    """Connect only: the check passes when the connection is established (L4OK)."""
    return TcpProgram(check)
