"""``balance leastconn``: the server with the fewest streams for its weight; equals in turns.

Theory. A server stands in a heap under its load, (n + 1) / weight for n > 0 streams and 0 for none (the next
stream's share, on HAProxy's scale), and among equals by the time at which it got that load, so that equals are served in turns. A change of
load pushes a new entry and outdates the old one, which is dropped when it comes up or when the heap has grown to four times its worth.
"""

from __future__ import annotations

from collections.abc import Collection
from heapq import heapify, heappop, heappush
from typing import Any

from forkproxy.balance.picker import SCALE, Picker
from forkproxy.registry import algorithm

_MAX_WEIGHT = 256 * SCALE


class LeastConn(Picker):
    """The server with the lowest number of streams in proportion to its weight; round robin among equals. Weights may change."""

    __slots__ = ("_arrival", "_careful", "_elsewhere", "_heap", "_key", "_room", "_stamp", "_weights", "streams")

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
        self._heap: list[tuple[int, int, int]] = []
        for i in (*turned, *early):
            self._arrival += 1
            self._stamp[i] = self._arrival
            self._key[i] = self._load(i)
            self._heap.append((self._key[i], self._arrival, i))
        heapify(self._heap)

    def pick(self, txn: Any, exclude: Collection[int] = ()) -> int | None:
        heap, stamp = self._heap, self._stamp
        while heap:
            _, at, i = heap[0]
            if stamp[i] != at:
                heappop(heap)
            elif exclude or self._careful:
                return self._other(exclude)
            else:
                return i
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
        if key == self._key[i]:
            return
        self._key[i] = key
        self._arrival = at = self._arrival + 1
        self._stamp[i] = at
        heap = self._heap
        heappush(heap, (key, at, i))
        if len(heap) > self._room:
            stamp = self._stamp
            heap[:] = [entry for entry in heap if stamp[entry[2]] == entry[1]]
            heapify(heap)

    def _other(self, exclude: Collection[int]) -> int | None:
        """The least loaded that is neither full nor excluded; an excluded one when nobody else has room."""
        full = self.view.full if self._careful else None
        avoided = None
        for _, _, i in sorted((self._key[i], self._stamp[i], i) for i in self.candidates):
            if full is not None and full(i):
                continue
            if i not in exclude:
                return i
            avoided = i
        return avoided


# Called, not a decorator: the compiled build (setup.py) makes native classes only of those that have none, and this one is asked three
# times per request.
algorithm("leastconn", synopsis="leastconn")(LeastConn)
