"""Reads the head of a request or a response: the fast road. ``careful`` is the other one, and the one that explains errors.

A complete head is cut into lines; its first line is matched by one expression, and for each of the others ``lines`` knows what it
is. The fast road takes only what is plainly right: CRLF line ends, no folding, origin form, exactly one Host, at most one of
Connection, Content-Length and Transfer-Encoding. Everything else (also an incomplete head) takes the careful road, which must give the same
answer for what both understand; a fuzz test holds them together.

Measured: ``bench/micro_http.py``; the careful road costs ten times as much.
"""

from __future__ import annotations

import re
from typing import Final

from forkproxy.http import careful
from forkproxy.http.grammar import TARGET, VALUE
from forkproxy.http.lines import CHUNKED, CONNECTION, HOST, LENGTH, PLAIN, REQUEST_LINES, RESPONSE_LINES, Lines
from forkproxy.http.message import BodyKind, RequestHead, ResponseHead

_END: Final = b"\r\n\r\n"
#: up to so many bytes a call of find() costs more than the copies that partition() makes
_LARGE: Final = 4096
_request_line: Final = re.compile(rb"(?!CONNECT )([A-Z]++) (/" + TARGET + rb"*+) HTTP/1\.([01])").fullmatch
_status_line: Final = re.compile(rb"HTTP/1\.([01]) ([2-5][0-9][0-9]) ((?![ \t])" + VALUE + rb"*+)").fullmatch

_STATUS: Final = {b"%d" % code: code for code in range(100, 1000)}

_NONE: Final = BodyKind.NONE
_LENGTH: Final = BodyKind.LENGTH
_CHUNKED: Final = BodyKind.CHUNKED
_CLOSE: Final = BodyKind.CLOSE


class Limits:
    """Bounds of a head, made once per proxy. ``head_bytes``: start line, fields and empty line together (tune.bufsize less
    tune.maxrewrite); ``max_fields``: field lines (tune.http.maxhdr less one, which the manual counts for the start line);
    ``relaxed``: the "accept-unsafe-violations" of the manual; ``any_payload``: HTTP/1.0 requests of every method may have a body
    (h1-accept-payload-with-any-method); ``keeps_ambiguous``: a message with both lengths does not end its connection
    (h1-do-not-close-on-insecure-transfer-encoding)."""

    __slots__ = ("any_payload", "head_bytes", "keeps_ambiguous", "max_fields", "relaxed")

    def __init__(
        self,
        head_bytes: int = 15360,
        max_fields: int = 100,
        relaxed: bool = False,
        any_payload: bool = False,
        keeps_ambiguous: bool = False,
    ) -> None:
        self.head_bytes = head_bytes
        self.max_fields = max_fields
        self.relaxed = relaxed
        self.any_payload = any_payload
        self.keeps_ambiguous = keeps_ambiguous


def _look(
    buf: bytes, start: int, limits: Limits, known: Lines
) -> tuple[bytes, bytes, int, bytes | None, bytes | None, bytes | None, bytes | None] | None:
    """The head at ``start``: its first line, its fields as they are forwarded, the offset behind it, and what the fields say of the host,
    the length, chunks and the connection; None: that takes a careful look."""
    if len(buf) > _LARGE:
        stop = buf.find(_END, start)
        block, empty = buf[start:stop], b"" if stop < 0 else _END
    else:
        block, empty, _ = (buf[start:] if start else buf).partition(_END)
    end = start + len(block) + 4
    if not empty or end - start > limits.head_bytes:
        return None
    lines = block.split(b"\r\n")
    first = lines.pop(0)
    if len(lines) > limits.max_fields:
        return None
    host = length = chunked = wish = told = None
    plain, special = known.plain, known.special
    for line in lines:
        if line in plain:
            continue
        found = special.get(line) or known.judge(line)
        kind = found.kind
        if kind == PLAIN:
            continue
        if kind == HOST and host is None:
            host = found.value
        elif kind == CONNECTION and told is None:
            told = line
            wish = found.value
        elif kind == LENGTH and length is None and chunked is None:
            length = found.value
        elif kind == CHUNKED and chunked is None and length is None:
            chunked = found.value
        else:
            return None
    if told is None:
        fields = buf[start + len(first) + 2 : end - 2]
    else:
        lines.remove(told)
        lines.append(b"")
        fields = b"\r\n".join(lines)
    return first, fields, end, host, length, chunked, wish


