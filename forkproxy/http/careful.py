"""Reads heads that are not plain: the slow road of ``reader``. Understands everything that is allowed and names what is not.

The steps are the same for both kinds of messages: skip empty lines, find the end, cut into lines (line ends normalised, folded lines
joined), check each line, then settle the fields that concern the connection or the length. An incomplete head is checked too, so
that something which is not HTTP is refused at once instead of at a timeout. Theory and sources: RFC 9112 sections 2 to 6, RFC 9110
sections 5, 7.6.1 (Connection), 7.8 (Upgrade), 10.1.4 (TE).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from forkproxy.errors import ProtocolError
from forkproxy.http.framing import decide, declared_length
from forkproxy.http.grammar import (
    DEFAULT_PORTS,
    OWS,
    TOKEN,
    elements,
    empty_lines,
    end_of_head,
    is_absolute,
    is_authority,
    is_target,
    is_token,
    is_version,
    split_authority,
)
from forkproxy.http.message import BodyKind, Head, RequestHead, ResponseHead

if TYPE_CHECKING:
    from forkproxy.http.reader import Limits

_fold = re.compile(rb"\r?\n(?=[ \t])")
_known_methods = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"TRACE", b"PATCH", b"CONNECT"))
_blanks = re.compile(rb"[ \t]+").split
_relaxed_version = re.compile(rb"[A-Z]+/([0-9]+)\.([0-9]+)").fullmatch
_relaxed_target = re.compile(rb"[!-~\x80-\xff]+").fullmatch
_status_line = re.compile(rb"([^ \t]++)[ \t]++([0-9]++)(?:[ \t]++([^\0]*+))?").fullmatch
#: complete and good field lines, folded and bare-LF ones included
_good_lines = re.compile(rb"(?>(?:%b++:[^\0\r\n]*+\r?\n(?:[ \t][^\0\r\n]*+\r?\n)*)*)" % TOKEN).match


class Field:
    """One field line while a head is being settled; ``line`` is what will be forwarded (with CRLF), b"" nothing."""

    __slots__ = ("line", "name", "value")

    def __init__(self, name: bytes, value: bytes, line: bytes) -> None:
        self.name = name
        self.value = value
        self.line = line


def request(buf: bytes, start: int, limits: Limits) -> tuple[RequestHead, int] | None:
    """As ``reader.parse_request``."""
    head_bytes, max_fields, relaxed = limits.head_bytes, limits.max_fields, limits.relaxed
    begin = _skip_empty_lines(buf, start, head_bytes)
    if begin < 0:
        return None
    found = end_of_head(buf, begin)
    if found is None or found.end() - begin > head_bytes:
        _check_incomplete_request(buf, begin, head_bytes, max_fields, relaxed)
        return None
    first, lines = _lines(buf[begin : found.start() + 1])
    head = RequestHead()
    head.method, head.target, head.version = _request_line(first, relaxed)
    fields = _fields(lines, max_fields, relaxed)
    head.host = _settle_target(head, fields, relaxed)
    _settle(head, fields, head.method, 0, limits)
    _settle_te(fields)
    head.expect_continue = head.version >= 11 and any(f.name == b"expect" and f.value.lower() == b"100-continue" for f in fields)
    if not relaxed and head.upgrade is not None and b"websocket" in elements([head.upgrade]):
        keys = [f.value for f in fields if f.name == b"sec-websocket-key"]
        if len(keys) != 1 or len(keys[0]) != 24:
            raise ProtocolError("WebSocket handshake without a valid key")
    _finish(head, fields)
    return head, found.end()


def response(buf: bytes, start: int, limits: Limits, request_method: bytes) -> tuple[ResponseHead, int] | None:
    """As ``reader.parse_response``."""
    head_bytes, max_fields, relaxed = limits.head_bytes, limits.max_fields, limits.relaxed
    try:
        begin = _skip_empty_lines(buf, start, head_bytes)
        if begin < 0:
            return None
        found = end_of_head(buf, begin)
        if found is None or found.end() - begin > head_bytes:
            _check_incomplete_response(buf, begin, head_bytes, max_fields, relaxed)
            return None
        first, lines = _lines(buf[begin : found.start() + 1])
        head = ResponseHead()
        head.version, head.status, head.reason = _response_line(first, relaxed)
        fields = _fields(lines, max_fields, relaxed)
        _settle(head, fields, request_method, head.status, limits)
        _finish(head, fields)
        return head, found.end()
    except ProtocolError as error:
        raise ProtocolError(error.reason, 502, error.offset) from None


def _finish(head: Head, fields: list[Field]) -> None:
    head.fields_raw = b"".join([f.line for f in fields])
    head.changed = head.reframed = False
    head.added = b""
    head._lower = None


# -- lines ------------------------------------------------------------------------------------------------------------------------


def _skip_empty_lines(buf: bytes, start: int, head_bytes: int) -> int:
    """Where the start line begins; -1 when it is not there yet."""
    skipped = empty_lines(buf, start)
    assert skipped is not None  # it matches nothing, too
    begin = skipped.end()
    if begin - start > head_bytes:
        raise ProtocolError("too many empty lines", 400, begin)
    if begin == len(buf) or (buf[begin] == 13 and begin + 1 == len(buf)):
        return -1
    return begin


def _lines(text: bytes) -> tuple[bytes, list[bytes]]:
    """The start line and the field lines of ``text`` (which ends with a line feed), without line ends, folded ones joined."""
    if b"\n " in text or b"\n\t" in text:
        after = text.index(b"\n") + 1
        if text[after] in OWS:
            raise ProtocolError("folded line without a field")
        text = text[:after] + _fold.sub(lambda m: b" " * len(m[0]), text[after:])
    lines = text.split(b"\n")
    del lines[-1]
    if b"\r" in text:
        lines = [line[:-1] if line.endswith(b"\r") else line for line in lines]
        if any(b"\r" in line for line in lines):
            raise ProtocolError("bare CR")
    return lines[0], lines[1:]


def _fields(lines: list[bytes], max_fields: int, relaxed: bool) -> list[Field]:
    if len(lines) > max_fields:
        raise ProtocolError("too many header fields")
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not is_token(name):
            if relaxed and colon and name:
                continue  # manual: "will not be rejected; however the header will be dropped"
            raise ProtocolError("malformed header field name")
        if b"\0" in value and not relaxed:
            raise ProtocolError("NUL in a header field")
        fields.append(Field(name.lower(), value.strip(OWS), line + b"\r\n"))
    return fields


def check_incomplete_trailers(text: bytes, max_fields: int) -> None:
    """Raise ProtocolError 400 if ``text``, trailers of which the last may be unfinished, is wrong already."""
    _check_incomplete_fields(text, max_fields, False)


def trailers(text: bytes, max_fields: int) -> list[Field]:
    """The fields after the last chunk; ``text`` ends with the line end of the last one. Raises ProtocolError 400."""
    return _fields(_lines(b"\n" + text)[1], max_fields, False)


# -- start lines ------------------------------------------------------------------------------------------------------------------


def _version(text: bytes, relaxed: bool) -> int:
    match = is_version(text) or (_relaxed_version(text) if relaxed else None)
    if match is None:
        raise ProtocolError("malformed HTTP version")
    return 11 if (int(match[1]), int(match[2])) >= (1, 1) else 10


def _request_line(line: bytes, relaxed: bool) -> tuple[bytes, bytes, int]:
    words = _blanks(line)
    if len(words) == 2 and relaxed and words[0] == b"GET":
        words.append(b"HTTP/0.9")
    if len(words) != 3:
        raise ProtocolError("malformed request line")
    method, target, version = words
    if not is_token(method):
        raise ProtocolError("malformed method")
    if not is_target(target) and not (relaxed and _relaxed_target(target)):
        raise ProtocolError("forbidden character in the request target")
    if method == b"PRI" and target == b"*":
        raise ProtocolError("HTTP/2 preface on an HTTP/1 listener")
    return method, target, _version(version, relaxed)


def _response_line(line: bytes, relaxed: bool) -> tuple[int, int, bytes]:
    match = _status_line(line)
    if match is None:
        raise ProtocolError("malformed status line")
    version = _version(match[1], relaxed)
    digits = match[2]
    status = int(digits)
    if (len(digits) != 3 and not (relaxed and len(digits) > 3 and status <= 65535)) or status < 100:
        raise ProtocolError("malformed status code")
    return version, status, match[3] or b""


def _check_incomplete_request(buf: bytes, begin: int, head_bytes: int, max_fields: int, relaxed: bool) -> None:
    """Raise if what is there cannot become a good head, or is too much already."""
    too_long = len(buf) - begin >= head_bytes
    text = buf[begin : begin + head_bytes]
    cut = text.rfind(b"\n") + 1
    if not cut:
        words = _blanks(text.removesuffix(b"\r"))
        if not is_token(words[0]):
            raise ProtocolError("malformed method")
        if len(words) > 1 and words[1] and not is_target(words[1]) and not (relaxed and _relaxed_target(words[1])):
            raise ProtocolError("forbidden character in the request target")
        if len(words) > 2 and not relaxed and (not re.match(rb"[HTP/0-9.]*\Z", words[2]) or len(words[2]) > 8 or len(words) > 3):
            raise ProtocolError("malformed request line")
        if b"\r" in text[:-1]:
            raise ProtocolError("bare CR")
        if too_long:
            raise ProtocolError("request line too long", 414)
        return
    after = text.index(b"\n") + 1
    _request_line(_lines(text[:after])[0], relaxed)
    _check_incomplete_fields(text[after:], max_fields, relaxed)
    if too_long:
        raise ProtocolError("request head too large", 431)


def _check_incomplete_response(buf: bytes, begin: int, head_bytes: int, max_fields: int, relaxed: bool) -> None:
    text = buf[begin : begin + head_bytes]
    cut = text.rfind(b"\n") + 1
    if cut:
        after = text.index(b"\n") + 1
        _response_line(_lines(text[:after])[0], relaxed)
        _check_incomplete_fields(text[after:], max_fields, relaxed)
    elif not relaxed and not b"HTTP/".startswith(text[:5]):
        raise ProtocolError("not an HTTP response")
    if len(buf) - begin >= head_bytes:
        raise ProtocolError("response head too large")


def _check_incomplete_fields(text: bytes, max_fields: int, relaxed: bool) -> None:
    """Raise if ``text``, field lines of which the last may be unfinished, is wrong already. One pass in C while all is good,
    because a slow sender has this done for every piece that arrives."""
    if text.count(b"\n") - text.count(b"\n ") - text.count(b"\n\t") > max_fields:
        raise ProtocolError("too many header fields")
    if text and text[0] in OWS:
        raise ProtocolError("folded line without a field")
    good = _good_lines(text)
    assert good is not None  # it matches nothing, too
    cut = text.rfind(b"\n") + 1
    if good.end() < cut:
        _fields(_lines(b"\n" + (text[:cut] if text[good.end()] in OWS else text[good.end() : cut]))[1], max_fields, relaxed)
    _check_partial_line(text[cut:], relaxed)


def _check_partial_line(line: bytes, relaxed: bool) -> None:
    """Raise if ``line``, the last and unfinished one, is wrong already."""
    if b"\r" in line[:-1]:
        raise ProtocolError("bare CR")
    if relaxed:
        return
    if b"\0" in line:
        raise ProtocolError("NUL in a header field")
    name = line.partition(b":")[0].removesuffix(b"\r")
    if name and line[0] not in OWS and not is_token(name):
        raise ProtocolError("malformed header field name")


# -- fields that concern connection and length ------------------------------------------------------------------------------------


def _settle(head: Head, fields: list[Field], method: bytes, status: int, limits: Limits) -> None:
    """Framing, Connection and Upgrade: set the head's attributes, rewrite or blank the lines."""
    lengths = [f for f in fields if f.name == b"content-length"]
    codings = [f for f in fields if f.name == b"transfer-encoding"]
    framing = decide([f.value for f in lengths], [f.value for f in codings], head.version, method, status, limits)
    head.body = framing.body
    head.length = framing.length
    head.close_after = framing.close
    head.close_peer = framing.close_peer
    if lengths:
        plain = b"%d" % declared_length([f.value for f in lengths])
        if lengths[0].value != plain:
            lengths[0].line = b"Content-Length: %b\r\n" % plain
        for f in lengths[0 if not framing.keep_length else 1 :]:
            f.line = b""
    if codings and not framing.keep_coding:
        for f in codings:
            f.line = b""
    elif len(codings) > 1 or (codings and len(codings[0].value) > len(b"chunked")):
        _rewrite(codings, b"Transfer-Encoding", [b"chunked"])  # repetitions that were let pass
    # A request with a body asks for no other protocol: where the one ends and the other begins would be told by two things.
    _settle_connection(head, fields, may_switch=status > 0 or head.body is BodyKind.NONE)


