"""``mode http`` with real processes and clients: what is forwarded and in which form, what is refused, how connections are used again.

Where Debian's haproxy can be asked, it is: the two must use the same connections for the same requests.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.peers import needs
from tests.system.duet import Side, read_head, read_until
from tests.wire.http_samples import REQUESTS

pytestmark = pytest.mark.system

DEFAULTS = """
global
  log {log} local0
  nbthread 1
  tune.bufsize 8192
  tune.http.maxhdr 40
defaults
  mode http
  timeout connect 1s
  timeout client 2s
  timeout server 2s
  timeout http-keep-alive 2s
"""
PLAIN = DEFAULTS + """
listen fe
  bind 127.0.0.1:{port}
  server s 127.0.0.1:{origin}
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def serve(sock: socket.socket) -> None:
    """Answers every request without a body on its connection."""
    got = b""
    while True:
        got = read_head(sock, got)
        if b"\r\n\r\n" not in got:
            return
        got = got.partition(b"\r\n\r\n")[2]
        sock.sendall(OK)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    with Side(tmp_path_factory.mktemp("plain"), PLAIN) as side:
        yield side


def exchange(side: Side, raw: bytes, script: Callable[[socket.socket], None] = serve) -> tuple[bytes, list[bytes]]:
    """Send ``raw``; returns (what came back until an answer "ok" or the end, what each connection of the origin received)."""
    side.origin.begin(script)
    with socket.create_connection(("127.0.0.1", side.port), timeout=5) as sock:
        sock.sendall(raw)
        got = b""
        while not got.endswith(b"\r\n\r\nok") and (data := sock.recv(65536)):
            got += data
    return got, [bytes(spy.got) for spy in side.origin.seen]


# -- what is forwarded, and in which form

