"""Heads of messages: the field lines as bytes, looked into only when somebody asks. Knows nothing of reading or writing.

A head is not a list of fields. Its field lines stay one piece of bytes, the received one in most cases, which is what goes to
the other side; a question about a field is a search in its lower-case twin (made on the first question). A change cuts bytes out
of both, or appends to what was added, which is a piece of its own: a rule that sets a field copies a line, not the 700 bytes of a
browser's head. So a request whose fields nobody asks for costs nothing, and one edit costs the same with five fields as with fifty.
The twin is text (Latin-1), in which the compiled build searches directly; bytes are only searched by way of a call (0.04 µs each).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Final

#: fields that say how the body is framed and what becomes of the connection, and the one that the reader has taken out
_FRAMING: Final = frozenset((b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"host"))
_fields = re.compile(rb"([^:]++):[ \t]*+([^\r]*+)\r\n").findall


class BodyKind(IntEnum):
    """How the end of a body is known (RFC 9112, section 6.3)."""

    NONE = 0  # there is none
    LENGTH = 1  # after ``length`` bytes, at least one
    CHUNKED = 2  # after the last chunk and the trailers
    CLOSE = 3  # when the sender closes (responses only)
    TUNNEL = 4  # never: bytes of another protocol follow (101, CONNECT)


class _Needles(dict[bytes, str]):
    """What finds a field in a twin, by its lower-case name."""

    def __missing__(self, name: bytes) -> str:
        if len(self) >= 1000:  # nearly all names are a configuration's; some are clients' (option http-restrict-req-hdr-names)
            self.clear()
        made = self[name] = "\n" + name.decode("latin-1") + ":"
        return made


_needles: Final = _Needles()


class Field:
    """The name of a field as rules that set it many times need it; ``needle`` finds it in the twin, ``frames``: framing depends on it."""

    __slots__ = ("frames", "lower", "name", "needle")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.lower = name.lower()
        self.needle = _needles[self.lower]
        self.frames = self.lower in _FRAMING


class Head:
    """What both kinds of heads share. Instances come from ``reader`` (which sets every attribute) or from ``create``.

    ``fields_raw`` and behind them ``added`` (by rules): the field lines to forward, each ends with CRLF, without the final empty
    line; normalised by the reader and free of what concerned only the sender's connection. ``changed`` tells that rules have
    edited them, ``reframed`` that they have edited some that framing depends on (or the status), or Host: until then ``host`` of a
    request is its value.
    ``body``/``length``: framing; ``length`` is 0 unless ``body`` is LENGTH. ``version``: 10 or 11 (HTTP/1.2 or 2.0 in a request
    line count as 11, HTTP/0.9 as 10). ``keep_alive``: the sender wants to go on with its connection after this message.
    ``close_after``: the connection that it came from must be closed after the exchange, whatever the sender wanted (ambiguous
    framing); ``close_peer``: so must the one on which it was forwarded. ``upgrade``: the protocols of Upgrade when the message
    really asks for one (Connection names it), else None.
    """

    __slots__ = (
        "_lower", "added", "body", "changed", "close_after", "close_peer", "fields_raw", "keep_alive", "length", "reframed", "upgrade",
        "version",
    )  # fmt: skip

    fields_raw: bytes
    added: bytes
    body: BodyKind
    length: int
    version: int
    keep_alive: bool
    close_after: bool
    close_peer: bool
    upgrade: bytes | None
    changed: bool
    reframed: bool
    #: a line feed and ``fields_raw`` in lower case; None until the first question
    _lower: str | None

    def _init(self, version: int, fields: Iterable[tuple[bytes, bytes]], body: BodyKind, length: int) -> None:
        self.fields_raw = b"".join(b"%b: %b\r\n" % field for field in fields)
        self.added = b""
        self.body = body
        self.length = length
        self.version = version
        self.keep_alive = version >= 11
        self.close_after = self.close_peer = self.changed = self.reframed = False
        self.upgrade = self._lower = None

    def _twin(self) -> str:
        made = self._lower = "\n" + self.fields_raw.lower().decode("latin-1")
        return made

    def get(self, name: bytes) -> bytes | None:
        """The value of the first field called ``name`` (lower case), surrounding white space cut; None without one."""
        lower = self._lower or self._twin()
        at = lower.find(_needles[name])
        if at < 0:
            late = _all(self.added, name) if self.added else None
            return late[0] if late else None
        at += len(name) + 1
        return self.fields_raw[at : lower.find("\r", at) - 1].strip(b" \t")

    def last(self, name: bytes) -> bytes | None:
        """The value of the last field called ``name`` (lower case); None without one."""
        if self.added and (found := _all(self.added, name)):
            return found[-1]
        lower = self._lower or self._twin()
        at = lower.rfind(_needles[name])
        if at < 0:
            return None
        at += len(name) + 1
        return self.fields_raw[at : lower.find("\r", at) - 1].strip(b" \t")

    def get_all(self, name: bytes) -> list[bytes]:
        """The values of every field called ``name`` (lower case), one entry per line, in order."""
        lower = self._lower or self._twin()
        needle = _needles[name]
        at = lower.find(needle)
        found: list[bytes] = []
        if at >= 0:
            raw = self.fields_raw
            more = len(name) + 1
            while at >= 0:
                at += more
                end = lower.find("\r", at)
                found.append(raw[at : end - 1].strip(b" \t"))
                at = lower.find(needle, end)
        return found + _all(self.added, name) if self.added else found

    def items(self) -> list[tuple[bytes, bytes]]:
        """Every field in order: (name as received, value with surrounding white space cut)."""
        raw = self.fields_raw + self.added
        fields: list[tuple[bytes, bytes]] = _fields(raw)
        if b" \r" in raw or b"\t\r" in raw:
            return [(name, value.rstrip(b" \t")) for name, value in fields]
        return fields

    def add(self, name: bytes, value: bytes) -> None:
        """Append a field. The caller vouches that ``name`` is a token and ``value`` free of CR, LF and NUL."""
        self.added += b"%b: %b\r\n" % (name, value)
        self.changed = True
        if name.lower() in _FRAMING:
            self.reframed = True

    def remove(self, name: bytes) -> int:
        """Cut every field called ``name`` (lower case); returns how many there were."""
        return self._cut(name, _needles[name], name in _FRAMING)

    def _cut(self, name: bytes, needle: str, frames: bool) -> int:
        lower = self._lower or self._twin()
        at = lower.find(needle)
        count = 0
        if at >= 0:
            raw = self.fields_raw
            while at >= 0:
                end = lower.find("\n", at + 1)
                raw = raw[:at] + raw[end:]
                lower = lower[: at + 1] + lower[end + 1 :]
                count += 1
                at = lower.find(needle, at)
            self.fields_raw = raw
            self._lower = lower
        if self.added:
            lines = self.added.splitlines(keepends=True)
            kept = [line for line in lines if not line.lower().startswith(name + b":")]
            if len(kept) < len(lines):
                self.added = b"".join(kept)
                count += len(lines) - len(kept)
        if count:
            self.changed = True
            if frames:
                self.reframed = True
        return count

    def put(self, fields: bytes) -> None:
        """Other field lines in the place of ``fields_raw``; they are as the reader would have left them, and frame the body as before."""
        self.fields_raw = fields
        self._lower = None
        self.changed = True

    def edit(self, name: bytes, change: Callable[[bytes], bytes | None]) -> None:
        """Ask ``change(value)`` for every field called ``name`` (lower case) what its value shall be; None cuts the field."""
        needle = _needles[name]
        raw = self.block()
        lower = "\n" + raw.lower().decode("latin-1")
        at = lower.find(needle)
        while at >= 0:
            start = at + len(name) + 1
            end = raw.index(b"\r", start)
            old = raw[start:end].strip(b" \t")
            new = change(old)
            if new is not None and new == old:
                at = lower.find(needle, end)
                continue
            line = b"" if new is None else raw[at:start] + b" " + new + b"\r\n"
            raw = raw[:at] + line + raw[end + 2 :]
            lower = lower[: at + 1] + line.lower().decode("latin-1") + lower[end + 3 :]
            self.changed = True
            if name in _FRAMING:
                self.reframed = True
            at = lower.find(needle, at + len(line))
        self.fields_raw = raw
        self.added = b""
        self._lower = lower

    def set(self, name: bytes, value: bytes) -> None:
        """Cut every field called ``name`` (any case), then append one."""
        field = Field(name)
        self.revise((field,), b"%b: %b\r\n" % (name, value), field.frames)

    def revise(self, fields: tuple[Field, ...], lines: bytes, frames: bool) -> None:
        """Cut every field called as one of ``fields``, then append ``lines``; ``frames``: framing depends on one of those."""
        twin = self._lower or self._twin()
        late = self.added.lower() if self.added else b""
        for field in fields:
            # In what was added a part of a name is found, too, which does no harm.
            if field.needle in twin or (late and late.find(field.lower) >= 0):
                self._cut(field.lower, field.needle, field.frames)
                twin = self._lower or self._twin()
        if lines:
            self.added += lines
            self.changed = True
            if frames:
                self.reframed = True

    def replace_all(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Put ``fields`` in the place of all that were there."""
        self.fields_raw = b"".join([b"%b: %b\r\n" % field for field in fields])
        self.added = b""
        self._lower = None
        self.changed = self.reframed = True

    def block(self) -> bytes:
        """The field lines to forward now (without the empty line that ends a head)."""
        return self.fields_raw + self.added