def parse_request(buf: bytes | bytearray, start: int, limits: Limits) -> tuple[RequestHead, int] | None:
    """The request head that begins at ``start`` of ``buf`` and the offset of the first byte after it; None: more bytes are needed.

    Empty lines before the request line are part of the head. The head's ``fields_raw`` is ready to forward: validated, normalised and
    without what concerned only the client's connection. Raises ProtocolError with the status for the client (400, 413, 414, 422,
    431) as soon as what has arrived cannot become a good head. Source: RFC 9112, RFC 9110 7.6 and 7.8.
    """
    if type(buf) is not bytes:
        buf = bytes(buf)
    seen = _look(buf, start, limits, REQUEST_LINES)
    if seen is None:
        return careful.request(buf, start, limits)
    first, fields, end, host, length, chunked, wish = seen
    match = _request_line(first)
    if match is None or host is None:
        return careful.request(buf, start, limits)
    method, target, minor = match.groups()
    head = RequestHead()
    head.body = _NONE
    head.length = 0
    if minor == b"1":
        head.version = 11
        head.keep_alive = True
        if length is not None:
            if length != b"0":
                head.body = _LENGTH
                head.length = int(length)
        elif chunked is not None:
            head.body = _CHUNKED
    elif length is not None or chunked is not None:
        return careful.request(buf, start, limits)
    else:
        head.version = 10
        head.keep_alive = False
    if wish is not None:
        head.keep_alive = len(wish) > 5  # not "close"
    head.fields_raw = fields
    head.added = b""
    head.method = method
    head.target = target
    head.host = host
    head.upgrade = head._lower = None
    head.expect_continue = head.close_after = head.close_peer = head.changed = head.reframed = False
    return head, end


def parse_response(buf: bytes | bytearray, start: int, limits: Limits, request_method: bytes) -> tuple[ResponseHead, int] | None:
    """The response head that begins at ``start`` of ``buf`` and the offset of the first byte after it; None: more bytes are needed.

    Framing is decided with ``request_method``. 1xx heads come out like all others: the caller goes on reading after them; a 101 has
    TUNNEL whether or not somebody asked for it. Raises ProtocolError with status 502.
    """
    if type(buf) is not bytes:
        buf = bytes(buf)
    seen = _look(buf, start, limits, RESPONSE_LINES)
    if seen is None:
        return careful.response(buf, start, limits, request_method)
    first, fields, end, _, length, chunked, wish = seen
    match = _status_line(first)
    if match is None:
        return careful.response(buf, start, limits, request_method)
    minor, code, reason = match.groups()
    if code == b"204" or request_method == b"CONNECT" or (chunked is not None and minor != b"1"):
        return careful.response(buf, start, limits, request_method)
    head = ResponseHead()
    head.length = 0
    if length is not None:
        if length == b"0":
            head.body = _NONE
        else:
            head.body = _LENGTH
            head.length = int(length)
    else:
        head.body = _CLOSE if chunked is None else _CHUNKED
    if minor == b"1":
        head.version = 11
        head.keep_alive = True
    else:
        head.version = 10
        head.keep_alive = False
    if wish is not None:
        head.keep_alive = len(wish) > 5  # not "close"
    head.fields_raw = fields
    if request_method == b"HEAD" or code == b"304":
        head.body = _NONE
        head.length = 0
    head.added = b""
    head.status = _STATUS[code]
    head.reason = reason
    head.close_after = head.body is _CLOSE
    head.upgrade = head._lower = None
    head.close_peer = head.changed = head.reframed = False
    return head, end
