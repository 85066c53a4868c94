"""The static map: an immutable table in which each server stands as often as its weight says (``static-rr``, ``hash-type map-based``).

Theory. The weights of the file, divided by the greatest common divisor of *all* servers' weights, add up to the table's size. A server
has credit 1 at first, gains 1 each time another size/weight entries have been filled, loses 1 for each entry it gets. An entry goes to
the server with most credit, the first of the file among equals: the same table as HAProxy's on the same candidates.
Changing a weight at run time has no effect except to or from zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from math import gcd

from forkproxy import plan


def reduced_weights(backend: plan.Backend) -> tuple[int, ...]:
    """The file's weights of all servers, active or not, divided by what they have in common."""
    weights = [s.weight for s in backend.servers]
    common = gcd(*weights) or 1
    return tuple(w // common for w in weights)


def build_map(members: Sequence[int], weights: Sequence[int]) -> tuple[int, ...]:
    """The table of ``members`` (indices in file order) with positive ``weights`` beside them; one entry for a single member."""
    if len(members) <= 1:
        return tuple(members)
    size = sum(weights)
    gains: list[list[int]] = [[] for _ in range(size + 1)]
    for k, weight in enumerate(weights):
        for n in range(1, weight + 1):
            gains[-(-n * size // weight)].append(k)
    credit = [1] * len(members)
    best = [(-1, k) for k in range(len(members))]  # a heap whose outdated entries are skipped
    table: list[int] = []
    for place in range(1, size + 1):
        for k in gains[place]:
            credit[k] += 1
            heappush(best, (-credit[k], k))
        while True:
            owed, k = heappop(best)
            if -owed == credit[k]:
                break
        credit[k] -= 1
        heappush(best, (-credit[k], k))
        table.append(members[k])
    return tuple(table)
