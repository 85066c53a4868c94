"""TCP mode under real conditions: bulk by splice, readers that stall, bursts, queues, PROXY headers, socket options, counters that move."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.ports import free_ports
from tests.system.conftest import Proxy, eventually, get

MIB = 1 << 20


class Origin:
    """A server that runs ``script`` for each connection in a thread."""

    def __init__(self, script: Callable[[socket.socket], object], address: object = ("127.0.0.1", 0), backlog: int = 1024) -> None:
        family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
        self.sock = socket.socket(family)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(address)  # type: ignore[arg-type]
        self.sock.listen(backlog)
        self.port = self.sock.getsockname()[1] if family == socket.AF_INET else 0
        self.script = script
        self.count = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self.sock.accept()
            except OSError:
                return
            self.count += 1
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            self.script(peer)


def echo(sock: socket.socket) -> None:
    while data := sock.recv(65536):
        sock.sendall(data)


def receive(sock: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        data = sock.recv(min(65536, count - len(got)))
        if not data:
            break
        got += data
    return got


def config(ports: list[int], server: str, *lines: str, workers: int = 1, section: str = "", settings: str = "") -> str:
    """One listener of one server, and the endpoint for metrics."""
    extra = "".join(f"  {line}\n" for line in lines)
    return f"""
global
  nbthread {workers}
  stats-endpoint 127.0.0.1:{ports[1]}
{settings}
defaults
  mode tcp
  timeout connect 2s
  timeout client 20s
  timeout server 20s
listen t
  bind 127.0.0.1:{ports[0]}
{extra}
  server s {server}
{section}
"""


@pytest.fixture
def ports() -> list[int]:
    return free_ports(3)


Start = Callable[..., Proxy]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a forkproxy; ended when the test is over."""
    running: list[Proxy] = []

    def begin(text: str, *args: str) -> Proxy:
        proxy = Proxy(tmp_path, text, *args)
        running.append(proxy)
        return proxy.ready()

    yield begin
    for proxy in running:
        proxy.end()


