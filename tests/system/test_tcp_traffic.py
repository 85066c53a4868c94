"""TCP mode under real conditions: bursts, queues, PROXY headers, socket options, counters that move."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.conftest import Proxy, eventually
from tests.system.tcp import Origin, config, echo, metric, receive

Serve = Callable[..., Proxy]


# -- counters


@pytest.mark.parametrize("on", [True, False])
def test_contstats(serve: Serve, ports: list[int], on: bool) -> None:
    """With the option bytes are counted while they flow, without it when the session ends; at the end they are the same."""
    origin = Origin(echo)
    serve(config(ports, f"127.0.0.1:{origin.port}", *(["option contstats"] if on else [])))

    def count(kind: str) -> list[float]:
        return [metric(ports[1], f"haproxy_{scope}_bytes_{kind}_total", proxy="t") for scope in ("frontend", "backend", "server")]

    with socket.create_connection(("127.0.0.1", ports[0])) as sock:
        for _ in range(10):
            sock.sendall(b"z" * 50_000)
            receive(sock, 50_000)
        if on:
            eventually(lambda: count("in") == [500_000] * 3 and count("out") == [500_000] * 3, "bytes are counted", 4)
            sock.sendall(b"z" * 7)
            receive(sock, 7)
        else:
            assert count("in") == [0] * 3
    total = 500_007 if on else 500_000
    eventually(lambda: count("in") == [total] * 3 and count("out") == [total] * 3, "the sum is right", 4)


def test_a_burst_of_short_connections(serve: Serve, ports: list[int]) -> None:
    """5,000 connections to two workers: none refused, none lost, all counted, both workers at work."""
    origin = Origin(lambda sock: sock.sendall(sock.recv(100)))
    proxy = serve(config(ports, f"127.0.0.1:{origin.port}", workers=2))
    failed: list[str] = []

    def clients() -> None:
        for i in range(500):
            try:
                with socket.create_connection(("127.0.0.1", ports[0]), 10) as sock:
                    word = b"%05d" % i
                    sock.sendall(word)
                    if receive(sock, 6) != word:
                        failed.append("wrong answer")
            except OSError as exc:
                failed.append(repr(exc))

    threads = [threading.Thread(target=clients) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert origin.count == 5000
    eventually(lambda: metric(ports[1], "haproxy_frontend_sessions_total", proxy="t") == 5000)
    eventually(lambda: metric(ports[1], "haproxy_server_sessions_total", proxy="t") == 5000)
    assert metric(ports[1], "haproxy_frontend_bytes_in_total", proxy="t") == 25_000
    assert metric(ports[1], "haproxy_frontend_current_sessions", proxy="t") == 0
    assert all(worker.cpu_times().user > 0.01 for worker in proxy.workers)


# -- queues


def queued(port: int) -> float:
    return sum(metric(port, f"haproxy_{scope}_current_queue", proxy="t") for scope in ("backend", "server"))


def test_server_maxconn_queues_and_serves_in_order(serve: Serve, ports: list[int]) -> None:
    together: list[int] = []
    lock = threading.Lock()
    running = 0

    def script(sock: socket.socket) -> None:
        nonlocal running
        with lock:
            running += 1
            together.append(running)
        data = sock.recv(100)
        with lock:
            running -= 1
        sock.sendall(data)

    origin = Origin(script)
    serve(config(ports, f"127.0.0.1:{origin.port} maxconn 2", "timeout queue 5s"))
    socks = [socket.create_connection(("127.0.0.1", ports[0]), 5) for _ in range(6)]
    eventually(lambda: queued(ports[1]) == 4)
    for i, sock in enumerate(socks):
        sock.sendall(b"%d" % i)
        assert sock.recv(10) == b"%d" % i
        sock.close()
    assert max(together) <= 2
    assert queued(ports[1]) == 0
    assert metric(ports[1], "haproxy_backend_max_queue", proxy="t") + metric(ports[1], "haproxy_server_max_queue", proxy="t") >= 4


def test_timeout_queue_and_leaving_the_queue(serve: Serve, ports: list[int], tmp_path: Path) -> None:
    """sQ after ``timeout queue``; CQ when the client goes; the slot is not lost by either."""
    log = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    log.bind(("127.0.0.1", 0))
    log.settimeout(5)
    origin = Origin(echo)
    text = config(
        ports, f"127.0.0.1:{origin.port} maxconn 1", "timeout queue 1s", f"log 127.0.0.1:{log.getsockname()[1]} local0", "option tcplog"
    )
    serve(text)

    def flags() -> str:
        while True:
            line = log.recv(4096).decode()
            if found := re.search(r" (\S\S) \d+/\d+/\d+/\d+/\d+ ", line):
                return found[1]

    with socket.create_connection(("127.0.0.1", ports[0])) as first:
        first.sendall(b"a")
        assert first.recv(1) == b"a"
        with socket.create_connection(("127.0.0.1", ports[0])) as second:
            assert second.recv(1) == b""
        assert flags() == "sQ"
        with socket.create_connection(("127.0.0.1", ports[0])):
            eventually(lambda: queued(ports[1]) == 1)
        assert flags() == "CQ"
    assert flags() == "--"
    with socket.create_connection(("127.0.0.1", ports[0])) as last:
        last.sendall(b"b")
        assert last.recv(1) == b"b"
    log.close()


# -- addresses and headers


@pytest.mark.parametrize("kind", ["unix", "abns"])
def test_unix_servers(serve: Serve, ports: list[int], tmp_path: Path, kind: str) -> None:
    name = str(tmp_path / "o.sock") if kind == "unix" else f"forkproxy-{os.getpid()}"
    # An abstract name is padded with zeros to the whole length of the address, as HAProxy does.
    address = name if kind == "unix" else ("\0" + name).encode().ljust(108, b"\0")
    Origin(echo, address)
    serve(config(ports, f"{kind}@{name}"))
    with socket.create_connection(("127.0.0.1", ports[0]), 5) as sock:
        sock.sendall(b"hello")
        assert receive(sock, 5) == b"hello"


def test_server_without_port_and_source(serve: Serve, ports: list[int]) -> None:
    """The server's port is the one that the client asked for; ``source`` is what the server sees."""
    seen: list[str] = []

    def script(sock: socket.socket) -> None:
        seen.append(sock.getpeername()[0])
        echo(sock)

    Origin(script, ("127.0.0.7", ports[0]))
    serve(config(ports, "127.0.0.7 source 127.0.0.9"))
    with socket.create_connection(("127.0.0.1", ports[0]), 5) as sock:
        sock.sendall(b"hello")
        assert receive(sock, 5) == b"hello"
    assert seen == ["127.0.0.9"]


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_send_proxy(serve: Serve, ports: list[int], version: str) -> None:
    """The server gets the header first, also when the server speaks first."""
    from forkproxy.wire.proxy_protocol import parse

    heads: list[bytes] = []

    def script(sock: socket.socket) -> None:
        heads.append(sock.recv(28) if version == "send-proxy-v2" else read_line(sock))
        sock.sendall(b"welcome")
        echo(sock)

    origin = Origin(script)
    serve(config(ports, f"127.0.0.1:{origin.port} {version}"))
    with socket.create_connection(("127.0.0.1", ports[0]), 5) as sock:
        assert receive(sock, 7) == b"welcome"
        sock.sendall(b"x")
        assert receive(sock, 1) == b"x"
        mine = sock.getsockname()
    parsed = parse(heads[0])
    assert parsed is not None
    header = parsed[0]
    assert (header.src, header.src_port, header.dst, header.dst_port) == (*mine, "127.0.0.1", ports[0])


