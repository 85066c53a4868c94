"""``balance static-rr``: round robin over a static map (``maps.py``); weight changes at run time have no effect."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from forkproxy.balance.maps import build_map, reduced_weights
from forkproxy.balance.picker import Picker
from forkproxy.registry import algorithm


class MapTurns:
    """A place in a table that moves on: round robin over a static map, also for keys that are absent."""

    __slots__ = ("_at", "table")

    def __init__(self, table: tuple[int, ...], at: int = 0) -> None:
        self.table = table
        self._at = at % len(table) if table else 0

    def replace(self, table: tuple[int, ...]) -> None:
        """Go on in another table, from the same place if it has it."""
        self.table = table
        if self._at >= len(table):
            self._at = 0

    def turn(self, picker: Picker, careful: bool, exclude: Collection[int]) -> int | None:
        """The next server that is neither full nor excluded; an excluded one when nobody else has room."""
        table, at = self.table, self._at
        size = len(table)
        full = picker.view.full
        avoided, avoided_at = None, at
        for _ in range(size):
            i = table[at]
            at = at + 1 if at + 1 < size else 0
            if careful and full(i):
                continue
            if i not in exclude:
                self._at = at
                return i
            avoided, avoided_at = i, at
        self._at = avoided_at
        return avoided


@algorithm("static-rr", synopsis="static-rr")
class StaticRoundRobin(Picker):
    """Each server in turns, according to its weight in the file; changing a weight while running has no effect."""

    __slots__ = ("_careful", "_turns")

    _turns: MapTurns

    def rebuild(self) -> None:
        self._select()
        self._careful = self._limited()
        weights = reduced_weights(self.backend)
        table = build_map(self.candidates, [weights[i] for i in self.candidates])
        if hasattr(self, "_turns"):
            self._turns.replace(table)
        else:
            self._turns = MapTurns(table, self.view.offset)

    def pick(self, txn: Any, exclude: Collection[int] = ()) -> int | None:
        return self._turns.turn(self, self._careful, exclude)

    def _weight(self, i: int) -> int:
        return self.backend.servers[i].weight and self.view.weight(i)
