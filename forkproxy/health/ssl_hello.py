"""``option ssl-hello-chk``: an SSLv3 ClientHello is answered with a handshake record or an alert (manual 4.2).

It speaks no TLS: most servers of today answer with an alert, which shows that they speak it.
"""

from __future__ import annotations

from forkproxy import registry
from forkproxy.health.conversation import Hop
from forkproxy.health.scope import Scope
from forkproxy.health.sequence import Connect, Expect, Send, Sequence
from forkproxy.health.status import Status
from forkproxy.health.tcp import hex_regex, pattern
from forkproxy.plan import Check

_RANDOM = b"HAPROXYSSLCHK\nHAPROXYSSLCHK\n"
#: the cipher suites that SSLv3 knows
_SUITES = b"".join(number.to_bytes(2, "big") for number in (*range(0x01, 0x1C), *range(0x2F, 0x3B)))


def hello(epoch: int) -> bytes:
    """The record (RFC 6101 5.6.1.2); the random bytes begin with the time."""
    body = b"\x03\x00" + (epoch & 0xFFFFFFFF).to_bytes(4, "big") + _RANDOM + b"\x00"
    body += len(_SUITES).to_bytes(2, "big") + _SUITES + b"\x01\x00"
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x00" + len(message).to_bytes(2, "big") + message


def _question(scope: Scope) -> bytes:
    return hello(int(scope.wall_start))


@registry.check("ssl-hello-chk", synopsis="option ssl-hello-chk")
def ssl_hello(check: Check) -> Sequence:
    """See whether a server speaks TLS at all."""
    steps = (
        Connect(Hop(send_proxy=check.send_proxy)),
        Send(b"", _question),
        Expect(
            pattern(hex_regex("^1[56]"), min_recv=5), ok=Status.L6OK, error=Status.L6RSP, late=Status.L6TOUT,
            on_error=lambda scope: b"",
        ),
    )  # fmt: skip
    return Sequence(steps, check, number=0)
