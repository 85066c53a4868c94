"""Limits and queues over several workers, measured at the server itself, through kills of workers and changes of limits; and their log
lines beside haproxy's."""

from __future__ import annotations

import random
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from tests import ports
from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, Proxy, eventually
from tests.system.duet import Duet, read_all, read_head

pytestmark = pytest.mark.system

Start = Callable[..., Proxy]


def alive(sock: socket.socket) -> bool:
    """Whether its peer has not ended it."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError as exc:
        return isinstance(exc, BlockingIOError)


class Server:
    """Counts the connections that are open at a time (each carries one request); answers after ``delay_s``, or, where that is None, when
    :meth:`answer` says."""

    def __init__(self, delay_s: float | None) -> None:
        self.sock = ports.listener(backlog=512)
        self.port = self.sock.getsockname()[1]
        self.delay_s = delay_s
        self.open: dict[socket.socket, float] = {}
        self.arrived: list[bytes] = []
        self.most = self.served = 0
        self._go = self._end = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end:
            ready, _, _ = select.select([self.sock, *self.open], [], [], 0.002)
            for sock in ready:  # who went is noticed before who comes
                if sock is not self.sock:
                    with suppress(OSError):
                        if data := sock.recv(65536):
                            self.arrived.append(data.split(b" ", 2)[1])
                            continue
                    del self.open[sock]
                    sock.close()
            now = time.monotonic()
            for sock, since in list(self.open.items()):
                if self._go or (self.delay_s is not None and now - since >= self.delay_s):
                    self._go = False
                    del self.open[sock]
                    self.served += 1
                    with suppress(OSError):
                        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                    sock.close()
            if self.sock in ready:
                sock, _ = self.sock.accept()
                self.open[sock] = time.monotonic()
                self.most = max(self.most, sum(map(alive, self.open)))  # a killed worker's end may have come since we looked

    def answer(self) -> None:
        """Answer whoever has waited longest."""
        self._go = True
        eventually(lambda: not self._go)

    def close(self) -> None:
        self._end = True
        self._thread.join()
        for sock in (self.sock, *self.open):
            sock.close()


@pytest.fixture
def server() -> Iterator[Callable[[float | None], Server]]:
    made: list[Server] = []

    def make(delay_s: float | None = None) -> Server:
        made.append(Server(delay_s))
        return made[-1]

    yield make
    for one in made:
        one.close()


def cli(path: Path, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(command.encode() + b"\n")
        return read_all(sock).decode()


def stat(path: Path, proxy: str, name: str) -> dict[str, int]:
    """scur, qcur, smax, qmax of one line of "show stat"."""
    lines = [line.split(",") for line in cli(path, "show stat").splitlines() if line]
    head = [word.strip("# ") for word in lines[0]]
    row = next(line for line in lines[1:] if line[:2] == [proxy, name])
    return {key: int(row[head.index(key)] or 0) for key in ("scur", "qcur", "smax", "qmax", "stot")}


def ask(port: int, path: str = "/") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 20)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".encode())
    return sock


def answered(socks: list[socket.socket], wait_s: float = 0.0) -> list[socket.socket]:
    return select.select(socks, [], [], wait_s)[0]


def test_never_more_than_maxconn_at_the_server_and_every_slot_comes_back(
    start: Start, server: Callable[..., Server], tmp_path: Path
) -> None:
    """Three workers, a server with three slots, thirty clients; workers are killed in the middle of it."""
    origin = server(0.004)
    port = free_ports(1)[0]
    path = tmp_path / "cli"
    text = f"""
