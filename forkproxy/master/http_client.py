"""One HTTP/1.1 request of the master's own, for who looks into a problem (``httpclient``): what does an address answer from here?

Never blocks, resolves no names, follows nothing, speaks no TLS; bounded in time and size. Knows the loop.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable

from forkproxy.errors import ProtocolError
from forkproxy.http.body import Chunks, payload
from forkproxy.http.message import BodyKind, ResponseHead
from forkproxy.http.reader import Limits, parse_response
from forkproxy.net import sockets
from forkproxy.net.loop import READ, WRITE, Loop, Watched
from forkproxy.plan import Address

#: So much of an answer is read, and for so long.
MOST = 1 << 20
PATIENCE_S = 10.0
METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE")
_URI = re.compile(r"http://(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^/:?#\s]+))(?::(?P<port>\d{1,5}))?(?P<target>[/?][^\s#]*)?")


class Request:
    """What is to be asked of whom. Raises ValueError for a method or URI that cannot be used."""

    __slots__ = ("address", "data", "method")

    def __init__(self, method: str, uri: str, body: bytes = b"") -> None:
        found = _URI.fullmatch(uri)
        if method not in METHODS:
            raise ValueError(f"unknown method '{method}'")
        if uri.startswith("https:"):
            raise ValueError("https needs TLS, which forkproxy does not have yet")
        if found is None:
            raise ValueError(f"'{uri}' is not an http:// URI")
        host, port = found["v6"] or found["host"], int(found["port"] or 80)
        host = "127.0.0.1" if host == "localhost" else host
        family = "ipv6" if found["v6"] else "ipv4"
        try:
            socket.inet_pton(socket.AF_INET6 if found["v6"] else socket.AF_INET, host)
        except OSError:
            raise ValueError(f"'{host}' is not an address; names are not resolved here") from None
        if not 0 < port < 65536:
            raise ValueError(f"no such port: {port}")
        target = found["target"] or "/"
        if target.startswith("?"):
            target = f"/{target}"
        authority = uri.removeprefix("http://").partition("/")[0].partition("?")[0]
        length = f"content-length: {len(body)}\r\n" if body or method in ("POST", "PUT") else ""
        head = f"{method} {target} HTTP/1.1\r\nhost: {authority}\r\naccept: */*\r\nuser-agent: HAProxy\r\nconnection: close\r\n{length}\r\n"
        self.method = method
        self.address = Address(family, host, port)
        self.data = head.encode() + body


class Exchange(Watched):
    """``done(text)`` is called once, never before :func:`begin` returns; ``text`` is the answer as it is to be shown, or what went wrong.
    Owns its socket."""

    __slots__ = ("done", "got", "left", "loop", "request", "sock")

    def __init__(self, loop: Loop, request: Request, sock: socket.socket, done: Callable[[str], object]) -> None:
        super().__init__(sock.fileno(), _ready, _late)
        self.loop = loop
        self.request = request
        self.sock = sock
        self.left = request.data
        self.got = b""
        self.done = done


def begin(loop: Loop, request: Request, done: Callable[[str], object]) -> None:
    """Send ``request``."""
    try:
        sock, _connected = sockets.dial(request.address)
    except OSError as exc:
        loop.call_soon(done, f"{exc.strerror}\n")
        return
    exchange = Exchange(loop, request, sock, done)
    loop.add(exchange, WRITE)
    loop.set_deadline(exchange, loop.clock.now + PATIENCE_S)


def _ready(x: Exchange, mask: int) -> None:
    if mask & WRITE or x.left:
        error = sockets.outcome(x.sock)
        if error:
            _end(x, f"{os.strerror(error)}\n")
            return
        try:
            x.left = x.left[x.sock.send(x.left) :]
        except BlockingIOError:
            return
        except OSError as exc:
            _end(x, f"{exc.strerror}\n")
            return
        if not x.left:
            x.loop.modify(x, READ)
        return
    try:
        data = x.sock.recv(65536)
    except BlockingIOError:
        return
    except OSError as exc:
        _end(x, f"{shown(x.request.method, x.got)}{exc.strerror}\n")
        return
    x.got += data
    if not data or len(x.got) > MOST or complete(x.request.method, x.got):
        _end(x, shown(x.request.method, x.got[:MOST]))


def _late(x: Exchange) -> None:
    _end(x, f"{shown(x.request.method, x.got)}no answer within {PATIENCE_S:.0f}s\n")


def _end(x: Exchange, text: str) -> None:
    x.loop.remove(x)
    x.sock.close()
    x.done(text)


_LIMITS = Limits(MOST)


def _head(method: str, got: bytes) -> tuple[ResponseHead, int] | None:
    """The last head of an answer and where its body begins; None: it is not whole. Raises ProtocolError."""
    at = 0
    while True:
        found = parse_response(got, at, _LIMITS, method.encode())
        if found is None:
            return None
        head, at = found
        if not 100 <= head.status < 200 or head.status == 101:
            return head, at


def complete(method: str, got: bytes) -> bool:
    """Whether nothing more belongs to the answer."""
    try:
        found = _head(method, got)
        if found is None:
            return False
        head, at = found
        if head.body is BodyKind.CHUNKED:  # looked at in full only where it may end: this is asked with every piece
            return got.endswith(b"\r\n\r\n") and Chunks().feed(got, at)[2]
    except ProtocolError:
        return True
    return head.body is BodyKind.NONE or (head.body is BodyKind.LENGTH and len(got) - at >= head.length)


def shown(method: str, got: bytes) -> str:
    """The answer as text: status line, fields, payload; bytes that are no answer as they are."""
    try:
        found = _head(method, got)
        if found is None:
            return "no whole answer\n" if not got else f"no whole answer:\n{got.decode('utf-8', 'replace')}\n"
        head, at = found
        chunked = head.body is BodyKind.CHUNKED
        body = b"" if head.body is BodyKind.NONE else payload(Chunks().feed(got, at)[0]) if chunked else got[at:]
    except ProtocolError as exc:
        return f"invalid answer: {exc}\n{got[:1000].decode('utf-8', 'replace')}"
    text = head.start_line().decode("latin-1").rstrip("\r\n") + "\n" + head.block().decode("latin-1") + "\r\n"
    text += body.decode("utf-8", "surrogateescape")
    return text if text.endswith("\n") else f"{text}\n"
