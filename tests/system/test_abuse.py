"""Clients at their worst, at random, for a few seconds: nothing may break, spin, leak or be counted wrongly."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, Proxy, eventually, get
from tests.system.duet import Origin, read_head

pytestmark = pytest.mark.system

PIECES = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50000,
    b"x" * 50000,
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"zz\r\n",
    b"\r\n",
    b"\x00\xff",
    b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /close HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /die HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD / HTTP/1.0\r\n\r\n",
    b"G",
    b"OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n",
    b"GET /deny HTTP/1.1\r\nHost: b\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
]


def server(sock: socket.socket) -> None:
    """Answers, in ways that depend on the path; does not care for bodies."""
    got = b""
    while True:
        got = read_head(sock, got)
        if b"\r\n\r\n" not in got:
            return
        head, _, got = got.partition(b"\r\n\r\n")
        if b"/die" in head:
            return
        if b"/big" in head:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"b" * 1000000)
        elif b"/close" in head:
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
            return
        elif b"POST" in head or b"PUT" in head:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            return
        else:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[: -2 if head.startswith(b"HEAD") else None])


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"b" * 300000,
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloworld",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + b"c" * 60000,
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    b"HTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 100 Go\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.1 100 Go\r\n\r\n",
    b"HTTP/1.1 101 Switch\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x05hello",
    b"HTTP/1.1 304 Not\r\nContent-Length: 7\r\n\r\n",
    b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
    b"HTTP/1.1 20",
    b"junk\r\n\r\n",
    b"\x00\xff",
    b"",
]


def wild_server(sock: socket.socket) -> None:
    """Says what it likes, when it likes, in pieces, and leaves in every way there is."""
    r = random.Random()
    sock.settimeout(1)
    for _ in range(r.randint(1, 6)):
        if r.random() < 0.9:
            with contextlib.suppress(TimeoutError):
                if not sock.recv(r.choice([10, 65536])):
                    return
        raw = r.choice(ANSWERS)
        cut = r.randint(0, len(raw)) if r.random() < 0.3 else 0
        sock.sendall(raw[:cut])
        if cut:
            time.sleep(r.choice([0, 0.001, 0.01]))
        sock.sendall(raw[cut:])
        dice = r.random()
        if dice < 0.1:
            sock.shutdown(socket.SHUT_WR)
        elif dice < 0.2:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        elif dice < 0.3:
            return


def misbehave(port: int, seed: int) -> None:
    """One client's life."""
    r = random.Random(seed)
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 3) as sock:
        sock.settimeout(r.choice([0.001, 0.01, 0.05]))
        for _ in range(r.randint(1, 8)):
            dice = r.random()
            if dice < 0.6:
                piece = r.choice(PIECES)
                sock.sendall(piece if r.random() < 0.8 else piece[: r.randint(1, 40)])
            elif dice < 0.85:
                with contextlib.suppress(TimeoutError):
                    sock.recv(r.choice([1, 100, 65536]))
            elif dice < 0.93:
                sock.shutdown(socket.SHUT_WR)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return


@pytest.mark.parametrize(("mode", "wild"), [("http", False), ("http", True), ("tcp", False), ("tcp", True)])
def test_abuse(start: Callable[..., Proxy], mode: str, wild: bool) -> None:
    origin = Origin()
    origin.script = wild_server if wild else server
    port, stats = free_ports(2)
    deny = "http-request deny if { path /deny }" if mode == "http" else ""
    proxy = start(f"""
global
  nbthread 2
  stats-endpoint 127.0.0.1:{stats}
{DEFAULTS}
frontend f
  mode {mode}
  bind 127.0.0.1:{port}
  timeout http-request 2s
  timeout client 2s
  {deny}
  default_backend b
backend b
  mode {mode}
  retry-on all-retryable-errors
  timeout server 2s
  timeout tunnel 2s
  server s 127.0.0.1:{origin.port} pool-purge-delay 1s
""").ready()
    end = time.monotonic() + 4.0

    def client(seed: int) -> None:
        while time.monotonic() < end:
            seed += 1000
            misbehave(port, seed)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if mode == "http" and not wild:
        assert get(port)[0] == 200

    def gauges() -> dict[str, float]:
        body = get(stats, "/metrics")[1].decode()
        wanted = ("haproxy_frontend_current_sessions", "haproxy_backend_current_sessions", "haproxy_server_current_sessions")
        lines = [line for line in body.splitlines() if line.startswith(wanted)]
        assert lines
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}

    eventually(lambda: not any(gauges().values()), "all gauges back at zero")
    # Nobody spins: two workers without clients take next to no time of the processor.
    workers = [psutil.Process(w.pid) for w in proxy.workers]
    before = [sum(w.cpu_times()[:2]) for w in workers]
    time.sleep(0.5)
    assert all(sum(w.cpu_times()[:2]) - was < 0.1 for w, was in zip(workers, before, strict=True))
    # Nor do descriptors stay behind (those of the worker itself, and idle connections to the server until they are purged).
    eventually(lambda: all(w.num_fds() < 60 for w in workers), "descriptors given back")
    assert "Traceback" not in proxy.stderr, proxy.stderr
    origin.close()
