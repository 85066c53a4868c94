"""Clients and servers that exchanges through two balancers are made of (``duet``), and what of an exchange is compared exactly."""

from __future__ import annotations

import re
import socket
import struct

from tests.system.duet import Script, Seen, read_all, read_head, read_until

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET %b HTTP/1.1\r\nHost: a\r\n%bConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def reset(sock: socket.socket) -> None:
    """Close with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def ask(raw: bytes) -> Script:
    """A client that sends ``raw`` and reads until the end."""

    def script(sock: socket.socket) -> bytes:
        sock.sendall(raw)
        return read_all(sock)

    return script


def last(target: bytes = b"/", fields: bytes = b"") -> Script:
    """A client that asks once and wants its connection closed."""
    return ask(LAST % (target, fields))


def kept(target: bytes, end: bytes, fields: bytes = b"") -> Script:
    """A client that asks, reads up to ``end``, and asks for ``/after`` on the same connection."""

    def script(sock: socket.socket) -> bytes:
        sock.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (target, fields))
        got = read_until(sock, end)
        if not got.endswith(b"<closed>"):
            sock.sendall(LAST % (b"/after", b""))
        return read_all(sock, got)

    return script


def answer(raw: bytes, times: int = 1) -> Script:
    """A server that reads a head and sends ``raw``, so many times on each connection, then waits for the end."""

    def script(sock: socket.socket) -> None:
        for _ in range(times):
            if not read_head(sock):
                return
            sock.sendall(raw)
        sock.recv(65536)

    return script


def hangs(sock: socket.socket) -> None:
    """A server that never answers."""
    read_head(sock)
    while sock.recv(65536):
        pass


def refuses(sock: socket.socket) -> None:
    """A server that closes without an answer."""
    read_head(sock)


def told(side: Seen) -> tuple[bytes, list[bytes], list[str]]:
    """What is compared: bytes at the client and at the servers in their order, lines of the log."""
    return side.client, [got for got in side.server if got], [re.sub(r" \+\d+ ", " +B ", line) for line in side.log]
