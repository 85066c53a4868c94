"""Sliding rates and means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkproxy.state import rates
from forkproxy.state.layout import QTIME, ROW_CELLS, SECOND, SESS_RATE, SESS_RATE_MAX, SESS_TOT, TIMES, TTIME, TTIME_MAX, Kind, of_kind


def new_cells(rows: int = 2) -> memoryview:
    return memoryview(bytearray(rows * ROW_CELLS * 8)).cast("q")


BASE = ROW_CELLS
#: the row of the process and that of a server
BOTH = rates.pairs(0, "P") + rates.pairs(BASE, "S")


def rate(cells: memoryview, now: float) -> int:
    return rates.rate(cells, BASE + SESS_RATE, BASE + SESS_TOT, cells[SECOND], now)


def one(cells: memoryview, *times_ms: int) -> None:
    rates.times(cells, BASE + TIMES, 1, times_ms, times_ms)


def test_what_is_looked_at_in_a_row_is_what_its_scope_has() -> None:
    for scope in "FBSP":
        declared = {c.offset for c in of_kind(Kind.RATE) if scope in c.scopes}
        assert {at - BASE for at, _ in rates.pairs(BASE, scope)} == declared != set()
        assert all((at - BASE, of - BASE) in rates.RATES for at, of in rates.pairs(BASE, scope))


def test_the_previous_second_fades() -> None:
    cells = new_cells()
    rates.close_second(cells, BOTH, 100.0)
    cells[BASE + SESS_TOT] += 50
    assert rate(cells, 100.5) == 50
    rates.close_second(cells, BOTH, 101.0)
    assert [rate(cells, t) for t in (101.0, 101.5, 101.9)] == [50, 25, 5]
    cells[BASE + SESS_TOT] += 10
    assert rate(cells, 101.5) == 35
    rates.close_second(cells, BOTH, 102.0)
    assert rate(cells, 102.0) == 10
    rates.close_second(cells, BOTH, 103.0)
    assert rate(cells, 103.0) == 0
    assert cells[BASE + SESS_RATE_MAX] == 50


def test_a_single_event_shows_for_its_second() -> None:
    cells = new_cells()
    rates.close_second(cells, BOTH, 100.0)
    cells[BASE + SESS_TOT] += 1
    rates.close_second(cells, BOTH, 101.0)
    assert rate(cells, 101.9) == 1
    rates.close_second(cells, BOTH, 102.0)
    assert rate(cells, 102.0) == 0


def test_a_second_closed_late_is_scaled() -> None:
    cells = new_cells()
    rates.close_second(cells, BOTH, 100.0)
    cells[BASE + SESS_TOT] += 100
    assert rate(cells, 104.0) == 25  # a reader while the owner hangs
    rates.close_second(cells, BOTH, 104.0)
    assert rate(cells, 104.0) == 25
    assert cells[BASE + SESS_RATE_MAX] == 25


def test_the_first_call_takes_what_was_counted_before_for_nothing() -> None:
    cells = new_cells()
    cells[BASE + SESS_TOT] = 1_000_000  # e.g. a slot whose timer starts late
    rates.close_second(cells, BOTH, 100.0)
    assert rate(cells, 100.0) == 0
    assert cells[BASE + SESS_RATE_MAX] == 0


def test_closing_twice_at_one_time_changes_nothing() -> None:
    cells = new_cells()
    rates.close_second(cells, BOTH, 100.0)
    cells[BASE + SESS_TOT] += 5
    rates.close_second(cells, BOTH, 100.0)
    assert rate(cells, 100.0) == 5


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20))
def test_the_maximum_is_the_busiest_second(seconds: list[int]) -> None:
    cells = new_cells()
    rates.close_second(cells, BOTH, 100.0)
    for i, events in enumerate(seconds):
        cells[BASE + SESS_TOT] += events
        rates.close_second(cells, BOTH, 101.0 + i)
        assert rate(cells, 101.0 + i) == events
    assert cells[BASE + SESS_RATE_MAX] == max(seconds)


def test_means_and_maxima_of_times() -> None:
    cells = new_cells()
    for total in (10, 20, 60):
        one(cells, 0, 1, 2, total)
    assert cells[BASE + TIMES] == 3
    assert rates.mean(cells[BASE + TTIME], cells[BASE + TIMES]) == 30
    assert rates.mean(cells[BASE + QTIME], cells[BASE + TIMES]) == 0
    assert cells[BASE + TTIME_MAX] == 60


@pytest.mark.parametrize("value", [1, 7, 250, 40_000])
def test_a_constant_is_its_own_mean_for_ever(value: int) -> None:
    cells = new_cells()
    for _ in range(5000):
        one(cells, 0, 0, 0, value)
    assert cells[BASE + TIMES] == rates.WINDOW
    assert rates.mean(cells[BASE + TTIME], rates.WINDOW) == value


def test_old_samples_fade() -> None:
    cells = new_cells()
    for value in [1000] * 2000 + [0] * 1024:
        one(cells, 0, 0, 0, value)
    after_a_window = rates.mean(cells[BASE + TTIME], rates.WINDOW)
    assert 350 <= after_a_window <= 380  # 1/e of it
    for _ in range(20_000):
        one(cells, 0, 0, 0, 0)
    assert cells[BASE + TTIME] == 0


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=50))
def test_a_lot_is_as_good_as_its_samples(values: list[int]) -> None:
    lot, single = new_cells(), new_cells()
    for value in values:
        one(single, value, 0, 0, value)
    rates.times(lot, BASE + TIMES, len(values), (sum(values), 0, 0, sum(values)), (max(values), 0, 0, max(values)))
    assert lot == single


def test_a_lot_larger_than_the_window_replaces_it() -> None:
    cells = new_cells()
    one(cells, 0, 0, 0, 9999)
    rates.times(cells, BASE + TIMES, 4096, (0, 0, 0, 4096 * 10), (0, 0, 0, 10))
    assert (cells[BASE + TIMES], rates.mean(cells[BASE + TTIME], 1024), cells[BASE + TTIME_MAX]) == (1024, 10, 9999)


def test_lots_fade_old_samples_too() -> None:
    cells = new_cells()
    rates.times(cells, BASE + TIMES, 1024, (0, 0, 0, 1024 * 100), (0, 0, 0, 100))
    rates.times(cells, BASE + TIMES, 512, (0, 0, 0, 512 * 200), (0, 0, 0, 200))
    assert rates.mean(cells[BASE + TTIME], cells[BASE + TIMES]) == 150


def test_no_samples_no_mean() -> None:
    assert rates.mean(0, 0) == 0
