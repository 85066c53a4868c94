"""Idle client connections over reloads and takeovers: none is closed, no request fails, old workers end at once."""

from __future__ import annotations

import os
import random
import selectors
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable

import psutil
import pytest

from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, Proxy, eventually, get, gone, hello

pytestmark = pytest.mark.system

Start = Callable[..., Proxy]

ASK = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"


class Thinkers:
    """Clients in one thread that keep their connections: each asks, reads, thinks, asks again. ``closed`` counts connections that the
    proxy ended or wanted to end, ``answers`` what was answered."""

    def __init__(self, port: int, count: int) -> None:
        self.answers: Counter[bytes] = Counter()
        self.closed: list[str] = []
        self._selector = selectors.DefaultSelector()
        self._think: list[tuple[float, socket.socket]] = []
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), 5)
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
            self._think.append((time.monotonic() + random.random() * 0.05, sock))

    def run(self, until: Callable[[], bool]) -> None:
        """Go on until ``until()``, then until everybody was answered once more."""
        count = len(self._think)
        done, goal = False, 0
        end = time.monotonic() + 60
        while not done or self.answers.total() + len(self.closed) < goal:
            assert time.monotonic() < end, "answers are missing"
            if not done and until():
                done, goal = True, self.answers.total() + len(self.closed) + 2 * count
            now = time.monotonic()
            due = [sock for when, sock in self._think if when <= now]
            self._think = [(when, sock) for when, sock in self._think if when > now]
            for sock in due:
                try:
                    sock.send(ASK)
                except OSError as exc:
                    self._lost(sock, repr(exc))
            for key, _ in self._selector.select(0.002):
                sock = key.fileobj  # type: ignore[assignment]
                try:
                    data = sock.recv(65536)
                except OSError as exc:
                    self._lost(sock, repr(exc))
                    continue
                if not data or b"connection: close" in data.lower():
                    self._lost(sock, repr(data))
                    continue
                self.answers[data.partition(b"\r\n\r\n")[2]] += 1
                self._think.append((time.monotonic() + random.random() * 0.1, sock))

    def _lost(self, sock: socket.socket, how: str) -> None:
        self.closed.append(how)
        self._selector.unregister(sock)
        sock.close()

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()


def reloads(proxy: Proxy, port: int, count: int) -> Callable[[], bool]:
    """Starts one reload after the other while it is asked whether it is done."""
    proxy.says("Loading success.")
    before = proxy.stderr.count("Loading success.")
    asked = 0

    def step() -> bool:
        nonlocal asked
        if proxy.stderr.count("Loading success.") < before + asked:
            return False
        if asked == count:
            return True
        asked += 1
        proxy.config.write_text(hello(port, text=f"round {asked}"))
        proxy.signal(signal.SIGUSR2)
        return False

    return step


def test_ten_reloads_close_no_connection(start: Start) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port)).ready()
    thinkers = Thinkers(port, 200)
    thinkers.run(reloads(proxy, port, 10))
    eventually(lambda: len(proxy.workers) == 2, "the old workers' end", 2.0)  # no idle client keeps them
    thinkers.close()
    assert thinkers.closed == []
    assert thinkers.answers[b"round 10"] >= 200


def test_reloads_in_one_process_close_none_either(start: Start) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port, workers=1), "-d", "-W").ready()
    thinkers = Thinkers(port, 30)
    thinkers.run(reloads(proxy, port, 2))
    before = psutil.Process(proxy.pid).num_fds()
    thinkers.run(reloads(proxy, port, 5))
    assert psutil.Process(proxy.pid).num_fds() == before
    thinkers.close()
    assert thinkers.closed == []
    assert thinkers.answers[b"round 5"] >= 30


def test_the_new_workers_share_the_connections(start: Start) -> None:
    (port,) = free_ports(1)
    config = hello(port).replace('string "hello"', "lf-string %pid")
    proxy = start(config).ready()
    thinkers = Thinkers(port, 200)
    old = {str(w.pid).encode() for w in proxy.workers}
    thinkers.run(lambda: thinkers.answers.total() > 300)
    proxy.reload()
    thinkers.run(lambda: len(proxy.workers) == 2)
    thinkers.answers.clear()
    thinkers.run(lambda: thinkers.answers.total() > 1000)
    thinkers.close()
    assert thinkers.closed == []
    assert not old & set(thinkers.answers)
    assert len(thinkers.answers) == 2, thinkers.answers  # evenly where both get processor time


