"""The order of HAProxy's dynamic weighted round robin.

Theory. Time is counted in turns, and a *window* has as many turns as all weights together. Each server, once served at position p,
wants to be served next at p + total/weight; the remainder of that division is carried, so that over a window everybody gets exactly
its weight. Servers wait in three places: ``fresh`` (not served in this window yet, heaviest first), ``due`` (ordered by the position they
want, then by what they carry) and ``later`` (their next position lies in the next window, heaviest first). A turn goes to the head
of ``due`` if its position is reached, else to a fresh server, else to the head of ``due`` ahead of its time. When both
are empty, ``later`` becomes ``fresh`` and a new window begins. Ties are settled by order of arrival, everywhere.

A window depends only on the order of ``fresh`` at its beginning. So as soon as an order comes back, what follows is known and is repeated
from memory at the cost of a C iterator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import chain, cycle

from forkproxy.balance.picker import SCALE

_MAX_WEIGHT = 256 * SCALE
#: Turns that may be remembered per backend (8 bytes each); a longer period is computed as it goes.
_MEMORY = 1 << 16


def _window(order: list[int], weights: Sequence[int], total: int, later: list[int]) -> Iterator[int]:
    """One window's turns; leaves the servers in ``later`` in the order in which they asked for the next one."""
    fresh = iter(order)
    waiting: int | None = next(fresh, None)
    due: list[tuple[int, int, int]] = []
    wanted = [0] * len(weights)
    carried = [0] * len(weights)
    position, arrival = total, 0
    while True:
        if due and (waiting is None or wanted[due[0][2]] <= position):
            server = heappop(due)[2]
        elif waiting is not None:
            server = waiting
            waiting = next(fresh, None)
            wanted[server] = position
        else:
            return
        weight = weights[server]
        step, rest = divmod(total, weight)
        rest += carried[server]
        if rest >= weight:
            rest -= weight
            step += 1
        carried[server] = rest
        wanted[server] = target = wanted[server] + step
        yield server
        position += 1
        if target >= 2 * total:
            later.append(server)
        else:
            arrival += 1
            heappush(due, (256 * target + (_MAX_WEIGHT + rest - weight) // SCALE, arrival, server))


def turns(members: Sequence[int], weights: Sequence[int]) -> Iterator[int]:
    """Yield ``members`` for ever in the order of their turns; ``weights`` (positive, in sixteenths) stand beside them."""
    total = sum(weights)
    order = sorted(range(len(members)), key=lambda k: -weights[k])
    windows: dict[tuple[int, ...], list[int]] = {}
    room = _MEMORY
    while True:
        mark = tuple(order)
        if mark in windows:
            known = list(windows)
            period = [windows[m] for m in known[known.index(mark) :]]
            yield from cycle(tuple(chain.from_iterable(period)))
        later: list[int] = []
        if total <= room:
            room -= total
            turn = windows[mark] = [members[k] for k in _window(order, weights, total, later)]
            yield from turn
        else:
            for k in _window(order, weights, total, later):
                yield members[k]
        order = sorted(later, key=lambda k: -weights[k])
