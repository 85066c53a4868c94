"""Whether a 101 answers what was asked. Knows two heads and the arithmetic of WebSocket keys (RFC 6455, section 4)."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

from forkproxy.errors import ProtocolError
from forkproxy.http.grammar import elements
from forkproxy.http.message import RequestHead, ResponseHead

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def websocket_accept(key: bytes) -> bytes:
    """The value of Sec-WebSocket-Accept that answers ``key``."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def check_switch(request: RequestHead, response: ResponseHead, relaxed: bool = False) -> None:
    """Accept the 101 ``response`` to ``request``, as it was sent to the server.

    Raises ProtocolError 502 when no upgrade was asked for, or when a WebSocket's accept value does not fit the key (not if
    ``relaxed``: manual, "option accept-unsafe-violations-in-http-response").
    """
    if request.upgrade is None:
        raise ProtocolError("switch of protocols that nobody asked for", 502)
    if relaxed or b"websocket" not in elements([request.upgrade]):
        return
    if response.upgrade is not None and b"websocket" not in elements([response.upgrade]):
        return  # the server chose another one of several
    if response.get(b"sec-websocket-accept") != websocket_accept(request.get(b"sec-websocket-key") or b""):
        raise ProtocolError("WebSocket handshake with a wrong accept value", 502)
