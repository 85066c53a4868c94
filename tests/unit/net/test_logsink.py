"""Log sinks: lines arrive whole, nothing blocks, drops are counted."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from forkproxy.clock import ManualClock
from forkproxy.net.logsink import RETRY_S, TOGETHER, WAITING, Sink, open_sink
from forkproxy.net.loop import Loop
from forkproxy.plan import Address

CLOCK = ManualClock()
LOOP = Loop(CLOCK)


def send(sink: Sink, *lines: bytes) -> None:
    """``lines`` in one turn."""
    for line in lines:
        sink.send(6, line)
    LOOP.run_once(0)


def test_udp_datagrams() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(2)
        sink = open_sink(Address("ipv4", "127.0.0.1", server.getsockname()[1], "dgram"), "", LOOP)
        send(sink, b"one\n", b"two\n")
        assert [server.recv(100), server.recv(100)] == [b"one\n", b"two\n"]
        assert sink.dropped == 0
        sink.close()


def test_unix_socket_comes_back_after_a_restart_of_its_server(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    drops: list[int] = []
    sink = open_sink(Address("unix", path, kind="dgram"), "", LOOP, lambda: drops.append(1))
    send(sink, b"nobody\n")
    assert sink.dropped == len(drops) == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        server.settimeout(2)
        send(sink, b"too early\n")  # the next attempt is a second later
        assert sink.dropped == 2
        CLOCK.advance(RETRY_S)
        send(sink, b"here\n")
        assert server.recv(100) == b"here\n"
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        server.settimeout(2)
        send(sink, b"again\n")  # the refusal of the old one makes it connect anew at once
        assert server.recv(100) == b"again\n"
    sink.close()


def test_what_a_full_receiver_does_not_take_waits_for_it_up_to_a_limit(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        server.settimeout(2)
        sink = open_sink(Address("unix", path, kind="dgram"), "", LOOP)
        size = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 1
        lines = [b"%d\n" % i for i in range(size + WAITING + 7)]
        send(sink, *lines)
        assert sink.dropped == 7
        send(sink, b"one too many\n")
        assert sink.dropped == 8
        for line in lines[: size + 3]:
            assert server.recv(100) == line
            CLOCK.advance(0.01)
            LOOP.run_once(0)
        held = WAITING - 3 - size
        sink.close()  # takes no more than the receiver does
        assert sink.dropped == 8 + held
        assert [server.recv(100) for _ in range(size)] == lines[size + 3 : 2 * size + 3]


def test_many_lines_do_not_wait_for_the_end_of_the_turn(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        server.setblocking(False)
        sink = open_sink(Address("unix", path, kind="dgram"), "", LOOP)
        room = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 1
        lines = [b"%d\n" % i for i in range(room + 3 * TOGETHER)]
        waiting = lines.copy()
        for line in lines[: TOGETHER - 1]:
            sink.send(6, line)
        with pytest.raises(BlockingIOError):
            server.recv(100)
        for line in lines[TOGETHER - 1 : room + TOGETHER]:
            sink.send(6, line)
        for _ in range(room):  # it was full, and is read
            assert server.recv(100) == waiting.pop(0)
        for line in lines[room + TOGETHER :]:  # those that waited are tried again with every few that come
            sink.send(6, line)
        for _ in range(TOGETHER):
            assert server.recv(100) == waiting.pop(0)
        LOOP.run_once(0)
        while waiting:
            assert server.recv(100) == waiting.pop(0)
            CLOCK.advance(0.01)
            LOOP.run_once(0)
        assert sink.dropped == 0
        sink.close()


def test_what_is_to_be_sent_leaves_before_the_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(2)
        sink = open_sink(Address("ipv4", "127.0.0.1", server.getsockname()[1], "dgram"), "", LOOP)
        sink.send(6, b"last\n")
        sink.close()
        assert server.recv(100) == b"last\n"
    LOOP.run_once(0)


def test_a_full_pipe_drops_and_does_not_block() -> None:
    read_end, write_end = os.pipe()
    sink = open_sink(Address("fd", str(write_end)), "", LOOP)
    line = b"x" * 1023 + b"\n"
    for _ in range(200):
        sink.send(6, line)
    assert sink.dropped > 0
    assert os.get_blocking(write_end)  # ours alone is non-blocking
    assert os.read(read_end, 1024) == line
    sink.close()
    os.close(read_end)
    os.close(write_end)


def test_a_file_is_appended_to_by_all_who_share_it(tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as file:
        one, two = (open_sink(Address("fd", str(file.fileno())), "", LOOP) for _ in range(2))
        one.send(6, b"a\n")
        two.send(6, b"b\n")
    assert (tmp_path / "log").read_bytes() == b"a\nb\n"


def test_a_closed_descriptor_only_drops() -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)  # any fixed number may be in use by now
    sink = open_sink(Address("fd", str(fd)), "", LOOP)
    sink.send(6, b"x\n")
    assert sink.dropped == 1


def test_unknown_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="ring@x"):
        open_sink(None, "ring@x", LOOP)
