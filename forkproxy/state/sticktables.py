"""All stick tables of the service: which of a new configuration are the ones that are there, and what dead workers held.

The master makes tables before it forks and gives every worker a ledger; rules find their table through a :class:`TableRef`, which the
configuration has and the master fills in. Knows specifications, not what the tables are for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

from forkproxy.state.ledger import Ledger
from forkproxy.state.stickspec import DATA_TYPES, Store, TableSpec
from forkproxy.state.sticktable import Table

#: Stripes that one call of :meth:`Tables.sweep` looks at: a fraction of a millisecond each.
_SWEEP = 16


class TableRef:
    """A table as a configuration names it. ``table`` is there from the moment at which the configuration is taken on."""

    __slots__ = ("_table", "spec")

    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec
        self._table: Table | None = None

    @property
    def table(self) -> Table:
        """The table itself."""
        assert self._table is not None
        return self._table

    @property
    def bound(self) -> bool:
        """Whether there is a table."""
        return self._table is not None

    def bind(self, table: Table) -> None:
        """Let this be the table."""
        self._table = table

    def store(self, *names: str) -> None:
        """Store these data types, too (while the configuration is read)."""
        have = {store.name: store for store in self.spec.stores}
        for name in names:
            have.setdefault(name, Store(name))
        self.spec = replace(self.spec, stores=tuple(have[name] for name in DATA_TYPES if name in have))


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

    def keep(self, configurations: Iterable[Mapping[str, TableRef]]) -> None:
        """Forget the tables that none of ``configurations`` has: nobody uses them any more."""
        wanted = {ref.table.number for refs in configurations for ref in refs.values() if ref.bound}
        for number in [number for number in self.live if number not in wanted]:
            del self.live[number]

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
        """Free expired entries in some stripes; to be called several times a second. ``now`` in monotonic milliseconds."""
        for table in self.live.values():
            for i in range(min(_SWEEP, table.stripes)):
                table.sweep((self._hand + i) & table.stripe_mask, now)
        self._hand += _SWEEP
