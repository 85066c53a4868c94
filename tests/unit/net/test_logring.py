"""Log lines over connections: framed, held while nobody takes them, never blocking, drops counted."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forkproxy.clock import ManualClock
from forkproxy.net.logring import AT_ONCE, Ring
from forkproxy.net.logsink import RETRY_S
from forkproxy.net.loop import Loop
from forkproxy.plan import Address


class Receiver:
    """A syslog server over a unix stream, and a ring that leads there."""

    def __init__(self, path: Path, size: int, *, counted: bool = False, keeps: bool = False, listens: bool = True) -> None:
        self.path = str(path)
        self.clock = ManualClock()
        self.loop = Loop(self.clock)
        self.ring = Ring(self.loop, size, [(Address("unix", self.path), counted)], 1.0, 5.0, keeps)
        self.listener: socket.socket | None = None
        if listens:
            self.listen()

    def listen(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()

    def accept(self) -> socket.socket:
        assert self.listener is not None
        peer, _ = self.listener.accept()
        peer.settimeout(2)
        return peer

    def send(self, *lines: bytes) -> None:
        for line in lines:
            self.ring.send(6, line)

    def turn(self) -> None:
        self.loop.run_once(0)

    def close(self) -> None:
        self.ring.close()
        self.loop.close()
        if self.listener is not None:
            self.listener.close()


Make = Callable[..., Receiver]


@pytest.fixture
def receivers(tmp_path: Path) -> Iterator[Make]:
    made: list[Receiver] = []

    def make(size: int = 1000, **how: bool) -> Receiver:
        made.append(Receiver(tmp_path / f"log{len(made)}", size, **how))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


def exactly(peer: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size and (data := peer.recv(size - len(got))):
        got += data
    return got


def test_nobody_is_asked_before_there_is_a_line(receivers: Make) -> None:
    there = receivers()
    there.turn()
    assert there.ring.forwards[0].fd < 0
    there.send(b"one\n", b"two\n")
    with there.accept() as peer:
        assert exactly(peer, 8) == b"one\ntwo\n"


def test_lines_that_are_counted(receivers: Make) -> None:
    there = receivers(counted=True)
    there.send(b"one\n", b"a longer one\n")
    with there.accept() as peer:
        assert exactly(peer, 20) == b"3 one12 a longer one"


def test_lines_wait_for_who_is_not_there(receivers: Make) -> None:
    there = receivers(size=12, listens=False)
    there.send(b"one\n", b"two\n", b"three\n", b"4\n")
    assert there.ring.dropped == 1, "three does not fit any more, 4 does"
    there.listen()
    there.turn()
    assert there.ring.forwards[0].fd < 0, "not before its time"
    there.clock.advance(RETRY_S)
    there.turn()
    with there.accept() as peer:
        assert exactly(peer, 10) == b"one\ntwo\n4\n"
    there.send(b"x" * 11 + b"\n")
    assert there.ring.dropped == 1, "there is room again"


def test_a_slow_server_gets_what_fits_and_then_what_is_new(receivers: Make) -> None:
    line = b"x" * 999 + b"\n"
    there = receivers(size=50_000)
    for _ in range(2 * AT_ONCE):
        there.send(line)
        there.turn()
    with there.accept() as peer:
        while not there.ring.dropped:
            there.send(line)
        forward = there.ring.forwards[0]
        assert 49_000 < forward.held <= 50_000
        sent = 0
        while forward.waiting:
            sent += len(peer.recv(65536))
            there.turn()
        there.send(b"last\n")
        peer.setblocking(False)
        rest = b""
        while not rest.endswith(b"last\n"):
            rest = (rest + peer.recv(65536))[-2000:]
        assert rest == line + line[:-5] + b"\nlast\n" or rest.endswith(line + b"last\n")


def test_a_server_that_takes_nothing_is_left(receivers: Make) -> None:
    there = receivers(size=1 << 20)
    there.send(b"x" * 500_000 + b"\n")
    there.turn()
    forward = there.ring.forwards[0]
    assert 0 < forward.taken < 500_001 and forward.fd >= 0
    there.clock.advance(5.0)
    there.turn()
    assert forward.fd < 0
    there.accept().close()
    there.clock.advance(RETRY_S)
    there.turn()
    with there.accept() as peer:
        got = 0
        while got < 500_001:
            got += len(peer.recv(65536))
            there.turn()
    assert not forward.waiting, "the whole line once more"


def test_a_server_that_leaves_is_found_again(receivers: Make) -> None:
    there = receivers()
    there.send(b"one\n")
    with there.accept() as peer:
        assert exactly(peer, 4) == b"one\n"
        peer.sendall(b"what it says is not for us")
        there.turn()
        assert there.ring.forwards[0].fd >= 0
    there.turn()
    assert there.ring.forwards[0].fd < 0
    there.send(b"two\n")
    with there.accept() as peer:
        assert exactly(peer, 4) == b"two\n"
    assert there.ring.dropped == 0


def test_a_connection_that_never_stands() -> None:
    clock = ManualClock()
    loop = Loop(clock)
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (one, two):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        ring = Ring(loop, 100, [(Address("ipv4", "127.0.0.1", full.getsockname()[1]), False)], 1.0, 5.0, False)
        ring.send(6, b"one\n")
        forward = ring.forwards[0]
        assert forward.fd >= 0
        clock.advance(1.0)
        loop.run_once(0)
        assert forward.fd < 0 and forward.timer.pending
        ring.close()
        assert ring.dropped == 1 and forward.timer is None
    loop.close()


def test_the_newest_lines_are_kept_where_there_is_a_name(receivers: Make) -> None:
    there = receivers(size=8, keeps=True, listens=False)
    there.send(b"1111\n", b"22\n", b"333\n")
    assert list(there.ring.kept) == [b"22\n", b"333\n"]
    there = receivers(size=8, listens=False)
    there.send(b"1\n")
    assert not there.ring.kept