def metric(port: int, name: str, **labels: str) -> float:
    """The sum of one metric over the lines that carry the labels."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    text = get(port, "/metrics")[1].decode()
    lines = [x for x in text.splitlines() if x.startswith((name + "{", name + " ")) and all(w in x for w in wanted)]
    return sum(float(x.rsplit(" ", 1)[1]) for x in lines)


# -- bulk


@pytest.mark.parametrize("way", ["down", "up"])
def test_bulk_is_spliced_and_memory_stays_flat(start: Start, ports: list[int], way: str) -> None:
    """1 GiB through one worker in either direction."""
    total = 1 << 30
    piece = os.urandom(MIB)

    def pour(sock: socket.socket) -> None:
        for _ in range(total // MIB):
            sock.sendall(piece)

    def swallow(sock: socket.socket) -> int:
        buffer, got = bytearray(MIB), 0
        while n := sock.recv_into(buffer):
            got += n
        return got

    took: list[int] = []
    origin = Origin(pour if way == "down" else lambda sock: took.append(swallow(sock)))
    proxy = start(config(ports, f"127.0.0.1:{origin.port}"))
    (worker,) = proxy.workers
    with socket.create_connection(("127.0.0.1", ports[0])) as sock:
        before = worker.memory_info().rss
        cpu = worker.cpu_times()
        if way == "down":
            assert swallow(sock) == total
        else:
            pour(sock)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
            assert took == [total]
        grown = worker.memory_info().rss - before
        after = worker.cpu_times()
    assert grown < 8 * MIB
    user, system = after.user - cpu.user, after.system - cpu.system
    assert user < 0.5 * (system + 0.2), "bulk must not pass through Python"


def test_content_is_untouched_at_the_switch_to_splice(start: Start, ports: list[int]) -> None:
    """Both directions at once, from copied to spliced bytes and on, in odd pieces."""
    data = os.urandom(3 * MIB + 12345)
    origin = Origin(echo)
    start(config(ports, f"127.0.0.1:{origin.port}", "option splice-auto"))
    with socket.create_connection(("127.0.0.1", ports[0])) as sock:

        def send() -> None:
            for at in range(0, len(data), 70001):
                sock.sendall(data[at : at + 70001])
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        got = receive(sock, len(data) + 1)
        sender.join()
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


def splices(worker: psutil.Process, exchange: Callable[[], object], where: Path) -> int:
    """How many splice calls a worker makes during an exchange, as strace counts them."""
    out = where / "strace"
    tracer = subprocess.Popen(["strace", "-f", "-e", "trace=splice", "-o", str(out), "-p", str(worker.pid)], stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    with tracer.stderr:
        if b"attached" not in tracer.stderr.readline():
            tracer.wait(5)
            pytest.skip("strace may not attach here")
        exchange()
        tracer.terminate()
        tracer.wait(5)
    return len(re.findall(r"splice\(", out.read_text()))


@pytest.mark.skipif(subprocess.run(["which", "strace"], capture_output=True, check=False).returncode != 0, reason="needs strace")
@pytest.mark.parametrize(
    ("lines", "settings", "small", "large"),
    [((), "", False, True), (("option splice-response",), "", True, True), ((), "  nosplice", False, False)],
    ids=["default", "splice-response", "nosplice"],
)
def test_what_is_spliced(
    start: Start, ports: list[int], tmp_path: Path, lines: tuple[str, ...], settings: str, small: bool, large: bool
) -> None:
    def script(sock: socket.socket) -> None:
        while size := sock.recv(4):
            sock.sendall(b"x" * struct.unpack("!I", size)[0])

    origin = Origin(script)
    proxy = start(config(ports, f"127.0.0.1:{origin.port}", *lines, settings=settings))
    with socket.create_connection(("127.0.0.1", ports[0])) as sock:

        def ask(size: int) -> None:
            sock.sendall(struct.pack("!I", size))
            assert len(receive(sock, size)) == size

        ask(10)
        assert bool(splices(proxy.workers[0], lambda: ask(100), tmp_path)) is small
        assert bool(splices(proxy.workers[0], lambda: ask(4 * MIB), tmp_path)) is large


def stalled(sock: socket.socket) -> int:
    """How many bytes a peer that does not read takes."""
    sock.setblocking(False)
    sent, piece = 0, b"y" * 65536
    while select.select([], [sock], [], 0.5)[1]:
        with contextlib.suppress(BlockingIOError):
            sent += sock.send(piece)
    return sent


@pytest.mark.parametrize("settings", ["", "  nosplice"], ids=["splice", "copy"])
def test_a_stalled_reader_stops_the_writer(start: Start, ports: list[int], settings: str) -> None:
    go = threading.Event()
    took: list[int] = []

    def script(sock: socket.socket) -> None:
        go.wait(20)
        got = 0
        while data := sock.recv(MIB):
            got += len(data)
        took.append(got)

    origin = Origin(script)
    proxy = start(config(ports, f"127.0.0.1:{origin.port}", settings=settings))
    (worker,) = proxy.workers
    before = worker.memory_info().rss
    with socket.create_connection(("127.0.0.1", ports[0])) as sock:
        sent = stalled(sock)
        assert sent < 64 * MIB
        assert worker.memory_info().rss - before < 4 * MIB
        spent = worker.cpu_times()
        time.sleep(0.3)  # not for something to happen: nothing may
        now = worker.cpu_times()
        assert now.user + now.system - spent.user - spent.system < 0.1
        go.set()
        sock.setblocking(True)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
        assert took == [sent]


def test_a_reset_while_the_other_side_is_stalled_ends_the_session(start: Start, ports: list[int]) -> None:
    """No spinning on a connection that is broken while nothing is read from it."""
    over = threading.Event()

    def script(sock: socket.socket) -> None:
        over.wait(20)
        while sock.recv(MIB):
            pass

    origin = Origin(script)
    proxy = start(config(ports, f"127.0.0.1:{origin.port}"))
    with socket.create_connection(("127.0.0.1", ports[0])) as sock:
        stalled(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    eventually(lambda: metric(ports[1], "haproxy_frontend_current_sessions", proxy="t") == 0, "the session ends", 3)
    over.set()
    spent = proxy.workers[0].cpu_times()
    time.sleep(0.3)  # not for something to happen: nothing may
    now = proxy.workers[0].cpu_times()
    assert now.user + now.system - spent.user - spent.system < 0.1


def test_bulk_that_comes_in_bursts_is_not_held_back(start: Start, ports: list[int]) -> None:
    """After the switch to splice every burst leaves at once: no waiting for segments to fill."""
    origin = Origin(echo)
    start(config(ports, f"127.0.0.1:{origin.port}", "option splice-request", "option splice-response"))
    with socket.create_connection(("127.0.0.1", ports[0])) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.monotonic()
        for _ in range(20):
            sock.sendall(b"b" * 1000)
            assert len(receive(sock, 1000)) == 1000
        assert time.monotonic() - began < 1.0  # each one held back costs 0.2 s


# -- counters


@pytest.mark.parametrize("on", [True, False])
def test_contstats(start: Start, ports: list[int], on: bool) -> None:
    """With the option bytes are counted while they flow, without it when the session ends; at the end they are the same."""
    origin = Origin(echo)
    start(config(ports, f"127.0.0.1:{origin.port}", *(["option contstats"] if on else [])))

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


def test_a_burst_of_short_connections(start: Start, ports: list[int]) -> None:
    """5,000 connections to two workers: none refused, none lost, all counted, both workers at work."""
    origin = Origin(lambda sock: sock.sendall(sock.recv(100)))
    proxy = start(config(ports, f"127.0.0.1:{origin.port}", workers=2))
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


def test_server_maxconn_queues_and_serves_in_order(start: Start, ports: list[int]) -> None:
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
    start(config(ports, f"127.0.0.1:{origin.port} maxconn 2", "timeout queue 5s"))
    socks = [socket.create_connection(("127.0.0.1", ports[0]), 5) for _ in range(6)]
    eventually(lambda: queued(ports[1]) == 4)
    for i, sock in enumerate(socks):
        sock.sendall(b"%d" % i)
        assert sock.recv(10) == b"%d" % i
        sock.close()
    assert max(together) <= 2
    assert queued(ports[1]) == 0
    assert metric(ports[1], "haproxy_backend_max_queue", proxy="t") + metric(ports[1], "haproxy_server_max_queue", proxy="t") >= 4


def test_timeout_queue_and_leaving_the_queue(start: Start, ports: list[int], tmp_path: Path) -> None:
    """sQ after ``timeout queue``; CQ when the client goes; the slot is not lost by either."""
    log = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    log.bind(("127.0.0.1", 0))
    log.settimeout(5)
    origin = Origin(echo)
    text = config(
        ports, f"127.0.0.1:{origin.port} maxconn 1", "timeout queue 1s", f"log 127.0.0.1:{log.getsockname()[1]} local0", "option tcplog"
    )
    start(text)

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
def test_unix_servers(start: Start, ports: list[int], tmp_path: Path, kind: str) -> None:
    name = str(tmp_path / "o.sock") if kind == "unix" else f"forkproxy-{os.getpid()}"
    # An abstract name is padded with zeros to the whole length of the address, as HAProxy does.
    address = name if kind == "unix" else ("\0" + name).encode().ljust(108, b"\0")
    Origin(echo, address)
    start(config(ports, f"{kind}@{name}"))
    with socket.create_connection(("127.0.0.1", ports[0]), 5) as sock:
        sock.sendall(b"hello")
        assert receive(sock, 5) == b"hello"


def test_server_without_port_and_source(start: Start, ports: list[int]) -> None:
    """The server's port is the one that the client asked for; ``source`` is what the server sees."""
    seen: list[str] = []

    def script(sock: socket.socket) -> None:
        seen.append(sock.getpeername()[0])
        echo(sock)

    Origin(script, ("127.0.0.7", ports[0]))
    start(config(ports, "127.0.0.7 source 127.0.0.9"))
    with socket.create_connection(("127.0.0.1", ports[0]), 5) as sock:
        sock.sendall(b"hello")
        assert receive(sock, 5) == b"hello"
    assert seen == ["127.0.0.9"]


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_send_proxy(start: Start, ports: list[int], version: str) -> None:
    """The server gets the header first, also when the server speaks first."""
    from forkproxy.wire.proxy_protocol import parse

    heads: list[bytes] = []

    def script(sock: socket.socket) -> None:
        heads.append(sock.recv(28) if version == "send-proxy-v2" else read_line(sock))
        sock.sendall(b"welcome")
        echo(sock)

    origin = Origin(script)
    start(config(ports, f"127.0.0.1:{origin.port} {version}"))
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


