"""Totals over slots, retiring, forked writers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from forkproxy.clock import ManualClock
from forkproxy.state import rates
from forkproxy.state.counters import Rows
from forkproxy.state.layout import (
    BYTES_IN,
    LAST_SESS,
    PULSE,
    QUEUE_CUR,
    REQ_TOT,
    RTIME,
    SESS_CUR,
    SESS_MAX,
    SESS_RATE,
    SESS_RATE_MAX,
    SESS_TOT,
    SRV_OP,
    TIMES,
    TTIME_MAX,
    WEIGHT,
)
from forkproxy.state.names import PROCESS, NameTable
from forkproxy.state.segment import Segment

KEY = "b/s1"


def close_second(rows: Rows, slot: int) -> None:
    """What the worker of a slot does once a second."""
    rates.close_second(rows.cells(slot), rates.pairs(rows.base(KEY), "S"), rows.clock.now)


@pytest.fixture
def rows() -> Iterator[Rows]:
    segment = Segment.create(slots=4, rows=50)
    names = NameTable(segment.rows)
    names.allocate(KEY)
    yield Rows(segment, names, ManualClock())
    segment.close()


def claim(rows: Rows, *slots: int) -> list[memoryview]:
    for slot in slots:
        rows.segment.claim(slot, 1000 + slot)
    return [rows.cells(slot) for slot in slots]


def test_counters_and_gauges_add_up(rows: Rows) -> None:
    base = rows.base(KEY)
    a, b = claim(rows, 0, 2)
    a[base + REQ_TOT] += 3
    b[base + REQ_TOT] += 4
    a[base + SESS_CUR] = 2
    b[base + SESS_CUR] = 1
    rows.cells(3)[base + REQ_TOT] = 99  # nobody's slot: not looked at
    total = rows.totals(KEY)
    assert total[REQ_TOT] == 7 and total[SESS_CUR] == 3
    assert rows.totals(PROCESS)[REQ_TOT] == 0
    assert rows.each(KEY, REQ_TOT) == {0: 3, 2: 4}
    with pytest.raises(KeyError):
        rows.totals("b/unknown")


def test_maxima_take_the_greatest_and_the_present_sum(rows: Rows) -> None:
    base = rows.base(KEY)
    a, b = claim(rows, 0, 1)
    a[base + SESS_MAX], b[base + SESS_MAX] = 5, 9
    assert rows.totals(KEY)[SESS_MAX] == 9
    a[base + SESS_CUR], b[base + SESS_CUR] = 5, 7
    assert rows.totals(KEY)[SESS_MAX] == 12
    rows.observe()
    a[base + SESS_CUR] = b[base + SESS_CUR] = 0
    assert rows.totals(KEY)[SESS_MAX] == 12  # the master noted it


def test_stamps_take_the_latest(rows: Rows) -> None:
    base = rows.base(KEY)
    a, b = claim(rows, 0, 1)
    a[base + LAST_SESS], b[base + LAST_SESS] = 1_700_000_000, 1_700_000_005
    assert rows.totals(KEY)[LAST_SESS] == 1_700_000_005
    rows.retire(1)
    assert rows.totals(KEY)[LAST_SESS] == 1_700_000_005


def test_states_are_the_masters(rows: Rows) -> None:
    base = rows.base(KEY)
    (a,) = claim(rows, 0)
    rows.cells(rows.segment.master)[base + SRV_OP] = 2
    rows.cells(rows.segment.master)[base + WEIGHT] = 16
    a[base + SRV_OP] = 3
    total = rows.totals(KEY)
    assert (total[SRV_OP], total[WEIGHT]) == (2, 16)


def test_rates_add_up(rows: Rows) -> None:
    base = rows.base(KEY)
    claim(rows, 0, 1)
    clock = rows.clock
    assert isinstance(clock, ManualClock)
    for slot in (0, 1):
        close_second(rows, slot)
        rows.cells(slot)[base + SESS_TOT] += 10 * (slot + 1)
    assert rows.totals(KEY)[SESS_RATE] == 30
    assert rows.rate(1, base, SESS_RATE) == 20
    clock.advance(1)
    close_second(rows, 0)
    close_second(rows, 1)
    clock.advance(0.5)
    total = rows.totals(KEY)
    assert total[SESS_RATE] == 15
    assert total[SESS_RATE_MAX] == 20
    rows.observe()  # too late for the sum of 30, but not for the present one
    clock.advance(10)
    assert rows.totals(KEY)[SESS_RATE] == 0


def test_means_are_weighed_by_samples(rows: Rows) -> None:
    base = rows.base(KEY)
    a, b = claim(rows, 0, 1)
    for _ in range(3):
        rates.times(a, base + TIMES, 1, (0, 0, 10, 10), (0, 0, 10, 10))
    rates.times(b, base + TIMES, 1, (0, 0, 50, 90), (0, 0, 50, 90))
    total = rows.totals(KEY)
    assert (total[RTIME], total[TTIME_MAX]) == (20, 90)
    rows.retire(1)
    assert rows.totals(KEY)[RTIME] == 20  # kept while the living have few samples
    for _ in range(1100):
        rates.times(a, base + TIMES, 1, (0, 0, 10, 10), (0, 0, 10, 10))
    assert rows.totals(KEY)[RTIME] == 10  # and gone when they have enough
    rows.retire(0)
    assert rows.totals(KEY)[RTIME] == 10


def test_retire_keeps_counters_and_drops_gauges(rows: Rows) -> None:
    base = rows.base(KEY)
    a, b = claim(rows, 0, 1)
    close_second(rows, 0)
    for cells in (a, b):
        cells[base + BYTES_IN] = 1000
        cells[base + SESS_CUR] = 4
        cells[base + SESS_MAX] = 6
        cells[base + QUEUE_CUR] = 1
    a[PULSE] = 123
    rows.retire(0)
    total = rows.totals(KEY)
    assert (total[BYTES_IN], total[SESS_CUR], total[SESS_MAX], total[QUEUE_CUR]) == (2000, 4, 6, 1)
    assert rows.segment.live() == [1] and not any(rows.cells(0))
    assert rows.segment.changes == 2
    rows.retire(0)
    assert rows.totals(KEY)[BYTES_IN] == 2000
    rows.segment.claim(0, 77)  # the next worker starts from zero
    rows.cells(0)[base + BYTES_IN] += 1
    assert rows.totals(KEY)[BYTES_IN] == 2001


def test_names_of_a_reload_get_rows_while_others_keep_theirs(rows: Rows) -> None:
    base = rows.base(KEY)
    (a,) = claim(rows, 0)
    a[base + REQ_TOT] = 5
    rows.names.allocate("b/s2")
    rows.cells(0)[rows.base("b/s2") + REQ_TOT] = 6
    assert rows.base(KEY) == base
    assert (rows.totals(KEY)[REQ_TOT], rows.totals("b/s2")[REQ_TOT]) == (5, 6)
    assert rows.names.prune({KEY}) == [2]
    rows.wipe([2])
    rows.names.allocate("b/s3")
    assert not any(rows.totals("b/s3"))


def test_clear_counters(rows: Rows) -> None:
    base = rows.base(KEY)
    (a,) = claim(rows, 0)
    close_second(rows, 0)
    a[base + REQ_TOT], a[base + SESS_CUR], a[base + SESS_MAX], a[base + TTIME_MAX] = 5, 2, 9, 800
    a[base + SESS_TOT] = 7
    rates.times(a, base + TIMES, 1, (0, 0, 10, 900), (0, 0, 10, 900))
    a[PULSE] = 55
    rows.clear(0, everything=False)
    total = rows.totals(KEY)
    assert (total[REQ_TOT], total[SESS_CUR], total[SESS_MAX], total[TTIME_MAX], total[RTIME]) == (5, 2, 2, 0, 10)
    assert a[base + SESS_MAX] == 2  # and not 0: the maximum begins with what there is
    rows.clear(0, everything=True)
    total = rows.totals(KEY)
    assert (total[REQ_TOT], total[SESS_CUR], total[SESS_MAX], total[RTIME], total[SESS_RATE]) == (0, 2, 2, 0, 0)
    assert a[PULSE] == 55


def test_a_reader_waits_for_a_retirement_in_progress(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between folding and zeroing a sum would count twice: the reader sees the odd number and looks again."""
    base = rows.base(KEY)
    claim(rows, 0)[0][base + REQ_TOT] = 5
    segment = rows.segment
    looks = 0
    original = Rows._sum

    def interrupted(self: Rows, at: int, live: list[int]) -> list[int]:
        nonlocal looks
        looks += 1
        if looks == 1:  # the master, in another process, begins here and is done before the next look
            segment.changing(True)
            rows.cells(segment.retired)[base + REQ_TOT] += 5
            result = original(self, at, live)
            segment.release(0)
            segment.changing(False)
            return result
        return original(self, at, live)

    monkeypatch.setattr(Rows, "_sum", interrupted)
    assert rows.totals(KEY)[REQ_TOT] == 5
    assert looks == 2


