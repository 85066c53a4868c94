"""``option ldap-check``: an anonymous simple bind succeeds (manual 4.2; RFC 4511 4.2 bind operation, 4.1.9 result message).

A bind response is a BER sequence of a message id and an application tag 1 whose first element is the result code.
"""

from __future__ import annotations

from forkproxy import registry
from forkproxy.health.conversation import Hop, Result
from forkproxy.health.scope import Scope
from forkproxy.health.sequence import Connect, Expect, Send, Sequence
from forkproxy.health.status import Status
from forkproxy.health.tcp import hex_regex, pattern
from forkproxy.plan import Check

#: message 1, bind request: version 3, no name, simple authentication without a password
_BIND = bytes.fromhex("300c020101600702010304008000")
_NOT_LDAP = Result(Status.L7RSP, 0, "Not LDAPv3 protocol")


def _after_length(data: bytes, at: int) -> int:
    """The offset after a BER length (X.690 8.1.3) at ``at``."""
    first = data[at] if at < len(data) else 0
    return at + 1 + (first & 0x7F if first & 0x80 else 0)


def bind_response(data: bytes, ended: bool, scope: Scope) -> bool | Result | None:
    """Judge what follows the first byte of a sequence."""
    at = _after_length(data, 1)
    if data[at : at + 3] != b"\x02\x01\x01":
        return None if len(data) < at + 3 and not ended else _short(data, at + 3)
    at += 3
    if data[at : at + 1] != b"\x61":
        return None if len(data) <= at and not ended else _short(data, at + 1)
    at = _after_length(data, at + 1)
    if len(data) < at + 3:
        return Result(Status.L7RSP) if ended else None
    if data[at : at + 2] != b"\x0a\x01":
        return _NOT_LDAP
    if data[at + 2]:
        return Result(Status.L7STS, data[at + 2], "See RFC: http://tools.ietf.org/html/rfc4511#section-4.1.9")
    return True


def _short(data: bytes, needed: int) -> Result:
    return _NOT_LDAP if len(data) >= needed else Result(Status.L7RSP)


@registry.check("ldap-check", synopsis="option ldap-check")
def ldap(check: Check) -> Sequence:
    """Bind to an LDAPv3 server anonymously."""
    steps = (
        Connect(Hop(send_proxy=check.send_proxy)),
        Send(_BIND),
        Expect(pattern(hex_regex("^30"), min_recv=14), on_error=lambda scope: b"Not LDAPv3 protocol"),
        Expect(bind_response, on_success=lambda scope: b"Success"),
    )
    return Sequence(steps, check)
