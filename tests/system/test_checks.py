"""Health checks of a running service: states reach the workers at once, and the log says what HAProxy's says for the same file."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ports
from tests.peers import needs
from tests.ports import free_ports
from tests.system.conftest import Proxy, eventually, get

pytestmark = pytest.mark.system


class Origin:
    """A server that answers every request with ``answer`` (None: holds it), and refuses connections while it is not ``open``."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answer: bytes | None = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
        self._sock: socket.socket | None = None
        self._held: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        self._sock = sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self.port))
        sock.listen(64)
        threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def shut(self) -> None:
        """Refuse from now on."""
        if self._sock is not None:
            self._sock.shutdown(socket.SHUT_RDWR)
            self._sock.close()
            self._sock = None
        for connection in self._held:
            connection.close()
        self._held.clear()

    def _serve(self, sock: socket.socket) -> None:
        while True:
            try:
                connection, _ = sock.accept()
            except OSError:
                return
            try:
                connection.settimeout(5)
                connection.recv(65536)
                if self._sock is sock and self.answer is None:
                    self._held.append(connection)
                    continue
                connection.sendall(self.answer or b"")
            except OSError:
                pass
            connection.close()


class Sink:
    """A log server: the texts of what arrives, without header, in order."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.settimeout(0.05)
        self.port = self._sock.getsockname()[1]
        self.lines: list[str] = []

    def read(self) -> list[str]:
        while True:
            try:
                text = self._sock.recv(65536).decode()
            except TimeoutError:
                return self.lines
            header, _, line = text.rstrip().partition("]: ")
            level = re.match(r"<(\d+)>", header)
            assert level is not None
            self.lines.append(f"{int(level[1]) & 7} " + re.sub(r"duration: \d+ms", "duration: Nms", line))

    def waits_for(self, text: str) -> None:
        eventually(lambda: any(text in line for line in self.read()), text)

    def close(self) -> None:
        self._sock.close()


def config(sink: int, front: int, one: int, two: int) -> str:
    return f"""
global
  log 127.0.0.1:{sink} local0
defaults
  mode http
  log global
  timeout connect 1s
  timeout client 5s
  timeout server 5s
  timeout check 500
  default-server inter 200 fastinter 100 downinter 200 rise 2 fall 2
frontend f
  bind 127.0.0.1:{front}
  no log
  default_backend b
backend b
  option httpchk GET /check
  option log-health-checks
  server s1 127.0.0.1:{one} check
  server s2 127.0.0.1:{one} track b/s1
backend c
  option httpchk GET /check
  http-check disable-on-404
  server s1 127.0.0.1:{one} check
  server s2 127.0.0.1:{one} backup
backend d
  server s1 127.0.0.1:{two} check
"""


def story(sink: Sink, one: Origin, two: Origin) -> None:
    """What happens to the servers; every step waits for what the log says of it."""
    sink.waits_for("Health check for server b/s1 succeeded")
    one.answer = b"HTTP/1.1 404 Not here\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    sink.waits_for("Server c/s1 is stopping")
    sink.waits_for("Server b/s2 is DOWN via b/s1")
    one.answer = b"HTTP/1.1 503 Bad thing\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    sink.waits_for("Server c/s1 is DOWN")
    one.answer = b"nonsense\r\n\r\n"
    sink.waits_for("b/s1 failed, reason: Layer7 invalid response")
    one.answer = None
    sink.waits_for("b/s1 failed, reason: Layer7 timeout")
    one.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    sink.waits_for("Server b/s2 is UP via b/s1")
    sink.waits_for("Server c/s1 is UP")
    two.shut()
    sink.waits_for("backend d has no server available!")
    two.open()
    sink.waits_for("Server d/s1 is UP")


def by_backend(lines: list[str]) -> dict[str, list[str]]:
    """The order between backends is chance, that within one is not."""
    found: dict[str, list[str]] = {}
    for line in lines:
        name = re.search(r"(?:server |Server |backend )([bcd])\b", line)
        if name is not None:
            found.setdefault(name[1], []).append(line)
    return found


@pytest.fixture
def origins() -> Iterator[tuple[Origin, Origin]]:
    one, two = (Origin(port) for port in free_ports(2))
    yield one, two
    one.shut()
    two.shut()


@needs("haproxy")
def test_the_log_is_haproxys(tmp_path: Path, origins: tuple[Origin, Origin]) -> None:
    one, two = origins
    told = []
    for program in ("haproxy", "forkproxy"):
        sink = Sink()
        (front,) = free_ports(1)
        text = config(sink.port, front, one.port, two.port)
        if program == "forkproxy":
            proxy = Proxy(tmp_path, text)
            try:
                story(sink, one, two)
            finally:
                proxy.end()
        else:
            path = tmp_path / "haproxy.cfg"
            path.write_text(text)
            with open(tmp_path / "haproxy.out", "wb") as output:
                oracle = subprocess.Popen(["haproxy", "-f", str(path), "-db"], stdout=output, stderr=output)
                try:
                    story(sink, one, two)
                finally:
                    oracle.terminate()
                    oracle.wait(10)
        told.append(by_backend(sink.lines))
        sink.close()
    assert told[1] == told[0]


def everywhere(port: int, status: int) -> None:
    """Every worker answers so within half a second of the log line (they look once per turn of their loops), and goes on answering so."""
    eventually(lambda: {get(port)[0] for _ in range(10)} == {status}, f"{status} from all", 0.5)
    assert {get(port)[0] for _ in range(30)} == {status}


def test_states_reach_every_worker_and_nobody_left_is_503(tmp_path: Path, origins: tuple[Origin, Origin]) -> None:
    one, two = origins
    (front,) = free_ports(1)
    proxy = Proxy(tmp_path, f"""
