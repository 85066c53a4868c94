"""Messages that are made here: answers to the client, error pages, chunks. Knows nothing of who asked for them.

The error pages have the shape of HAProxy's own (status line, fields, ``<html><body><h1>``), so that scripts which look for it go on
working. Field names are in lower case as HAProxy's are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

#: reason phrases (RFC 9110 section 15, IANA registry; where HAProxy has always said something else, that)
REASONS: dict[int, bytes] = {
    100: b"Continue",
    101: b"Switching Protocols",
    102: b"Processing",
    103: b"Early Hints",
    200: b"OK",
    201: b"Created",
    202: b"Accepted",
    203: b"Non-Authoritative Information",
    204: b"No Content",
    205: b"Reset Content",
    206: b"Partial Content",
    207: b"Multi-Status",
    208: b"Already Reported",
    226: b"IM Used",
    300: b"Multiple Choices",
    301: b"Moved Permanently",
    302: b"Found",
    303: b"See Other",
    304: b"Not Modified",
    305: b"Use Proxy",
    307: b"Temporary Redirect",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    406: b"Not Acceptable",
    407: b"Proxy Authentication Required",
    408: b"Request Time-out",
    409: b"Conflict",
    410: b"Gone",
    411: b"Length Required",
    412: b"Precondition Failed",
    413: b"Request Entity Too Large",
    414: b"Request-URI Too Long",
    415: b"Unsupported Media Type",
    416: b"Requested range unsatisfiable",
    417: b"Expectation failed",
    418: b"I'm a teapot",
    421: b"Misdirected Request",
    422: b"Unprocessable Content",
    423: b"Locked",
    424: b"Failed Dependency",
    425: b"Too Early",
    426: b"Upgrade Required",
    428: b"Precondition Required",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    451: b"Unavailable For Legal Reasons",
    499: b"client has closed connection",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway or Proxy Error",
    503: b"Service Unavailable",
    504: b"Gateway Time-out",
    505: b"HTTP Version Not Supported",
    506: b"Variant Also Negotiates",
    507: b"Insufficient Storage",
    508: b"Loop Detected",
    511: b"Network Authentication Required",
}

#: phrases for codes without one of their own, by class
_CLASSES: dict[int, bytes] = {1: b"Informational", 2: b"Success", 3: b"Redirection", 4: b"Client Error", 5: b"Server Error"}

LAST_CHUNK = b"0\r\n\r\n"


def phrase(status: int) -> bytes:
    """The reason phrase of ``status``, that of its class for a code nobody registered."""
    return REASONS.get(status) or _CLASSES.get(status // 100, b"Other")


def chunk(data: bytes) -> bytes:
    """``data`` (not empty) as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def response(
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    body: bytes,
    *,
    version: int = 11,
    close: bool = False,
    head: bool = False,
    reason: bytes = b"",
) -> bytes:
    """A whole message. Content-Length is added where the status may have one and ``headers`` has none.

    ``version`` 10 for a client that asked with HTTP/1.0; the answer says HTTP/1.1 all the same (RFC 9110, 2.5), but then a kept
    connection has to be announced. ``close`` announces the end of the connection, ``head`` leaves out the body (its length stays),
    ``reason`` b"" takes the usual phrase.
    """
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason or phrase(status))]
    measured = status < 200 or status in (204, 304)
    bodiless = head or measured
    for name, value in headers:
        lines.append(b"%b: %b\r\n" % (name, value))
        measured = measured or name.lower() == b"content-length"
    if not measured:
        lines.insert(1, b"content-length: %d\r\n" % len(body))
    if close:
        lines.append(b"connection: close\r\n")
    elif version < 11:
        lines.append(b"connection: keep-alive\r\n")
    lines.append(b"\r\n")
    if not bodiless:
        lines.append(body)
    return b"".join(lines)


#: what the pages of the statuses that the balancer itself answers say
_WORDS: dict[int, bytes] = {
    200: b"The service is ready.",
    301: b"The resource has moved for good.",
    302: b"The resource is elsewhere for now.",
    303: b"The answer is found elsewhere.",
    307: b"The resource is elsewhere for now.",
    308: b"The resource has moved for good.",
    400: b"This request cannot be understood.",
    401: b"Credentials are needed for this resource.",
    403: b"Access to this resource is refused.",
    404: b"Nothing is found under this name.",
    405: b"This method is not possible here.",
    407: b"The proxy asks for credentials.",
    408: b"The request did not arrive in time.",
    410: b"The resource is gone and will not come back.",
    413: b"The request is larger than what is accepted.",
    414: b"The request line is longer than what is accepted.",
    421: b"This request went to the wrong server.",
    422: b"The content of the request cannot be processed.",
    425: b"The request came too early to be safe.",
    429: b"Too many requests came from here, wait a while.",
    431: b"The header fields are larger than what is accepted.",
    500: b"Something went wrong inside the proxy.",
    501: b"The request asks for something not implemented.",
    502: b"The server sent an answer that cannot be used.",
    503: b"No server is available to handle this request.",
    504: b"The server did not answer in time.",
}


#: where HAProxy's pages say something else than its reason phrases
_TITLES: dict[int, bytes] = {
    400: b"Bad request",
    407: b"Unauthorized",
    413: b"Payload Too Large",
    414: b"URI Too Long",
    502: b"Bad Gateway",
}
#: after these the connection always ends
_CLOSING = frozenset((400, 408, 414, 431))


class Page(NamedTuple):
    """What the balancer says by itself with a status; ``fields`` lack the length."""

    status: int
    reason: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes


def _page(status: int) -> Page:
    title = _TITLES.get(status, REASONS[status])
    body = b"<html><body><h1>%d %b</h1>\n%b\n</body></html>\n" % (status, title, _WORDS[status])
    ends = ((b"connection", b"close"),) if status in _CLOSING else ()
    return Page(status, title, ((b"cache-control", b"no-cache"), *ends, (b"content-type", b"text/html")), body)


_PAGES: dict[int, Page] = {status: _page(status) for status in _WORDS}


def error_page(status: int) -> Page:
    """The page for ``status``; that of 500 for one that has none."""
    return _PAGES.get(status) or _PAGES[500]
