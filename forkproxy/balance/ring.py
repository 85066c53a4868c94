"""The ring of ``hash-type consistent``.

Theory. A server has one node per sixteenth of weight; node n of server id s stands at avalanche(s * 4096 + n) on a circle of 2**32
places. A key belongs to the node nearest to its hash, the lower one when both are equally far. The middles between neighbours are
computed when the ring is built, so a look-up is one bisection. When a server goes, only its keys move.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from forkproxy import plan
from forkproxy.balance.hashing import avalanche, crc32

_FULL = 1 << 32


class NodeKeys:
    """Places of each server's nodes, computed once and kept while weights change."""

    __slots__ = ("_known", "_seeds")

    def __init__(self, backend: plan.Backend) -> None:
        self._seeds = [_seed(server) for server in backend.servers]
        self._known: dict[int, list[int]] = {}

    def get(self, i: int, count: int) -> list[int]:
        """The first ``count`` places of server ``i``."""
        known = self._known.setdefault(i, [])
        seed = self._seeds[i]
        known.extend(avalanche(seed + n & 0xFFFFFFFF) for n in range(len(known), count))
        return known[:count]


def _seed(server: plan.Server) -> int:
    # Addresses as a key (``hash-key addr``) came after the HAProxy that we can compare with: stable among forkproxies, not shared with it.
    address = server.address
    if server.hash_key in ("addr", "addr-port") and address.family in ("ipv4", "ipv6"):
        text = address.host if server.hash_key == "addr" else str(address)
        return avalanche(crc32(text.encode()))
    if server.hash_key == "id32":
        return avalanche(server.id & 0xFFFFFFFF)
    return server.id * 4096


class Ring:
    """Nodes in the order of the circle: ``nodes`` are their servers; ``owners`` the same with the node that spans zero at both ends."""

    __slots__ = ("_middles", "nodes", "owners", "size")

    def __init__(self, members: Sequence[int], weights: Sequence[int], keys: NodeKeys) -> None:
        # One integer per node sorts by place, then by server, then by node: the order of insertion.
        shift = 16
        nodes = sorted(place << shift | i for i, w in zip(members, weights, strict=True) for place in keys.get(i, w))
        places = [node >> shift for node in nodes]
        owners = [node & 0xFFFF for node in nodes]
        # middles[k]: the last hash that still belongs to node k
        middles = [(a + b) // 2 for a, b in pairwise(places)]
        if places:
            last = places[-1]
            over = last + (places[0] + _FULL - last) // 2
            if over >= _FULL:  # the last node's part reaches past zero: it stands at both ends
                middles = [over - _FULL, *middles, _FULL]
                owners = [owners[-1], *owners]
            else:  # what is beyond the last node's part belongs to the first
                middles = [*middles, over, _FULL]
                owners = [*owners, owners[0]]
        self.nodes = tuple(node & 0xFFFF for node in nodes)
        self._middles = middles
        self.owners = tuple(owners)
        self.size = len(owners)

    def find(self, h: int) -> int:
        """The number of the node for a hash; the ring must not be empty."""
        return bisect_left(self._middles, h)