def _settle_connection(head: Head, fields: list[Field], may_switch: bool) -> None:
    connections = [f for f in fields if f.name == b"connection"]
    upgrades = [f for f in fields if f.name == b"upgrade"]
    tokens = elements([f.value for f in connections])
    head.keep_alive = b"close" not in tokens and (head.version >= 11 or b"keep-alive" in tokens)

    protocols = [p for f in upgrades for p in (word.strip(OWS) for word in f.value.split(b",")) if p and p.lower() not in (b"h2", b"h2c")]
    wanted = bool(protocols) and b"upgrade" in tokens and may_switch
    head.upgrade = b", ".join(protocols) if wanted else None
    _rewrite(upgrades, b"Upgrade", protocols if wanted else [])

    drop = (b"close", b"keep-alive", b"") if wanted else (b"close", b"keep-alive", b"", b"upgrade")
    if any(token in drop for token in tokens):
        for f in connections:
            kept = [word for word in (word.strip(OWS) for word in f.value.split(b",")) if word.lower() not in drop]
            _rewrite([f], b"Connection", kept)


def _settle_te(fields: list[Field]) -> None:
    """TE is for the next hop alone: what remains is "trailers", which we can promise (RFC 9110, 10.1.4)."""
    lines = [f for f in fields if f.name == b"te"]
    if lines:
        words = elements([f.value for f in lines])
        _rewrite(lines, b"TE", [b"trailers"] if b"trailers" in words else [])


