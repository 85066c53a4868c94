"""``balance roundrobin``: everyone in turns, by weight; weights may change at any time. The order is that of ``turns.py``.

A server that is full or excluded loses its turn and the walk goes on. HAProxy would look at it again at the next window's
beginning, so that the two orders can be shifted against each other after servers were full; the shares are the same, and a pick stays a
walk over known turns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice, repeat
from typing import Any

from forkproxy import plan
from forkproxy.balance.picker import Picker, View
from forkproxy.balance.turns import turns
from forkproxy.registry import algorithm

#: Turns looked at to find the place of the server served last in a new order.
_SEEK = 4096


class RoundRobin(Picker):
    """Each server in turns, according to its weight; the smoothest distribution. Weights may be changed while running."""

    __slots__ = ("_careful", "_last", "_turns")

    _turns: Iterator[int | None]
    _last: int | None

    def __init__(self, backend: plan.Backend, view: View) -> None:
        super().__init__(backend, view)  # mypyc makes a class twice that inherits this from a class which others may inherit from, too

    def rebuild(self) -> None:
        """Begin a new order, after the server that was served last."""
        self._select()
        begun = hasattr(self, "_turns")
        if not begun:
            self._last = None
        last = self._last
        self._careful = self._limited()
        members = self.candidates
        if not members:
            self._turns = repeat(None)
            return
        sequence = turns(members, [self._weight(i) for i in members])
        self._turns = sequence
        if not begun:
            next(islice(sequence, self.view.offset, self.view.offset), None)
        elif last is not None and last in members:
            for i in islice(sequence, _SEEK):
                if i == last:
                    break

    def pick(self, txn: Any, exclude: Collection[int] = ()) -> int | None:
        i = next(self._turns)
        if exclude or self._careful:
            i = self._other(i, exclude)
        self._last = i
        return i

    def _other(self, i: int | None, exclude: Collection[int]) -> int | None:
        """Walk on from ``i`` past full and excluded servers; an excluded one that could serve is better than none."""
        full = self.view.full if self._careful else None
        left = len(self.candidates)
        seen: set[int] = set()
        avoided = None
        while i is not None and left:
            if i not in seen:
                seen.add(i)
                left -= 1
                if full is None or not full(i):
                    if i not in exclude:
                        return i
                    if avoided is None:
                        avoided = i
                if not left:
                    break
            i = next(self._turns)
        return avoided


# Called, not a decorator: see leastconn.py.
algorithm("roundrobin", synopsis="roundrobin")(RoundRobin)
