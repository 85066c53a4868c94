"""Workers that are killed at random under load: whatever counts what there is now returns to the truth, which the test itself knows."""

from __future__ import annotations

import random
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import ports
from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, Load, Proxy, eventually, get
from tests.system.duet import read_head
from tests.system.scripts import reset
from tests.system.test_limits import Server, ask, cli, server  # noqa: F401  (a fixture)
from tests.system.test_stick_tables import entries

pytestmark = pytest.mark.system

KILLS = 6


def config(ports: list[int], directory: Path, origin: int, still: int) -> str:
    return f"""
global
  nbthread 3
  stats socket {directory}/cli level admin
  hard-stop-after 5s
{DEFAULTS}
  timeout queue 5m
  timeout client 5m
  timeout server 5m
frontend f
  maxconn 40
  backlog 100
  bind 127.0.0.1:{ports[0]}
  tcp-request connection track-sc0 src table t
  default_backend b
backend b
  server s 127.0.0.1:{origin} maxconn 6
backend t
  stick-table type ip size 10 store conn_cur,conn_cnt
frontend tcp
  mode tcp
  bind 127.0.0.1:{ports[1]}
  default_backend line
backend line
  mode tcp
  server s 127.0.0.1:{still}
frontend busy
  bind 127.0.0.1:{ports[2]}
  http-request track-sc0 src table requests
  http-request return status 200 content-type text/plain string hello
backend requests
  stick-table type ip size 10 store conn_cur,http_req_cnt
frontend probe
  bind 127.0.0.1:{ports[3]}
  http-request return status 200 content-type text/plain lf-string "%[fe_conn(f)] %[be_conn(b)] %[srv_conn(b/s)] %[queue(b)] \
%[be_conn(line)] %[src,table_conn_cur(t)] %[be_conn_free(b)]"
"""


@pytest.fixture
def still() -> Iterator[int]:
    """A server that says nothing."""
    with ports.listener(backlog=4096) as sock:
        yield sock.getsockname()[1]


def living(socks: list[socket.socket]) -> list[socket.socket]:
    """Those that nobody ended; the others are closed."""
    ended = select.select(socks, [], [], 0)[0]
    for sock in ended:
        sock.close()
    return [sock for sock in socks if sock not in ended]


def served(socks: list[socket.socket], count: int) -> list[socket.socket]:
    """Wait until so many were answered; the others."""
    for _ in range(count):
        sock = select.select(socks, [], [], 15)[0][0]
        with sock:
            assert read_head(sock).startswith(b"HTTP/1.1 200")
        socks = [one for one in socks if one is not sock]
    return socks


def numbers(path: Path) -> dict[str, tuple[int, int]]:
    """(streams or connections, waiting) of all proxies and servers."""
    lines = [line.split(",") for line in cli(path, "show stat").splitlines() if line]
    at = [lines[0].index(name) for name in ("scur", "qcur")]
    return {"/".join(line[:2]): tuple(int(line[i] or 0) for i in at) for line in lines[1:]}  # type: ignore[misc]


def test_every_number_returns_to_the_truth(
    start: Callable[..., Proxy], tmp_path: Path, server: Callable[..., Server], still: int, load: Callable[..., Load]  # noqa: F811
) -> None:
    origin = server()
    ports = free_ports(4)
    path = tmp_path / "cli"
    proxy = start(config(ports, tmp_path, origin.port, still)).ready()
    clients = [load(ports[2], 3), load(ports[2], 3, keep=False)]
    asked: list[socket.socket] = []
    idle: list[socket.socket] = []
    sessions: list[socket.socket] = []

    def wrong() -> dict[str, tuple[object, object]]:
        """What is told and what is so, where they differ. We know who waits for an answer, is idle, or has a session of TCP."""
        streams, waiting, http = min(len(asked), 6), max(0, len(asked) - 6), len(asked) + len(idle)
        told = numbers(path)
        row = entries(path, "t")["127.0.0.1"]
        asking = {get(ports[3])[1].decode() for _ in range(6)}
        pairs: dict[str, tuple[object, object]] = {
            "clients": (sorted(one.getsockname()[1] for one in select.select([*asked, *idle, *sessions], [], [], 0)[0]), []),
            "the server itself": (len(origin.open), streams),
            "frontend": (told["f/FRONTEND"][0], http),
            "backend": (told["b/BACKEND"], (len(asked), waiting)),
            "server": (told["b/s"], (streams, 0)),
            "tcp": ([told[name][0] for name in ("tcp/FRONTEND", "line/BACKEND", "line/s")], [len(sessions)] * 3),
            "table": ((row["conn_cur"], row["use"]), (str(http), str(http))),
            "rules": (asking, {f"{http} {len(asked)} {streams} {waiting} {len(sessions)} {http} {6 - streams}"}),
        }
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def settles(when: str) -> None:
        found: dict[str, tuple[object, object]] = {}

        def right() -> bool:
            nonlocal found
            found = wrong()
            return not found

        try:
            eventually(right)
        except BaseException:
            pytest.fail(f"{when}: {found}")

    try:
        for _ in range(KILLS):
            asked += [ask(ports[0]) for _ in range(20 - len(asked))]
            idle += [socket.create_connection(("127.0.0.1", ports[0]), 10) for _ in range(8 - len(idle))]
            sessions += [socket.create_connection(("127.0.0.1", ports[1]), 10) for _ in range(9 - len(sessions))]
            settles("the truth before")
            clients[1].more(20)
            had = proxy.workers
            random.choice(had).kill()
            eventually(lambda had=had: len(now := proxy.workers) == 3 and now != had, "another worker")  # type: ignore[misc]
            asked, idle, sessions = living(asked), living(idle), living(sessions)
            settles(f"the truth of {len(asked)}, {len(idle)} and {len(sessions)}")
            some = min(2, len(asked))  # a worker that accepts for others who are not back yet may have had all
            for _ in range(some):
                origin.answer()
            asked = served(asked, some)
        for one in clients:
            one.stop()
        while asked:
            origin.answer()
            asked = served(asked, 1)
        for sock in idle:
            sock.close()
        for sock in sessions:
            reset(sock)  # the server does not close its side
        idle, sessions = [], []
        settles("nothing is left")
        assert origin.most == 6
        eventually(lambda: {pair for name, pair in numbers(path).items() if not name.startswith("probe")} == {(0, 0)}, "zeros everywhere")
        eventually(lambda: "\nCurrConns: 0\n" in cli(path, "show info"), "no connection in all")
        requests = entries(path, "requests")["127.0.0.1"]
        assert requests["conn_cur"] == requests["use"] == "0"
        done = sum(one.done for one in clients)
        assert done <= int(requests["http_req_cnt"]) <= done + sum(len(one.failures) for one in clients) + KILLS
        # All places are there again, and no more than that.
        idle = [socket.create_connection(("127.0.0.1", ports[0]), 10) for _ in range(45)]
        eventually(lambda: numbers(path)["f/FRONTEND"][0] == 40, "40 connections")
        asked = [ask(ports[0]) for _ in range(10)]
        for sock in idle:
            sock.close()
        idle = []
        settles("ten that came late")
    finally:
        for sock in (*asked, *idle, *sessions):
            sock.close()
