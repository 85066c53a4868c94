"""The master's side of shared memory: which rows are limited, under whose lock, and what a configuration that is only prepared changes."""

from __future__ import annotations

import os
from typing import Any

from forkproxy.clock import ManualClock
from forkproxy.master.shared import Shared
from forkproxy.plan import Address, Backend, Bind, Frontend, Global, Plan, Server
from forkproxy.state.limits import CONN_LIMIT, HOME, LIMIT, SESS_LIMIT, UNLIMITED
from forkproxy.state.segment import LIMIT_CELLS
from forkproxy.values import replace


def plan(*servers: tuple[str, int], backend: str = "b", narrow: int = 0, rate: int = 0, **settings: Any) -> Plan:
    bind = Bind(address=Address("ipv4", "127.0.0.1", 80), maxconn=narrow)
    fe = Frontend(name="f", id=1, binds=(bind,), default_backend=backend, maxconn=narrow or 100, rate_limit_sessions=rate)
    to = Address("ipv4", "127.0.0.1", 81)
    made = tuple(Server(name=name, address=to, backend=backend, id=i, maxconn=most) for i, (name, most) in enumerate(servers))
    return Plan(global_=Global(maxconn=100, **settings), frontends=(fe,), backends={backend: Backend(name=backend, id=2, servers=made)})


def cells(shared: Shared, key: str, *which: int) -> list[int]:
    at = shared.state.names.row(key) * LIMIT_CELLS
    return [shared.state.limits.cells[at + each] for each in which]


def test_limits_of_a_plan() -> None:
    shared = Shared(plan(("s", 7), ("free", 0), narrow=5, rate=9, maxconnrate=3, maxsessrate=4), 2, ManualClock())
    assert cells(shared, "", LIMIT, CONN_LIMIT, SESS_LIMIT) == [100, 3, 4]
    assert cells(shared, "f/<frontend>", LIMIT, SESS_LIMIT, HOME) == [5, 9, 0]
    assert cells(shared, "f/<listener>/127.0.0.1:80", LIMIT, HOME) == [5, 0]
    home = shared.state.names.row("b/<backend>")
    assert cells(shared, "b/s", LIMIT, HOME) == [7, home] and cells(shared, "b/free", LIMIT, HOME) == [UNLIMITED, home]
    assert cells(shared, "b/<backend>", HOME) == [home]


def test_what_is_only_prepared_limits_nobody() -> None:
    old = plan(("s", 7))
    shared = Shared(old, 2, ManualClock())
    assert cells(shared, "f/<frontend>", LIMIT) == [UNLIMITED], "the limit of everything is enough"
    epoch = shared.state.servers.epoch
    new = plan(("s", 3), ("t", 2), narrow=4, maxconnrate=1)
    shared.extend(new)
    assert cells(shared, "b/s", LIMIT) == [7] and cells(shared, "b/t", LIMIT) == [2]
    assert cells(shared, "f/<frontend>", LIMIT) == [UNLIMITED] and cells(shared, "", LIMIT, CONN_LIMIT) == [100, 0]
    shared.limit(new)
    assert cells(shared, "b/s", LIMIT) == [3] and cells(shared, "f/<frontend>", LIMIT) == [4] and cells(shared, "", CONN_LIMIT) == [1]
    assert shared.state.servers.epoch > epoch, "workers look again"
    shared.limit(old)
    assert cells(shared, "f/<frontend>", LIMIT) == [UNLIMITED]


def test_the_memory_of_a_dead_master_gets_the_limits_of_the_file() -> None:
    first = Shared(plan(("s", 7)), 2, ManualClock())
    area, home = first.state.limits, first.state.names.row("b/<backend>")
    held = area.enter(home)
    try:
        memory = os.dup(first.state.segment.fd), first.state.names.dump()
        second = Shared(plan(("n", 2), backend="new"), 2, ManualClock(), memory)
    finally:
        area.leave(home, held)  # before the memory goes: the C library remembers what a thread has locked
    assert cells(second, "b/s", LIMIT, HOME) == [7, home], "its orphans go on"
    new = second.state.names.row("new/<backend>")
    assert cells(second, "new/n", LIMIT, HOME) == [2, new]
    for row in (home, new):
        held = second.state.limits.enter(row)
        second.state.limits.leave(row, held)
        assert held


def test_the_row_of_a_server_that_went_is_limited_anew() -> None:
    one = plan(("s", 7), ("t", 5))
    shared = Shared(one, 2, ManualClock())
    row = shared.state.names.row("b/t")
    shared.state.servers.set("b/t", uweight=9)
    shared.forget("b/t")
    shared.extend(replace(plan(("n", 0), backend="new"), backends={**plan(("s", 7)).backends, **plan(("n", 0), backend="new").backends}))
    took = next(key for key in shared.state.names if shared.state.names.row(key) == row)
    assert took in ("new/<backend>", "new/n")
    other = replace(plan(("n", 0), backend="new"), backends=plan(("n", 0), ("m", 3), backend="new").backends)
    shared.forget("new/n")
    shared.extend(other)
    home = shared.state.names.row("new/<backend>")
    assert cells(shared, "new/n", LIMIT, HOME) == [UNLIMITED, home] and cells(shared, "new/m", LIMIT, HOME) == [3, home]
    assert cells(shared, "b/s", LIMIT) == [7] and shared.state.servers.read("new/n", "uweight") == 0
