"""A piece of bytes from one socket to another, in Python and as the compiled build has it."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator

import pytest

from forkproxy.net import carry, loop

Carry = Callable[[int, int, int], int | tuple[int, bytes]]
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=dict.fromkeys((carry.carry, carry.best)), ids=lambda move: move.__module__)
def moves(request: pytest.FixtureRequest) -> Carry:
    return request.param  # type: ignore[no-any-return]


def test_the_compiled_build_has_its_own() -> None:
    compiled = not loop.__file__.endswith(".py")
    assert (carry.best is not carry.carry) == compiled


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
