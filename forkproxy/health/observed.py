"""Errors in a row that live traffic saw on a server (``observe``, ``error-limit``), counted over all workers. Pure.

Theory. Each worker has three numbers of a server: good events, bad ones, and the bad ones since its last good one (its run). Between two
looks (a fraction of a second) the bad events of all workers lengthen the streak if nothing good happened anywhere. If something did, a
new streak begins: with the run of the one worker that had any events, which is exact; and with nothing where several had some, because
their order is not known, and a server must not be condemned for errors that were not in a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class Why(IntEnum):
    """What a bad event was; the text is HAProxy's."""

    CONNECT = 1
    STATUS = 2
    BAD_HEADERS = 3
    BAD_RESPONSE = 4
    TIMEOUT = 5
    CLOSED = 6

    @property
    def text(self) -> str:
        """The words for logs."""
        return _TEXTS[self]


_TEXTS = {
    Why.CONNECT: "L4 unsuccessful connection",
    Why.STATUS: "Wrong http response",
    Why.BAD_HEADERS: "Invalid http response (headers)",
    Why.BAD_RESPONSE: "Invalid http response",
    Why.TIMEOUT: "Read timeout (http)",
    Why.CLOSED: "Close from server (http)",
}

#: (slot, good, bad, run) of one worker
Numbers = tuple[int, int, int, int]


class Streak:
    """Errors in a row of one server."""

    __slots__ = ("_seen", "length", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.length = 0
        self._seen: dict[int, tuple[int, int]] = {}

    def look(self, workers: Iterable[Numbers], first: bool = False) -> bool:
        """Take in the workers' numbers; true when the limit is reached, and then the streak begins anew. ``first``: only remember."""
        seen, before = {}, self._seen
        good = False
        bad = fresh = active = 0
        for slot, goods, bads, run in workers:
            seen[slot] = goods, bads
            had = before.get(slot, (0, 0))
            if goods < had[0] or bads < had[1]:  # another worker has this slot now
                had = (0, 0)
            good = good or goods > had[0]
            bad += bads - had[1]
            if (goods, bads) != had:
                active += 1
                fresh = min(run, bads - had[1])
        self._seen = seen
        if first:
            return False
        if good:
            self.length = fresh if active == 1 else 0
        else:
            self.length += bad
        if self.length < self.limit:
            return False
        self.length = 0
        return True
