"""Log sinks: lines arrive whole, nothing blocks, drops are counted."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from forkproxy.clock import ManualClock
from forkproxy.net.logsink import RETRY_S, open_sink
from forkproxy.plan import Address


def test_udp_datagrams() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(2)
        sink = open_sink(Address("ipv4", "127.0.0.1", server.getsockname()[1], "dgram"), "", ManualClock())
        sink.send(6, b"one\n")
        sink.send(6, b"two\n")
        assert [server.recv(100), server.recv(100)] == [b"one\n", b"two\n"]
        assert sink.dropped == 0
        sink.close()


def test_unix_socket_comes_back_after_a_restart_of_its_server(tmp_path: Path) -> None:
    clock, path = ManualClock(), str(tmp_path / "log")
    drops: list[int] = []
    sink = open_sink(Address("unix", path, kind="dgram"), "", clock, lambda: drops.append(1))
    sink.send(6, b"nobody\n")
    assert sink.dropped == len(drops) == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        server.settimeout(2)
        sink.send(6, b"too early\n")  # the next attempt is a second later
        assert sink.dropped == 2
        clock.advance(RETRY_S)
        sink.send(6, b"here\n")
        assert server.recv(100) == b"here\n"
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        server.settimeout(2)
        sink.send(6, b"again\n")  # the refusal of the old one makes it connect anew at once
        assert server.recv(100) == b"again\n"
    sink.close()


def test_a_full_pipe_drops_and_does_not_block() -> None:
    read_end, write_end = os.pipe()
    sink = open_sink(Address("fd", str(write_end)), "", ManualClock())
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
        one, two = (open_sink(Address("fd", str(file.fileno())), "", ManualClock()) for _ in range(2))
        one.send(6, b"a\n")
        two.send(6, b"b\n")
    assert (tmp_path / "log").read_bytes() == b"a\nb\n"


def test_a_closed_descriptor_only_drops() -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)  # any fixed number may be in use by now
    sink = open_sink(Address("fd", str(fd)), "", ManualClock())
    sink.send(6, b"x\n")
    assert sink.dropped == 1


def test_unknown_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="ring@x"):
        open_sink(None, "ring@x", ManualClock())
