"""Big bodies in both directions: memory stays where it was, bulk never enters Python, a reader that stalls stops the writer.

``FORKPROXY_BULK_GIB`` sets another size than that of every day, for example 10.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.system.duet import Side, read_head, read_until

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SIZE = int(float(os.environ.get("FORKPROXY_BULK_GIB", "0.25")) * (1 << 30))
PIECE = 1 << 20
TEXT = """
global
  log {log} local0
  tune.pipesize 262144
defaults
  mode http
  no option abortonclose
  timeout connect 2s
  timeout client 20s
  timeout server 20s
listen fe
  bind 127.0.0.1:{port}
  server s 127.0.0.1:{origin}
"""


@pytest.fixture(scope="module")
def side(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    with Side(tmp_path_factory.mktemp("bulk"), TEXT) as running:
        yield running


def pour(sock: socket.socket, size: int, framed: bool = False) -> int:
    """Send ``size`` bytes from the kernel's own pages, as chunks if ``framed``; how many went."""
    fd = os.memfd_create("bulk")
    with contextlib.closing(open(fd, "rb")):
        os.truncate(fd, PIECE)
        sent = 0
        while sent < size:
            piece = min(PIECE, size - sent)
            if framed:
                sock.sendall(b"%x\r\n" % piece)
            at = 0
            while at < piece:
                at += os.sendfile(sock.fileno(), fd, at, piece - at)
            if framed:
                sock.sendall(b"\r\n")
            sent += piece
        if framed:
            sock.sendall(b"0\r\n\r\n")
    return sent


def swallow(sock: socket.socket, size: int) -> int:
    """Receive up to ``size`` bytes without looking at them (the kernel throws them away), or until the end; how many came."""
    got = 0
    room = bytearray(PIECE)
    sock.settimeout(None)
    while got < size and (count := sock.recv_into(room, min(PIECE, size - got), socket.MSG_TRUNC)):
        got += count
    return got


