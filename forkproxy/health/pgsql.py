"""``option pgsql-check``: a start-up message is answered with a request for authentication (manual 4.2).

Messages: a letter, four bytes of length, the payload; R asks for authentication (or says that none is needed), E is an error. Source:
PostgreSQL's documentation, chapter "Frontend/Backend Protocol".
"""

from __future__ import annotations

from forkproxy import registry
from forkproxy.health.conversation import Hop
from forkproxy.health.scope import Scope
from forkproxy.health.sequence import Connect, Expect, Send, Sequence
from forkproxy.health.status import Status
from forkproxy.health.tcp import hex_regex, pattern, regex
from forkproxy.plan import Check

_VERSION_3 = b"\x00\x03\x00\x00"


def startup(user: bytes) -> bytes:
    """The first message of a client."""
    body = _VERSION_3 + b"user\0" + user + b"\0\0"
    return (len(body) + 4).to_bytes(4, "big") + body


def _complaint(scope: Scope) -> bytes:
    return bytes(scope.res_body)[6:].split(b"\0", 1)[0]


@registry.check("pgsql-check", synopsis="option pgsql-check user <username>")
def pgsql(check: Check) -> Sequence:
    """Begin a session with a PostgreSQL server as far as its wish for authentication."""
    steps = (
        Connect(Hop(send_proxy=check.send_proxy)),
        Send(startup(str(check.options["user"]).encode())),
        Expect(pattern(regex("^E"), negate=True, min_recv=5), on_error=_complaint),
        Expect(
            pattern(hex_regex("^52000000[A-Z0-9]{2}000000(00|02|03|04|05|06|07|09|0A)"), min_recv=9), error=Status.L7STS,
            on_error=lambda scope: b"PostgreSQL unknown error", on_success=lambda scope: b"PostgreSQL server is ok",
        ),
    )  # fmt: skip
    return Sequence(steps, check)