def _all(lines: bytes, name: bytes) -> list[bytes]:
    """The values of a field in a few lines."""
    start = name + b":"
    return [line[len(start) :].strip(b" \t") for line in lines.splitlines() if line.lower().startswith(start)]


class RequestHead(Head):
    """The head of a request. ``target`` is as received but for what RFC 9112 3.2.2 and RFC 3986 6.2.3 normalise (absolute form: a
    default port goes, an empty path becomes "/"). ``host``: value of Host, b"" if empty, None without one. ``expect_continue``:
    the client waits for a 100 before it sends the body."""

    __slots__ = ("expect_continue", "host", "method", "target")

    method: bytes
    target: bytes
    expect_continue: bool
    host: bytes | None

    @classmethod
    def create(
        cls,
        method: bytes,
        target: bytes,
        fields: Iterable[tuple[bytes, bytes]] = (),
        *,
        version: int = 11,
        body: BodyKind = BodyKind.NONE,
        length: int = 0,
    ) -> RequestHead:
        """A head made here instead of read; framing as the caller says."""
        head = cls()
        head._init(version, fields, body, length)
        head.method = method
        head.target = target
        head.expect_continue = False
        head.host = head.get(b"host")
        return head

    def start_line(self) -> bytes:
        """The request line to forward, with its CRLF."""
        if self.version >= 11:
            return b"%b %b HTTP/1.1\r\n" % (self.method, self.target)
        return b"%b %b HTTP/1.0\r\n" % (self.method, self.target)

    def set_method(self, method: bytes) -> None:
        self.method = method
        self.changed = True

    def set_target(self, target: bytes) -> None:
        self.target = target
        self.changed = True


class ResponseHead(Head):
    """The head of a response. ``reason`` may be empty."""

    __slots__ = ("reason", "status")

    status: int
    reason: bytes

    @classmethod
    def create(
        cls,
        status: int,
        reason: bytes,
        fields: Iterable[tuple[bytes, bytes]] = (),
        *,
        version: int = 11,
        body: BodyKind = BodyKind.NONE,
        length: int = 0,
    ) -> ResponseHead:
        """A head made here instead of read; framing as the caller says."""
        head = cls()
        head._init(version, fields, body, length)
        head.status = status
        head.reason = reason
        return head

    def start_line(self) -> bytes:
        """The status line to forward, with its CRLF."""
        if self.version >= 11:
            return b"HTTP/1.1 %d %b\r\n" % (self.status, self.reason)
        return b"HTTP/1.0 %d %b\r\n" % (self.status, self.reason)
