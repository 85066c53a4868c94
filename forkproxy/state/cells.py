"""Cells of a row written several at a time: what each request does to the row of its server.

``row[at] += n`` on a memoryview makes two objects of numbers and calls four functions, 600 instructions of the compiled build; where each
request has a server of its own (a hundred of them are enough) a dozen such were a fifth of all that Python did for it. The compiled build
has the same in C (``_cells.pyx``). Whoever changes one changes the other; ``tests/unit/state/test_cells.py`` holds them to the same.

Cells are a memoryview of the format "q", contiguous: a row, or the whole slot of a worker, in which a row begins at some cell (of a
thousand rows each memoryview is three cache lines that nobody has touched lately). Only a slot's owner writes (``layout``). A cell that is
not there raises IndexError.
"""

from __future__ import annotations

import sys
from typing import Any

from forkproxy.state import rates
from forkproxy.state.layout import BYTES_IN, BYTES_OUT, HRSP_2XX, LAST_SESS, LBTOT, REQ_TOT, REUSES, SESS_TOT, TIMES


def add(row: memoryview, at: tuple[int, ...], n: tuple[int, ...]) -> None:
    """Add to each of these cells its number."""
    for where, number in zip(at, n, strict=True):
        row[where] += number


def gauge(row: memoryview, at: int, now: int, peak: int) -> None:
    """What there is now, and behind it the most that there ever was."""
    row[at] = now
    if peak > row[at + 1]:
        row[at + 1] = peak


def served(
    cells: memoryview, base: int, bytes_in: int, bytes_out: int, elected: bool, wall_s: float,
    queue_s: float, connect_s: float, response_s: float, total_s: float,
) -> None:  # fmt: skip
    """One request, answered with 2xx over a connection that had been used before, in the row of a server or backend that begins at cell
    ``base``: with its times (:func:`rates.times_s`), and ``elected``, if something else than the algorithm chose the server. ``wall_s`` is
    when its session was, 0 if none is to be counted."""
    cells[base + BYTES_IN] += bytes_in
    cells[base + BYTES_OUT] += bytes_out
    cells[base + REQ_TOT] += 1
    cells[base + HRSP_2XX] += 1
    cells[base + REUSES] += 1
    if not elected:
        cells[base + LBTOT] += 1
    if wall_s:
        cells[base + SESS_TOT] += 1
        cells[base + LAST_SESS] = int(wall_s)
    times = (queue_s, connect_s, response_s, total_s)
    rates.times_s(cells, base + TIMES, 1, times, times)


#: the module that has these functions as fast as can be had
best: Any
try:
    from forkproxy.state import _cells as best
except ImportError:  # a checkout, or a wheel that was not compiled
    best = sys.modules[__name__]
