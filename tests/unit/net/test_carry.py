"""Bytes from a socket, to a socket, and from one to another: in Python and as the compiled build has it."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from forkproxy.net import carry
from forkproxy.net.connection import Connection
from tests.build import COMPILED

Carry = Callable[[int, int, int], int | tuple[int, bytes]]
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=dict.fromkeys((carry, carry.best)), ids=lambda module: module.__name__)
def form(request: pytest.FixtureRequest) -> ModuleType:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def moves(form: ModuleType) -> Carry:
    return form.carry  # type: ignore[no-any-return]


def test_the_compiled_build_has_its_own() -> None:
    assert (carry.best is not carry) == COMPILED


def tcp() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as lsock:
        one = socket.create_connection(lsock.getsockname())
        return one, lsock.accept()[0]


@pytest.fixture(params=[tcp, socket.socketpair])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket, socket.socket, socket.socket]]:
    """Who sends, where it arrives; where it leaves, who receives."""
    one, other = request.param(), request.param()
    four = (*one, *other)
    for sock in four:
        sock.setblocking(False)
    try:
        yield four
    finally:
        for sock in four:
            sock.close()


Ends = tuple[socket.socket, socket.socket, socket.socket, socket.socket]


def filled(sock: socket.socket) -> int:
    """No byte more fits; how many were put there."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    count = 0
    while True:
        try:
            count += sock.send(b"f" * 65536)
        except BlockingIOError:
            return count


def test_what_came_goes_out(moves: Carry, ends: Ends) -> None:
    sender, here, there, receiver = ends
    for said in (b"a", bytes(range(256)), b"\0", b"x" * 448):
        sender.send(said)
        assert moves(here.fileno(), there.fileno(), 448) == len(said)
        assert receiver.recv(1000) == said
    assert moves(here.fileno(), there.fileno(), 448) == carry.NOTHING


def test_no_more_than_was_asked_for(moves: Carry, ends: Ends) -> None:
    sender, here, there, receiver = ends
    sender.send(b"0123456789" * 3000)
    assert moves(here.fileno(), there.fileno(), 7) == 7
    assert receiver.recv(100) == b"0123456"
    assert moves(here.fileno(), there.fileno(), 20000) == 20000  # more than ever before
    got = b""
    while len(got) < 20000:
        got += receiver.recv(20000)
    assert got == (b"0123456789" * 3000)[7:20007]
    assert moves(here.fileno(), there.fileno(), 16) == 16  # and less again
    assert receiver.recv(100) == b"7890123456789012"


def test_the_end(moves: Carry, ends: Ends) -> None:
    sender, here, there, receiver = ends
    sender.send(b"last")
    sender.shutdown(socket.SHUT_WR)
    assert moves(here.fileno(), there.fileno(), 448) == 4
    assert moves(here.fileno(), there.fileno(), 448) == carry.ENDED
    assert receiver.recv(100) == b"last"
    with pytest.raises(BlockingIOError):
        receiver.recv(1)  # nobody told this side


def test_a_source_that_broke(moves: Carry) -> None:
    sender, here = tcp()
    one, other = tcp()
    with here, one, other:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sender.close()  # by RST
        here.setblocking(False)
        assert moves(here.fileno(), one.fileno(), 448) == carry.SOURCE_GONE
        assert moves(-1, one.fileno(), 448) == carry.SOURCE_GONE


def test_a_target_that_broke(moves: Carry, ends: Ends) -> None:
    sender, here, there, receiver = ends
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    receiver.close()
    for _ in range(2):  # ECONNRESET, then EPIPE: nobody is killed by a signal
        sender.send(b"lost")
        assert moves(here.fileno(), there.fileno(), 448) == carry.TARGET_GONE
    sender.send(b"lost")
    assert moves(here.fileno(), -1, 448) == carry.TARGET_GONE


def test_a_target_that_is_full(moves: Carry, ends: Ends) -> None:
    sender, here, there, _receiver = ends
    filled(there)
    sender.send(b"wait")
    assert moves(here.fileno(), there.fileno(), 448) == (4, b"wait")


def test_a_target_that_takes_a_part(moves: Carry) -> None:
    sender, here = tcp()
    there, receiver = tcp()
    with sender, here, there, receiver:
        for sock in (sender, here, there, receiver):
            sock.setblocking(False)
        there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        said = os.urandom(1 << 16)
        sent = sender.send(said)
        got = moves(here.fileno(), there.fileno(), 1 << 20)
        assert isinstance(got, tuple)
        came, rest = got
        assert 0 < len(rest) < came <= sent
        assert said[:came].endswith(rest)
        arrived = b""
        while len(arrived) < came - len(rest):
            wait(receiver)
            arrived += receiver.recv(1 << 16)
        assert arrived + rest == said[:came]


