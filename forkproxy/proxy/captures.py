"""Messages that broke the protocol, for ``show errors``: the last bad request of every frontend, the last bad response of every backend.

Cold: a worker that receives none holds nothing. Bounded by the number of proxies, and by ``KEPT`` bytes each.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forkproxy.errors import ProtocolError
    from forkproxy.proxy.runtime import Runtime
    from forkproxy.proxy.stream import Stream

#: So much of a message is kept.
KEPT = 16384

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_VERSION = re.compile(rb"HTTP/\d\.\d")
_VALUE = re.compile(rb"[^\x00\r\n]*")
_END = re.compile(rb"\r?\n")


class Capture:
    """One message: where it came from (``fe``, ``be``, ``srv`` by name), ``wall`` when, ``at`` the byte at fault (-1: unknown)."""

    __slots__ = ("at", "be", "data", "fe", "port", "reason", "request", "src", "srv", "stream", "wall")

    def told(self) -> dict[str, Any]:
        """Everything but the message itself, by name."""
        return {
            "at": self.at, "be": self.be, "fe": self.fe, "port": self.port, "reason": self.reason, "request": self.request,
            "src": self.src, "srv": self.srv, "stream": self.stream, "wall": self.wall,
        }  # fmt: skip

    def __init__(self, s: Stream, request: bool, data: bytes, error: ProtocolError) -> None:
        self.request = request
        self.wall = s.clock.wall
        self.fe = s.fe.name
        self.be = s.be.name if s.be is not None else ""
        self.srv = s.srv.name if s.srv is not None and not request else ""
        self.src, self.port = s.origin.src, s.origin.src_port
        self.stream = s.id
        self.data = bytes(data[:KEPT])
        self.reason = error.reason
        self.at = error.offset if error.offset >= 0 else locate(self.data, request)


def remember(rt: Runtime, s: Stream, request: bool, data: bytes, error: ProtocolError) -> None:
    """Keep a bad message in place of the one before it."""
    rt.captures[request, s.fe.name if request else s.be.name] = Capture(s, request, data, error)


def locate(data: bytes, request: bool) -> int:
    """The first byte of a head that may not stand where it stands, as far as its characters tell; -1: all of them may."""
    at = 0
    while (line := _END.match(data, at)) is not None:  # empty lines before it are nobody's fault
        at = line.end()
    for pattern, then in _REQUEST if request else _STATUS:
        at, wrong = _walk(data, at, pattern, then)
        if wrong:
            return at
    while at < len(data):
        if (line := _END.match(data, at)) is not None:
            return -1
        if data[at] in b" \t":  # a folded line
            at += 1
        else:
            at, wrong = _walk(data, at, _NAME, b":")
            if wrong:
                return at
        at = _VALUE.match(data, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        line = _END.match(data, at)
        if line is None:
            return at if at < len(data) else -1
        at = line.end()
    return -1


_REQUEST: tuple[tuple[re.Pattern[bytes], Any], ...] = ((_NAME, b" "), (_TARGET, b" "), (_VERSION, _END))
_STATUS: tuple[tuple[re.Pattern[bytes], Any], ...] = ((_VERSION, b" "), (re.compile(rb"\d{3}"), re.compile(rb"[ ]?")), (_VALUE, _END))


def _walk(data: bytes, at: int, pattern: re.Pattern[bytes], then: Any) -> tuple[int, bool]:
    """Over ``pattern`` and what must follow it: (how far, whether that is where it goes wrong)."""
    found = pattern.match(data, at)
    if found is None:
        return at, at < len(data)
    at = found.end()
    if isinstance(then, bytes):
        if data[at : at + 1] == then:
            return at + 1, False
    elif (following := then.match(data, at)) is not None:
        return following.end(), False
    return at, at < len(data)
