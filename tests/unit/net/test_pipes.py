"""Splicing through pooled pipes: no byte is lost or given to somebody else."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from forkproxy.net.pipes import AGAIN, END, FULL, GONE, PipePool, drain, fill


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket, socket.socket, socket.socket]]:
    """(client, our side of it, our side of the server, server), TCP, ours non-blocking."""
    made = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(2):
            far = socket.create_connection(server.getsockname())
            near, _ = server.accept()
            near.setblocking(False)
            made += [far, near]
    yield made[0], made[1], made[3], made[2]
    for sock in made:
        sock.close()


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        assert part
        data += part
    return data


def test_through(ends: tuple[socket.socket, ...]) -> None:
    client, near, there, server = ends
    pool = PipePool(1)
    pipe = pool.get()
    assert pipe is not None
    assert fill(pipe, near.fileno()) == AGAIN
    assert drain(pipe, there.fileno()) == END
    client.sendall(b"x" * 1000)
    assert fill(pipe, near.fileno(), 600) == 600
    assert pipe.held == 600
    assert drain(pipe, there.fileno(), more=True) == 600
    assert fill(pipe, near.fileno()) == 400
    assert drain(pipe, there.fileno()) == 400
    assert read_exactly(server, 1000) == b"x" * 1000
    client.shutdown(socket.SHUT_WR)
    assert fill(pipe, near.fileno()) == END
    pool.put(pipe)
    pool.close()


def test_full_pipe_and_slow_destination_lose_nothing(ends: tuple[socket.socket, ...]) -> None:
    """Everything that can be stuck is stuck, then the far end reads: the bytes come out complete and in order."""
    client, near, there, server = ends
    pool = PipePool(1)
    pipe = pool.get()
    assert pipe is not None
    client.setblocking(False)
    sent = bytearray()
    number = 0
    stuck = False
    while not stuck:
        try:
            piece = b"".join(b"%08d" % (number + i) for i in range(1024))
            took = client.send(piece)
            sent += piece[:took]
            number = len(sent) // 8
            if took % 8:
                client.setblocking(True)
                rest = piece[took : took + 8 - took % 8]
                client.sendall(rest)
                client.setblocking(False)
                sent += rest
                number = len(sent) // 8
        except BlockingIOError:
            pass
        while (moved := fill(pipe, near.fileno())) > 0:
            pass
        out = drain(pipe, there.fileno())
        stuck = moved == FULL and out == AGAIN
    held = pipe.held
    assert 0 < held <= pipe.size
    assert fill(pipe, near.fileno()) == FULL and pipe.held == held
    client.setblocking(True)
    client.shutdown(socket.SHUT_WR)
    got = bytearray()
    server.setblocking(False)
    ended = False
    while len(got) < len(sent):
        try:
            got += server.recv(1 << 20)
        except BlockingIOError:
            pass
        if not ended:
            ended = fill(pipe, near.fileno()) == END
        drain(pipe, there.fileno())
    assert got == sent
    assert pipe.held == 0


def test_limit_and_reuse() -> None:
    pool = PipePool(2)
    a, b = pool.get(), pool.get()
    assert a is not None and b is not None
    assert pool.get() is None
    assert (pool.used, pool.free) == (2, 0)
    pool.put(a)
    assert (pool.used, pool.free) == (1, 1)
    assert pool.get() is a
    pool.put(a)
    pool.put(b)
    fds = [a.r, a.w, b.r, b.w]
    pool.close()
    assert (pool.used, pool.free) == (0, 0)
    for fd in fds:
        with pytest.raises(OSError):
            os.fstat(fd)


def test_no_pipes_at_all() -> None:
    assert PipePool(0).get() is None


def test_a_pipe_with_bytes_never_comes_back(ends: tuple[socket.socket, ...]) -> None:
    client, near, _, _ = ends
    pool = PipePool(1)
    pipe = pool.get()
    assert pipe is not None
    client.sendall(b"secret of another client")
    assert fill(pipe, near.fileno()) > 0
    pool.put(pipe)
    assert pool.free == 0 and pipe.r == -1
    fresh = pool.get()
    assert fresh is not None and fresh is not pipe
    with pytest.raises(BlockingIOError):
        os.read(fresh.r, 1)
    fresh.close()


def test_size_is_set_and_told() -> None:
    pool = PipePool(2, 262144)
    pipe = pool.get()
    assert pipe is not None and pipe.size == 262144
    pool.put(pipe)
    pool.close()
    plain = PipePool(1).get()
    assert plain is not None and plain.size == 65536
    plain.close()


def test_broken_connections(ends: tuple[socket.socket, ...]) -> None:
    client, near, there, _ = ends
    pool = PipePool(1)
    pipe = pool.get()
    assert pipe is not None
    client.sendall(b"data")
    assert fill(pipe, near.fileno()) == 4
    there.shutdown(socket.SHUT_WR)
    assert drain(pipe, there.fileno()) == GONE
    assert pipe.held == 4
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert fill(pipe, near.fileno()) == GONE
    pipe.close()
    pipe.close()


def test_unix_sockets() -> None:
    a, b = socket.socketpair()
    c, d = socket.socketpair()
    with a, b, c, d:
        b.setblocking(False)
        c.setblocking(False)
        pipe = PipePool(1).get()
        assert pipe is not None
        a.send(b"hello")
        assert fill(pipe, b.fileno()) == 5
        assert drain(pipe, c.fileno()) == 5
        assert d.recv(10) == b"hello"
        pipe.close()
