"""Distributions of the times of streams, for Prometheus: how many took how long in queue, to connect, to be answered, and as a whole.

Counted only where somebody can ask for metrics. Buckets double from half a millisecond on (``layout.HISTOGRAM_S``), so that the bucket
of a time is the number of bits of its half milliseconds. Added to the rows of the frontend, the backend and the server when a tally pours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forkproxy.state import cells
from forkproxy.state import layout as L

if TYPE_CHECKING:
    from forkproxy.proxy.stream import Stream

_STEP_S = L.HISTOGRAM_S[0]
_LAST = len(L.HISTOGRAM_S)
#: where the sum stands, behind the buckets
_SUM = _LAST + 1
_ADD: Final = cells.best.add


def bucket(seconds: float) -> int:
    """The number of the bucket of a time: the first whose bound is greater."""
    number = int(seconds / _STEP_S).bit_length()
    return number if number < _LAST else _LAST


def add(ended: list[Stream], rows: tuple[memoryview | None, ...]) -> None:
    """Count streams that ended, in each of these rows."""
    found: dict[int, int] = {}

    def count(histogram: int, seconds: float) -> None:
        cell = histogram + bucket(seconds)
        found[cell] = found.get(cell, 0) + 1
        cell = histogram + _SUM
        found[cell] = found.get(cell, 0) + int(seconds * 1e6)

    for s in ended:
        if not s.t_queue:
            continue  # answered here, or never got to a server
        count(L.QUEUE_HISTOGRAM, max(0.0, s.t_queue - s.t_request))
        if s.t_connect:
            count(L.CONNECT_HISTOGRAM, max(0.0, s.t_connect - s.t_queue))
            if s.t_response:
                count(L.RESPONSE_HISTOGRAM, s.t_response - s.t_connect)
        count(L.TOTAL_HISTOGRAM, s.t_end - s.t_first)
    at, more = tuple(found), tuple(found.values())
    for row in rows:
        if row is not None:
            _ADD(row, at, more)
