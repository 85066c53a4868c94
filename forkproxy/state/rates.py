"""Rates over a sliding second and means over the last 1024 samples, kept in cells. Arithmetic only; time is given.

**Rates.** The rate is the count of the present second plus the part of the previous second's that still lies within the last 1,000 ms,
as if its events had come evenly: ``curr + prev * remaining / period`` (what HAProxy's own rates are). But nothing is counted twice for
it: every rate is one of a counter that exists anyway, so it only needs to know what that counter was when the second began, and what the
one before came to. The owner of a slot closes the second for all its rows once a second, in :func:`close_second`, with the timer that
also gives its sign of life. Counting each event (HAProxy's way) was 260 ns per rate and event here, three to four of them per request;
this is nothing per event and about 1.5 µs per busy row and second. A second that was closed late is scaled to its true length.

The start of the present second is one cell of row 0 (``layout.SECOND``), in monotonic milliseconds, so that all processes can
compute each other's rates. A reader that comes between two writes of :func:`close_second` is wrong once, by one second's count.

**Means.** A sliding sum of n samples: until n = 1024 it is the plain sum, from then on each sample takes its share of the
sum away (``sum -= sum / n``), so old samples fade instead of having to be kept. Times of all workers are one mean: the sums divided by the
samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from forkproxy.state.layout import COUNTERS, SECOND, Kind, of_kind

#: Samples in a mean.
WINDOW: Final = 1024
_PERIOD_MS: Final = 1000

#: (offset of the rate, of the counter that it is a rate of). The rate's cells: the counter when the second began, the events in the
#: one before; behind them stands the maximum.
RATES: Final = tuple((c.offset, COUNTERS[c.of].offset) for c in of_kind(Kind.RATE))
#: the same by the letter of the scope in which they are counted
_BY_SCOPE: Final = {scope: tuple((c.offset, COUNTERS[c.of].offset) for c in of_kind(Kind.RATE) if scope in c.scopes) for scope in "FBSP"}


def pairs(base: int, scope: str) -> list[tuple[int, int]]:
    """The cells of a row's rates, and of the counters that they are of; ``base`` is its first cell, ``scope`` a letter of ``layout``."""
    return [(base + at, base + of) for at, of in _BY_SCOPE[scope]]


def close_second(cells: memoryview, rates: Iterable[tuple[int, int]], now_s: float) -> None:
    """End the present second of a slot and begin the next; to be called by the owner once a second, and once at its start.

    ``rates`` are the :func:`pairs` of its rows, ``now_s`` is monotonic. A thousand servers are 0.3 ms.
    """
    now_ms = int(now_s * 1000.0)
    length = now_ms - cells[SECOND]
    if length <= 0:
        return
    first = length == now_ms  # never called before: the counters say nothing about one second
    for at, of in rates:
        total = cells[of]
        events = total - cells[at]
        if not events and not cells[at + 1]:
            continue
        cells[at] = total
        events = 0 if first else (events * _PERIOD_MS + length // 2) // length if length > _PERIOD_MS else events
        cells[at + 1] = events
        if events > cells[at + 2]:
            cells[at + 2] = events
    cells[SECOND] = now_ms


def rate(row: Sequence[int] | memoryview, at: int, of: int, second_ms: int, now_s: float) -> int:
    """Events in the last second. ``at`` and ``of`` are the indices of the rate and of its counter (a pair of RATES, plus the base);
    ``second_ms`` is the cell SECOND of the same slot (0: the owner never closed a second)."""
    age = max(0, int(now_s * 1000.0) - second_ms)
    curr: int = row[of] - row[at]
    if age >= _PERIOD_MS:  # closed late: what has come since then, over the longer time
        return curr * _PERIOD_MS // age
    prev: int = row[at + 1]
    if not curr and prev <= 1:
        return prev  # a single event shows for its whole second instead of rounding to nothing
    return curr + prev * (_PERIOD_MS - age) // _PERIOD_MS


#: Of what took less in all, every time is rounded to 0 ms, and so is the longest.
AT_ONCE_S: Final = 0.0005
#: The four times of streams that were too fast for milliseconds, as most are on a near network.
NO_TIME: Final = (0, 0, 0, 0)


def times(cells: memoryview, at: int, n: int, sums_ms: Sequence[int] = NO_TIME, longest_ms: Sequence[int] = NO_TIME) -> None:
    """``n`` > 0 samples at once of the four times: queue, connect, response, total. ``at`` is the index of the cell ``layout.TIMES``; four
    sums and four maxima follow it.

    Taken in lots because a cell costs twice an attribute: gather in attributes, pour at the end of a turn.
    """
    had = cells[at]
    if had + n <= WINDOW:  # nothing fades yet
        cells[at] = had + n
        if sums_ms is NO_TIME and longest_ms is NO_TIME:
            return
        for i in range(4):
            if sums_ms[i]:
                cells[at + 1 + i] += sums_ms[i]
            if longest_ms[i] and longest_ms[i] > cells[at + 5 + i]:
                cells[at + 5 + i] = longest_ms[i]
        return
    _, *old = cells[at : at + 9].tolist()
    new = min(n, WINDOW)
    keep = min(had, WINDOW - new)
    if keep + new != had:
        cells[at] = keep + new
    for i in range(4):
        past = old[i] if keep == had else old[i] * keep // had
        added = sums_ms[i] if new == n else sums_ms[i] * new // n
        if past + added != old[i]:
            cells[at + 1 + i] = past + added
        if longest_ms[i] > old[4 + i]:
            cells[at + 5 + i] = longest_ms[i]


def times_s(cells: memoryview, at: int, n: int, sums_s: Sequence[float], longest_s: Sequence[float]) -> None:
    """:func:`times` of seconds: sums are rounded to milliseconds, maxima cut off."""
    if sum(sums_s) < AT_ONCE_S:
        times(cells, at, n)
    else:
        times(cells, at, n, [int(t * 1000.0 + 0.5) for t in sums_s], [int(t * 1000.0) for t in longest_s])


def mean(total: int, samples: int) -> int:
    """The mean of a sliding sum, rounded up; 0 without samples."""
    return -(-total // samples) if samples else 0
