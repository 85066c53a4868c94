"""Sockets of the runtime CLI: how many, how long, and how much waits for a client that does not read."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forkproxy.clock import ManualClock
from forkproxy.master.cli_server import CliServer
from forkproxy.master.cli_session import WAITING, Deferred, Session
from forkproxy.net.loop import Loop
from forkproxy.plan import Address, Bind, Global, Plan
from forkproxy.registry import COMMANDS, Command, Level, gather
from forkproxy.values import replace

gather("forkproxy.master.commands")


class Hall:
    """A server with one worker's socket and one master's; a turn of the loop per :meth:`turn`."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.loop = Loop(self.clock)
        master: Any = SimpleNamespace(plan=Plan(global_=Global()), started=self.clock.now, pid=1)
        self.master: Any = master
        self.sockets: list[socket.socket] = []
        listeners = []
        for name in ("stats", "master"):
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(str(directory / name))
            sock.listen()
            sock.setblocking(False)
            self.sockets.append(sock)
            listeners.append((Bind(address=Address("unix", str(directory / name)), level="admin"), sock, name == "master"))
        self.server = CliServer(self.loop, self.master, listeners, timeout_s=10.0, maxconn=2)
        self.directory = directory

    def connect(self, name: str = "stats") -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.directory / name))
        sock.setblocking(False)
        self.sockets.append(sock)
        self.turn()
        return sock

    def turn(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        for _ in range(4):
            self.loop.run_once(0)

    def says(self, sock: socket.socket, text: bytes) -> bytes:
        sock.sendall(text)
        self.turn()
        return self.heard(sock)

    @staticmethod
    def heard(sock: socket.socket) -> bytes:
        """What came; it ends with <end> when the server has closed."""
        data = b""
        while True:
            try:
                part = sock.recv(65536)
            except BlockingIOError:
                return data
            if not part:
                return data + b"<end>"
            data += part

    def close(self) -> None:
        self.server.stop()
        for sock in self.sockets:
            sock.close()
        self.loop.close()


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    made = Hall(tmp_path)
    yield made
    made.close()


def test_so_many_at_a_time_but_always_one_for_the_master(hall: Hall) -> None:
    first, second = hall.connect(), hall.connect()
    assert hall.heard(hall.connect()) == b"<end>"
    assert hall.says(hall.connect("master"), b"show version\n") == b"3.4.0\n\n"
    assert hall.says(first, b"show version\n") == b"3.4.0\n\n<end>"
    assert hall.says(hall.connect(), b"show version\n") == b"3.4.0\n\n<end>"
    assert hall.says(second, b"show version\n") == b"3.4.0\n\n<end>"


def test_silence_is_bounded_and_a_session_may_have_another_bound(hall: Hall) -> None:
    silent, patient = hall.connect(), hall.connect()
    assert hall.says(patient, b"prompt i; set timeout cli 100\n") == b"\n\n"
    hall.turn(9.0)
    assert hall.says(patient, b"show version\n") == b"3.4.0\n\n" and hall.heard(silent) == b""
    hall.turn(2.0)
    assert hall.heard(silent) == b"<end>" and hall.heard(patient) == b""
    hall.turn(90.0)
    assert hall.says(patient, b"show version\n") == b"3.4.0\n\n"
    hall.turn(101.0)
    assert hall.heard(patient) == b"<end>"


def test_who_waits_for_an_answer_is_not_silent(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    later = Deferred()
    monkeypatch.setitem(COMMANDS, "later", Command("later", lambda _s, _w: later, Level.USER))
    client = hall.connect()
    assert hall.says(client, b"later\n") == b""
    hall.turn(30.0)
    later.finish("at last\n")
    hall.turn()
    assert hall.heard(client) == b"at last\n\n<end>"


@pytest.mark.parametrize("end", ["more", "half-close", "close"])
def test_an_answer_without_an_end_ends_with_the_clients_next_word(hall: Hall, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    endless = Deferred()
    ended: list[str] = []

    def stop() -> None:
        ended.append("once")
        endless.finish("")

    endless.interrupt = stop
    monkeypatch.setitem(COMMANDS, "endless", Command("endless", lambda _s, _w: endless, Level.USER))
    client = hall.connect()
    assert hall.says(client, b"endless\n") == b""
    assert endless.say("one\n") and hall.heard(client) == b"one\n"
    hall.turn(30.0)
    assert endless.say("two\n") and hall.heard(client) == b"two\n" and ended == []
    if end == "more":
        assert hall.says(client, b"show version\n") == b"\n<end>", "what stops it is discarded"
    elif end == "half-close":
        client.shutdown(socket.SHUT_WR)
        hall.turn()
        assert hall.heard(client) == b"\n<end>"
    else:
        client.close()
        hall.turn()
        endless.say("three\n")
        hall.turn()
    assert ended == ["once"]


def test_an_answer_is_made_as_it_is_taken(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    def flood(_session: Session, _words: list[str]) -> Iterator[str]:
        nonlocal made
        for _ in range(1000):
            made += 1
            yield "x" * 9999 + "\n"

    monkeypatch.setitem(COMMANDS, "flood", Command("flood", flood, Level.USER))
    client = hall.connect()
    client.sendall(b"flood\n")
    hall.turn()
    assert made < 100  # what the kernel takes, and a little
    got = 0
    for _ in range(3000):
        data = hall.heard(client)
        got += len(data)
        if data.endswith(b"<end>"):
            break
        hall.turn()
    assert (made, got) == (1000, 10_000_000 + len("\n<end>"))


def test_a_client_that_only_asks_is_not_read_for_ever(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "later", Command("later", lambda _s, _w: Deferred(), Level.USER))
    client = hall.connect()
    client.sendall(b"later\n")
    hall.turn()
    sent = 0
    for _ in range(1000):
        try:
            sent += client.send(b"show version\n" * 100)
        except BlockingIOError:
            break
        hall.turn()
    else:
        pytest.fail(f"{sent} bytes were taken from a client whose {WAITING} commands wait")


def test_a_reload_keeps_sessions(hall: Hall) -> None:
    client = hall.connect()
    assert hall.says(client, b"prompt\n") == b"\n> "
    old = hall.server
    old.stop(clients=False)
    hall.server = CliServer(hall.loop, hall.master, [], timeout_s=10.0, maxconn=2)
    hall.server.adopt(old)
    assert hall.says(client, b"show version\n") == b"3.4.0\n\n> "
    client.close()
    hall.turn()
    assert not hall.server._clients


def test_a_socket_with_a_limit_of_its_own(hall: Hall) -> None:
    listener = hall.server._listeners[0]
    listener.bind = replace(listener.bind, maxconn=1)
    first, second = hall.connect(), hall.connect()
    assert hall.says(first, b"help\n") and second.recv(10) == b""