global
  nbthread 3
  stats socket {path} level admin
{DEFAULTS}
  timeout queue 20s
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  server s 127.0.0.1:{origin.port} maxconn 3
"""
    proxy = start(text).ready()
    enough = threading.Event()
    results = {"ok": 0, "cut": 0, "other": 0}

    def client(_n: int) -> None:
        while not enough.is_set():
            try:
                with ask(port) as sock:
                    head = read_head(sock)
            except OSError:
                head = b""
            results["ok" if head.startswith(b"HTTP/1.1 200") else "other" if head else "cut"] += 1

    with ThreadPoolExecutor(30) as pool:
        done = [pool.submit(client, n) for n in range(30)]
        try:
            for _ in range(3):
                served = origin.served
                eventually(partial(lambda served: origin.served > served + 30, served), "traffic flows")
                random.choice(proxy.workers).kill()
                eventually(lambda: len(proxy.workers) == 3)
            before = results["ok"]
            eventually(lambda: results["ok"] > before + 300, "traffic goes on")
        finally:
            enough.set()
        for future in done:
            future.result()
    assert origin.most == 3
    assert results["ok"] > 100 and results["other"] == 0 and results["cut"] <= 3 * 30
    eventually(lambda: not origin.open)
    row = eventually(lambda: (found := stat(path, "b", "s"))["scur"] == found["qcur"] == 0 and found)
    assert 0 < row["smax"] <= 3
    backend = stat(path, "b", "BACKEND")
    assert backend["scur"] == backend["qcur"] == 0 and stat(path, "f", "FRONTEND")["scur"] == 0

    # All slots are usable, and the limit moves while somebody waits.
    origin.delay_s = None
    socks = [ask(port) for _ in range(6)]
    eventually(lambda: len(origin.open) == 3)
    eventually(lambda: stat(path, "b", "BACKEND")["qcur"] == 3)
    cli(path, "set maxconn server b/s 5")
    eventually(lambda: len(origin.open) == 5)
    cli(path, "set maxconn server b/s 2")
    for left in (4, 3, 2):
        origin.answer()
        eventually(partial(lambda left: len(origin.open) == left, left))
    assert stat(path, "b", "BACKEND")["qcur"] == 1
    origin.answer()
    eventually(lambda: len(origin.open) == 2 and stat(path, "b", "BACKEND")["qcur"] == 0)
    # A reload: both generations share the limit.
    late = ask(port)
    eventually(lambda: stat(path, "b", "BACKEND")["qcur"] == 1)
    proxy.reload(text.replace("maxconn 3", "maxconn 2"))
    young = ask(port)
    eventually(lambda: stat(path, "b", "BACKEND")["qcur"] == 2)
    assert len(origin.open) == 2
    for _ in range(4):
        origin.answer()
    for sock in (*socks, late, young):
        assert read_head(sock).startswith(b"HTTP/1.1 200")
        sock.close()
    assert origin.most == 5


def test_order_over_workers_maxqueue_and_time(start: Start, server: Callable[..., Server], tmp_path: Path) -> None:
    origin = server()
    port = free_ports(1)[0]
    path = tmp_path / "cli"
    proxy = start(f"""
global
  nbthread 2
  stats socket {path} level admin
{DEFAULTS}
frontend f
  bind 127.0.0.1:{port}
  http-request set-priority-class int(-5) if {{ path /urgent }}
  http-request set-priority-offset int(-60000) if {{ path /early }}
  use_backend short if {{ path /short }}
  use_backend few if {{ path_beg /few }}
  default_backend b
backend b
  timeout queue 20s
  server s 127.0.0.1:{origin.port} maxconn 1
backend short
  timeout queue 300ms
  server s 127.0.0.1:{origin.port} maxconn 1
backend few
  balance uri
  timeout queue 20s
  server s 127.0.0.1:{origin.port} maxconn 1 maxqueue 2
""").ready()
    paths = [f"/{n}" for n in range(12)]
    socks = []
    for n, name in enumerate([*paths, "/early", "/urgent"]):
        socks.append(ask(port, name))
        eventually(partial(lambda n: origin.arrived and stat(path, "b", "BACKEND")["qcur"] == n, n))
    used = [sum(c.status == "ESTABLISHED" and c.laddr.port == port for c in worker.net_connections()) for worker in proxy.workers]
    assert min(used) > 0, f"both workers have clients: {used}"
    for n in range(14):
        eventually(partial(lambda n: len(origin.arrived) == n + 1, n))
        origin.answer()
    assert [name.decode() for name in origin.arrived] == [paths[0], "/urgent", "/early", *paths[1:]]
    for sock in socks:
        assert read_head(sock).startswith(b"HTTP/1.1 200")
        sock.close()

    origin.arrived.clear()
    first = ask(port, "/short")
    eventually(lambda: origin.arrived)
    began = time.monotonic()
    with ask(port, "/short") as sock:
        assert read_head(sock).startswith(b"HTTP/1.1 503")
    assert 0.25 < time.monotonic() - began < 5
    origin.answer()
    assert read_head(first).startswith(b"HTTP/1.1 200")
    first.close()

    few = [ask(port, "/few")]
    eventually(lambda: stat(path, "few", "s")["scur"] == 1)
    few += [ask(port, "/few") for _ in range(8)]
    refused = [sock for sock in few if eventually(lambda: len(answered(few)) == 6) and sock in answered(few)]
    assert stat(path, "few", "s")["qcur"] == 2, "the queue has room for two of all workers"
    assert [read_head(sock)[:12] for sock in refused] == [b"HTTP/1.1 503"] * 6
    for _ in range(3):
        eventually(lambda: origin.open)
        origin.answer()
    for sock in few:
        if sock not in refused:
            assert read_head(sock).startswith(b"HTTP/1.1 200")
        sock.close()


def test_who_waits_for_a_server_that_goes_down_is_served_elsewhere(start: Start, server: Callable[..., Server], tmp_path: Path) -> None:
    one, other = server(), server()
    port = free_ports(1)[0]
    path = tmp_path / "cli"
    start(f"""
