"""``balance leastconn``: the server with the fewest streams for its weight; equals in turns.

Theory. A server stands in a row under its load, (n + 1) / weight for n > 0 streams and 0 for none (the next stream's share, on HAProxy's
scale), behind those who got that load before it, so that equals are served in turns. There are few loads at a time, however many servers,
so a heap has the loads and a change costs the same with a thousand servers as with two. A change of load puts a new entry at the end of
another row and outdates the old one, which is dropped when it comes to the front, or when all rows together are four times as long as
they should be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from heapq import heapify, heappop, heappush
from typing import Any, Final

from forkproxy.balance.picker import SCALE, Picker
from forkproxy.registry import algorithm

_MAX_WEIGHT: Final = 256 * SCALE
#: An entry of a row is the number of its arrival and the server's index, which takes so many bits.
_BITS: Final = 20
_INDEX: Final = (1 << _BITS) - 1


class LeastConn(Picker):
    """The server with the lowest number of streams in proportion to its weight; round robin among equals. Weights may change."""

    __slots__ = ("_arrival", "_careful", "_elsewhere", "_entries", "_key", "_loads", "_room", "_rows", "_stamp", "_weights", "streams")

    #: per server: this worker's streams
    streams: list[int]

    def rebuild(self) -> None:
        self._select()
        self._careful = self._limited()
        view, n = self.view, len(self.backend.servers)
        if not hasattr(self, "streams"):
            self.streams = [0] * n
            self._stamp = [0] * n
            self._arrival = 0
            # Workers begin at different servers: the first ``offset`` ones go to the end.
            turned = self.candidates[view.offset % (len(self.candidates) or 1) :]
            early = [i for i in self.candidates if i not in turned]
        else:
            turned, early = tuple(sorted(self.candidates, key=self._stamp.__getitem__)), []
        self._weights = [0] * n
        for i in self.candidates:
            self._weights[i] = view.weight(i)
        self._elsewhere = [view.elsewhere(i) for i in range(n)]
        self._key = [0] * n
        self._room = 4 * len(self.candidates) + 64
        self._entries = 0
        self._loads: list[int] = []
        self._rows: dict[int, deque[int]] = {}
        for i in (*turned, *early):
            self._append(i, self._load(i))

    def pick(self, txn: Any, exclude: Collection[int] = ()) -> int | None:
        loads, stamp = self._loads, self._stamp
        while loads:
            row = self._rows[loads[0]]
            while row:
                entry = row[0]
                i = entry & _INDEX
                if stamp[i] != entry:
                    row.popleft()
                    self._entries -= 1
                elif exclude or (self._careful and self.view.full(i)):
                    return self._other(exclude)
                else:
                    return i
            del self._rows[heappop(loads)]
        return None

    def on_start(self, i: int) -> None:
        self.streams[i] += 1
        self._move(i)

    def on_end(self, i: int) -> None:
        self.streams[i] -= 1
        self._move(i)

    def sync(self) -> None:
        for i in self.candidates:
            other = self.view.elsewhere(i)
            if other != self._elsewhere[i]:
                self._elsewhere[i] = other
                self._move(i)

    def _counts(self) -> bool:
        return True

    def _load(self, i: int) -> int:
        n = self.streams[i] + self._elsewhere[i]
        return (n + 1) * _MAX_WEIGHT // self._weights[i] if n else 0

    def _move(self, i: int) -> None:
        weight = self._weights[i]
        if not weight:  # no candidate any more; counted on for its return
            return
        n = self.streams[i] + self._elsewhere[i]
        key = (n + 1) * _MAX_WEIGHT // weight if n else 0
        if key != self._key[i]:
            self._append(i, key)

    def _append(self, i: int, key: int) -> None:
        """The server's load is ``key`` from now on."""
        self._key[i] = key
        self._arrival = at = self._arrival + 1
        self._stamp[i] = entry = at << _BITS | i
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = deque()
            heappush(self._loads, key)
        row.append(entry)
        self._entries = entries = self._entries + 1
        if entries > self._room:
            self._sweep()

    def _sweep(self) -> None:
        """Drop what is outdated."""
        stamp = self._stamp
        rows = {key: deque([entry for entry in row if stamp[entry & _INDEX] == entry]) for key, row in self._rows.items()}
        self._rows = {key: row for key, row in rows.items() if row}
        self._loads = list(self._rows)
        heapify(self._loads)
        self._entries = sum([len(row) for row in self._rows.values()])

    def _other(self, exclude: Collection[int]) -> int | None:
        """The least loaded that is neither full nor excluded; an excluded one when nobody else has room."""
        stamp = self._stamp
        full = self.view.full if self._careful else None
        avoided = None
        for load in sorted(self._loads):
            for entry in self._rows[load]:
                i = entry & _INDEX
                if stamp[i] != entry or (full is not None and full(i)):
                    continue
                if i not in exclude:
                    return i
                avoided = i
        return avoided


# Called, not a decorator: the compiled build (setup.py) makes native classes only of those that have none, and this one is asked three
# times per request.
algorithm("leastconn", synopsis="leastconn")(LeastConn)
