"""Bandwidth limits as a configuration names them (manual 9.7): what a ``filter bwlim-…`` line says, and what a rule left of it for a
stream.

A rule ``set-bandwidth-limit`` puts a :class:`Wanted` into ``txn.marks["bandwidth"]`` under the filter's name; ``proxy/pacing.py`` does the
rest.
"""

from __future__ import annotations

from forkproxy.state.stickspec import TableRef
from forkproxy.values import frozen

#: the filters that there are
KINDS = ("bwlim-in", "bwlim-out")



@frozen
class Bandwidth:
    """One filter. ``inward``: on what clients send. ``limit`` bytes in ``period_ms``, no fewer than ``least`` at a time (0: not said).

    Of a shared one ``key`` is the expression as written, ``table`` keeps the rates, ``rate`` is where the rate stands in an entry;
    ``on`` False: ``filter-sequence`` has left it out.
    """

    name: str
    inward: bool
    limit: int
    period_ms: int = 0
    least: int = 0
    key: str = ""
    table: TableRef | None = None
    rate: int = 0
    on: bool = True

class Wanted:
    """What a rule wants for one stream: the filter, limit and period in force, the key of its entry (padded; b"": a limit of its own)."""

    __slots__ = ("filter", "key", "limit", "period_ms")

    def __init__(self, filter: Bandwidth, limit: int, period_ms: int, key: bytes) -> None:
        self.filter = filter
        self.limit = limit
        self.period_ms = period_ms
        self.key = key
