"""All stick tables of the service: which of a new configuration are the ones that are there, and what dead workers held.

The master makes tables before it forks and gives every worker a ledger. Knows specifications, not what the tables are for.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial

from forkproxy.state.ledger import Ledger
from forkproxy.state.stickspec import TableRef
from forkproxy.state.sticktable import Table

#: One call of :meth:`Tables.sweep` looks at one stripe in so many, and at this many at least (50 µs each).
_SHARE, _SWEEP = 10, 16


#: For how long the entries of another master are copied, seconds: its workers serve for some seconds after their master's death.
_PATIENCE_S = 4.0
#: To be raised when cells of a table mean something else: tables of another layout are not taken over.
_LAYOUT = 1


def label(ref: TableRef) -> str:
    """What tells whether two programs mean the same table: of fixed length, since many go into one packet (``worker.handover``)."""
    spec = ref.spec
    stores = [(store.name, store.count, store.period_ms) for store in spec.stores]
    means = repr((_LAYOUT, spec.name, spec.type, spec.key_bytes, spec.size, spec.expire_ms, spec.nopurge, spec.srvkey, stores))
    return hashlib.blake2b(means.encode(), digest_size=16).hexdigest()


def memories(refs: Mapping[str, TableRef]) -> dict[str, int]:
    """The descriptors of all tables by :func:`label`."""
    return {label(ref): ref.table.fd for ref in refs.values() if ref.bound}


class Tables:
    """The master's view. ``ledgers`` by slot of the worker."""

    __slots__ = ("_hand", "_next", "ledgers", "live")

    def __init__(self) -> None:
        self.live: dict[int, Table] = {}
        self.ledgers: dict[int, Ledger] = {}
        self._next = 1
        self._hand = 0

    def bind(self, new: Mapping[str, TableRef], old: Mapping[str, TableRef]) -> None:
        """Give every table of a configuration its memory: that of the table in ``old`` (the configuration in force) with the same name
        and specification, with all its entries, or new memory. Raises OSError when there is none."""
        for name, ref in new.items():
            if ref.bound:
                continue
            before = old.get(name)
            if before is not None and before.bound and before.spec == ref.spec:
                ref.bind(before.table)
            else:
                ref.bind(Table(ref.spec, self._next))
                self._next += 1
            self.live[ref.table.number] = ref.table

    def learn(self, refs: Mapping[str, TableRef], offered: Mapping[str, int], now: int) -> None:
        """Take over what another master's tables hold: ``offered`` are their memories by :func:`label`, which are closed. ``now`` in
        monotonic milliseconds. Its workers may go on with them; what they count from now on is not seen here. To be called before there are
        workers of ours; who waits for them is not kept waiting for more than :data:`_PATIENCE_S`, whatever is left."""
        until = time.monotonic() + _PATIENCE_S
        wanted = {label(ref): ref for ref in refs.values() if ref.bound}
        for name, fd in offered.items():
            ref = wanted.get(name)
            if ref is None:
                os.close(fd)
                continue
            try:
                theirs = Table(ref.spec, 0, fd)
            except (OSError, ValueError):
                continue  # not as long as it should be
            for entries in theirs.entries(now):
                ref.table.learn(entries, now)
                if time.monotonic() > until:
                    break
            theirs.part()

    def keep(self, configurations: Iterable[Mapping[str, TableRef]]) -> None:
        """Forget the tables that none of ``configurations`` has: nobody uses them any more."""
        wanted = {ref.table.number for refs in configurations for ref in refs.values() if ref.bound}
        for number in [number for number in self.live if number not in wanted]:
            self.live.pop(number).forget()

    def ledger(self, slot: int, size: int) -> Ledger:
        """A ledger for the worker of ``slot``, which can hold ``size`` entries at once. Raises OSError when there is no memory for it."""
        made = self.ledgers[slot] = Ledger(size)
        return made

    def settle(self, slot: int) -> None:
        """The worker of ``slot`` is gone: it holds nothing any more."""
        ledger = self.ledgers.get(slot)
        if ledger is None:
            return
        for number, base, unsure in ledger.held():
            table = self.live.get(number)
            if table is not None:
                table.settle(base, partial(self._holders, number, base, slot) if unsure else None)
        del self.ledgers[slot]

    def _holders(self, number: int, base: int, without: int) -> int:
        """How many entries in other ledgers name this one."""
        counts: Counter[tuple[int, int]] = Counter()
        for slot, ledger in self.ledgers.items():
            if slot != without:
                counts.update((n, b) for n, b, _ in ledger.held())
        return counts[number, base]

    def sweep(self, now: int) -> None:
        """Free expired entries in some stripes; to be called about once a second. ``now`` in monotonic milliseconds."""
        self._hand += 1
        for table in self.live.values():
            count = min(table.stripes, max(_SWEEP, table.stripes // _SHARE + 1))
            for i in range(count):
                table.sweep((self._hand * count + i) & table.stripe_mask, now)
