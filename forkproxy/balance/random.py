"""``balance random[(<draws>)]``: the least loaded of a few servers drawn from the consistent ring ("power of two choices")."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from typing import Any

from forkproxy import plan
from forkproxy.balance.keyed import ConsistentHash
from forkproxy.balance.picker import Picker, View
from forkproxy.registry import algorithm


def _no_key(_txn: Any) -> None:
    """Nothing of a request decides."""


def _draw() -> int:
    # The module's own generator, which is seeded anew in every child: one for each backend is 2.5 KB and as much of the system's entropy.
    return random.getrandbits(32)


class Random(ConsistentHash):
    """Draws places of the ring; full servers are not drawn for, the backend's queue is."""

    __slots__ = ("_draws", "_number")

    def __init__(self, backend: plan.Backend, view: View, number: Callable[[], int]) -> None:
        self._draws = backend.balance.args[0] if backend.balance.args else 2
        self._number = number
        super().__init__(backend, view, _no_key)

    def pick(self, txn: Any, exclude: Collection[int] = ()) -> int | None:
        members = self.candidates
        if len(members) > 1:
            best = self._find(self._number(), exclude)
            for _ in range(self._draws - 1):
                other = self._find(self._number(), exclude)
                # Among equals the later draw wins, as in HAProxy.
                if not self._load.lighter(best, other):
                    best = other
        elif members:
            best = members[0]
        else:
            return None
        return None if self._careful and self.view.full(best) else best

    def _counts(self) -> bool:
        return len(self.backend.servers) > 1


@algorithm("random", synopsis="random[(<draws>)]")
def random_(backend: plan.Backend, view: View) -> Picker:
    """The least loaded of ``draws`` (2) servers drawn at random in proportion to weight. Weights may be changed while running."""
    return Random(backend, view, _draw)
