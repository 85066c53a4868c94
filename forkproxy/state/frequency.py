"""How often something happened in the last period, kept in three cells: begin of the present period, events in it, events in the one
before. Arithmetic only; times are monotonic milliseconds.

The frequency is the present count plus the part of the previous period's that still lies within the last ``period``, as if its events
had come evenly: what HAProxy's own counters give (manual 11.1, ``conn_rate`` …), and what the tests compare beside it.

**Readers take no lock.** :func:`count` therefore turns a period over in an order in which every intermediate state reads as no more than
the truth: the previous count first (which is not looked at while the begin says that a period has passed), then the present one, the begin
last. A reader goes the other way, and a writer that is killed in between leaves one of these states. (Processors that show stores to
others in another order than they were made, which x86 does not, may show a reader one period twice for a moment.)
"""

from __future__ import annotations

from typing import Final

#: Cells of a frequency.
CELLS: Final = 3


def count(cells: memoryview, at: int, period: int, n: int, now: int) -> None:
    """``n`` events now. One writer at a time."""
    age = now - cells[at]
    if age < period:
        cells[at + 1] += n
    elif age < 2 * period:
        cells[at + 2] = cells[at + 1]
        cells[at + 1] = n
        cells[at] += period
    else:
        cells[at + 2] = 0
        cells[at + 1] = n
        cells[at] = now


def read(cells: memoryview, at: int, period: int, now: int) -> int:
    """Events in the last ``period``."""
    left = cells[at] + period - now  # the begin first: see the head of this file
    present, previous = cells[at + 1], cells[at + 2]
    if left < 0:  # nothing was counted since the period passed
        left += period
        previous = present if left >= 0 else 0
        present = 0
    if not present and previous <= 1:
        return previous  # a single event shows for its whole period instead of rounding to nothing
    return (previous * left + present * period) // period


def wait(cells: memoryview, at: int, period: int, most: int, now: int) -> int:
    """Milliseconds until :func:`read` gives no more than ``most``, if nothing is counted meanwhile; 0: it does."""
    left = cells[at] + period - now
    present, previous = cells[at + 1], cells[at + 2]
    if left < 0:
        left += period
        present, previous = 0, present if left >= 0 else 0
    if present <= most:  # in this period still: what the one before left behind fades away
        return max(0, left - ((most + 1 - present) * period - 1) // previous) if previous else 0
    return left + period - ((most + 1) * period - 1) // present


def store(cells: memoryview, at: int, value: int, now: int) -> None:
    """Let ``value`` be the frequency of this moment (``set table``)."""
    cells[at + 2] = 0
    cells[at + 1] = value
    cells[at] = now