global
  nbthread 3
  stats socket {path} level admin
{DEFAULTS}
  timeout queue 20s
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  option redispatch
  use-server one unless {{ path /other }}
  server one 127.0.0.1:{one.port} maxconn 2
  server other 127.0.0.1:{other.port} maxconn 5
""").ready()
    socks = [ask(port) for _ in range(12)]
    eventually(lambda: stat(path, "b", "one")["qcur"] == 10)
    assert len(one.open) == 2 and not other.open
    cli(path, "set server b/one state maint")
    eventually(lambda: len(other.open) == 5)
    eventually(lambda: (stat(path, "b", "one")["qcur"], stat(path, "b", "BACKEND")["qcur"] + stat(path, "b", "other")["qcur"]) == (0, 5))
    for _ in range(10):
        eventually(lambda: other.open)
        other.answer()
    for _ in range(2):
        one.answer()
    for sock in socks:
        assert read_head(sock).startswith(b"HTTP/1.1 200")
        sock.close()
    assert (one.most, one.served, other.most, other.served) == (2, 2, 5, 10)


@pytest.mark.parametrize("rate", ["maxconnrate", "maxsessrate"])
def test_so_many_a_second_whoever_accepts(rate: str, start: Start) -> None:
    port = free_ports(1)[0]
    start(f"""
global
  nbthread 3
  {rate} 8
{DEFAULTS}
frontend f
  bind 127.0.0.1:{port}
  backlog 100
  http-request return status 200 content-type text/plain string hi
""").ready()
    began = time.monotonic()
    with ExitStack() as stack:
        socks = [stack.enter_context(ask(port)) for _ in range(14)]
        eventually(lambda: len(answered(socks)) >= 8)
        early = len(answered(socks))
        assert time.monotonic() - began > 0.9 or early == 8
        eventually(lambda: len(answered(socks)) == 14)
        assert time.monotonic() - began > 1.3


@pytest.mark.parametrize("workers", [1, 4])
def test_connections_wait_in_the_kernel_at_limits_and_rates(workers: int, start: Start, tmp_path: Path) -> None:
    ports = free_ports(4)
    path = tmp_path / "cli"
    answer = "http-request return status 200 content-type text/plain string hi"
    proxy = start(f"""
global
  nbthread {workers}
  stats socket {path} level admin
{DEFAULTS}
frontend narrow
  bind 127.0.0.1:{ports[0]}
  maxconn 4
  backlog 100
  {answer}
frontend bound
  backlog 100
  bind 127.0.0.1:{ports[1]} maxconn 3
  bind 127.0.0.1:{ports[2]}
  {answer}
frontend slow
  bind 127.0.0.1:{ports[3]}
  rate-limit sessions 8
  backlog 100
  {answer}
