"""A small service in shared memory: three proxies, five servers, two workers."""

from __future__ import annotations

from dataclasses import dataclass

from forkproxy.clock import ManualClock
from forkproxy.health.board import Board
from forkproxy.plan import Address, Backend, Bind, Check, Frontend, Global, Plan, Server
from forkproxy.state.counters import Rows
from forkproxy.state.names import NameTable, backend_key, frontend_key
from forkproxy.state.segment import Segment
from forkproxy.state.servers import ServerTable
from forkproxy.stats.context import Context
from forkproxy.stats.info import Facts

CHECK = Check(kind="http", inter_s=2.0)


def server(name: str, number: int, backend: str = "b", **more: object) -> Server:
    return Server(name=name, id=number, backend=backend, address=Address("ipv4", "127.0.0.1", 8000 + number), **more)  # type: ignore[arg-type]


def plan(servers: tuple[Server, ...] | None = None) -> Plan:
    if servers is None:
        servers = (
            server("s1", 1, check=CHECK, weight=7, cookie=b"c1", maxconn=50),
            server("s2", 2, check=CHECK),
            server("s3", 3, backup=True),
            server("s4", 4, disabled=True),
            server("s5", 5, track="b/s1"),
        )
    return Plan(
        global_=Global(maxconn=1000, nbproc=2, node="here"),
        frontends=(
            Frontend(name="f", id=2, mode="http", maxconn=100, default_backend="b", binds=(Bind(address=Address("ipv4", "*", 80)),)),
            Frontend(name="tcpf", id=3, mode="tcp", default_backend="t"),
        ),
        backends={
            "b": Backend(name="b", id=4, mode="http", servers=servers),
            "t": Backend(name="t", id=5, mode="tcp", servers=(server("t1", 1, "t"),)),
            "none": Backend(name="none", id=6, mode="http"),
        },
    )


@dataclass
class World:
    plan: Plan
    clock: ManualClock
    rows: Rows
    servers: ServerTable
    board: Board
    lines: list[tuple[str, int, str]]
    context: Context

    def close(self) -> None:
        pass


def world(the_plan: Plan | None = None, workers: int = 2, size: int = 64) -> World:
    the_plan = the_plan or plan()
    clock = ManualClock()
    names = NameTable(size)
    for frontend in the_plan.frontends:
        names.allocate(frontend_key(frontend.name))
    for backend in the_plan.backends.values():
        names.allocate(backend_key(backend.name))
        for one in backend.servers:
            names.allocate(one.key)
    segment = Segment.create(4, size)
    for slot in range(workers):
        segment.claim(slot, 100_000_000 + slot)  # no such process: psutil finds nothing
    rows = Rows(segment, names, clock)
    table = ServerTable(rows)
    lines: list[tuple[str, int, str]] = []
    board = Board(table, clock, lambda backend, level, text: lines.append((backend.name, level, text)))
    board.replace(the_plan)
    facts = Facts(pid=42, workers=workers, started=clock.wall - 3661, maxconn=1000, ulimit_n=4096, node="here")
    context = Context(the_plan, rows, table, lambda: facts)
    return World(the_plan, clock, rows, table, board, lines, context)