FORWARDED: dict[str, tuple[bytes, bytes]] = {
    "origin form": (b"GET /a/b?c=d HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /a/b?c=d HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute form": (b"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", b"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute form without a path": (b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "asterisk form": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "authority form": (b"CONNECT a:8443 HTTP/1.1\r\nHost: a:8443\r\n\r\n", b"CONNECT a:8443 HTTP/1.1\r\nHost: a:8443\r\n\r\n"),
    "white space around values": (
        b"GET / HTTP/1.1\r\nHost: \t a \t\r\nX: \t b  c \t\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: b  c\r\n\r\n"),
    "folded lines": (
        b"GET / HTTP/1.1\r\nHost: a\r\nX: one\r\n  two\r\n\tthree\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: one two three\r\n\r\n"),
    "a field several times": (
        b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\nX: 3\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\nX: 3\r\n\r\n"),
    "an empty line before the request": (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "fields of the connection stay here": (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a length said twice alike": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nxy",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy"),
    "chunks are made anew": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0003;ext=1\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n"),
}  # fmt: skip


def normal(raw: bytes) -> list[bytes]:
    """Names of fields in lower case, white space around and between the words of values as one blank; everything else as it is."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    pairs = (f.partition(b":") for f in fields)
    return [first, *sorted(name.lower() + colon + b" ".join(value.split()) for name, colon, value in pairs), body]


def test_forwarded(plain: Side) -> None:
    wrong = {}
    for name, (sent, expected) in FORWARDED.items():
        got, seen = exchange(plain, sent)
        if not got.startswith(b"HTTP/1.1 200 ") or [normal(raw) for raw in seen] != [normal(expected)]:
            wrong[name] = got, seen
    assert not wrong


# -- what is refused

HOST = b"Host: a\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
REFUSED: dict[str, tuple[bytes, int]] = {
    **{name: (raw, status) for name, raw, status in REQUESTS if isinstance(status, int)},
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "a bad chunk size": (CHUNKED + b"xyz\r\nabc\r\n0\r\n\r\n", 400),
    "no chunk size": (CHUNKED + b"\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk longer than it said": (CHUNKED + b"2\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk size beyond all numbers": (CHUNKED + b"ffffffffffffffffff\r\nabc\r\n0\r\n\r\n", 400),
}


def test_refused(plain: Side) -> None:
    """Whatever the parser refuses is answered once, closed, and nothing of it or behind it reaches the server."""
    wrong = {}
    for name, (sent, status) in REFUSED.items():
        got, seen = exchange(plain, sent + b"GET /smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        if not got.startswith(b"HTTP/1.1 %d " % status) or got.count(b"HTTP/1.") != 1 or b"connection: close" not in got.lower() or seen:
            wrong[name] = got[:200], seen
    assert not wrong


LIMITS: dict[str, tuple[bytes, bytes]] = {
    "a head as long as allowed": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 7000 + b"\r\n\r\n", b"200"),
    "a target too long": (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", b"4"),
    "a field too long": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 9000 + b"\r\n\r\n", b"4"),
    "as many fields as allowed": (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 38 + b"\r\n", b"200"),
    "too many fields": (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 60 + b"\r\n", b"4"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(plain: Side, name: str) -> None:
    sent, status = LIMITS[name]
    got, seen = exchange(plain, sent)
    assert got.startswith(b"HTTP/1.1 " + status), got[:200]
    assert bool(seen) == (status == b"200")


# -- bodies


def test_bodies_by_length_chunks_and_close_arrive_whole(plain: Side) -> None:
    data = bytes(range(256)) * 1200

    def answering(head: bytes, *pieces: bytes) -> Callable[[socket.socket], None]:
        def script(sock: socket.socket) -> None:
            read_head(sock)
            for piece in (head, *pieces):
                sock.sendall(piece)

        return script

    chunks = [b"%x\r\n%b\r\n" % (len(data[i : i + 5000]), data[i : i + 5000]) for i in range(0, len(data), 5000)]
    for script in (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data), data),
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n"),
        answering(b"HTTP/1.1 200 OK\r\n\r\n", data),
    ):
        plain.origin.begin(script)
        made = subprocess.run(["curl", "-s", "-m", "8", f"http://127.0.0.1:{plain.port}/"], capture_output=True, check=True, timeout=15)
        assert made.stdout == data


# -- the same connections as haproxy

REUSE = DEFAULTS + """
listen fe
  bind 127.0.0.1:{port}
  %s
  server s 127.0.0.1:{origin} %s
"""


def connections(side: Side, scenario: Callable[[int], None]) -> list[int]:
    """Requests on each connection that the origin saw while ``scenario(port)`` ran, the busiest first: of several idle connections
    forkproxy takes the one that was used last, so that the others may go, haproxy 2.6 the oldest."""
    side.origin.begin(serve)
    time.sleep(0.05)
    scenario(side.port)
    return sorted((spy.got.count(b"GET ") for spy in side.origin.seen), reverse=True)


def ask(sock: socket.socket, target: bytes = b"/") -> bytes:
    sock.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
    return read_until(sock, b"\r\n\r\nok")


def open_to(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def three_clients_once(port: int) -> None:
    """One request each, one after the other, every client stays."""
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            ask(stack.enter_context(open_to(port)))


def two_clients_alternate(port: int) -> None:
    """Two clients that ask twice in turn."""
    with open_to(port) as one, open_to(port) as two:
        for sock in (one, two, one, two):
            ask(sock)


def three_then_a_new_one(port: int) -> None:
    """A client with three requests, then a new one."""
    with open_to(port) as one:
        for _ in range(3):
            ask(one)
        with open_to(port) as two:
            ask(two)


def one_comes_and_goes(port: int) -> None:
    """Clients that leave after their request."""
    for _ in range(3):
        with open_to(port) as sock:
            ask(sock)


SCENARIOS = (three_clients_once, two_clients_alternate, three_then_a_new_one, one_comes_and_goes)
SETTINGS: dict[str, tuple[str, str]] = {
    "never": ("http-reuse never", ""),
    "safe": ("http-reuse safe", ""),
    "aggressive": ("http-reuse aggressive", ""),
    "always": ("http-reuse always", ""),
    "server-close": ("option http-server-close", ""),
    "prefer-last-server": ("option prefer-last-server", ""),
    "no pool": ("http-reuse always", "pool-max-conn 0"),
}


@needs("haproxy")
@pytest.mark.parametrize("name", SETTINGS)
def test_connections_are_used_as_by_haproxy(tmp_path: Path, name: str) -> None:
    text = REUSE % SETTINGS[name]
    with Side(tmp_path, text) as ours, Side(tmp_path, text, "haproxy") as theirs:
        seen = {scenario.__name__: (connections(ours, scenario), connections(theirs, scenario)) for scenario in SCENARIOS}
    assert {name: pair[0] for name, pair in seen.items()} == {name: pair[1] for name, pair in seen.items()}


def test_a_connection_that_told_whose_it_is_serves_nobody_else(tmp_path: Path) -> None:
    with Side(tmp_path, REUSE % ("http-reuse always", "send-proxy")) as side:
        assert connections(side, three_clients_once) == [1, 1, 1]
        assert connections(side, three_then_a_new_one) == [3, 1]


def test_a_connection_is_used_again_as_often_as_max_reuse_says(tmp_path: Path) -> None:
    for limit, expected in ((0, [1, 1, 1, 1]), (1, [2, 2]), (2, [3, 1])):
        with Side(tmp_path, REUSE % ("http-reuse always", f"max-reuse {limit}")) as side:
            assert connections(side, three_then_a_new_one) == expected


def test_one_balance_decision_per_request(tmp_path: Path) -> None:
    text = DEFAULTS + """
listen fe
  bind 127.0.0.1:{port}
  balance roundrobin
  http-response set-header X-Server %s
  server one 127.0.0.1:{origin}
  server two 127.0.0.1:{origin}
  server three 127.0.0.1:{origin}
"""
    with Side(tmp_path, text) as side:
        side.origin.begin(serve)
        with open_to(side.port) as sock:
            names = [ask(sock).lower().split(b"x-server: ")[1].split(b"\r\n")[0] for _ in range(6)]
    assert names == [b"one", b"two", b"three"] * 2


def test_prefer_last_server_stays(tmp_path: Path) -> None:
    text = DEFAULTS + """
listen fe
  bind 127.0.0.1:{port}
  balance roundrobin
  option prefer-last-server
  http-response set-header X-Server %s
  server one 127.0.0.1:{origin}
  server two 127.0.0.1:{origin}
"""
    with Side(tmp_path, text) as side:
        side.origin.begin(serve)
        with open_to(side.port) as sock, open_to(side.port) as other:
            names = [ask(s).lower().split(b"x-server: ")[1].split(b"\r\n")[0] for s in (sock, other, sock, sock, other)]
    assert names == [b"one", b"two", b"one", b"one", b"two"]


def test_idle_connections_go_after_their_delay(tmp_path: Path) -> None:
    with Side(tmp_path, REUSE % ("http-reuse always", "pool-purge-delay 100ms")) as side:
        side.origin.begin(serve)
        with open_to(side.port) as sock:
            ask(sock)
            spy = side.origin.seen[0]
            end = time.monotonic() + 6
            while not spy.over and time.monotonic() < end:
                time.sleep(0.05)  # somebody else's clock
            assert spy.over
        with open_to(side.port) as sock:
            ask(sock)
        assert len(side.origin.seen) == 2


# -- limits of listeners


def test_connections_beyond_the_limit_of_a_bind_wait(tmp_path: Path) -> None:
    text = PLAIN.replace("bind 127.0.0.1:{port}", "bind 127.0.0.1:{port} maxconn 2")
    with Side(tmp_path, text) as side:
        side.origin.begin(serve)
        first, second, third = (open_to(side.port) for _ in range(3))
        with first, second, third:
            ask(first)
            ask(second)
            third.sendall(b"GET /third HTTP/1.1\r\nHost: a\r\n\r\n")
            third.settimeout(0.3)
            with pytest.raises(TimeoutError):
                third.recv(1)
            first.close()
            third.settimeout(5)
            assert b"ok" in read_until(third, b"\r\n\r\nok")


def test_session_rate_is_bounded(tmp_path: Path) -> None:
    with Side(tmp_path, PLAIN + "  rate-limit sessions 10\n") as side:
        side.origin.begin(serve)
        begin = time.monotonic()
        for _ in range(16):
            with open_to(side.port) as sock:
                ask(sock)
        took = time.monotonic() - begin
    assert 0.3 < took < 4.0


# -- memory


def test_memory_does_not_grow_with_requests_and_connections(tmp_path: Path) -> None:
    with Side(tmp_path, PLAIN) as side:
        side.origin.begin(serve)
        process = psutil.Process(side.process.pid)

        def churn(connections: int, requests: int) -> None:
            for _ in range(connections):
                with open_to(side.port) as sock:
                    for _ in range(requests):
                        ask(sock)

        def crowd() -> None:
            threads = [threading.Thread(target=churn, args=(25, 20)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        crowd()
        before = process.memory_info().rss
        for _ in range(5):
            crowd()
        grown = process.memory_info().rss - before
    assert grown < 1 << 20, f"{grown} bytes after 10000 requests"