def test_a_master_that_died_while_retiring_does_not_hang_readers(rows: Rows) -> None:
    rows.segment.changing(True)
    assert rows.totals(KEY)[REQ_TOT] == 0


def test_forked_workers_write_and_one_is_killed(rows: Rows) -> None:
    """Two children count in their slots; one is killed in the middle of it; nothing that it had counted is lost."""
    base = rows.base(KEY)
    pids = []
    ready_r, ready_w = os.pipe()
    for slot in (0, 1):
        pid = os.fork()
        if not pid:
            try:
                cells = rows.cells(slot)
                cells[base + SESS_CUR] += 1
                for _ in range(1000):
                    cells[base + REQ_TOT] += 1
                os.write(ready_w, b"x")
                signal.pause()
            finally:
                os._exit(1)
        rows.segment.claim(slot, pid)
        pids.append(pid)
    seen = b""
    while len(seen) < 2:
        seen += os.read(ready_r, 2)
    total = rows.totals(KEY)
    assert (total[REQ_TOT], total[SESS_CUR]) == (2000, 2)
    os.kill(pids[0], signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == -signal.SIGKILL
    rows.retire(0)
    total = rows.totals(KEY)
    assert (total[REQ_TOT], total[SESS_CUR]) == (2000, 1)
    os.kill(pids[1], signal.SIGKILL)
    os.waitpid(pids[1], 0)
    rows.retire(1)
    total = rows.totals(KEY)
    assert (total[REQ_TOT], total[SESS_CUR]) == (2000, 0)
    os.close(ready_r)
    os.close(ready_w)