def read_line(sock: socket.socket) -> bytes:
    got = b""
    while not got.endswith(b"\r\n"):
        got += sock.recv(1)
    return got


def test_accept_proxy(serve: Serve, ports: list[int]) -> None:
    """The header's addresses are the client's for rules and for the next header; what is no header is not served."""
    origin = Origin(lambda sock: sock.sendall(read_line(sock) + sock.recv(10)))
    text = config(ports, f"127.0.0.1:{origin.port} send-proxy", "tcp-request session reject if { src 192.0.2.66 }")
    serve(text.replace(f"bind 127.0.0.1:{ports[0]}", f"bind 127.0.0.1:{ports[0]} accept-proxy"))

    def exchange(*parts: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", ports[0]), 5) as sock:
            for part in parts:
                sock.sendall(part)
                time.sleep(0.01)  # parts arrive as parts
            try:
                return receive(sock, 1000)
            except ConnectionResetError:
                return b""

    head = b"PROXY TCP4 192.0.2.1 198.51.100.2 1111 2222\r\n"
    assert exchange(head + b"hello") == head + b"hello"
    assert exchange(head[:9], head[9:30], head[30:] + b"he", b"") == head + b"he"
    assert exchange(b"PROXY TCP4 192.0.2.66 198.51.100.2 1111 2222\r\nhello") == b""
    assert exchange(b"GET / HTTP/1.0\r\n\r\n") == b""


# -- options of sockets


def test_keepalive_on_both_sides(serve: Serve, ports: list[int]) -> None:
    """``ss`` shows the keep-alive timer on the client's and on the server's connection."""
    origin = Origin(echo)
    serve(config(ports, f"127.0.0.1:{origin.port}", "option clitcpka", "option srvtcpka", "clitcpka-idle 77s", "srvtcpka-idle 88s"))
    with socket.create_connection(("127.0.0.1", ports[0]), 5) as sock:
        sock.sendall(b"x")
        receive(sock, 1)

        def timer(condition: str) -> str:
            return subprocess.run(["ss", "-tnoH", *condition.split()], capture_output=True, text=True, check=True).stdout

        assert re.search(r"keepalive,(1min)?(1[0-9]|[67][0-9])", timer(f"sport = :{ports[0]}")), timer(f"sport = :{ports[0]}")
        assert re.search(r"keepalive,(1min)?(2[0-9]|8[0-9])", timer(f"dport = :{origin.port}")), timer(f"dport = :{origin.port}")


def test_connection_rejected(serve: Serve, ports: list[int]) -> None:
    origin = Origin(echo)
    serve(config(ports, f"127.0.0.1:{origin.port}", "tcp-request connection reject"))
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", ports[0]), 5) as sock:
        assert sock.recv(1) == b""
    assert origin.count == 0
    eventually(lambda: metric(ports[1], "haproxy_frontend_denied_connections_total", proxy="t") == 1)
