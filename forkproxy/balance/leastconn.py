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

from forkproxy import plan
from forkproxy.balance.picker import SCALE, Picker, View
from forkproxy.registry import algorithm

_MAX_WEIGHT: Final = 256 * SCALE
#: An entry of a row is the number of its arrival and the server's index, which takes so many bits.
_BITS: Final = 20
_INDEX: Final = (1 << _BITS) - 1


class Place:
    """What is known of one server: streams of this worker and of others, its weight (0: no candidate now), the load under which it stands
    and its entry in that row. One object, since with many servers what costs is to reach them."""

    __slots__ = ("elsewhere", "entry", "load", "streams", "weight")

    def __init__(self) -> None:
        self.streams = self.elsewhere = self.weight = self.load = self.entry = 0


class LeastConn(Picker):
    """The server with the lowest number of streams in proportion to its weight; round robin among equals. Weights may change."""

    __slots__ = ("_arrival", "_careful", "_entries", "_loads", "_places", "_room", "_rows")

    _places: list[Place]

    def __init__(self, backend: plan.Backend, view: View) -> None:
        super().__init__(backend, view)  # mypyc makes a class twice that inherits this from a class which others may inherit from, too

    def rebuild(self) -> None:
        self._select()
        self._careful = self._limited()
        view = self.view
        if not hasattr(self, "_places"):
            self._places = [Place() for _ in self.backend.servers]
            self._arrival = 0
            # Workers begin at different servers: the first ``offset`` ones go to the end.
            turned = self.candidates[view.offset % (len(self.candidates) or 1) :]
            early = [i for i in self.candidates if i not in turned]
        else:
            turned, early = tuple(sorted(self.candidates, key=lambda i: self._places[i].entry)), []
        self._room = 4 * len(self.candidates) + 64
        self._entries = 0
        self._loads: list[int] = []
        self._rows: dict[int, deque[int]] = {}
        for i, place in enumerate(self._places):
            place.weight = 0
            place.elsewhere = view.elsewhere(i)
        for i in (*turned, *early):
            place = self._places[i]
            place.weight = view.weight(i)
            self._append(i, place, _load(place))

    @property
    def streams(self) -> list[int]:
        """Per server: this worker's streams."""
        return [place.streams for place in self._places]

    def pick(self, txn: Any, exclude: Collection[int] = ()) -> int | None:
        loads, places = self._loads, self._places
        while loads:
            row = self._rows[loads[0]]
            while row:
                entry = row[0]
                i = entry & _INDEX
                if places[i].entry != entry:
                    row.popleft()
                    self._entries -= 1
                elif exclude or (self._careful and self.view.full(i)):
                    return self._other(exclude)
                else:
                    return i
            del self._rows[heappop(loads)]
        return None

    def on_start(self, i: int) -> None:
        place = self._places[i]
        place.streams += 1
        self._move(i, place)

    def on_end(self, i: int) -> None:
        place = self._places[i]
        place.streams -= 1
        self._move(i, place)

    def sync(self) -> None:
        for i in self.candidates:
            place = self._places[i]
            other = self.view.elsewhere(i)
            if other != place.elsewhere:
                place.elsewhere = other
                self._move(i, place)

    def _counts(self) -> bool:
        return True

    def _move(self, i: int, place: Place) -> None:
        if place.weight:  # else it is no candidate any more; counted on for its return
            load = _load(place)
            if load != place.load:
                self._append(i, place, load)

    def _append(self, i: int, place: Place, load: int) -> None:
        """The server stands under ``load`` from now on."""
        self._arrival = at = self._arrival + 1
        place.load = load
        place.entry = entry = at << _BITS | i
        row = self._rows.get(load)
        if row is None:
            row = self._rows[load] = deque()
            heappush(self._loads, load)
        row.append(entry)
        self._entries = entries = self._entries + 1
        if entries > self._room:
            self._sweep()

    def _sweep(self) -> None:
        """Drop what is outdated."""
        places = self._places
        rows = {load: deque([entry for entry in row if places[entry & _INDEX].entry == entry]) for load, row in self._rows.items()}
        self._rows = {load: row for load, row in rows.items() if row}
        self._loads = list(self._rows)
        heapify(self._loads)
        self._entries = sum([len(row) for row in self._rows.values()])

    def _other(self, exclude: Collection[int]) -> int | None:
        """The least loaded that is neither full nor excluded; an excluded one when nobody else has room."""
        places = self._places
        full = self.view.full if self._careful else None
        avoided = None
        for load in sorted(self._loads):
            for entry in self._rows[load]:
                i = entry & _INDEX
                if places[i].entry != entry or (full is not None and full(i)):
                    continue
                if i not in exclude:
                    return i
                avoided = i
        return avoided


def _load(place: Place) -> int:
    n = place.streams + place.elsewhere
    return (n + 1) * _MAX_WEIGHT // place.weight if n else 0


# Called, not a decorator: the compiled build (setup.py) makes native classes only of those that have none, and this one is asked three
# times per request.
algorithm("leastconn", synopsis="leastconn")(LeastConn)
