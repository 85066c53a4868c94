"""Chunked bodies: validated byte by byte in effect, moved slice by slice in fact. Knows nothing of heads but how trailers look.

Theory (RFC 9112, section 7.1): the sizes are what two implementations disagree about when somebody smuggles a request, so every size
line that goes on is either byte for byte ``hex CRLF`` as received or written anew; extensions never go on. Chunk boundaries stay the
sender's, therefore payload passes through untouched and unjoined.
"""

from __future__ import annotations

import re

from forkproxy.errors import ProtocolError
from forkproxy.http import careful
from forkproxy.http.grammar import end_of_head

_plain_size = re.compile(rb"([1-9a-fA-F][0-9a-fA-F]{0,12})\r\n").match
_HEX = rb"[0-9a-fA-F]"
_TEXT = rb"[^\x00-\x08\x0a-\x1f\x7f\"]"
_QUOTED = rb"\"(?:[^\x00-\x08\x0a-\x1f\x7f\"\\]|\\[^\x00-\x08\x0a-\x1f\x7f])*\""
#: leading zeros, 13 digits at most, blanks only after, extensions with balanced quotes
_any_size = re.compile(rb"(?=%b)0*+(%b{0,13}+)[ \t]*+(?:;(?:%b|%b)*)?\r\n" % (_HEX, _HEX, _TEXT, _QUOTED)).match
#: what can still become such a line
_partial_size = re.compile(rb"(?:(?=%b)0*+%b{0,13}+[ \t]*+(?:;[^\x00-\x08\x0a-\x1f\x7f]*+)?\r?)?" % (_HEX, _HEX)).fullmatch

#: a line of size, and the trailers together, may have this many bytes
MAX_LINE = 8192
#: fields that would mean something else at the end of a body (RFC 9110, 6.5.1)
_NOT_IN_TRAILERS = frozenset(
    (b"content-length", b"transfer-encoding", b"host", b"connection", b"te", b"upgrade", b"trailer", b"expect", b"keep-alive")
)


class Chunks:
    """The validator of one chunked body. ``size``: payload bytes that have been announced so far. ``drops_trailers``: they are checked and
    go no further; ``trailers``: bytes of those that went on."""

    __slots__ = ("_in_trailers", "_left", "drops_trailers", "max_trailers", "size", "trailers")

    def __init__(self, max_trailers: int = 100, drops_trailers: bool = False) -> None:
        self.max_trailers = max_trailers
        self.drops_trailers = drops_trailers
        self.size = self.trailers = 0
        #: bytes of the open chunk that are still to come, its CRLF included; 0 between chunks
        self._left = 0
        self._in_trailers = False

    def feed(self, data: bytes, start: int = 0) -> tuple[bytes, int, bool]:
        """Take what is good of ``data`` from ``start``: (bytes to forward, offset of the first byte not taken, whether the body is over).

        What was not taken is the beginning of something unfinished, to be fed again with what follows it, or, when the body is
        over, the next message. Raises ProtocolError 400 when any byte of ``data`` is wrong, and then nothing of it may go on.
        """
        if type(data) is not bytes:
            data = bytes(data)
        end = len(data)
        at = run = start  # data[run:at] is good as it is and not in ``out`` yet
        out: list[bytes] = []
        left = self._left
        while not self._in_trailers:
            if left:
                if end - at < left:  # the chunk is not complete: all but its CRLF can go
                    take = min(end - at, left - 2) if left > 2 else 0
                    at += take
                    left -= take
                    if left == 2 and at < end and data[at] != 13:
                        raise ProtocolError("chunk longer than its size", offset=at)
                    break
                at += left
                if data[at - 2 : at] != b"\r\n":
                    raise ProtocolError("chunk longer than its size", offset=at - 2)
                left = 0
            match = _plain_size(data, at)
            if match is not None:
                size = int(match[1], 16)
                at = match.end()
            else:
                match = _any_size(data, at)
                if match is None:
                    _check_partial(data, at)
                    break
                if run < at:
                    out.append(data[run:at])
                at = run = match.end()
                size = int(match[1] or b"0", 16)
                if not size:
                    self._in_trailers = True
                    break
                out.append(b"%x\r\n" % size)
            self.size += size
            left = size + 2
        self._left = left
        if run < at:
            out.append(data[run:at])
        if not self._in_trailers:
            return (out[0] if len(out) == 1 else b"".join(out)), at, False
        trailers, at = _trailers(data, at, self.max_trailers)
        if trailers is None:
            return b"".join(out), at, False
        if self.drops_trailers:
            trailers = b""
        self.trailers = len(trailers)
        out.append(b"0\r\n%b\r\n" % trailers)
        return b"".join(out), at, True


def _check_partial(data: bytes, at: int) -> None:
    rest = data[at:]
    if _partial_size(rest) is None or len(rest) > MAX_LINE:
        raise ProtocolError("malformed chunk size", offset=at)


def _trailers(data: bytes, at: int, max_fields: int) -> tuple[bytes | None, int]:
    """The trailers, as to forward, and where they end; None while they are incomplete."""
    rest = data[at : at + 2]
    if rest == b"\r\n":
        return b"", at + 2
    if rest[:1] == b"\n":
        return b"", at + 1
    found = end_of_head(data, at)
    if found is None or found.end() - at > MAX_LINE:
        if len(data) - at > MAX_LINE:
            raise ProtocolError("trailers too large", offset=at)
        if rest and rest != b"\r":
            careful.check_incomplete_trailers(data[at:], max_fields)
        return None, at
    fields = careful.trailers(data[at : found.start() + 1], max_fields)
    return b"".join([f.line for f in fields if f.name not in _NOT_IN_TRAILERS]), found.end()


def payload(framed: bytes) -> bytes:
    """The payload of the complete chunks in ``framed``, which must be what ``Chunks.feed`` gave to forward."""
    parts = []
    at = 0
    end = len(framed)
    while at < end:
        line = framed.find(b"\r\n", at)
        if line < 0:
            break
        size = int(framed[at:line], 16)
        if not size:
            break
        at = line + 2
        parts.append(framed[at : min(at + size, end)])
        at += size + 2
    return b"".join(parts)
