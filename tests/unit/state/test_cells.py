"""Cells written several at a time, in Python and as the compiled build has it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkproxy.state import cells, layout, rates
from tests.build import COMPILED

BUILDS = {module.__name__: module for module in (cells, cells.best)}
in_both = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)


def row() -> memoryview:
    return memoryview(bytearray(8 * 12)).cast("q")


def slot() -> memoryview:
    """Three rows."""
    return memoryview(bytearray(8 * 3 * layout.ROW_CELLS)).cast("q")


def test_the_compiled_build_has_its_own() -> None:
    assert (cells.best is not cells) == COMPILED


@in_both
def test_numbers_are_added(build: Any) -> None:
    those = row()
    for _ in range(2):
        build.add(those, (3, 0, 11), (5, 1 << 40, -2))
    assert those.tolist() == [2 << 40, 0, 0, 10, *[0] * 7, -4]
    build.add(those[4:], (0, 1), (7, 8))
    assert those.tolist()[3:6] == [10, 7, 8]


@in_both
def test_a_gauge_and_its_maximum(build: Any) -> None:
    those = row()
    for now, peak, most in ((3, 5, 5), (0, 0, 5), (9, 9, 9), (1, 4, 9), (2, 11, 11)):
        build.gauge(those, 2, now, peak)
        assert those.tolist() == [0, 0, now, most, *[0] * 8]


@in_both
def test_a_cell_that_is_not_there(build: Any) -> None:
    those = row()
    for call in (
        lambda: build.add(those, (12,), (1,)), lambda: build.gauge(those, 11, 1, 1),
        lambda: build.served(those, 0, 1, 1, False, 1.0, 1.0, 1.0, 1.0, 1.0),
        lambda: build.served(slot(), 3 * layout.ROW_CELLS, 1, 1, False, 1.0, 1.0, 1.0, 1.0, 1.0),
    ):  # fmt: skip
        with pytest.raises(IndexError):
            call()
    with pytest.raises(ValueError, match=r"shorter|longer|as many"):
        build.add(those, (1, 2), (1,))
    with pytest.raises((TypeError, ValueError)):
        build.add(bytearray(96), (1,), (1 << 20,))


seconds = st.one_of(st.just(0.0), st.floats(0, 0.002), st.floats(0, 3600))


@in_both
@given(
    samples=st.lists(st.tuples(seconds, seconds, seconds, seconds), min_size=1, max_size=5),
    had=st.sampled_from([0, 1, 500, rates.WINDOW - 2, rates.WINDOW - 1, rates.WINDOW, rates.WINDOW + 7]),
    sums=st.lists(st.integers(0, 1 << 40), min_size=8, max_size=8),
)
def test_samples_of_times_are_those_of_rates(build: Any, samples: list[tuple[float, ...]], had: int, sums: list[int]) -> None:
    expected, got = slot(), slot()
    base, times = layout.ROW_CELLS, layout.ROW_CELLS + layout.TIMES
    for at, value in enumerate([had, *sums]):
        expected[times + at] = got[times + at] = value
    for sample in samples:
        rates.times(expected, times, 1, [int(t * 1000.0 + 0.5) for t in sample], [int(t * 1000.0) for t in sample])
        build.served(got, base, 0, 0, True, 0.0, *sample)
    assert got[times : times + 9].tolist() == expected[times : times + 9].tolist()


@in_both
def test_a_request_is_counted_in_its_row(build: Any) -> None:
    those, base = slot(), layout.ROW_CELLS
    build.served(those, base, 100, 2000, False, 1234.9, 0.0, 0.0, 0.0, 0.0)
    build.served(those, base, 7, 1 << 40, True, 0.0, 0.0, 0.0, 0.0, 0.0)
    counted = {
        layout.BYTES_IN: 107, layout.BYTES_OUT: 2000 + (1 << 40), layout.REQ_TOT: 2, layout.HRSP_2XX: 2, layout.REUSES: 2,
        layout.LBTOT: 1, layout.SESS_TOT: 1, layout.LAST_SESS: 1234, layout.TIMES: 2,
    }  # fmt: skip
    assert {at - base: n for at, n in enumerate(those) if n} == counted
