"""The master's HTTP endpoint over loopback, its clock driven by hand."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import h11
import pytest

from forkproxy.clock import ManualClock
from forkproxy.master.endpoint import MAX_CLIENTS, Endpoint
from forkproxy.net.loop import Loop
from forkproxy.stats.query import Query


class Bench:
    """An endpoint whose metrics are ``slices``."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.loop = Loop(self.clock)
        self.failures: list[Exception] = []
        self.loop.on_error = lambda w, exc: self.failures.append(exc)
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(128)
        self.sock.setblocking(False)
        self.slices = ["a 1\n", "", "b 2\n"]
        self.made = 0
        self.queries: list[Query] = []
        self.well = True
        self.endpoint = Endpoint(self.loop, [self.sock], self.render, lambda: self.well)
        self.clients: list[socket.socket] = []

    def render(self, query: Query) -> Iterator[str]:
        self.queries.append(query)
        for text in self.slices:
            self.made += 1
            yield text

    def connect(self) -> socket.socket:
        client = socket.socket()
        client.connect(self.sock.getsockname())
        client.setblocking(False)
        self.clients.append(client)
        return client

    def turns(self, n: int = 30) -> None:
        for _ in range(n):
            self.loop.run_once(0)

    def read(self, client: socket.socket) -> bytes | None:
        """All there is; None: closed by the endpoint."""
        data = b""
        while True:
            try:
                part = client.recv(1 << 20)
            except BlockingIOError:
                return data
            if not part:
                return data or None
            data += part

    def get(self, target: str, *fields: tuple[str, str], method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
        """One exchange, read back by h11."""
        client = self.connect()
        peer = h11.Connection(h11.CLIENT)
        request = h11.Request(method=method, target=target, headers=[("Host", "x"), *fields])
        client.sendall((peer.send(request) or b"") + (peer.send(h11.EndOfMessage()) or b""))
        self.turns()
        peer.receive_data(self.read(client) or b"")
        response, body = None, b""
        while not isinstance(event := peer.next_event(), h11.EndOfMessage):
            assert event is not h11.NEED_DATA
            if isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
        assert response is not None
        return response.status_code, dict(response.headers), body

    def close(self) -> None:
        self.endpoint.stop()
        assert len(self.loop) == 0 and len(self.endpoint) == 0
        self.sock.close()
        for client in self.clients:
            client.close()
        self.loop.close()
        assert self.failures == []


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_metrics(bench: Bench) -> None:
    status, fields, body = bench.get("/metrics?scope=server&no-maint")
    assert (status, body) == (200, b"a 1\nb 2\n")
    assert fields[b"content-type"] == b"text/plain; version=0.0.4; charset=utf-8"
    assert fields[b"transfer-encoding"] == b"chunked"
    assert bench.queries == [Query(scopes=frozenset({"server"}), no_maint=True)]


def test_openmetrics_when_asked(bench: Bench) -> None:
    _, fields, _ = bench.get("/metrics", ("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"))
    assert fields[b"content-type"].startswith(b"application/openmetrics-text; version=1.0.0")
    assert bench.queries[0].openmetrics


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/health", 200, b"ok\n"),
        ("/nothing", 404, b"not found; try /metrics\n"),
        ("/metrics?scope=xyz", 400, b"unknown scope 'xyz'\n"),
        ("http://x/health", 200, b"ok\n"),
    ],
)
def test_others(bench: Bench, target: str, status: int, body: bytes) -> None:
    assert bench.get(target)[::2] == (status, body)


def test_index_head_and_methods(bench: Bench) -> None:
    assert b"/metrics" in bench.get("/")[2]
    assert bench.get("/metrics", method="HEAD")[::2] == (200, b"")
    assert bench.queries == []
    status, fields, _ = bench.get("/metrics", method="DELETE")
    assert (status, fields[b"allow"]) == (405, b"GET, HEAD")


def test_not_well(bench: Bench) -> None:
    bench.well = False
    assert bench.get("/health")[0] == 503


def test_keep_alive_pipelining_and_close(bench: Bench) -> None:
    client = bench.connect()
    client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    bench.turns()
    data = bench.read(client)
    assert data is not None and data.count(b"HTTP/1.1 200 OK") == 2 and data.endswith(b"0\r\n\r\n")
    client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    bench.turns()
    assert b"connection: close" in (bench.read(client) or b"")
    assert bench.read(client) is None


def test_a_body_is_not_read_as_a_request(bench: Bench) -> None:
    client = bench.connect()
    client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 34\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    bench.turns()
    data = bench.read(client) or b""
    assert data.count(b"HTTP/1.1 200") == 1 and b"connection: close" in data
    assert bench.queries == []


def test_http_10_gets_a_body_until_close(bench: Bench) -> None:
    client = bench.connect()
    client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    bench.turns()
    data = bench.read(client) or b""
    assert data.endswith(b"\r\n\r\na 1\nb 2\n") and b"chunked" not in data
    assert bench.read(client) is None


def test_request_byte_by_byte(bench: Bench) -> None:
    client = bench.connect()
    for byte in b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n":
        client.send(bytes([byte]))
        bench.turns(2)
    assert b"200 OK" in (bench.read(client) or b"")


@pytest.mark.parametrize(
    "data",
    [b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 9000 + b"\r\n\r\n", b"GET /" + b"x" * 9000],
)
def test_nonsense_is_refused_and_closed(bench: Bench, data: bytes) -> None:
    client = bench.connect()
    client.sendall(data)
    bench.turns()
    answer = bench.read(client) or b""
    assert answer.startswith(b"HTTP/1.1 4") and b"connection: close" in answer
    assert bench.read(client) is None


def test_a_slow_reader_costs_one_slice(bench: Bench) -> None:
    bench.slices = ["x" * 200_000 + "\n"] * 200
    client = bench.connect()
    client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    bench.turns(300)
    made = bench.made
    assert made < 150
    bench.turns(100)
    assert bench.made == made  # nothing is made that nobody takes
    size = 0
    while bench.made < 200 or size < 200 * 200_001:
        size += len(bench.read(client) or b"")
        bench.turns(5)
    assert len(bench.endpoint) == 1


def test_a_reader_that_takes_nothing_is_dropped(bench: Bench) -> None:
    bench.slices = ["x" * 200_000 + "\n"] * 200
    client = bench.connect()
    client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    bench.turns(300)
    bench.clock.advance(21)
    bench.turns()
    assert len(bench.endpoint) == 0


def test_timeouts(bench: Bench) -> None:
    bench.connect()
    half = bench.connect()
    half.sendall(b"GET / HT")
    idle = bench.connect()
    idle.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    bench.turns()
    assert len(bench.endpoint) == 3
    bench.clock.advance(11)
    bench.turns()
    assert len(bench.endpoint) == 1
    bench.clock.advance(50)
    bench.turns()
    assert len(bench.endpoint) == 0


def test_too_many_connections(bench: Bench) -> None:
    for _ in range(MAX_CLIENTS + 5):
        bench.connect()
    bench.turns()
    assert len(bench.endpoint) == MAX_CLIENTS


def test_peer_that_goes_away(bench: Bench) -> None:
    check: Callable[[], int] = lambda: len(bench.endpoint)  # noqa: E731
    for data in (b"", b"GET / HT", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"):
        client = bench.connect()
        client.sendall(data)
        client.close()
        bench.turns()
        assert check() == 0