global
  nbthread 3
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
  default-server inter 100 rise 1 fall 1
frontend f
  bind 127.0.0.1:{front}
  default_backend b
backend b
  retries 0
  server s1 127.0.0.1:{one.port} check
  server s2 127.0.0.1:{two.port} check
""")  # fmt: skip
    try:
        proxy.ready()
        one.shut()
        proxy.says("Server b/s1 is DOWN")
        everywhere(front, 200)
        two.shut()
        proxy.says("backend b has no server available!")
        everywhere(front, 503)
        two.open()
        proxy.says("Server b/s2 is UP")
        everywhere(front, 200)
    finally:
        proxy.end()


def test_traffic_takes_a_server_down_and_checks_bring_it_back(tmp_path: Path, origins: tuple[Origin, Origin]) -> None:
    """``observe`` over all workers: errors in a row count wherever they are seen, a good answer anywhere ends the row."""
    one, two = origins
    (front,) = free_ports(1)
    proxy = Proxy(tmp_path, f"""
global
  nbthread 3
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
frontend f
  bind 127.0.0.1:{front}
  default_backend b
backend b
  server s1 127.0.0.1:{one.port} check inter 10s fastinter 300ms rise 1 observe layer7 error-limit 6 on-error mark-down
  server s2 127.0.0.1:{two.port} backup
""")  # fmt: skip
    try:
        proxy.ready()
        wrong, good = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", one.answer
        for _ in range(3):
            one.answer = wrong
            assert {get(front)[0] for _ in range(3)} == {500}
            one.answer = good
            assert get(front)[0] == 200
        assert "is DOWN" not in proxy.stderr
        one.answer = wrong
        eventually(lambda: get(front)[0] == 200, "the backup serves")  # errors until then, in whatever workers
        proxy.says('Server b/s1 is DOWN, reason: Health analyze, info: "Detected 6 consecutive errors, last one was: Wrong http response"')
        proxy.says("Server b/s1 is UP, reason: Layer4 check passed")
    finally:
        proxy.end()


def test_states_survive_a_reload(tmp_path: Path, origins: tuple[Origin, Origin]) -> None:
    one, two = origins
    (front,) = free_ports(1)
    one.shut()
    text = config(9, front, one.port, two.port)
    proxy = Proxy(tmp_path, text)
    try:
        proxy.ready()
        proxy.says("backend b has no server available!")
        proxy.reload()
        said = proxy.stderr.count("Server b/s1 is DOWN")
        assert get(front)[0] == 503  # known from the first moment on
        one.open()
        proxy.says("Server b/s1 is UP")
        everywhere(front, 200)
        assert proxy.stderr.count("Server b/s1 is DOWN") == said == 1
    finally:
        proxy.end()


def test_thousands_of_servers_are_checked_without_a_burst(tmp_path: Path) -> None:
    """2,000 servers every 2 s, without a listening queue that could take them at once: the first round is spread over the interval, each
    server is asked once in it, and the service answers meanwhile."""
    (port,) = free_ports(1)
    came: list[float] = []
    with ports.listener(backlog=256) as target:

        def accept() -> None:
            while True:
                try:
                    connection, _ = target.accept()
                except OSError:
                    return
                came.append(time.monotonic())
                connection.close()

        threading.Thread(target=accept, daemon=True).start()
        config = f"""
global
  nbthread 2
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend f
  bind 127.0.0.1:{port}
  http-request return status 200
backend b
  server-template s 2000 127.0.0.1:{target.getsockname()[1]} check inter 2s fall 3
"""
        proxy = Proxy(tmp_path, config)
        try:
            proxy.ready()
            eventually(lambda: len(came) >= 2000, "a round of checks")
            assert get(port)[0] == 200
        finally:
            proxy.end()
        target.shutdown(socket.SHUT_RDWR)
    first = came[:2000]
    buckets = Counter(int((moment - first[0]) * 10) for moment in first)
    assert max(buckets.values()) < 600, buckets  # 100 in each tenth of a second, where nobody else wants the processor
    assert first[-1] - first[0] > 1.0