""").ready()

    def kept(port: int, count: int) -> list[socket.socket]:
        socks = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(count)]
        for sock in socks:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        return socks

    with ExitStack() as stack:
        for port, most in ((ports[0], 4), (ports[1], 3)):
            socks = [stack.enter_context(sock) for sock in kept(port, 10)]
            waiting = set(socks)
            full = partial(lambda waiting, most: len(answered(list(waiting))) == most, waiting, most)
            eventually(full)
            before = [worker.cpu_times() for worker in proxy.workers]
            assert not answered([sock for sock in socks if sock not in answered(socks)], 0.3), "no more than the limit"
            spent = sum(b.user + b.system - a.user - a.system for a, b in zip(before, [w.cpu_times() for w in proxy.workers], strict=True))
            assert spent < 0.15, "nothing spins"
            # Each that goes makes room for one.
            for _ in range(10 - most):
                here = answered(list(waiting))
                assert len(here) == most
                here[0].close()
                waiting.discard(here[0])
                eventually(full, "a place that is free is used")
            if port == ports[1]:
                other = stack.enter_context(kept(ports[2], 1)[0])
                assert answered([other], 5), "the other address has no limit"

        # The limit of everything, changed while they wait.
        now = stat(path, "narrow", "FRONTEND")["scur"] + stat(path, "bound", "FRONTEND")["scur"]
        cli(path, f"set maxconn global {now + 2}")
        more = [stack.enter_context(sock) for sock in kept(ports[2], 5)]
        eventually(lambda: len(answered(more)) == 2)
        assert not answered([sock for sock in more if sock not in answered(more)], 0.2)
        cli(path, f"set maxconn global {now + 4}")
        eventually(lambda: len(answered(more)) == 4)
        cli(path, "set maxconn global 0")
        eventually(lambda: len(answered(more)) == 5)

        # Eight in the first second, whoever accepts; then one whenever the second fades enough.
        began = time.monotonic()
        socks = [stack.enter_context(sock) for sock in kept(ports[3], 14)]
        eventually(lambda: len(answered(socks)) >= 8)
        early = len(answered(socks))
        assert time.monotonic() - began > 0.9 or early == 8
        eventually(lambda: len(answered(socks)) == 14)
        assert time.monotonic() - began > 1.3


#: (backend, requests), of which the last one has a higher class
CASES = [
    ("hash", 4),
    ("least", 6),
    ("rr", 6),
    ("first", 5),
    ("late", 3),
]


def test_queues_in_the_log_as_haproxy_has_them(tmp_path: Path) -> None:
    limits = "maxconn 1 maxqueue 1"
    backends = "".join(
        f"backend {name}\n  balance {algorithm}\n  server s0 127.0.0.1:{{origin}} {own}\n  server s1 127.0.0.1:{{origin}} {own}\n{more}"
        for name, algorithm, own, more in (
            ("hash", "uri", limits, ""),
            ("least", "leastconn", limits, ""),
            ("rr", "roundrobin", limits, ""),
            ("first", "first", "maxconn 1", "  http-request set-priority-class hdr(x-class)\n"),
            ("late", "source", "maxconn 1", "  timeout queue 300ms\n"),
        )
    )
    text = (
        "global\n  log {log} local0\n" + DEFAULTS + "  log global\n  timeout queue 5s\nfrontend f\n  bind 127.0.0.1:{port}\n"
        '  log-format "%ci:%cp [%tr] %ST %ts %s sq=%sq bq=%bq rc=%rc %HM"\n  use_backend %[path,field(2,/)]\n' + backends
    )
    with Duet(tmp_path, text) as duet:
        for name, count in CASES:
            go = {duet.reference.port: threading.Event(), duet.ours.port: threading.Event()}
            by_origin = {side.origin.port: go[side.port] for side in (duet.reference, duet.ours)}

            def client(sock: socket.socket, name: str = name, count: int = count, go: dict[int, threading.Event] = go) -> bytes:
                where = sock.getpeername()
                with ThreadPoolExecutor(count) as pool, ExitStack() as stack:
                    others = [stack.enter_context(socket.create_connection(where, 8)) for _ in range(count - 1)]
                    futures = []
                    for n, one in enumerate((sock, *others)):
                        level = -1 if n == count - 1 else 0
                        one.sendall(b"GET /%b HTTP/1.1\r\nHost: a\r\nX-Class: %d\r\nConnection: close\r\n\r\n" % (name.encode(), level))
                        futures.append(pool.submit(read_all, one))
                        time.sleep(0.03)  # they are to arrive one after the other
                    if name == "late":
                        for future in futures[1:]:
                            future.result()
                    go[where[1]].set()
                    return b" ".join(future.result()[9:12] for future in futures)

            def serve(sock: socket.socket, by_origin: dict[int, threading.Event] = by_origin) -> None:
                read_head(sock)
                by_origin[sock.getsockname()[1]].wait(6)
                time.sleep(0.01)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

            reference, ours = duet.run(client, serve, count)
            assert ours.client == reference.client, name
            # Which server a stream of the backend's queue gets is who is free first.
            here, there = (sorted(re.sub(r" s[01] ", " s ", line) for line in seen.log) for seen in (ours, reference))
            assert here == there, name
