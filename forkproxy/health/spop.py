"""``option spop-check``: an agent answers HELLO with its own (manual 4.2; the protocol's description in HAProxy's doc/SPOE.txt, 3.2).

A frame: four bytes of length, a type, four bytes of flags (1: complete), stream and frame numbers, then pairs of names and typed values.
"""

from __future__ import annotations

from forkproxy import registry
from forkproxy.health.conversation import Hop, Result
from forkproxy.health.scope import Scope
from forkproxy.health.sequence import Connect, Expect, Send, Sequence
from forkproxy.health.status import Status
from forkproxy.plan import Check
from forkproxy.wire import varint

_HELLO, _DISCONNECT, _AGENT_HELLO, _AGENT_DISCONNECT = 1, 2, 101, 102
_FIN = b"\x00\x00\x00\x01"
_BOOL, _UINT32, _STRING = 1, 3, 8
#: What the agent may send at most in one frame.
FRAME_BYTES = 16380
#: status codes of DISCONNECT frames, whose words are used for what is wrong with an answer, too
_REASONS = {
    0: "normal", 1: "I/O error", 2: "a timeout occurred", 3: "frame is too big", 4: "invalid frame received",
    5: "version value not found", 6: "max-frame-size value not found", 7: "capabilities value not found", 8: "unsupported version",
    9: "max-frame-size too big or too small", 10: "payload fragmentation is not supported", 11: "invalid interlaced frames",
    12: "frame-id not found (it does not match any referenced frame)", 13: "resource allocation error",
}  # fmt: skip
_TOO_BIG, _INVALID, _NO_VERSION, _NO_SIZE, _NO_CAPABILITIES, _FRAGMENTED = 3, 4, 5, 6, 7, 10


def _text(text: str) -> bytes:
    return varint.number(len(text)) + text.encode()


def hello() -> bytes:
    """The frame with which a client that only checks begins."""
    body = bytes([_HELLO]) + _FIN + b"\0\0"
    body += _text("supported-versions") + bytes([_STRING]) + _text("2.0")
    body += _text("max-frame-size") + bytes([_UINT32]) + varint.number(FRAME_BYTES)
    body += _text("capabilities") + bytes([_STRING]) + _text("")
    body += _text("healthcheck") + bytes([_BOOL | 0x10])
    return len(body).to_bytes(4, "big") + body


def _value(data: bytes, at: int) -> tuple[object, int]:
    """A typed value and the offset after it. Raises IndexError, ValueError."""
    kind = data[at] & 0x0F
    flags = data[at] & 0xF0
    at += 1
    if kind == 0:
        return None, at
    if kind == _BOOL:
        return bool(flags & 0x10), at
    if kind in (2, 3, 4, 5):
        return varint.read(data, at)
    if kind in (6, 7):
        size = 4 if kind == 6 else 16
        return data[at : at + size], at + size
    if kind in (8, 9):
        size, at = varint.read(data, at)
        if at + size > len(data):
            raise IndexError(size)
        return data[at : at + size], at + size
    raise ValueError(kind)


def pairs(data: bytes, at: int) -> dict[bytes, object]:
    """Names and values to the end of a frame. Raises IndexError, ValueError."""
    found: dict[bytes, object] = {}
    while at < len(data):
        size, at = varint.read(data, at)
        name = data[at : at + size]
        found[name], at = _value(data, at + size)
    return found


def answer(data: bytes, ended: bool, scope: Scope) -> bool | Result | None:
    """Judge the agent's first frame."""
    if len(data) < 4:
        return _wrong(_INVALID) if ended else None
    size = int.from_bytes(data[:4], "big")
    if size > FRAME_BYTES:
        return _wrong(_TOO_BIG)
    if len(data) < 4 + size:
        return _wrong(_INVALID) if ended else None
    frame = data[4 : 4 + size]
    try:
        kind, flags = frame[0], frame[1:5]
        stream, at = varint.read(frame, 5)
        number, at = varint.read(frame, at)
        found = pairs(frame, at)
    except (IndexError, ValueError):
        return _wrong(_INVALID)
    if flags != _FIN:
        return _wrong(_FRAGMENTED)
    if kind == _AGENT_DISCONNECT:
        code = found.get(b"status-code")
        return _wrong(code if isinstance(code, int) else _INVALID)
    if kind != _AGENT_HELLO or stream or number:
        return _wrong(_INVALID)
    if not isinstance(found.get(b"version"), bytes):
        return _wrong(_NO_VERSION)
    if not isinstance(found.get(b"max-frame-size"), int):
        return _wrong(_NO_SIZE)
    return True if b"capabilities" in found else _wrong(_NO_CAPABILITIES)


def _wrong(reason: int) -> Result:
    return Result(Status.L7RSP, 0, _REASONS.get(reason, "an unknown error occurred"))


@registry.check("spop-check", synopsis="option spop-check")
def spop(check: Check) -> Sequence:
    """Say HELLO to an agent of stream processing."""
    steps = (
        Connect(Hop(send_proxy=check.send_proxy)),
        Send(hello()),
        Expect(answer, on_success=lambda scope: b"SPOA server is ok"),
    )
    return Sequence(steps, check)