def downloads(head: bytes, framed: bool) -> Callable[[Side], int]:
    """A body from the server to the client; how much came."""

    def run(side: Side) -> int:
        def server(sock: socket.socket) -> None:
            read_head(sock)
            sock.settimeout(None)
            sock.sendall(head)
            pour(sock, SIZE, framed)

        side.origin.begin(server)
        with socket.create_connection(("127.0.0.1", side.port)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            got = len(read_head(sock).partition(b"\r\n\r\n")[2])
            return got + swallow(sock, 1 << 62)

    return run


def uploads(head: bytes, framed: bool) -> Callable[[Side], int]:
    """A body from the client to the server; how much came."""

    def run(side: Side) -> int:
        came: list[int] = []

        def server(sock: socket.socket) -> None:
            got = len(read_head(sock).partition(b"\r\n\r\n")[2])
            sock.settimeout(None)
            raw: socket.socket = sock._sock  # type: ignore[attr-defined]
            came.append(got + swallow(raw, 1 << 62 if framed else SIZE - got))

        side.origin.begin(server)
        with socket.create_connection(("127.0.0.1", side.port)) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\n" + head)
            pour(sock, SIZE, framed)
            if framed:
                sock.close()  # the server reads to the end
            else:
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(60)
                while not came:
                    if not sock.recv(65536):
                        break
        end = time.monotonic() + 60
        while not came and time.monotonic() < end:
            time.sleep(0.01)  # somebody else's thread
        return came[0]

    return run


FRAMING = SIZE // PIECE * len(b"100000\r\n\r\n") + len(b"0\r\n\r\n")
WAYS: dict[str, tuple[Callable[[Side], int], int, bool]] = {
    "down, length": (downloads(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE, False), SIZE, True),
    "down, until close": (downloads(b"HTTP/1.1 200 OK\r\n\r\n", False), SIZE, True),
    "down, chunks": (downloads(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", True), SIZE + FRAMING, False),
    "up, chunks": (uploads(b"Transfer-Encoding: chunked\r\n\r\n", True), SIZE + FRAMING, False),
    "up, length": (uploads(b"Content-Length: %d\r\n\r\n" % SIZE, False), SIZE, True),
}


@pytest.mark.parametrize("way", WAYS)
def test_memory_stays_and_bulk_is_spliced(side: Side, way: str) -> None:
    run, expected, spliced = WAYS[way]
    process = psutil.Process(side.process.pid)
    before, user = process.memory_info().rss, process.cpu_times().user
    most = [0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            most[0] = max(most[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        came = run(side)
    finally:
        over.set()
        watcher.join()
    assert came == expected
    assert most[0] - before < 8 << 20, f"grew by {most[0] - before} bytes"
    if spliced:
        # Copying takes 65536 calls of Python for each GiB of 16 KiB buffers, more than a second; splicing a tenth of that.
        assert process.cpu_times().user - user < 0.1 + 0.5 * SIZE / (1 << 30)


@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_a_stalled_reader_stops_the_writer(side: Side, kind: str) -> None:
    """What the writer gets rid of is what the kernel's buffers hold; then it waits, and goes on when the reader does."""
    size = 64 << 20
    sent = [0]
    head = b"Content-Length: %d\r\n\r\n" % size if kind == "length" else b"Transfer-Encoding: chunked\r\n\r\n"

    def server(sock: socket.socket) -> None:
        read_head(sock)
        sock.settimeout(None)
        sock.sendall(b"HTTP/1.1 200 OK\r\n" + head)
        block = bytes(65536)
        for _ in range(size // 65536):
            sock.sendall(block if kind == "length" else b"10000\r\n" + block + b"\r\n")
            sent[0] += 65536
        if kind == "chunked":
            sock.sendall(b"0\r\n\r\n")

    process = psutil.Process(side.process.pid)
    before = process.memory_info().rss
    side.origin.begin(server)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.connect(("127.0.0.1", side.port))
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        got = read_until(sock, b"\r\n\r\n").partition(b"\r\n\r\n")[2]
        was = -1
        while sent[0] != was:
            was = sent[0]
            time.sleep(0.3)  # the writer is somebody else: it has stopped when nothing moves
        assert 0 < was < size // 2
        assert process.memory_info().rss - before < 8 << 20
        busy = sum(process.cpu_times()[:2])
        time.sleep(0.3)
        assert sum(process.cpu_times()[:2]) - busy < 0.1, "it waits without spinning"
        wanted = size if kind == "length" else size + size // 65536 * len(b"10000\r\n\r\n") + len(b"0\r\n\r\n")
        assert len(got) + swallow(sock, wanted - len(got)) == wanted
    assert sent[0] == size


def test_a_stalled_server_stops_the_client(side: Side) -> None:
    """The same for a request's body."""
    size = 64 << 20
    go = threading.Event()
    came: list[int] = []

    def server(sock: socket.socket) -> None:
        got = len(read_head(sock).partition(b"\r\n\r\n")[2])
        go.wait(20)
        raw: socket.socket = sock._sock  # type: ignore[attr-defined]
        came.append(got + swallow(raw, size - got))
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    side.origin.begin(server)
    with socket.create_connection(("127.0.0.1", side.port)) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        sock.settimeout(0.5)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < size:
                sent += sock.send(bytes(65536))
        assert sent < size // 2
        go.set()
        sock.settimeout(20)
        sock.sendall(bytes(size - sent))
        assert read_head(sock).startswith(b"HTTP/1.1 200 ")
    assert came == [size]


def test_a_body_that_waits_is_not_read(tmp_path: Path) -> None:
    """While a request waits in a queue its body waits in the kernel."""
    text = TEXT.replace("127.0.0.1:{origin}", "127.0.0.1:{origin} maxconn 1") + "  timeout queue 10s\n"
    with Side(tmp_path, text) as running:
        hold = threading.Event()

        def server(sock: socket.socket) -> None:
            got = read_head(sock)
            if b"POST" in got:
                body = len(got.partition(b"\r\n\r\n")[2])
                body += swallow(sock._sock, (8 << 20) - body)  # type: ignore[attr-defined]
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\n%8d" % body)
            else:
                hold.wait(20)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        running.origin.begin(server)
        first = socket.create_connection(("127.0.0.1", running.port))
        second = socket.create_connection(("127.0.0.1", running.port))
        with first, second:
            first.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            second.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (8 << 20))
            second.settimeout(0.3)
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 8 << 20:
                    sent += second.send(bytes(65536))
            assert sent < 8 << 20
            hold.set()
            second.settimeout(20)
            second.sendall(bytes((8 << 20) - sent))
            assert read_until(second, b"%8d" % (8 << 20)).startswith(b"HTTP/1.1 200 ")
