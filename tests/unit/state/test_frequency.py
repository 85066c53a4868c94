"""Sliding frequencies of any period."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkproxy.state import frequency

P = 1000


def cells() -> memoryview:
    return memoryview(bytearray(32)).cast("q")


#: events as (time, how many), then a time and what is read
CASES: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]] = [
    ([], [(50_000, 0)]),
    ([(50_000, 1)], [(50_000, 1), (50_999, 1), (51_001, 1), (51_999, 1), (52_001, 0)]),
    ([(50_000, 10)], [(50_999, 10), (51_000, 10), (51_500, 5), (51_900, 1), (52_001, 0)]),
    ([(50_000, 10), (51_200, 4)], [(51_200, 12), (51_500, 9), (51_999, 4), (52_500, 2)]),  # 4 + 10 * 0.8
    ([(50_000, 10), (52_500, 4)], [(52_500, 4), (53_499, 4), (53_501, 3)]),
]


@pytest.mark.parametrize(("events", "reads"), CASES)
def test_what_is_read(events: list[tuple[int, int]], reads: list[tuple[int, int]]) -> None:
    c = cells()
    for at, n in events:
        frequency.count(c, 0, P, n, at)
    assert [(at, frequency.read(c, 0, P, at)) for at, _ in reads] == reads


@given(st.lists(st.tuples(st.integers(0, 1500), st.integers(1, 9)), min_size=1, max_size=30))
def test_it_never_shows_more_than_two_periods_had_nor_less_than_the_present_one(steps: list[tuple[int, int]]) -> None:
    c, now, seen = cells(), 10_000, []
    for wait, n in steps:
        now += wait
        frequency.count(c, 0, P, n, now)
        seen.append((now, n))
        shown = frequency.read(c, 0, P, now)
        assert n <= shown <= sum(n for at, n in seen if at > now - 2 * P)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 9), st.integers(0, 2500))
def test_a_reader_between_two_stores_never_reads_too_much(previous: int, present: int, n: int, wait: int) -> None:
    class Watched:
        """Cells that are read after every single store."""

        def __init__(self) -> None:
            self.cells = cells()
            self.read: list[int] = []

        def __getitem__(self, i: int) -> int:
            return self.cells[i]

        def __setitem__(self, i: int, value: int) -> None:
            self.cells[i] = value
            self.read.append(frequency.read(self.cells, 0, P, 10_000 + wait))

    w = Watched()
    w.cells[0], w.cells[1], w.cells[2] = 10_000, present, previous
    before = frequency.read(w.cells, 0, P, 10_000 + wait)
    frequency.count(w, 0, P, n, 10_000 + wait)  # type: ignore[arg-type]
    assert max(w.read) <= max(before, w.read[-1])


def test_a_rate_that_is_set() -> None:
    c = cells()
    frequency.count(c, 0, P, 50, 9_000)
    frequency.store(c, 0, 7, 9_900)
    assert frequency.read(c, 0, P, 9_900) == 7 and frequency.read(c, 0, P, 11_900) == 0


@given(st.sampled_from([1, 7, P, 30_000]), st.integers(0, 90_000), st.integers(0, 2000), st.integers(0, 2000), st.integers(1, 2000))
def test_how_long_until_it_is_low(period: int, age: int, present: int, previous: int, most: int) -> None:
    c, now = cells(), 1_000_000
    c[0], c[1], c[2] = now - age, present, previous
    ms = frequency.wait(c, 0, period, most, now)
    assert frequency.read(c, 0, period, now + ms) <= most and (not ms or frequency.read(c, 0, period, now + ms - 1) > most)