def test_a_new_master_goes_on_with_the_connections_of_the_dead_one(start: Start) -> None:
    (port,) = free_ports(1)
    first = start(hello(port)).ready()
    orphans = first.workers
    thinkers = Thinkers(port, 50)
    thinkers.run(lambda: thinkers.answers[b"hello"] > 100)
    first.process.kill()
    first.wait()
    second = start(hello(port, text="second"))
    thinkers.run(lambda: "Loading success." in second.stderr)
    eventually(lambda: gone(orphans), "the orphans' end", 2.0)
    thinkers.run(lambda: True)
    thinkers.close()
    assert thinkers.closed == []
    assert thinkers.answers[b"second"] >= 100


def test_a_master_that_replaces_a_living_one_gets_its_connections(start: Start) -> None:
    (port,) = free_ports(1)
    first = start(hello(port)).ready()
    thinkers = Thinkers(port, 50)
    thinkers.run(lambda: thinkers.answers[b"hello"] > 100)
    start(hello(port, text="second"), "-W", "-sf", str(first.pid))
    thinkers.run(lambda: first.process.poll() is not None)
    thinkers.close()
    assert first.wait() == 0
    assert thinkers.closed == []
    assert thinkers.answers[b"second"] >= 50


def test_what_cannot_move_is_told_and_closed_late(start: Start) -> None:
    """A connection with variables of its session, and one to an address that is gone: the answer says close, nothing is lost."""
    kept, removed = free_ports(2)
    rule = "  http-request set-var(sess.a) int(1)\n"

    def config(more: str) -> str:
        return f"""
global
  nbthread 1
  close-spread-time 300ms
{DEFAULTS}
frontend f
  bind 127.0.0.1:{kept}
{rule}  http-request return status 200 content-type text/plain string "hello"
{more}
"""

    proxy = start(config(f"frontend g\n  bind 127.0.0.1:{removed}\n  http-request return status 200\n")).ready()
    socks = [socket.create_connection(("127.0.0.1", port), 5) for port in (kept, removed)]
    for sock in socks:
        sock.sendall(ASK)
        assert b"200" in sock.recv(4096)
    proxy.reload(config(""))
    for sock in socks:
        sock.sendall(ASK)
        answer = sock.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer.lower()
        assert sock.recv(10) == b""
        sock.close()


def test_counters_go_on_after_the_masters_death(start: Start) -> None:
    port, endpoint = free_ports(2)
    config = hello(port).replace("global\n", f"global\n  stats-endpoint 127.0.0.1:{endpoint}\n")

    def sessions() -> int:
        text = get(endpoint, "/metrics")[1].decode()
        return int(float(next(line for line in text.splitlines() if line.startswith("haproxy_frontend_sessions_total")).split()[1]))

    first = start(config).ready()
    orphans = first.workers
    for _ in range(20):
        get(port)
    eventually(lambda: sessions() == 20, "20 sessions")
    first.process.kill()
    first.wait()
    for _ in range(5):
        get(port)
    start(config).ready()
    eventually(lambda: gone(orphans), "the orphans' end")
    eventually(lambda: sessions() == 25, "25 sessions")
    for _ in range(5):
        get(port)
    eventually(lambda: sessions() == 30, "30 sessions")


def test_descriptors_do_not_pile_up(start: Start) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port)).ready()
    thinkers = Thinkers(port, 20)
    thinkers.run(reloads(proxy, port, 3))
    eventually(lambda: len(proxy.workers) == 2, "the old workers' end")
    before = len(os.listdir(f"/proc/{proxy.pid}/fd"))
    workers_before = sum(w.num_fds() for w in proxy.workers)
    thinkers.run(reloads(proxy, port, 20))
    eventually(lambda: len(proxy.workers) == 2, "the old workers' end")
    eventually(lambda: len(os.listdir(f"/proc/{proxy.pid}/fd")) == before, "the same descriptors as before")
    assert sum(w.num_fds() for w in proxy.workers) == workers_before
    thinkers.close()
    assert thinkers.closed == []
