"""``retries``, the turn-around delay and ``option redispatch`` with real connections, in both modes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import ports
from tests.ports import free_ports
from tests.system.conftest import Proxy, eventually, get

TEXT = """
global
  nbthread 1
  stats-endpoint 127.0.0.1:{metrics}
defaults
  mode {mode}
  timeout connect {connect}
  timeout client 10s
  timeout server 10s
  retries 2
listen t
  bind 127.0.0.1:{port}
  balance {balance}
  {option}
  server a 127.0.0.1:{dead}
  {second}
"""


@pytest.fixture
def dead() -> Iterator[socket.socket]:
    """A port that refuses until somebody listens on it."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock


def answer(sock: socket.socket) -> None:
    """One HTTP answer to one connection."""
    peer, _ = sock.accept()
    with peer:
        peer.recv(4096)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")


@pytest.fixture
def run(tmp_path: Path, dead: socket.socket) -> Iterator[Callable[..., tuple[int, int]]]:
    running: list[Proxy] = []

    def begin(mode: str, connect: str, balance: str = "first", option: str = "", second: str = "") -> tuple[int, int]:
        port, metrics = free_ports(2)
        text = TEXT.format(
            mode=mode, connect=connect, balance=balance, option=option, second=second, port=port, metrics=metrics,
            dead=dead.getsockname()[1]
        )
        running.append(Proxy(tmp_path, text).ready())
        return port, metrics

    yield begin
    for proxy in running:
        proxy.end()


def counted(metrics: int, name: str) -> float:
    lines = get(metrics, "/metrics")[1].decode().splitlines()
    return sum(float(x.rsplit(" ", 1)[1]) for x in lines if x.startswith(f"haproxy_backend_{name}{{"))


@pytest.mark.parametrize("mode", ["tcp", "http"])
@pytest.mark.parametrize(("connect", "least", "most"), [("5s", 2.0, 3.5), ("200ms", 0.4, 1.5)], ids=["1 s each", "timeout connect each"])
def test_turn_around(run: Callable[..., tuple[int, int]], mode: str, connect: str, least: float, most: float) -> None:
    port, metrics = run(mode, connect)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        got = sock.recv(4096)
    assert (got == b"") if mode == "tcp" else got.startswith(b"HTTP/1.1 503 ")
    assert least <= time.monotonic() - began < most
    eventually(lambda: counted(metrics, "retry_warnings_total") == 2)
    assert counted(metrics, "redispatch_warnings_total") == 0


@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_a_server_that_comes_back_between_two_attempts(
    run: Callable[..., tuple[int, int]], dead: socket.socket, mode: str
) -> None:
    """The client notices nothing but the delay."""
    port, metrics = run(mode, "300ms")
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        eventually(lambda: counted(metrics, "retry_warnings_total") == 1)
        dead.listen()
        server = threading.Thread(target=answer, args=(dead,))
        server.start()
        got = b""
        while data := sock.recv(4096):
            got += data
        server.join()
    assert got.endswith(b"ok")


@pytest.mark.parametrize("mode", ["tcp", "http"])
@pytest.mark.parametrize(
    ("option", "balance", "least"),
    [("option redispatch", "first", 0.2), ("option redispatch 1", "first", 0.0), ("option redispatch", "roundrobin", 0.0)],
)
def test_redispatch(run: Callable[..., tuple[int, int]], mode: str, option: str, balance: str, least: float) -> None:
    with ports.listener() as good:
        server = threading.Thread(target=answer, args=(good,))
        server.start()
        port, metrics = run(mode, "200ms", balance, option, f"server b 127.0.0.1:{good.getsockname()[1]}")
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert sock.recv(4096).endswith(b"ok")
        took = time.monotonic() - began
        server.join()
    assert least <= took < least + 1.0
    eventually(lambda: counted(metrics, "redispatch_warnings_total") == 1)
