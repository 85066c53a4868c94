"""TCP mode under much data: splicing in both directions, readers that stall, memory that stays flat."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.peers import needs
from tests.system.conftest import Proxy, eventually
from tests.system.tcp import MIB, Origin, config, echo, metric, receive
from tests.system.traced import traced

Serve = Callable[..., Proxy]


@pytest.mark.parametrize("way", ["down", "up"])
def test_bulk_is_spliced_and_memory_stays_flat(serve: Serve, ports: list[int], way: str) -> None:
    """1 GiB through one worker in either direction."""
    total = 1 << 30
    piece = os.urandom(MIB)

    def pour(sock: socket.socket) -> None:
        for _ in range(total // MIB):
            sock.sendall(piece)

    def swallow(sock: socket.socket) -> int:
        buffer, got = bytearray(MIB), 0
        while n := sock.recv_into(buffer):
            got += n
        return got

    took: list[int] = []
    origin = Origin(pour if way == "down" else lambda sock: took.append(swallow(sock)))
    proxy = serve(config(ports, f"127.0.0.1:{origin.port}"))
    (worker,) = proxy.workers
    with socket.create_connection(("127.0.0.1", ports[0])) as sock:
        before = worker.memory_info().rss
        cpu = worker.cpu_times()
        if way == "down":
            assert swallow(sock) == total
        else:
            pour(sock)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
            assert took == [total]
        grown = worker.memory_info().rss - before
        after = worker.cpu_times()
    assert grown < 8 * MIB
    user, system = after.user - cpu.user, after.system - cpu.system
    assert user < 0.5 * (system + 0.2), "bulk must not pass through Python"


def test_content_is_untouched_at_the_switch_to_splice(serve: Serve, ports: list[int]) -> None:
    """Both directions at once, from copied to spliced bytes and on, in odd pieces."""
    data = os.urandom(3 * MIB + 12345)
    origin = Origin(echo)
    serve(config(ports, f"127.0.0.1:{origin.port}", "option splice-auto"))
    with socket.create_connection(("127.0.0.1", ports[0])) as sock:

        def send() -> None:
            for at in range(0, len(data), 70001):
                sock.sendall(data[at : at + 70001])
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        got = receive(sock, len(data) + 1)
        sender.join()
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


def splices(worker: psutil.Process, exchange: Callable[[], object], where: Path) -> int:
    """How many splice calls a worker makes during an exchange."""
    return sum("splice(" in line for line in traced(worker.pid, "splice", exchange, where))


@needs("strace")
@pytest.mark.parametrize(
    ("lines", "settings", "small", "large"),
    [((), "", False, True), (("option splice-response",), "", True, True), ((), "  nosplice", False, False)],
    ids=["default", "splice-response", "nosplice"],
)
def test_what_is_spliced(
    serve: Serve, ports: list[int], tmp_path: Path, lines: tuple[str, ...], settings: str, small: bool, large: bool
) -> None:
    def script(sock: socket.socket) -> None:
        while size := sock.recv(4):
            sock.sendall(b"x" * struct.unpack("!I", size)[0])

    origin = Origin(script)
    proxy = serve(config(ports, f"127.0.0.1:{origin.port}", *lines, settings=settings))
    with socket.create_connection(("127.0.0.1", ports[0])) as sock:

        def ask(size: int) -> None:
            sock.sendall(struct.pack("!I", size))
            assert len(receive(sock, size)) == size

        ask(10)
        assert bool(splices(proxy.workers[0], lambda: ask(100), tmp_path)) is small
        assert bool(splices(proxy.workers[0], lambda: ask(4 * MIB), tmp_path)) is large


def stalled(sock: socket.socket) -> int:
    """How many bytes a peer that does not read takes."""
    sock.setblocking(False)
    sent, piece = 0, b"y" * 65536
    while select.select([], [sock], [], 0.5)[1]:
        with contextlib.suppress(BlockingIOError):
            sent += sock.send(piece)
    return sent


@pytest.mark.parametrize("settings", ["", "  nosplice"], ids=["splice", "copy"])
def test_a_stalled_reader_stops_the_writer(serve: Serve, ports: list[int], settings: str) -> None:
    go = threading.Event()
    took: list[int] = []

    def script(sock: socket.socket) -> None:
        go.wait(20)
        got = 0
        while data := sock.recv(MIB):
            got += len(data)
        took.append(got)

    origin = Origin(script)
    proxy = serve(config(ports, f"127.0.0.1:{origin.port}", settings=settings))
    (worker,) = proxy.workers
    before = worker.memory_info().rss
    with socket.create_connection(("127.0.0.1", ports[0])) as sock:
        sent = stalled(sock)
        assert sent < 64 * MIB
        assert worker.memory_info().rss - before < 4 * MIB
        spent = worker.cpu_times()
        time.sleep(0.3)  # not for something to happen: nothing may
        now = worker.cpu_times()
        assert now.user + now.system - spent.user - spent.system < 0.1
        go.set()
        sock.setblocking(True)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
        assert took == [sent]


def test_a_reset_while_the_other_side_is_stalled_ends_the_session(serve: Serve, ports: list[int]) -> None:
    """No spinning on a connection that is broken while nothing is read from it."""
    over = threading.Event()

    def script(sock: socket.socket) -> None:
        over.wait(20)
        while sock.recv(MIB):
            pass

    origin = Origin(script)
    proxy = serve(config(ports, f"127.0.0.1:{origin.port}"))
    with socket.create_connection(("127.0.0.1", ports[0])) as sock:
        stalled(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    eventually(lambda: metric(ports[1], "haproxy_frontend_current_sessions", proxy="t") == 0, "the session ends", 3)
    over.set()
    spent = proxy.workers[0].cpu_times()
    time.sleep(0.3)  # not for something to happen: nothing may
    now = proxy.workers[0].cpu_times()
    assert now.user + now.system - spent.user - spent.system < 0.1


def test_bulk_that_comes_in_bursts_is_not_held_back(serve: Serve, ports: list[int]) -> None:
    """After the switch to splice every burst leaves at once: no waiting for segments to fill."""
    origin = Origin(echo)
    serve(config(ports, f"127.0.0.1:{origin.port}", "option splice-request", "option splice-response"))
    with socket.create_connection(("127.0.0.1", ports[0])) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.monotonic()
        for _ in range(20):
            sock.sendall(b"b" * 1000)
            assert len(receive(sock, 1000)) == 1000
        assert time.monotonic() - began < 1.0  # each one held back costs 0.2 s
