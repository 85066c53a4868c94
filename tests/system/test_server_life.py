"""Servers from a template, states to begin with, slow starts and limits that grow with the load, through three workers."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.ports import free_ports
from tests.system.conftest import Proxy, eventually, get
from tests.system.scripts import command

pytestmark = pytest.mark.system


class Server:
    """Answers each request with its name; ``most`` is how many it served at the same time, each for ``busy_s``."""

    def __init__(self, port: int = 0, busy_s: float = 0.0) -> None:
        self.sock = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self.sock.getsockname()[1]
        self.busy_s = busy_s
        self.now = self.most = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(ConnectionError), peer:  # a check resets
            if not peer.recv(65536):
                return  # a check
            with self._lock:
                self.now += 1
                self.most = max(self.most, self.now)
            time.sleep(self.busy_s)
            with self._lock:
                self.now -= 1
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n%05d" % self.port)

    def close(self) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


@pytest.fixture
def server() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(port: int = 0, busy_s: float = 0.0) -> Server:
        made.append(Server(port, busy_s))
        return made[-1]

    yield make
    for one in made:
        one.close()


def head(directory: Path) -> str:
    return f"""
global
  nbthread 3
  stats socket {directory}/cli.sock
defaults
  mode http
  timeout connect 2s
  timeout client 20s
  timeout server 20s
  timeout queue 15s
"""


def columns(directory: Path, backend: str) -> dict[str, dict[str, str]]:
    """``show stat`` of the servers of a backend, by name."""
    lines = command(directory / "cli.sock", f"show stat {backend} 4 -1").decode().splitlines()
    names = lines[0].removeprefix("# ").split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:] if line]
    return {row["svname"]: row for row in rows}


def test_templates_and_states_to_begin_with(start: Callable[..., Proxy], tmp_path: Path, server: Callable[..., Server]) -> None:
    one = server()
    template, down, up = free_ports(3)
    start(head(tmp_path) + f"""
frontend t
  bind 127.0.0.1:{template}
  default_backend tb
frontend d
  bind 127.0.0.1:{down}
  default_backend db
frontend u
  bind 127.0.0.1:{up}
  default_backend ub
backend tb
  default-server weight 7
  server-template web 2-4 127.0.0.1:{one.port}
backend db
  server s 127.0.0.1:{one.port} check inter 400ms fastinter 400ms downinter 400ms rise 3 init-state fully-down
backend ub
  server s 127.0.0.1:1 check inter 20s fall 2 init-state fully-up
""").ready()  # fmt: skip
    assert get(down)[0] == 503, "it is down until three checks were good"
    assert columns(tmp_path, "ub")["s"]["status"].startswith("UP")
    rows = columns(tmp_path, "tb")
    assert [(name, row["weight"]) for name, row in rows.items()] == [("web2", "7"), ("web3", "7"), ("web4", "7")]
    assert {get(template)[0] for _ in range(12)} == {200}
    eventually(lambda: sum(int(row["lbtot"]) for row in columns(tmp_path, "tb").values()) == 12, "all are counted")
    eventually(lambda: get(down)[0] == 200, "up after three checks")


def test_a_server_that_comes_back_starts_slowly(start: Callable[..., Proxy], tmp_path: Path, server: Callable[..., Server]) -> None:
    old = server()
    front, young = free_ports(2)
    proxy = start(head(tmp_path) + f"""
frontend f
  bind 127.0.0.1:{front}
  default_backend b
backend b
  option log-health-checks
  default-server inter 100ms rise 1 fall 1 slowstart 6s weight 100
  server old 127.0.0.1:{old.port} check
  server young 127.0.0.1:{young} check
