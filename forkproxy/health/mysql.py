"""``option mysql-check``: the server greets, and with ``user`` lets a client without a password in (manual 4.2).

Packets: three bytes of length (little endian), a number, the payload. The greeting is a version (10), the server's version up to a NUL
…; an error begins with 0xff, its number in two bytes, and (after a mark in newer servers) a state. Source: MySQL's and MariaDB's
documentation of the client/server protocol, connection phase.
"""

from __future__ import annotations

from forkproxy import registry
from forkproxy.health.conversation import Hop, Result
from forkproxy.health.scope import Scope
from forkproxy.health.sequence import Connect, Expect, Send, Sequence, Step
from forkproxy.health.status import Status
from forkproxy.plan import Check

_MAX_PACKET = 1 << 14
#: long password, protocol 4.1, transactions, secure connection: what each kind of client says it can
_POST_41 = 0x8200
_PRE_41 = 0x8000
#: the same as ``_POST_41`` and names of authentication plugins
_POST_80 = 0x00088200
_UTF8 = 0x21
_QUIT = b"\x01\x00\x00\x00\x01"


def login(user: bytes, client: str) -> bytes:
    """The client's packet (number 1), without a password, and a QUIT after it."""
    if client == "pre-41":
        body = _PRE_41.to_bytes(2, "little") + b"\x00\x00\x01" + user + b"\0\0"
    else:
        flags = _POST_80 if client == "post-80" else _POST_41
        body = flags.to_bytes(4, "little") + b"\x00\x80\x00\x01" + bytes([_UTF8]) + bytes(23) + user + b"\0\0"
        if client == "post-80":
            body += b"mysql_native_password\0"
    return len(body).to_bytes(3, "little") + b"\x01" + body + _QUIT


def _packet(data: bytes, ended: bool) -> bytes | Result | None:
    """The payload of the first packet."""
    if len(data) >= 4:
        end = 4 + int.from_bytes(data[:3], "little")
        if len(data) >= end and len(data) > 4:
            return data[4:end]
    return Result(Status.L7RSP) if ended else None


def _error(payload: bytes) -> Result | None:
    if payload[:1] != b"\xff":
        return None
    return Result(Status.L7STS, int.from_bytes(payload[1:3], "little"), payload[3:].decode("utf-8", "replace"))


def greeting(data: bytes, ended: bool, scope: Scope) -> bool | Result | None:
    """Judge the server's first packet; its version is kept for the log."""
    payload = _packet(data, ended)
    if payload is None or isinstance(payload, Result):
        return payload
    error = _error(payload)
    if error is not None:
        return error
    version, mark, _ = payload[1:].partition(b"\0")
    if payload[0] != 10 or not mark:
        return Result(Status.L7RSP)
    scope.unique_id = version
    return True


def welcome(data: bytes, ended: bool, scope: Scope) -> bool | Result | None:
    """Judge the answer to the login."""
    payload = _packet(data, ended)
    if payload is None or isinstance(payload, Result):
        return payload
    return _error(payload) or True


def _version(scope: Scope) -> bytes:
    return scope.unique_id or b""


@registry.check("mysql-check", synopsis="option mysql-check [user <username> [{post-41 | pre-41 | post-80}]]")
def mysql(check: Check) -> Sequence:
    """Read a MySQL or MariaDB server's greeting; with ``user`` log in without a password, too."""
    user = check.options.get("user")
    steps: list[Step] = [Connect(Hop(send_proxy=check.send_proxy)), Expect(greeting, on_success=_version)]
    if user is not None:
        steps += [Send(login(str(user).encode(), str(check.options["client"]))), Expect(welcome, on_success=_version)]
    return Sequence(tuple(steps), check)
