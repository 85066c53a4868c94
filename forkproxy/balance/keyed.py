"""What all hashing algorithms share: a key's hash chooses a server from a map or a ring; without a key it is round robin over the same.

The algorithm's own file says how a stream gets its hash; ``hash-type`` says where it leads (``maps.py``, ``ring.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from forkproxy import plan
from forkproxy.balance.hashing import FUNCTIONS, avalanche
from forkproxy.balance.maps import build_map, reduced_weights
from forkproxy.balance.picker import Picker, View
from forkproxy.balance.ring import NodeKeys, Ring
from forkproxy.balance.static_rr import MapTurns

#: ``hash_of(txn)``: the key's 32-bit hash, or None when the stream has no such key.
HashOf = Callable[[Any], int | None]


def hasher(balance: plan.Balance) -> Callable[[bytes], int]:
    """The function of ``hash-type`` with its modifier: bytes to a 32-bit hash."""
    function = FUNCTIONS[balance.hash_function]
    if balance.hash_modifier != "avalanche":
        return function
    return lambda key: avalanche(function(key))


def keyed(backend: plan.Backend, view: View, hash_of: HashOf) -> Picker:
    """The picker for ``hash_of`` that the backend's ``hash-type`` asks for."""
    if backend.balance.hash_method == "consistent":
        return ConsistentHash(backend, view, hash_of)
    return MapHash(backend, view, hash_of)


class MapHash(Picker):
    """``hash-type map-based``: the hash modulo the size of the static map. Full servers are given too: their clients wait for them.

    A stream that failed on its server (``exclude``) gets the next one of the map. HAProxy gives it the same server again, so that
    ``option redispatch`` ends in 503 there; which server a key has is not touched by that.
    """

    __slots__ = ("_careful", "_hash_of", "_turns")

    _turns: MapTurns

    def __init__(self, backend: plan.Backend, view: View, hash_of: HashOf) -> None:
        self._hash_of = hash_of
        super().__init__(backend, view)

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
        table = self._turns.table
        if len(table) > 1:
            h = self._hash_of(txn)
            if h is not None:
                i = table[h % len(table)]
                if i not in exclude:
                    return i
            return self._turns.turn(self, self._careful, exclude)
        return table[0] if table else None

    def _weight(self, i: int) -> int:
        return self.backend.servers[i].weight and self.view.weight(i)


class Load:
    """This worker's streams per server, and how many a server may have under ``hash-balance-factor``.

    Theory (bounded loads). Factor percent of all streams, the one to be placed included, are slots to give away in
    proportion to weight; a rounding rest goes to servers by where they stand in the sum of weights; nobody has less than one slot.
    """

    __slots__ = ("_before", "_elsewhere", "_factor", "_total", "_weights", "_weights_total", "streams")

    def __init__(self, servers: int, factor: int) -> None:
        self.streams = [0] * servers
        self._elsewhere = [0] * servers
        self._total = 0
        self._factor = factor
        self._weights: list[int] = [0] * servers
        self._before: list[int] = [0] * servers
        self._weights_total = 0

    def rebuild(self, picker: Picker) -> None:
        """Take over weights and what other workers have."""
        self._weights_total = 0
        for i in picker.candidates:
            self._before[i] = self._weights_total
            self._weights[i] = picker.view.weight(i)
            self._weights_total += self._weights[i]
        self.sync(picker)

    def sync(self, picker: Picker) -> None:
        """Take over what other workers have."""
        self._elsewhere = [picker.view.elsewhere(i) for i in range(len(self.streams))]
        self._total = sum(self.streams) + sum(self._elsewhere)

    def add(self, i: int, n: int) -> None:
        """Count a stream that starts (1) or ends (-1)."""
        self.streams[i] += n
        self._total += n

    def room(self, i: int) -> bool:
        """Whether server ``i`` is below its bound."""
        slots = ((self._total + 1) * self._factor + 99) // 100
        each, rest = divmod(slots, self._weights_total)
        weight, before = self._weights[i], self._before[i]
        mine = weight * each + (before + weight) * rest // self._weights_total - before * rest // self._weights_total
        return self.streams[i] + self._elsewhere[i] < (mine or 1)

    def lighter(self, a: int, b: int) -> bool:
        """Whether ``a`` has fewer streams for its weight than ``b``."""
        mine = self.streams[a] + self._elsewhere[a]
        return mine * self._weights[b] < (self.streams[b] + self._elsewhere[b]) * self._weights[a]


class ConsistentHash(Picker):
    """``hash-type consistent``: the nearest node of the ring; from there onwards when its server is excluded or over its bound."""

    __slots__ = ("_bounded", "_careful", "_choosy", "_hash_of", "_keys", "_load", "_ring", "_skip", "_turns")

    _turns: MapTurns

    def __init__(self, backend: plan.Backend, view: View, hash_of: HashOf) -> None:
        self._hash_of = hash_of
        self._bounded = backend.balance.hash_balance_factor > 0
        self._skip = {"maxconn": view.full, "maxqueue": view.queue_full}.get(backend.balance.hash_preserve_affinity)
        self._load = Load(len(backend.servers), backend.balance.hash_balance_factor)
        self._keys = NodeKeys(backend)
        super().__init__(backend, view)

    def rebuild(self) -> None:
        self._select()
        self._careful = self._limited()
        self._load.rebuild(self)
        self._choosy = self._bounded or (self._skip is not None and self._careful)
        if len(self.candidates) < 2:
            return  # nobody asks: of a thousand backends with a server each the rings are 2 MB
        self._ring = Ring(self.candidates, [self.view.weight(i) for i in self.candidates], self._keys)
        if hasattr(self, "_turns"):
            self._turns.replace(self._ring.nodes)
        else:
            self._turns = MapTurns(self._ring.nodes, self.view.offset)

    def pick(self, txn: Any, exclude: Collection[int] = ()) -> int | None:
        members = self.candidates
        if len(members) > 1:
            h = self._hash_of(txn)
            if h is None:
                return self._turns.turn(self, self._careful, exclude)
            return self._find(h, exclude)
        return members[0] if members else None

    def on_start(self, i: int) -> None:
        self._load.add(i, 1)

    def on_end(self, i: int) -> None:
        self._load.add(i, -1)

    def sync(self) -> None:
        self._load.sync(self)

    def _counts(self) -> bool:
        return self._bounded

    def _find(self, h: int, exclude: Collection[int]) -> int:
        ring = self._ring
        k = ring.find(h)
        owners = ring.owners
        i = owners[k]
        if not exclude and not self._choosy:
            return i
        room, skip = self._load.room, self._skip
        for _ in range(ring.size):
            i = owners[k]
            if i not in exclude and (not self._bounded or room(i)) and (skip is None or not skip(i)):
                break
            k = k + 1 if k + 1 < ring.size else 0
        return i  # when nobody suits: the last one before the first choice
