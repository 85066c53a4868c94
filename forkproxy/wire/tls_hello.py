"""The TLS ClientHello, read without answering it: server name, protocols, versions, ciphers (RFC 8446 4.1.2, RFC 6066, RFC 7301).

Sans I/O. A record that is not complete yet is told apart from bytes that are no ClientHello at all, so that whoever waits knows
whether waiting helps. A ClientHello may span several records of type handshake.
"""

from __future__ import annotations

from forkproxy.values import frozen

_HANDSHAKE = 0x16
_CLIENT_HELLO = 1


class Incomplete(Exception):
    """More bytes are needed."""


class NotTls(Exception):
    """These bytes do not begin a TLS handshake."""


@frozen
class ClientHello:
    """``sni`` is b"" without a server name; versions are numbers as on the wire (0x0303 is TLS 1.2).

    ``record_version`` is the one of the record, ``version`` the legacy one of the hello, ``versions`` those of the
    supported_versions extension. ``ciphers``, ``groups``, ``sigalgs``, ``keyshares`` are lists as on the wire.
    """

    record_version: int
    version: int
    sni: bytes = b""
    alpn: tuple[bytes, ...] = ()
    versions: tuple[int, ...] = ()
    ciphers: bytes = b""
    groups: bytes = b""
    sigalgs: bytes = b""
    keyshares: tuple[int, ...] = ()
    extensions: frozenset[int] = frozenset()
    session_ticket: bytes | None = None


class _Cursor:
    """Reads numbers and vectors from a complete message; running over its end means the message is broken."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise NotTls("a length in the ClientHello is wrong")
        part = self.data[self.at : end]
        self.at = end
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))

    def left(self) -> bool:
        return self.at < len(self.data)


def hello_type(data: bytes | bytearray | memoryview) -> int:
    """The type of the handshake message that ``data`` begins with: 1 ClientHello, 2 ServerHello. Raises Incomplete or NotTls."""
    head = bytes(data[:6])
    if head and head[0] != _HANDSHAKE:
        raise NotTls("no handshake record")
    if len(head) > 1 and head[1] != 3:
        raise NotTls("no TLS version")
    if len(head) < 6:
        raise Incomplete
    return head[5]


def parse_client_hello(data: bytes | bytearray | memoryview) -> ClientHello:
    """The ClientHello at the start of ``data``. Raises Incomplete when it is not all there, NotTls when it is something else."""
    message, record_version = _message(data)
    cursor = _Cursor(message)
    version = cursor.number(2)
    cursor.take(32)
    cursor.vector(1)
    ciphers = cursor.vector(2)
    cursor.vector(1)
    sni, groups, sigalgs = b"", b"", b""
    protocols: list[bytes] = []
    offered: list[int] = []
    shares: list[int] = []
    ticket: bytes | None = None
    seen: set[int] = set()
    if cursor.left():
        extensions = _Cursor(cursor.vector(2))
        while extensions.left():
            kind = extensions.number(2)
            seen.add(kind)
            body = _Cursor(extensions.vector(2))
            if kind == 0 and body.left():
                names = _Cursor(body.vector(2))
                while names.left():
                    name_type, name = names.number(1), names.vector(2)
                    if name_type == 0 and not sni:
                        sni = name
            elif kind == 16:
                items = _Cursor(body.vector(2))
                while items.left():
                    protocols.append(items.vector(1))
            elif kind == 43:
                items = _Cursor(body.vector(1))
                while items.left():
                    offered.append(items.number(2))
            elif kind == 10:
                groups = body.vector(2)
            elif kind == 13:
                sigalgs = body.vector(2)
            elif kind == 51:
                items = _Cursor(body.vector(2))
                while items.left():
                    shares.append(items.number(2))
                    items.vector(2)
            elif kind == 35:
                ticket = body.data
    return ClientHello(
        record_version, version, sni, tuple(protocols), tuple(offered), ciphers, groups, sigalgs, tuple(shares), frozenset(seen), ticket
    )


def _message(data: bytes | bytearray | memoryview) -> tuple[bytes, int]:
    """The body of the ClientHello, gathered from its records, and the version of the first record."""
    if hello_type(data) != _CLIENT_HELLO:
        raise NotTls("no ClientHello")
    gathered = b""
    at = 0
    version = int.from_bytes(bytes(data[1:3]), "big")
    while True:
        if len(data) < at + 5:
            raise Incomplete
        if data[at] != _HANDSHAKE:
            raise NotTls("another record inside the ClientHello")
        size = int.from_bytes(bytes(data[at + 3 : at + 5]), "big")
        if size == 0 or size > 16640:
            raise NotTls("a record of an impossible length")
        part = bytes(data[at + 5 : at + 5 + size])
        gathered += part
        if len(gathered) >= 4:
            length = int.from_bytes(gathered[1:4], "big")
            if length > 65535:
                raise NotTls("a ClientHello of an impossible length")
            if len(gathered) >= 4 + length:
                return gathered[4 : 4 + length], version
        if len(part) < size:
            raise Incomplete
        at += 5 + size