def test_accept_proxy(start: Start, ports: list[int]) -> None:
    """The header's addresses are the client's for rules and for the next header; what is no header is not served."""
    origin = Origin(lambda sock: sock.sendall(read_line(sock) + sock.recv(10)))
    text = config(ports, f"127.0.0.1:{origin.port} send-proxy", "tcp-request session reject if { src 192.0.2.66 }")
    start(text.replace(f"bind 127.0.0.1:{ports[0]}", f"bind 127.0.0.1:{ports[0]} accept-proxy"))

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


def test_keepalive_on_both_sides(start: Start, ports: list[int]) -> None:
    """``ss`` shows the keep-alive timer on the client's and on the server's connection."""
    origin = Origin(echo)
    start(config(ports, f"127.0.0.1:{origin.port}", "option clitcpka", "option srvtcpka", "clitcpka-idle 77s", "srvtcpka-idle 88s"))
    with socket.create_connection(("127.0.0.1", ports[0]), 5) as sock:
        sock.sendall(b"x")
        receive(sock, 1)

        def timer(condition: str) -> str:
            return subprocess.run(["ss", "-tnoH", *condition.split()], capture_output=True, text=True, check=True).stdout

        assert re.search(r"keepalive,(1min)?(1[0-9]|[67][0-9])", timer(f"sport = :{ports[0]}")), timer(f"sport = :{ports[0]}")
        assert re.search(r"keepalive,(1min)?(2[0-9]|8[0-9])", timer(f"dport = :{origin.port}")), timer(f"dport = :{origin.port}")


def test_connection_rejected(start: Start, ports: list[int]) -> None:
    origin = Origin(echo)
    start(config(ports, f"127.0.0.1:{origin.port}", "tcp-request connection reject"))
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", ports[0]), 5) as sock:
        assert sock.recv(1) == b""
    assert origin.count == 0
    eventually(lambda: metric(ports[1], "haproxy_frontend_denied_connections_total", proxy="t") == 1)
