"""Stick tables: entries, room, time, what a killed process leaves, what several processes count."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forkproxy.clock import ManualClock
from forkproxy.proxy import tracking
from forkproxy.state import robust
from forkproxy.state.ledger import UNSURE, Ledger
from forkproxy.state.stickspec import HOLDERS, Store, TableRef, TableSpec
from forkproxy.state.sticktable import Table
from forkproxy.state.sticktables import Tables
from tests.unit.state.progress import Progress

COUNTS = (Store("gpc0"), Store("conn_cnt"), Store("conn_cur"), Store("http_req_cnt"), Store("http_req_rate", 1, 10_000))


def spec(size: int = 3, *, expire_ms: int = 1000, nopurge: bool = False, stores: tuple[Store, ...] = COUNTS) -> TableSpec:
    return TableSpec(name="t", type="string", key_bytes=12, size=size, expire_ms=expire_ms, nopurge=nopurge, stores=stores)


def table(size: int = 3, **more: object) -> Table:
    made = Table(spec(size, **more), 1)  # type: ignore[arg-type]
    made.ledger = Ledger(4096)
    return made


def put(t: Table, key: bytes, now: int) -> bool:
    return t.change(t.pad(key), now, lambda cells, base, now: True) is not None


def keys(t: Table, now: int) -> set[bytes]:
    return {entry.key.rstrip(b"\0") for part in t.entries(now) for entry in part}


def value(t: Table, key: bytes, name: str, now: int) -> int | None:
    at = t.columns[name].offset
    found: int | None = t.look(t.pad(key), now, lambda cells, base, now: cells[base + at])
    return found


def test_the_oldest_goes_when_there_is_no_room() -> None:
    t = table(3)
    for now, key in enumerate((b"a", b"b", b"c")):
        assert put(t, key, now)
    assert put(t, b"a", 5)  # touched: b is the oldest now
    assert put(t, b"d", 6)
    assert keys(t, 6) == {b"a", b"c", b"d"} and t.used() == 3
    held = t.hold_request(t.pad(b"c"), 7)
    assert held is not None
    for now in range(8, 20):
        assert put(t, b"%d" % now, now)
    assert keys(t, 20) == {b"c", b"18", b"19"}  # who is held stays
    t.let_go(held, 20, 0, 0)


def test_no_room_and_nobody_may_go() -> None:
    full = table(2, nopurge=True)
    assert put(full, b"a", 0) and put(full, b"b", 1)
    assert not put(full, b"c", 2) and put(full, b"a", 500)
    assert put(full, b"c", 1001)  # b expired
    assert keys(full, 1001) == {b"a", b"c"}
    t = table(1)
    held = t.hold_request(t.pad(b"a"), 0)
    assert held is not None and t.hold_request(t.pad(b"b"), 5000) is None and not put(t, b"b", 5000)
    t.let_go(held, 5000, 0, 0)
    assert put(t, b"b", 5001)


def test_expiry() -> None:
    t = table(10)
    put(t, b"a", 0)
    assert value(t, b"a", "gpc0", 999) == 0 and value(t, b"a", "gpc0", 1000) is None  # looking does not touch
    t.change(t.pad(b"a"), 1500, lambda cells, base, now: cells.__setitem__(base + t.columns["gpc0"].offset, 7))
    assert value(t, b"a", "gpc0", 2400) == 7 and t.used() == 1
    put(t, b"a", 2500)
    assert value(t, b"a", "gpc0", 2500) == 0, "an expired entry begins anew"
    t.sweep(0, 3500)
    assert t.used() == 0 and keys(t, 3500) == set()
    for_ever = table(10, expire_ms=0)
    put(for_ever, b"a", 0)
    for_ever.sweep(0, 10**12)
    assert keys(for_ever, 10**12) == {b"a"}


def test_holding_counts_and_letting_go_counts_bytes() -> None:
    t = table(3, stores=(*COUNTS, Store("bytes_in_cnt"), Store("bytes_out_rate", 1, 1000)))
    key = t.pad(b"a")
    first, second = t.hold_request(key, 0), t.hold_connection(key, 10)
    assert first is not None and second is not None
    assert [value(t, b"a", n, 10) for n in ("conn_cnt", "conn_cur", "http_req_cnt")] == [2, 2, 1]
    assert value(t, b"a", "conn_cur", 5000) == 2, "held entries do not expire"
    t.let_go(first, 20, 100, 300)
    assert [value(t, b"a", n, 20) for n in ("conn_cur", "bytes_in_cnt")] == [1, 100]
    t.count(second, 20, ((t.events["bytes_out"], 7), (t.events["http_err"], 1), (t.gpc[0], 2), (t.gpc[1], 5)))
    assert value(t, b"a", "gpc0", 20) == 2
    t.let_go(second, 30, 0, 0)
    assert value(t, b"a", "conn_cur", 30) == 0 and not list(t.ledger.held())


def test_a_ledger_that_is_full_refuses() -> None:
    t = table(10)
    t.ledger = Ledger(3)
    held = [t.hold_request(t.pad(b"%d" % i), 0) for i in range(3)]
    assert held[0] is not None and held[1] is not None and held[2] is None
    t.let_go(held[0], 1, 0, 0)
    assert t.hold_request(t.pad(b"x"), 2) is not None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=2), st.integers(0, 400)), max_size=60))
def test_it_is_a_bounded_dictionary(steps: list[tuple[int, bytes, int]]) -> None:
    t, model, now = table(4), dict[bytes, int](), 0
    for what, raw, wait in steps:
        now += wait
        key = raw.rstrip(b"\0")
        model = {k: at for k, at in model.items() if now - at < 1000}
        if what == 0:
            entry = next((e for part in t.entries(now) for e in part if e.key.rstrip(b"\0") == key), None)
            assert (entry is not None) == (key in model)
            if entry is not None:
                assert t.drop(entry.base, t.pad(key))
                del model[key]
        elif what == 1:
            assert (value(t, key, "gpc0", now) is None) == (key not in model)
        else:
            if key not in model and len(model) == 4:
                del model[min(model, key=model.__getitem__)]
            assert put(t, key, now)
            model[key] = now + 0
            now += 1  # no two at one time: which of them is older would not be defined
        assert keys(t, now) == {k for k, at in model.items() if now - at < 1000}


def test_large_tables_keep_their_size() -> None:
    t = table(5000, expire_ms=0)
    assert t.stripes == 8
    for i in range(5000):
        assert put(t, b"%d" % i, i)
    assert t.used() == 5000, "a table takes as many entries as it says"
    for i in range(5000, 12_000):
        assert put(t, b"%d" % i, i)
    assert 5000 - 16 * 8 <= t.used() <= 5000
    left = sorted(int(key) for key in keys(t, 12_000))
    assert left[0] > 4000 and left[-1] == 11_999


def test_a_million_addresses_fit_in_the_promised_memory() -> None:
    stores = (Store("gpc0"), Store("conn_rate", 1, 1000), Store("http_req_rate", 1, 1000))
    t = Table(TableSpec(name="t", type="ip", key_bytes=4, size=1_000_000, stores=stores), 1)
    spare = t.stripes * (t.slots - 1_000_000 // t.stripes)  # slots that are touched only where keys spread unevenly
    assert (len(t.cells) - spare * t.width) * 8 < 120e6


# -- processes


def children(count: int, work: Callable[[int], None]) -> list[int]:
    pids = []
    for number in range(count):
        pid = os.fork()
        if not pid:
            try:
                work(number)
            finally:
                os._exit(0)
        pids.append(pid)
    return pids


def reap(pids: list[int]) -> None:
    for pid in pids:
        os.waitpid(pid, 0)


def test_processes_count_together() -> None:
    t = table(2, expire_ms=0)

    def work(number: int) -> None:
        t.ledger = Ledger(16)
        for i in range(2000):
            held = t.hold_request(t.pad(b"ab"[i % 2 : i % 2 + 1]), i)
            assert held is not None
            t.let_go(held, i, 1, 1)

    reap(children(3, work))
    for key in (b"a", b"b"):
        assert [value(t, key, n, 0) for n in ("http_req_cnt", "conn_cur")] == [3000, 0]


@pytest.fixture
def tables() -> Iterator[tuple[Tables, Table]]:
    all_tables = Tables()
    ref = TableRef(spec(60, expire_ms=50))
    all_tables.bind({"t": ref}, {})
    yield all_tables, ref.table


def test_what_a_dead_writer_left_undone_is_repaired() -> None:
    """It had taken a slot, and counted it, but not linked it: the slot is free again, and the count is that of the chains."""
    t = table(4, expire_ms=0)
    assert put(t, b"0", 0)
    pid = os.fork()
    if not pid:
        t._take(0)
        t._slot(0)
        t.cells[t._used] += 1
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert t.used() == 2
    assert put(t, b"1", 1)
    assert t.used() == 2
    assert put(t, b"2", 2) and put(t, b"3", 3)
    assert t.used() == 4 and keys(t, 9) == {b"0", b"1", b"2", b"3"}


def test_workers_killed_at_any_moment_leave_a_usable_table(tables: tuple[Tables, Table]) -> None:
    """Inserting, evicting, holding and letting go, killed 40 times at random: no lock stays, no slot is lost, nobody is held for ever."""
    everything, t = tables
    chance = random.Random(7)
    progress = Progress(3)

    def work(number: int) -> None:
        mine = random.Random(os.getpid())
        parent = os.getppid()
        t.ledger = everything.ledgers[number]
        held: list[object] = []
        while os.getppid() == parent:
            now = int(time.monotonic() * 1000)
            got = t.hold_request(t.pad(b"%d" % mine.randrange(90)), now)
            if got is not None:
                held.append(got)
            if held and (len(held) > 5 or got is None):  # None: the lock's holder was not on a processor for too long
                t.let_go(held.pop(mine.randrange(len(held))), now, 1, 1)  # type: ignore[arg-type]
            put(t, b"%d" % mine.randrange(90), now)
            progress.step(number)

    pids = {}
    for slot in range(3):
        everything.ledger(slot, 64)
        (pids[slot],) = children(1, lambda number, slot=slot: work(slot))  # type: ignore[misc]
    for _ in range(40):
        slot = chance.randrange(3)
        progress.wait(slot, chance.randrange(1, 200))
        os.kill(pids[slot], signal.SIGKILL)
        os.waitpid(pids[slot], 0)
        everything.settle(slot)
        everything.ledger(slot, 64)
        (pids[slot],) = children(1, lambda number, slot=slot: work(slot))  # type: ignore[misc]
    for slot, pid in pids.items():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        everything.settle(slot)
    now = int(time.monotonic() * 1000)
    t.sweep(0, now)
    entries = [entry for part in t.entries(now) for entry in part]
    at = t.columns["conn_cur"].offset
    assert [entry.holders for entry in entries] == [0] * len(entries) and not any(entry.data[at] for entry in entries)
    t.sweep(0, now + 1000)
    assert t.used() == 0
    for i in range(60):
        assert put(t, b"n%d" % i, now + 2000 + i)
    assert t.used() == 60, "every slot is there"


def test_who_died_while_it_was_counted_is_counted_by_the_others(tables: tuple[Tables, Table]) -> None:
    everything, t = tables
    bases = []
    for slot in range(3):
        t.ledger = everything.ledger(slot, 8)
        held = t.hold_request(t.pad(b"a"), 0)
        assert held is not None
        bases.append(held)
    dead = everything.ledgers[1]
    dead.cells[bases[1][3]] |= UNSURE
    for offset in (HOLDERS, t.conn_cur):
        t.cells[bases[0][1] + offset] = 7  # whatever it was in the middle of
    everything.settle(1)
    assert [t.cells[bases[0][1] + offset] for offset in (HOLDERS, t.conn_cur)] == [2, 2]
    everything.settle(0)
    everything.settle(0)  # again: nothing happens
    assert t.cells[bases[0][1] + HOLDERS] == 1


def test_a_stopped_holder_costs_patience_not_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robust, "PATIENCE_S", 0.001)
    t = table(3)
    held = t.hold_request(t.pad(b"a"), 0)
    assert held is not None
    r, w = os.pipe()

    def stop(number: int) -> None:
        robust.attempt(t.locks[0])
        os.write(w, b"x")
        signal.pause()

    (pid,) = children(1, stop)
    os.read(r, 1)
    assert value(t, b"a", "gpc0", 0) is None
    monkeypatch.setattr(robust, "PATIENCE_S", 1e6)  # nobody waits again so soon
    assert t.hold_request(t.pad(b"a"), 0) is None and not put(t, b"b", 0)
    t.let_go(held, 5, 0, 0)
    assert t.ledger.late == [held]
    os.kill(pid, signal.SIGKILL)
    reap([pid])
    assert value(t, b"a", "gpc0", 0) == 0 and put(t, b"b", 0)
    tracking.catch_up(t.ledger, ManualClock())
    assert value(t, b"a", "conn_cur", 5) == 0 and not t.ledger.late and not list(t.ledger.held())
    os.close(r)
    os.close(w)


# -- configurations


def test_a_reload_keeps_tables_that_stay_the_same() -> None:
    everything = Tables()
    old = {"a": TableRef(spec(3)), "b": TableRef(spec(3)), "c": TableRef(spec(3))}
    everything.bind(old, {})
    put(old["a"].table, b"x", 0)
    new = {"a": TableRef(spec(3)), "b": TableRef(spec(4))}
    everything.bind(new, old)
    assert new["a"].table is old["a"].table and new["b"].table is not old["b"].table
    assert len(everything.live) == 4
    everything.keep([new])
    assert set(everything.live.values()) == {new["a"].table, new["b"].table}


def test_a_table_that_nobody_uses_costs_nothing() -> None:
    everything = Tables()
    refs = {"a": TableRef(TableSpec(name="unused", type="ip", key_bytes=4, size=1000, stores=COUNTS))}
    everything.bind(refs, {})
    for i in range(1000):
        put(refs["a"].table, b"%d" % i, 0)
    memory = refs["a"].table.memory
    view = memoryview(memory)
    assert any(view[: 1 << 16].tolist())
    everything.keep([])
    assert not any(view.tolist()), "its pages are gone, for a worker that still maps them, too"
    view.release()
    del refs, memory
    assert "forkproxy-table-unused" not in Path("/proc/self/maps").read_text()


def test_data_types_that_others_ask_for() -> None:
    ref = TableRef(spec(3, stores=(Store("gpc0"),)))
    ref.store("server_id", "gpc0")
    assert [store.name for store in ref.spec.stores] == ["server_id", "gpc0"]
