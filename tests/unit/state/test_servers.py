"""What the master says about servers and how workers notice."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from forkproxy.clock import ManualClock
from forkproxy.state.counters import Rows
from forkproxy.state.layout import EPOCH
from forkproxy.state.names import NameTable, backend_key
from forkproxy.state.segment import TEXT_CELLS, Segment
from forkproxy.state.servers import (
    AGENT_TEXT,
    CHECK_TEXT,
    RUNNING,
    SCALE,
    STARTING,
    STOPPED,
    STOPPING,
    TEXT_BYTES,
    ServerState,
    ServerTable,
    shown_weight,
)


@pytest.fixture
def table() -> Iterator[ServerTable]:
    segment = Segment.create(slots=2, rows=10)
    names = NameTable(segment.rows)
    names.allocate("b/s1")
    names.allocate(backend_key("b"))
    yield ServerTable(Rows(segment, names, ManualClock()))


def test_set_and_get_move_the_epoch_when_workers_are_concerned(table: ServerTable) -> None:
    assert table.epoch == 0
    assert table.set("b/s1", srv_op=RUNNING, weight=16 * 10, uweight=10, srv_health=4)
    assert table.epoch == 1 == table.cells[EPOCH]
    assert table.get("b/s1") == ServerState(RUNNING, 0, 160, 10, 4, 0)
    assert not table.set("b/s1", srv_op=RUNNING, weight=160)  # as it was
    assert not table.set("b/s1", srv_health=3, check_status=12, check_duration_ms=4)
    assert table.epoch == 1
    assert table.get("b/s1").health == 3
    assert table.read("b/s1", "check_status") == 12
    assert table.set("b/s1", srv_op=STOPPED)
    assert table.epoch == 2
    table.bump()
    assert table.epoch == 3
    for name in ("srv_op", "srv_admin", "weight", "uweight"):
        assert table.set("b/s1", **{name: 7})
    assert table.epoch == 7


def test_counting_cells(table: ServerTable) -> None:
    table.add("b/s1", "chk_fail")
    table.add("b/s1", "downtime_s", 30)
    table.add(backend_key("b"), "chk_down")
    assert [table.read("b/s1", name) for name in ("chk_fail", "downtime_s", "chk_down")] == [1, 30, 0]
    assert table.read(backend_key("b"), "chk_down") == 1
    assert table.epoch == 0


def test_only_the_masters_cells(table: ServerTable) -> None:
    with pytest.raises(ValueError, match="req_tot is not the master's"):
        table.set("b/s1", req_tot=1)
    with pytest.raises(KeyError):
        table.set("b/s1", nonsense=1)
    with pytest.raises(KeyError):
        table.get("b/s2")


@pytest.mark.parametrize(
    ("op", "admin", "usable", "up"),
    [
        (RUNNING, 0, True, True),
        (STARTING, 0, True, True),
        (STOPPING, 0, False, True),
        (STOPPED, 0, False, False),
        (RUNNING, 0x08, False, True),  # drain
        (RUNNING, 0x01, False, False),  # maintenance
        (RUNNING, 0x04, False, False),
    ],
)
def test_what_a_state_means(op: int, admin: int, usable: bool, up: bool) -> None:
    state = ServerState(op, admin, 16, 1, 0, 0)
    assert (state.usable, state.up) == (usable, up)
    assert state.drain == (admin == 0x08) and state.maint == (admin in (1, 4))


def test_weights_are_shown_rounded_up() -> None:
    assert [shown_weight(w) for w in (0, 1, SCALE, SCALE + 1, 256 * SCALE)] == [0, 1, 1, 2, 256]


def test_a_worker_notices_across_the_fork(table: ServerTable) -> None:
    before = table.epoch
    go_r, go_w = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.close(go_w)
            os.read(go_r, 1)
            status = 0 if table.epoch == before + 1 and table.get("b/s1").op == RUNNING else 2
        finally:
            os._exit(status)
    table.set("b/s1", srv_op=RUNNING)
    os.close(go_w)
    assert os.waitpid(pid, 0)[1] == 0
    os.close(go_r)


def test_texts(table: ServerTable) -> None:
    assert table.said("b/s1", CHECK_TEXT) == ""
    table.say("b/s1", CHECK_TEXT, "Connection refused")
    table.say("b/s1", AGENT_TEXT, "über" * 100)
    assert table.said("b/s1", CHECK_TEXT) == "Connection refused"
    long = table.said("b/s1", AGENT_TEXT)
    assert long == ("über" * 100)[: len(long)] and TEXT_BYTES - 2 < len(long.encode()) <= TEXT_BYTES, "cut between characters"
    before = table._texts[table._text_at("b/s1", CHECK_TEXT)]
    table.say("b/s1", CHECK_TEXT, "Connection refused")
    assert table._texts[table._text_at("b/s1", CHECK_TEXT)] == before, "nothing new is not written"
    table.say("b/s1", CHECK_TEXT, "")
    assert table.said("b/s1", CHECK_TEXT) == "" and table.epoch == 0
    table.rows.wipe(table.rows.names.prune([]))
    assert not any(table.rows.segment.texts.tolist())
    with pytest.raises(KeyError):
        table.said("b/s1", CHECK_TEXT)


def test_a_text_is_whole_while_the_master_writes_and_after_one_died_in_it(table: ServerTable) -> None:
    at = table._text_at("b/s1", CHECK_TEXT)
    table.say("b/s1", CHECK_TEXT, "a" * 64)

    class Cells:
        """The master writes between two looks of a reader, the first time."""

        def __init__(self) -> None:
            self.looks = 0

        def __getitem__(self, what: int | slice) -> object:
            if isinstance(what, slice):
                found = table.rows.segment.texts[what].tobytes()
                self.looks += 1
                if self.looks == 1:
                    table.say("b/s1", CHECK_TEXT, "b" * 128)
                return memoryview(found[:32] + b"b" * 96 if self.looks == 1 else found)
            return table.rows.segment.texts[what]

    reader = ServerTable(table.rows)
    reader._texts = cells = Cells()  # type: ignore[assignment]
    assert reader.said("b/s1", CHECK_TEXT) == "b" * 128 and cells.looks == 2
    table._texts[at] += 1  # a master dies in the middle
    assert ServerTable(table.rows).said("b/s1", CHECK_TEXT) == "b" * 128, "it is looked at for a while"
    table.say("b/s1", CHECK_TEXT, "after")
    assert not table._texts[at] & 1 and table.said("b/s1", CHECK_TEXT) == "after"
    assert len(table.rows.segment.texts) == table.rows.segment.rows * TEXT_CELLS
