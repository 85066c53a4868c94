"""Clients and servers that exchanges through two balancers are made of (``duet``), and what of an exchange is compared exactly."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.system.duet import Duet, Script, Seen, Server, read_all, read_head, read_until

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


def asks(*requests: bytes, end: bytes = b"hello") -> Script:
    """A client that sends one request after the other, each after the answer to the one before, as long as its connection is kept."""

    def script(sock: socket.socket) -> bytes:
        got = b""
        for request in requests[:-1]:
            sock.sendall(request)
            got += read_until(sock, end)
            if b"\r\nconnection: close\r\n" in got.lower() or got.endswith(b"<closed>"):
                return read_all(sock, got)
        sock.sendall(requests[-1])
        return read_all(sock, got).removesuffix(b"<reset>")  # where a request meets a close

    return script


def leaves(raw: bytes, wait_s: float = 0.0) -> Script:
    """A client that asks, closes its sending half ``wait_s`` later, and reads until the end."""

    def script(sock: socket.socket) -> bytes:
        sock.sendall(raw)
        time.sleep(wait_s)  # the client's own pace: the balancer is to be waiting for something else by then
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock)

    return script


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


def serves(sock: socket.socket, raw: bytes = OK) -> None:
    """A server that answers requests (without bodies) as long as they come."""
    got = b""
    while b"\r\n\r\n" in (got := read_head(sock, got)):
        got = got.partition(b"\r\n\r\n")[2]
        sock.sendall(raw)


def says(raw: bytes) -> Script:
    """A server that reads a head, sends ``raw`` and closes."""

    def script(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(raw)

    return script


def pieces(*parts: bytes, pause_s: float = 0.06) -> Script:
    """A server that reads a head, sends one part after the other at its own pace, and closes."""

    def script(sock: socket.socket) -> None:
        read_head(sock)
        for part in parts:
            sock.sendall(part)
            time.sleep(pause_s)

    return script


def hangs(sock: socket.socket) -> None:
    """A server that never answers."""
    read_head(sock)
    while sock.recv(65536):
        pass


def refuses(sock: socket.socket) -> None:
    """A server that closes without an answer."""
    read_head(sock)


def command(path: Path, words: str) -> bytes:
    """What the runtime CLI at ``path`` answers."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        sock.sendall(words.encode() + b"\n")
        return read_all(sock)


@contextlib.contextmanager
def hole() -> Iterator[int]:
    """A port that answers no SYN: its queue is full."""
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()[1]


def told(side: Seen) -> tuple[bytes, list[bytes], list[str]]:
    """What is compared: bytes at the client and at the servers in their order, lines of the log."""
    return side.client, [got for got in side.server if got], [re.sub(r" \+\d+ ", " +B ", line) for line in side.log]


def alike(data: bytes) -> bytes:
    """Messages with the lines of their heads in order: which field comes first is nobody's business."""
    head, end, body = data.partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    start = body.find(b"HTTP/1.")
    rest = body[:start] + alike(body[start:]) if start >= 0 else body
    return b"\r\n".join([first, *sorted(fields)]) + end + rest


#: client, server, lines of the log
Case = tuple[Script, Server, int]
#: where Debian's 2.6 and the 3.4 that we follow differ, or where an issue asks for more: why, and what our answer (bytes) or line (str) has
Different = tuple[str, "bytes | str"]


#: how often a case is played before it counts as different: on a loaded machine a pause may be shorter than somebody's turn
ATTEMPTS = 3


def differences(
    both: Duet,
    cases: Mapping[str, Case],
    different: Mapping[str, Different],
    shown: Callable[[Seen, str], object] = lambda seen, title: told(seen),
    mark: Callable[[str], bytes | str] = lambda title: b"",
    slack_s: float = 60.0,
    settle: bool = False,
) -> list[str]:
    """Play each case through both balancers. What ``shown`` tells of a side by the title must be equal, both must take equally long but for
    ``slack_s``, and ours must have the ``mark`` of the title. ``settle`` waits for the servers, too. Returns what is wrong, a case each."""
    wrong = []
    for title, (client, server, lines) in cases.items():
        wanted = different[title][1] if title in different else mark(title)
        for attempt in range(ATTEMPTS):
            reference, ours = both.run(client, server, lines, settle)
            same = shown(ours, title) == shown(reference, title) and abs(ours.took_s - reference.took_s) < slack_s * (attempt + 1)
            has = wanted in ours.client if isinstance(wanted, bytes) else any(wanted in line for line in ours.log)
            if has and same != (title in different):
                break
        else:
            wrong.append(f"{title} ({same=}, {has=}):\n  haproxy   {reference!r:.1500}\n  forkproxy {ours!r:.1500}")
    return wrong