""").ready()  # fmt: skip
    proxy.says("Server b/young is DOWN")
    came = server(young)
    proxy.says("Server b/young is UP")
    early = Counter(get(front)[1] for _ in range(60))
    row = columns(tmp_path, "b")["young"]
    assert 0 < int(row["throttle"]) < 100 and int(row["weight"]) < 100
    assert early[b"%05d" % came.port] < 25, early  # half of them would be its share
    eventually(lambda: not columns(tmp_path, "b")["young"]["throttle"], "the end of the slow start")
    assert columns(tmp_path, "b")["young"]["weight"] == "100"
    late = Counter(get(front)[1] for _ in range(90))
    assert 30 <= late[b"%05d" % came.port] <= 60, late


def test_minconn_grows_with_the_load_of_the_backend(start: Callable[..., Proxy], tmp_path: Path, server: Callable[..., Server]) -> None:
    """With few streams ``minconn`` holds, at ``fullconn`` the server gets ``maxconn``, over all workers together (manual 5.2)."""
    one = server(busy_s=0.15)
    (front,) = free_ports(1)
    start(head(tmp_path) + f"""
frontend f
  bind 127.0.0.1:{front}
  default_backend b
backend b
  fullconn 40
  server s 127.0.0.1:{one.port} minconn 2 maxconn 10
""").ready()  # fmt: skip
    with ThreadPoolExecutor(40) as pool:
        assert {status for status, _ in pool.map(lambda _: get(front, timeout_s=20), range(5))} == {200}
        few, one.most = one.most, 0
        assert {status for status, _ in pool.map(lambda _: get(front, timeout_s=20), range(80))} == {200}
    assert few == 2
    assert 8 <= one.most <= 10


def test_what_the_operator_wanted_survives_reloads_and_masters(
    start: Callable[..., Proxy], tmp_path: Path, server: Callable[..., Server]
) -> None:
    one = server()
    (front,) = free_ports(1)
    more = "cli.sock level admin\n  max-spread-checks 50ms\n  hard-stop-after 5s"
    text = head(tmp_path).replace("cli.sock", more) + f"""
frontend f
  bind 127.0.0.1:{front}
  default_backend b
backend b
  default-server inter 100s fastinter 100s downinter 100s
  server plain 127.0.0.1:{one.port} check
  server light 127.0.0.1:{one.port} check weight 100
  server drains 127.0.0.1:{one.port} check
  server stopped 127.0.0.1:{one.port} check
  server down 127.0.0.1:{one.port} check rise 9
  server unchecked 127.0.0.1:1 check fall 1 init-state down
  server silent 127.0.0.1:{one.port} check agent-check agent-port 1
  server told 127.0.0.1:{one.port} check agent-check agent-port 1
  server enabled 127.0.0.1:{one.port} disabled
  server follows 127.0.0.1:{one.port} track b/down
"""
    proxy = start(text).ready()

    def said(words: str) -> str:
        return command(tmp_path / "cli.sock", words).decode().strip()

    def known() -> list[list[str]]:
        """Of each server: states, weights, checks; but for ids, addresses, times, and how far a check is: each start checks anew."""
        rows = [line.split() for line in said("show servers state").splitlines()[2:]]
        return [[row[3], *row[5:9], *row[10:12], str(int(row[13]) & ~1), str(int(row[14]) & ~1)] for row in rows if row]

    def checked() -> bool:
        rows = columns(tmp_path, "b")
        return all(rows[name]["check_status"] == "L4OK" for name in ("plain", "light", "drains", "stopped", "down", "silent", "told"))

    eventually(checked, "a check of each")
    eventually(lambda: columns(tmp_path, "b")["unchecked"]["check_status"] == "L4CON", "the check that fails")
    for order in (
        "set weight b/light 3", "set server b/drains state drain", "set server b/stopped state maint", "set server b/down health down",
        "disable health b/unchecked", "disable agent b/silent", "disable health b/told", "set server b/told agent down",
        "set server b/enabled state ready",
    ):  # fmt: skip
        assert said(order) in ("", "no need to change the addr"), order
    before = known()
    assert [row[0] for row in before if row[1] == "0"] == ["stopped", "down", "told", "follows"], before
    proxy.reload()
    assert known() == before
    proxy.reload(text + "# changed\n")
    assert known() == before
    proxy.process.kill()
    proxy.wait()
    start(text).ready()
    assert known() == before
    said("set server b/told agent up")
    assert [row[1] for row in known() if row[0] == "told"] == ["2"], "its checks have always been good"
    said("enable health b/unchecked")
    eventually(lambda: columns(tmp_path, "b")["unchecked"]["status"] == "DOWN", "it is checked again")