def _rewrite(lines: list[Field], name: bytes, kept: list[bytes]) -> None:
    """Put ``kept`` into the first of ``lines`` (left alone if it says just that) and blank the others."""
    value = b", ".join(kept)
    for i, f in enumerate(lines):
        if i or not value:
            f.line = b""
        elif f.value != value:
            f.line = b"%b: %b\r\n" % (name, value)


# -- target and Host --------------------------------------------------------------------------------------------------------------


def _settle_target(head: RequestHead, fields: list[Field], relaxed: bool) -> bytes | None:
    """Check and normalise the target against Host; returns the value of Host."""
    hosts = [f for f in fields if f.name == b"host"]
    host = hosts[0].value if hosts else None
    for f in hosts[1:]:
        if f.value.lower() != hosts[0].value.lower():
            raise ProtocolError("Host fields that differ")
        f.line = b""
    if host is not None and not relaxed and not is_authority(host):
        raise ProtocolError("forbidden character in Host")

    target = head.target
    if head.method == b"CONNECT":
        return host if relaxed else _settle_connect(head, hosts, host)
    if target.startswith(b"/"):
        return host
    if target == b"*":
        if head.method in _known_methods:
            raise ProtocolError("asterisk as the target of this method")
        return host
    match = is_absolute(target)
    if match is None:
        raise ProtocolError("malformed request target")
    scheme, authority, rest = match.groups()
    user, at, place = authority.rpartition(b"@")
    default = DEFAULT_PORTS.get(scheme.lower(), b"")
    plain = _without_port(place, default)
    if not relaxed:
        if not plain or not is_authority(plain) or not is_authority(user):
            raise ProtocolError("malformed authority in the request target")
        if host is not None and _without_port(host, default).lower() != plain.lower():
            raise ProtocolError("Host differs from the authority of the target")
    head.target = b"%b://%b%b%b%b" % (scheme, user, at, plain, rest if rest.startswith(b"/") else b"/" + rest)
    return _set_host(hosts, plain)


def _set_host(hosts: list[Field], plain: bytes) -> bytes | None:
    """Make Host, if there is one, say ``plain``: the target is what counts (RFC 9112, 3.2.2)."""
    if not hosts:
        return None
    if hosts[0].value.lower() != plain.lower():
        hosts[0].line = b"Host: %b\r\n" % plain
        return plain
    return hosts[0].value


def _without_port(authority: bytes, default: bytes) -> bytes:
    match = split_authority(authority)
    if match is None:
        return authority
    if match[2] is not None and (match[2] == default or not match[2]):
        return match[1]
    return authority


def _settle_connect(head: RequestHead, hosts: list[Field], host: bytes | None) -> bytes | None:
    """CONNECT names host and port; Host the same, where the port of the web goes without saying."""
    target = head.target
    match = split_authority(target)
    if match is None or not match[1] or not match[2] or len(match[2]) > 5 or int(match[2]) > 65535 or not is_authority(target):
        raise ProtocolError("CONNECT needs host:port")
    plain = match[1] if match[2] in (b"80", b"443") else target
    if host is not None and host.lower() not in (target.lower(), plain.lower()):
        raise ProtocolError("Host differs from the authority of the target")
    return _set_host(hosts, plain)
