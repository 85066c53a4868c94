"""Connections that stop to speak HTTP: WebSockets with a real client and server, CONNECT, the tunnel's timer."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync import client as websockets_client
from websockets.sync import server as websockets_server

from tests.system.duet import Side, read_all, read_head, read_until

pytestmark = pytest.mark.system

TEXT = """
global
  log {log} local0
defaults
  mode http
  log global
  option httplog
  timeout connect 1s
  timeout client 1s
  timeout server 1s
  timeout tunnel %s
listen fe
  bind 127.0.0.1:{port}
  http-request set-path /declined if { path /no }
  server s 127.0.0.1:%s
"""


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    """The port of a WebSocket server that repeats what it hears, and declines one path."""

    def decline(connection: Any, request: Any) -> Any:
        return connection.respond(404, "no\n") if request.path == "/declined" else None

    def handler(connection: Any) -> None:
        for message in connection:
            connection.send(message)

    server = websockets_server.serve(handler, "127.0.0.1", 0, process_request=decline, compression=None, max_size=None)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.socket.getsockname()[1]
    server.shutdown()
    thread.join()


def begin(directory: Path, tunnel: str, server: int | str) -> Side:
    text = TEXT.replace("{ path /no }", "{{ path /no }}") % (tunnel, server)
    return Side(directory, text)


@pytest.fixture(scope="module")
def side(tmp_path_factory: pytest.TempPathFactory, echo: int) -> Iterator[Side]:
    with begin(tmp_path_factory.mktemp("ws"), "5s", echo) as running:
        yield running


def test_messages_of_every_size_and_kind(side: Side) -> None:
    with websockets_client.connect(f"ws://127.0.0.1:{side.port}/chat", compression=None, max_size=None) as ws:
        for size in (0, 1, 125, 126, 65535, 65536, 3_000_000):
            data = os.urandom(size)
            ws.send(data)
            assert ws.recv(timeout=10) == data
        ws.send("words")
        assert ws.recv(timeout=5) == "words"
        assert ws.ping().wait(5)
    assert " 101 " in side.lines(1.0, 1)[0]


def test_many_at_once(side: Side) -> None:
    with contextlib.ExitStack() as stack:
        uri = f"ws://127.0.0.1:{side.port}/chat"
        clients = [stack.enter_context(websockets_client.connect(uri, compression=None)) for _ in range(20)]
        for i, ws in enumerate(clients):
            ws.send(f"hello {i}")
        assert [ws.recv(timeout=5) for ws in clients] == [f"hello {i}" for i in range(20)]


def test_a_tunnel_outlives_the_other_timers(side: Side) -> None:
    """timeout client and server are a second; a WebSocket is silent for longer."""
    with websockets_client.connect(f"ws://127.0.0.1:{side.port}/chat", compression=None, ping_interval=None) as ws:
        time.sleep(1.4)  # somebody else's clock
        ws.send("still there")
        assert ws.recv(timeout=5) == "still there"


def test_a_declined_upgrade_goes_on_as_http(side: Side) -> None:
    key = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with socket.create_connection(("127.0.0.1", side.port), timeout=5) as sock:
        for _ in range(2):
            sock.sendall(b"GET /no HTTP/1.1\r\nHost: a\r\n" + key)
            assert read_until(sock, b"no\n").startswith(b"HTTP/1.1 404 ")
        sock.sendall(b"GET /yes HTTP/1.1\r\nHost: a\r\n" + key)
        assert read_head(sock).startswith(b"HTTP/1.1 101 ")


def test_the_timer_of_a_tunnel_ends_it(tmp_path: Path, echo: int) -> None:
    with begin(tmp_path, "300ms", echo) as running:
        with websockets_client.connect(f"ws://127.0.0.1:{running.port}/chat", compression=None) as ws:
            ws.send("one")
            assert ws.recv(timeout=5) == "one"
            began = time.monotonic()
            with pytest.raises(Exception, match=r"close|EOF|reset"):
                ws.recv(timeout=5)
            assert 0.2 < time.monotonic() - began < 1.0
        line = running.lines(1.0, 1)[0]
        assert " 101 " in line and (" cD-- " in line or " sD-- " in line), line


def test_connect_makes_a_tunnel(tmp_path: Path) -> None:
    with begin(tmp_path, "5s", "{origin}") as running:
        def server(sock: socket.socket) -> None:
            assert read_head(sock).startswith(b"CONNECT far.example:443 HTTP/1.1\r\n")
            sock.sendall(b"HTTP/1.1 200 Connected\r\n\r\nfirst")
            data = read_until(sock, b"done")
            sock.sendall(data[::-1])
            assert sock.recv(1) == b""
            sock.sendall(b"goodbye")

        running.origin.begin(server)
        with socket.create_connection(("127.0.0.1", running.port), timeout=5) as sock:
            sock.sendall(b"CONNECT far.example:443 HTTP/1.1\r\nHost: far.example:443\r\n\r\n")
            got = read_until(sock, b"first")
            assert got.startswith(b"HTTP/1.1 200 ") and b"ontent-" not in got
            sock.sendall(b"\x00\xffGET / HTTP/9.9\r\n\r\ndone")
            read_until(sock, b"\xff\x00")
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == b"goodbye"