def wait(sock: socket.socket) -> None:
    select.select([sock], [], [], 5)


@pytest.fixture(params=[Connection, socket.socket])
def two(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """The ends of a connection, as requests have them, and as anybody may."""
    near, far = (request.param(fileno=sock.detach()) for sock in tcp())
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        yield near, far


def test_a_connection_is_its_descriptor_in_c(form: ModuleType, two: Pair) -> None:
    near, _far = two
    assert form.via(near) is (None if form is not carry and isinstance(near, Connection) else near)


def test_received(form: ModuleType, two: Pair) -> None:
    near, far = two
    with pytest.raises(BlockingIOError):
        form.receive(form.via(near), near.fileno(), 100)
    with pytest.raises(ValueError, match=r"negative|nothing"):
        form.receive(form.via(near), near.fileno(), -1)
    far.send(b"0123456789" * 3000)
    assert form.receive(form.via(near), near.fileno(), 7) == b"0123456"
    got = b""
    while len(got) < 20000:
        wait(near)
        got += form.receive(form.via(near), near.fileno(), 20000 - len(got))  # more than ever before
    assert got == (b"0123456789" * 3000)[7:20007]
    first = form.receive(form.via(near), near.fileno(), 3)
    assert form.receive(form.via(near), near.fileno(), 3) == b"012" and first == b"789", "what was given stays as it was"
    while len(got) < 29987:
        got += form.receive(form.via(near), near.fileno(), 16384)
    far.shutdown(socket.SHUT_WR)
    wait(near)
    assert form.receive(form.via(near), near.fileno(), 100) == b"" == form.receive(form.via(near), near.fileno(), 100)


def test_sent(form: ModuleType, two: Pair) -> None:
    near, far = two
    for said in (b"a", b"\0" * 700, memoryview(b"whole")[1:], memoryview(bytearray(b"view"))):
        assert form.send(form.via(near), near.fileno(), said) == len(said)
        wait(far)
        assert far.recv(1000) == bytes(said)
    assert form.send(form.via(near), near.fileno(), b"") == 0
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    said = os.urandom(1 << 20)
    took = form.send(form.via(near), near.fileno(), said)
    assert 0 < took < len(said)
    while True:
        try:
            form.send(form.via(near), near.fileno(), b"f" * 65536)
        except BlockingIOError:
            break
    got = b""
    while len(got) < took:
        wait(far)
        got += far.recv(1 << 20)
    assert got[:took] == said[:took]


def test_a_connection_that_broke(form: ModuleType, two: Pair) -> None:
    near, far = two
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.close()  # by RST
    with pytest.raises(ConnectionResetError):
        form.receive(form.via(near), near.fileno(), 100)
    with pytest.raises(BrokenPipeError):  # nobody is killed by a signal
        form.send(form.via(near), near.fileno(), b"lost")
    near.close()
    for lost in (lambda: form.receive(form.via(near), -1, 100), lambda: form.send(form.via(near), -1, b"lost")):
        with pytest.raises(OSError, match="Bad file descriptor") as told:
            lost()
        assert told.value.errno == errno.EBADF


def test_any_other_socket_says_how(form: ModuleType) -> None:
    """What is not a plain connection (one of a test, one of TLS) has its own ways."""

    class Own:
        def recv(self, size: int) -> bytes:
            return b"r" * size

        def send(self, data: bytes) -> int:
            return len(data) - 1

    assert form.receive(form.via(Own()), 0, 3) == b"rrr"
    assert form.send(form.via(Own()), 0, b"abc") == 2


def test_datagrams(form: ModuleType) -> None:
    near, far = (Connection(fileno=sock.detach()) for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
    with near, far:
        near.setblocking(False)
        fd = near.fileno()
        lines = [b"%d." % n * n for n in range(1, 9)]
        assert form.send_each(near, fd, lines, 0) == 8
        assert [far.recv(100) for _ in lines] == lines
        assert form.send_each(near, fd, lines, 5) == 3
        assert [far.recv(100) for _ in range(3)] == lines[5:]
        assert form.send_each(near, fd, lines, 8) == 0
        many = [b"%d" % n for n in range(5000)]  # more than a receiver's queue holds
        took, more = 0, True
        while more:
            try:
                took += form.send_each(near, fd, many, took)
            except BlockingIOError:
                more = False
        assert 0 < took < 5000
        assert [far.recv(100) for _ in range(took)] == many[:took]
        assert form.send_each(near, fd, many, took) > 0, "there is room again"
        far.close()
        with pytest.raises(ConnectionRefusedError):
            form.send_each(near, fd, lines, 0)
