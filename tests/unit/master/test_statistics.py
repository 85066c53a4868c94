"""The master's statistics: endpoint addresses come and go with the plan, the context follows."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import pytest

from forkproxy.clock import ManualClock
from forkproxy.master.health_runner import Runner
from forkproxy.master.statistics import Statistics
from forkproxy.net.loop import Loop
from forkproxy.net.sockets import BindError
from forkproxy.plan import Address, Bind, Global, Plan
from forkproxy.state import layout
from forkproxy.state.counters import Rows
from forkproxy.state.names import NameTable
from forkproxy.state.segment import Segment
from forkproxy.state.servers import ServerTable
from forkproxy.stats.query import parse_query


@dataclass
class State:
    rows: Rows
    servers: ServerTable


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def plan(*ports: int, node: str = "n") -> Plan:
    binds = tuple(Bind(address=Address("ipv4", "127.0.0.1", port)) for port in ports)
    return Plan(global_=Global(stats_endpoint=binds, node=node))


def make(first: Plan) -> tuple[Statistics, Loop, ManualClock, State]:
    clock = ManualClock()
    loop = Loop(clock)
    rows = Rows(Segment.create(2, 16), NameTable(16), clock)
    state = State(rows, ServerTable(rows))
    runner = Runner(first, loop, state.servers, lambda backend, level, text: None)
    return Statistics(first, loop, state, runner, clock.wall), loop, clock, state


def answers(loop: Loop, port: int) -> bytes:
    with socket.socket() as client:
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        for _ in range(5):
            loop.run_once(0)
        client.settimeout(5)
        return client.recv(4096)


def refused(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def test_addresses_follow_the_plan() -> None:
    one, two = free_port(), free_port()
    statistics, loop, _, _ = make(plan(one))
    assert refused(one)
    statistics.open(plan(one))
    assert b"200 OK" in answers(loop, one)
    kept = statistics.sockets()[0].fileno()
    statistics.open(plan(one, two, node="other"))
    assert kept in {sock.fileno() for sock in statistics.sockets()}
    assert b"200 OK" in answers(loop, one) and b"200 OK" in answers(loop, two)
    assert 'node="other"' in "".join(statistics.context.render(parse_query("scope=global")))
    statistics.open(plan(two))
    assert refused(one) and b"200 OK" in answers(loop, two)
    statistics.stopping = True
    assert b"503" in answers(loop, two)
    statistics.stop()
    assert refused(two)
    loop.close()


def test_an_address_in_use_changes_nothing() -> None:
    one = free_port()
    statistics, loop, _, _ = make(plan(one))
    statistics.open(plan(one))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(BindError):
            statistics.open(plan(one, other.getsockname()[1]))
    assert b"200 OK" in answers(loop, one)
    statistics.stop()
    loop.close()


def test_counts_of_the_master_and_peaks_of_several_workers() -> None:
    statistics, loop, clock, state = make(plan())
    statistics.reloads, statistics.restarts = 3, 2
    state.rows.names.allocate("x")
    base = state.rows.base("x")
    for slot in (0, 1):
        state.rows.segment.claim(slot, 100_000_000 + slot)
        state.rows.cells(slot)[base + layout.SESS_CUR] = 5
    for _ in range(3):
        clock.advance(0.2)
        loop.run_once(0)
    text = "".join(statistics.context.render(parse_query("")))
    assert 'forkproxy_reloads_total{result="success"} 3\n' in text
    assert "forkproxy_worker_restarts_total 2\n" in text
    for slot in (0, 1):
        state.rows.retire(slot)
    assert state.rows.totals("x")[layout.SESS_MAX] == 10  # no worker alone had that many
    statistics.stop()
    loop.close()
