"""Connections to servers over three workers: how many are kept idle, how many there are at most, where they come from; and what rules and
log lines say of their number."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import ports
from tests.ports import free_ports
from tests.system.conftest import Proxy, eventually
from tests.system.duet import read_all
from tests.system.scripts import command

pytestmark = pytest.mark.system

Start = Callable[..., Proxy]
SHOW = "  http-response set-header x-counts %[fe_conn(f)],%[be_conn],%[srv_conn(most/s)]\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def readable(socks: list[socket.socket], wait_s: float) -> list[socket.socket]:
    """Which of them are, waiting for the first so long."""
    poll = select.poll()
    for sock in socks:
        poll.register(sock, select.POLLIN)
    found = {fd for fd, _ in poll.poll(wait_s * 1000)}
    return [sock for sock in socks if sock.fileno() in found]


class Keeper:
    """Keeps connections open as long as the proxy does. Requests for ``/<backend>/held`` are answered by :meth:`answer`, others at once.

    ``open`` are the connections with the backend that used each; ``most`` is how many of a backend there were at a time, where who went is
    noticed before who comes."""

    def __init__(self) -> None:
        self.sock = ports.listener(backlog=512)
        self.port: int = self.sock.getsockname()[1]
        self.open: dict[socket.socket, str] = {}
        self.held: list[socket.socket] = []
        self.most: dict[str, int] = {}
        self.sources: dict[str, set[str]] = {}
        self._end = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end:
            ready = readable([self.sock, *self.open], 0.01)
            asked = []
            for sock in ready:
                if sock is not self.sock:
                    data = b""
                    with contextlib.suppress(OSError):
                        data = sock.recv(65536)
                    if data:
                        asked.append((sock, data))
                    else:
                        self.open.pop(sock)
                        sock.close()
            for sock, data in asked:
                path = data.split(b" ", 2)[1].decode()
                name = self.open[sock] = path.split("/")[1]
                self.most[name] = max(self.most.get(name, 0), self.of(name))
                self.sources.setdefault(name, set()).add(sock.getpeername()[0])
                if path.endswith("/held"):
                    self.held.append(sock)
                else:
                    with contextlib.suppress(OSError):
                        sock.sendall(ANSWER)
            if self.sock in ready:
                sock, _ = self.sock.accept()
                self.open[sock] = ""

    def of(self, name: str) -> int:
        """How many connections are open that this backend used."""
        return list(self.open.values()).count(name)

    def answer(self) -> None:
        """Answer who has been held longest."""
        self.held.pop(0).sendall(ANSWER)

    def close(self) -> None:
        self._end = True
        self._thread.join()
        for sock in (self.sock, *self.open):
            sock.close()


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    one = Keeper()
    yield one
    one.close()


@pytest.fixture
def sink() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.settimeout(10)
        yield one


def ask(port: int, path: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 20)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".encode())
    return sock


def whole(port: int, path: str) -> bytes:
    with ask(port, path) as sock:
        return read_all(sock)


def held(port: int, keeper: Keeper, name: str, count: int) -> list[socket.socket]:
    """So many clients of a backend whose requests all arrived at the server, on a connection each."""
    socks = [ask(port, f"/{name}/held") for _ in range(count)]
    eventually(lambda: len(keeper.held) == count, f"{count} requests arrived")
    return socks


def finish(keeper: Keeper, socks: list[socket.socket]) -> list[bytes]:
    """Let them have their answers, one after the other."""
    heads = []
    for _ in range(len(socks)):
        keeper.answer()
        sock = readable(socks, 10)[0]
        heads.append(read_all(sock))
        socks.remove(sock)
        sock.close()
    return heads


def test_idle_connections_and_numbers_are_the_services(start: Start, tmp_path: Path, keeper: Keeper, sink: socket.socket) -> None:
    (front,) = free_ports(1)
    options = {
        "most": "pool-max-conn 4", "none": "pool-max-conn 0", "never": "pool-purge-delay 0", "soon": "pool-purge-delay 100ms",
        "few": "pool-purge-delay 100ms pool-low-conn 3", "strict": "maxconn 4 strict-maxconn", "loose": "maxconn 4",
        "from": "source 127.0.0.77",
    }  # fmt: skip
    server = f"  server s 127.0.0.1:{keeper.port}"
    backends = "".join(f"backend {name}\n  http-reuse always\n{server} {more}\n{SHOW}" for name, more in options.items())
    start(f"""
global
  nbthread 3
  stats socket {tmp_path}/cli
  log 127.0.0.1:{sink.getsockname()[1]} local0
defaults
  mode http
  log global
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend f
  bind 127.0.0.1:{front}
  log-format "counts %ac/%fc/%bc/%sc"
  use_backend %[path,field(2,/)]
{backends}
""").ready()

    def streams(name: str) -> bool:
        line = next(x for x in command(tmp_path / "cli", "show stat").decode().splitlines() if x.startswith(f"{name},BACKEND,"))
        return line.split(",")[4] == "12"

    # What one worker says of a moment is what all of them have in it.
    socks = held(front, keeper, "most", 12)
    eventually(lambda: streams("most"), "12 streams in the statistics")
    heads = finish(keeper, socks)
    assert b"\r\nx-counts: 12,12,12\r\n" in heads[0]
    line = sink.recv(4096)
    while b"counts " not in line:
        line = sink.recv(4096)
    assert line.rstrip().endswith(b"counts 12/12/11/11")  # as in HAProxy without the stream itself, for which it is over there
    eventually(lambda: keeper.of("most") == 4, "4 idle connections of all workers together")

    for name in ("none", "never", "soon", "few"):
        finish(keeper, held(front, keeper, name, 12))
    eventually(lambda: not keeper.of("none") and not keeper.of("never"), "nothing is kept", 1.5)
    eventually(lambda: not keeper.of("soon"), "what nobody uses goes", 1.5)
    eventually(lambda: 1 <= keeper.of("few") <= 3, "all but three")
    assert keeper.of("most") == 4

    with ThreadPoolExecutor(8) as pool:
        for name in ("strict", "loose", "from"):
            for reply in pool.map(lambda path: whole(front, path), [f"/{name}/"] * 60):
                assert reply.startswith(b"HTTP/1.1 200")
    # Idle connections of other workers do not count in maxconn unless it is strict.
    assert keeper.most["strict"] <= 4 < keeper.most["loose"]
    assert keeper.sources["from"] == {"127.0.0.77"}
    assert 1 <= keeper.of("few") <= 3, "kept though nobody used them for some time"
