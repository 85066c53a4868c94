"""``option redis-check``: PING is answered with +PONG (manual 4.2)."""

from __future__ import annotations

from forkproxy import registry
from forkproxy.health.conversation import Hop
from forkproxy.health.scope import Scope
from forkproxy.health.sequence import Connect, Expect, Send, Sequence
from forkproxy.health.status import Status
from forkproxy.health.tcp import contains, pattern
from forkproxy.plan import Check

_PING = b"*1\r\n$4\r\nPING\r\n"


def first_line(scope: Scope) -> bytes:
    """What the server said, up to the end of its line."""
    return bytes(scope.res_body).split(b"\r", 1)[0].split(b"\n", 1)[0]


@registry.check("redis-check", synopsis="option redis-check")
def redis(check: Check) -> Sequence:
    """Ask a Redis server for its PONG."""
    steps = (
        Connect(Hop(send_proxy=check.send_proxy)),
        Send(_PING),
        Expect(
            pattern(contains(b"+PONG\r\n"), length=7), error=Status.L7STS, on_error=first_line,
            on_success=lambda scope: b"Redis server is ok",
        ),
    )  # fmt: skip
    return Sequence(steps, check)
