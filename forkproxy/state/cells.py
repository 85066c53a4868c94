"""Cells of a row written several at a time: what each request does to the row of its server.

``row[at] += n`` on a memoryview makes two objects of numbers and calls four functions, 600 instructions of the compiled build; where each
request has a server of its own (a hundred of them are enough) a dozen such were a fifth of all that Python did for it. The compiled build
has the same in C (``_cells.pyx``). Whoever changes one changes the other; ``tests/unit/state/test_cells.py`` holds them to the same.

A row is a memoryview of the format "q", contiguous; only its slot's owner writes (``layout``). A cell that it has not raises IndexError.
"""

from __future__ import annotations

import sys
from typing import Any

from forkproxy.state import rates


def add(row: memoryview, at: tuple[int, ...], n: tuple[int, ...]) -> None:
    """Add to each of these cells its number."""
    for where, number in zip(at, n, strict=True):
        row[where] += number


def gauge(row: memoryview, at: int, now: int, peak: int) -> None:
    """What there is now, and behind it the most that there ever was."""
    row[at] = now
    if peak > row[at + 1]:
        row[at + 1] = peak


def took(row: memoryview, at: int, queue_s: float, connect_s: float, response_s: float, total_s: float) -> None:
    """:func:`rates.times_s` for one sample."""
    times = (queue_s, connect_s, response_s, total_s)
    rates.times_s(row, at, 1, times, times)


#: the module that has these functions as fast as can be had
best: Any
try:
    from forkproxy.state import _cells as best
except ImportError:  # a checkout, or a wheel that was not compiled
    best = sys.modules[__name__]
