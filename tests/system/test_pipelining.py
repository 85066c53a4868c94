"""Many requests at once on one connection: answered in order, in bounded memory, whatever the client and the servers do meanwhile."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.system.duet import Side, read_all, read_head, read_until

pytestmark = pytest.mark.system

TEXT = """
global
  log {log} local0
defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
frontend fe
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain lf-string "%[path]" if {{ path_beg /local/ }}
  http-request deny if {{ path_beg /deny/ }}
  default_backend be
backend be
  balance roundrobin
  server s 127.0.0.1:{origin}
  server t 127.0.0.1:{origin}
"""
COUNT = 10_000


@pytest.fixture(scope="module")
def side(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    with Side(tmp_path_factory.mktemp("pipes"), TEXT) as running:
        yield running


def echo(sock: socket.socket) -> None:
    """A server that answers with the target, and with the body of a POST, as long as requests come."""
    got = b""
    while b"\r\n\r\n" in (got := read_head(sock, got)):
        head, _, got = got.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        wanted = int(length[1]) if length else 0
        while len(got) < wanted:
            got += sock.recv(65536)
        body, got = head.split(b" ")[1] + got[:wanted], got[wanted:]
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def bodies(data: bytes) -> list[bytes]:
    """The bodies of a row of answers with lengths."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        assert length, head
        found.append(data[: int(length[1])])
        data = data[int(length[1]) :]
    return found


@pytest.mark.parametrize("prefix", [b"/far/", b"/local/"])
def test_ten_thousand_in_order(side: Side, prefix: bytes) -> None:
    side.origin.begin(echo)
    process = psutil.Process(side.process.pid)
    before = process.memory_info().rss
    targets = [prefix + b"%d" % i for i in range(COUNT)]
    raw = b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target for target in targets[:-1])
    raw += b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % targets[-1]
    with socket.create_connection(("127.0.0.1", side.port), timeout=20) as sock:
        sender = threading.Thread(target=sock.sendall, args=(raw,))
        sender.start()
        got = read_all(sock)
        sender.join()
    assert bodies(got) == targets
    assert process.memory_info().rss - before < 4 << 20


def test_a_client_that_reads_nothing_is_not_read(side: Side) -> None:
    """Answers of 60 KiB that nobody takes: after a few the requests stay in the kernel."""
    taken = [0]

    def server(sock: socket.socket) -> None:
        got = b""
        while b"\r\n\r\n" in (got := read_head(sock, got)):
            got = got.partition(b"\r\n\r\n")[2]
            taken[0] += 1
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 61440\r\n\r\n" + bytes(61440))

    side.origin.begin(server)
    process = psutil.Process(side.process.pid)
    before = process.memory_info().rss
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.connect(("127.0.0.1", side.port))
        sock.settimeout(1.0)
        request = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1000 + b"\r\n\r\n"
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 64 << 20:
                sent += sock.send(request * 60)
        assert taken[0] < 500
        assert process.memory_info().rss - before < 4 << 20


def test_bodies_and_refusals_in_between(side: Side) -> None:
    side.origin.begin(echo)
    requests = [
        b"GET /far/1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /far/2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
        b"GET /deny/3 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /deny/4 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
        b"POST /local/5 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        b"\r\nGET /far/6 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    raw = b"".join(requests)
    for cut in (len(raw), 100, 7, 1):
        with socket.create_connection(("127.0.0.1", side.port), timeout=5) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sender = threading.Thread(target=trickle, args=(sock, raw, cut))
            sender.start()
            got = bodies(read_all(sock).removesuffix(b"<reset>"))
            sender.join()
        assert [got[i] for i in (0, 1, 4, 5)] == [b"/far/1", b"/far/2body", b"/local/5", b"/far/6"]
        assert len(got) == 6 and got[2] == got[3] and b"403" in got[2]


def trickle(sock: socket.socket, raw: bytes, size: int) -> None:
    """Send ``raw`` in pieces of ``size``; the end may come before all is out."""
    try:
        for at in range(0, len(raw), size):
            sock.sendall(raw[at : at + size])
    except OSError:
        pass


def test_what_was_pipelined_before_a_half_close_is_answered(side: Side) -> None:
    """2.6 and 3.4 end a request whose client says that it has no more to say (abortonclose); those answered before stay answered."""
    side.origin.begin(echo)
    with socket.create_connection(("127.0.0.1", side.port), timeout=5) as sock:
        sock.sendall(b"GET /local/1 HTTP/1.1\r\nHost: a\r\n\r\nGET /local/2 HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert bodies(read_all(sock)) == [b"/local/1", b"/local/2"]


def test_a_bad_request_behind_good_ones(side: Side) -> None:
    side.origin.begin(echo)
    with socket.create_connection(("127.0.0.1", side.port), timeout=5) as sock:
        sock.sendall(b"GET /far/1 HTTP/1.1\r\nHost: a\r\n\r\nGET /far/2 HTTP/1.1\r\nHost: a\r\n\r\nBAD\r\n\r\nGET /far/3 HTTP/1.1\r\n\r\n")
        got = read_all(sock)
    assert bodies(got)[:2] == [b"/far/1", b"/far/2"]
    assert got.count(b"HTTP/1.1 ") == 3 and b"HTTP/1.1 400 " in got


def test_an_abort_in_the_middle_leaves_nothing_behind(side: Side) -> None:
    """Clients that leave while pipelined requests are served: their server connections go, and nothing spins."""
    gone = threading.Event()

    def server(sock: socket.socket) -> None:
        read_head(sock)
        if not sock.recv(65536):
            gone.set()

    side.origin.begin(server)
    process = psutil.Process(side.process.pid)
    with socket.create_connection(("127.0.0.1", side.port), timeout=5) as sock:
        sock.sendall(b"GET /far/1 HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
        read_until_seen(side)
    assert gone.wait(5)
    busy = sum(process.cpu_times()[:2])
    time.sleep(0.3)
    assert sum(process.cpu_times()[:2]) - busy < 0.1


def read_until_seen(side: Side) -> None:
    """Wait until the server has a request."""
    end = time.monotonic() + 5
    while not any(spy.got for spy in side.origin.seen):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_server_that_closes_after_each_answer_without_saying_so(side: Side) -> None:
    """Connections that die while idle cost no request: each is answered, in order."""

    def server(sock: socket.socket) -> None:
        head = read_head(sock)
        if head:
            body = head.split(b" ")[1]
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    side.origin.begin(server)
    with socket.create_connection(("127.0.0.1", side.port), timeout=5) as sock:
        for i in range(50):
            sock.sendall(b"GET /far/%d HTTP/1.1\r\nHost: a\r\n\r\n" % i)
            assert read_until(sock, b"/far/%d" % i).startswith(b"HTTP/1.1 200 ")
