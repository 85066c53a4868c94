"""Rows: where to count, and what it all comes to.

A worker asks :meth:`Rows.base` once per name and then only adds to cells. Whoever shows numbers asks :meth:`Rows.totals`, which
adds up the slots by the kind of each counter (``layout.Kind``). The master retires a slot when its worker is gone: counters and
maxima move to the retired slot, gauges and rates vanish with the connections they counted.

**Maxima.** The greatest of the workers' maxima is less than the greatest sum (two workers with five sessions each had ten). So a
maximum also takes in the present sum, and the master notes sums once a second (:meth:`Rows.observe`) in its own slot. A peak that
lasted less and was spread over workers shows too low, never too high.

**Means** are weighed by samples; those of retired workers count only as far as the living ones have fewer than 1024.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from forkproxy.clock import Clock
from forkproxy.state import rates
from forkproxy.state.layout import COUNTERS, ROW_CELLS, SECOND, TIMES, Kind, of_kind
from forkproxy.state.names import NameTable
from forkproxy.state.segment import TEXT_CELLS, Segment

_GREATEST = tuple(c.offset for c in of_kind(Kind.MAX, Kind.STAMP))
_MEANS = tuple(c.offset for c in of_kind(Kind.MEAN))
_RATE_OF = dict(rates.RATES)
_STATES = tuple(c.offset for c in of_kind(Kind.STATE))
#: (maximum, what it is the maximum of)
_PEAKS = tuple((c.offset, COUNTERS[c.of].offset) for c in of_kind(Kind.MAX) if c.of)
#: What moves to the retired slot by adding. (Counters that are not declared yet stay zero everywhere.)
_ADDED = tuple(at for c in of_kind(Kind.COUNTER, Kind.HISTOGRAM) for at in range(c.offset, c.offset + c.width))
#: What "clear counters" leaves alone: what is counted down again, and the signs of life.
_KEPT = frozenset(
    at for c in of_kind(Kind.GAUGE, Kind.STATE, Kind.STAMP) if c.offset != TIMES for at in range(c.offset, c.offset + c.width)
)


class Rows:
    """All rows of a segment by name. ``clock`` gives the time that rates are computed for."""

    __slots__ = ("clock", "names", "segment")

    def __init__(self, segment: Segment, names: NameTable, clock: Clock) -> None:
        self.segment = segment
        self.names = names
        self.clock = clock

    # -- counting

    def base(self, name: str) -> int:
        """The index of row ``name`` (``state.names``; "": the process) in the cells of any slot. Raises KeyError."""
        return self.names.row(name) * ROW_CELLS

    def cells(self, slot: int) -> memoryview:
        """The cells of a slot: ``cells[base + REQ_TOT] += 1``. Only the slot's owner writes."""
        return self.segment.slot(slot)

    def rate(self, slot: int, base: int, offset: int) -> int:
        """A rate of one slot alone (``layout.SESS_RATE`` …), for rules and limits of a worker."""
        cells = self.segment.slot(slot)
        return rates.rate(cells, base + offset, base + _RATE_OF[offset], cells[SECOND], self.clock.now)

    # -- reading

    def totals(self, name: str) -> list[int]:
        """What row ``name`` comes to over all workers, past and present, indexed by the offsets of ``layout`` (a rate's first cell
        holds the rate).

        STATE cells are the master's. Consistent while the master retires a slot. Raises KeyError.
        """
        base = self.base(name)
        segment = self.segment
        for _ in range(5):
            before = segment.changes
            result = self._sum(base, segment.live())
            if not before & 1 and segment.changes == before:
                break  # otherwise the master was moving counters; if it died doing so, the last attempt has to do
        return result

    def _sum(self, base: int, live: list[int]) -> list[int]:
        segment, now = self.segment, self.clock.now
        end = base + ROW_CELLS
        master = segment.slot(segment.master)[base:end].tolist()
        retired = segment.slot(segment.retired)[base:end].tolist()
        rows = [segment.slot(i)[base:end].tolist() for i in live]
        seconds = [segment.slot(i)[SECOND] for i in live]
        result = [sum(column) for column in zip(retired, master, *rows, strict=True)]
        for at, of in rates.RATES:
            result[at] = sum(rates.rate(row, at, of, second, now) for row, second in zip(rows, seconds, strict=True))
            result[at + 1] = 0
        rows.append(master)
        for at in _GREATEST:
            result[at] = max(max(row[at] for row in rows), retired[at])
        for at, of in _PEAKS:
            if result[of] > result[at]:
                result[at] = result[of]
        for at in _STATES:
            result[at] = master[at]
        samples = result[TIMES] - retired[TIMES]
        past = min(retired[TIMES], max(0, rates.WINDOW - samples))
        result[TIMES] = samples + past
        for at in _MEANS:
            faded = retired[at] * past // retired[TIMES] if past else 0
            result[at] = rates.mean(result[at] - retired[at] + faded, samples + past)
        return result

    def each(self, name: str, offset: int) -> dict[int, int]:
        """One cell of row ``name`` in every worker slot in use: slot → value."""
        at = self.base(name) + offset
        return {i: self.segment.slot(i)[at] for i in self.segment.live()}

    # -- the master's part

    def retire(self, slot: int) -> None:
        """The worker of ``slot`` is gone: keep its counters and maxima, drop its gauges, free the slot. Again: nothing happens."""
        segment = self.segment
        if not segment.owner(slot):
            return
        source, target = segment.slot(slot), segment.slot(segment.retired)
        segment.changing(True)
        try:
            for row in sorted(self.names.rows()):
                base = row * ROW_CELLS
                values = source[base : base + ROW_CELLS].tolist()
                if any(values):
                    _fold(values, target, base)
            segment.release(slot)
        finally:
            segment.changing(False)

    def observe(self, names: Iterable[str] | None = None) -> None:
        """Note the present sums that maxima are made of in the master's slot; to be called about once a second (None: all rows)."""
        cells = self.segment.slot(self.segment.master)
        live = self.segment.live()
        if len(live) < 2:
            return  # the only worker's own maxima are exact
        for name in list(self.names) if names is None else names:
            if name not in self.names:
                continue  # a server that went since the list was made
            base = self.base(name)
            total = self._sum(base, live)
            for at, _ in _PEAKS:
                if total[at] > cells[base + at]:
                    cells[base + at] = total[at]

    def wipe(self, rows: Collection[int]) -> None:
        """Zero rows that ``NameTable.prune`` gave back, in every slot, and their texts. No worker may use them any more."""
        zeros = memoryview(bytes(ROW_CELLS * 8)).cast("q")
        segment = self.segment
        for slot in [*segment.live(), segment.master, segment.retired]:
            for row in rows:
                segment.slot(slot)[row * ROW_CELLS : (row + 1) * ROW_CELLS] = zeros
        silence = memoryview(bytes(TEXT_CELLS * 8)).cast("q")
        for row in rows:
            segment.texts[row * TEXT_CELLS : (row + 1) * TEXT_CELLS] = silence

    # -- "clear counters"

    def clear(self, slot: int, everything: bool) -> None:
        """Zero the maxima of a slot, or with ``everything`` the counters, rates and means too (management manual 9.3 "clear counters").

        Every owner does this for its own slot, the master for its own and the retired one. A cleared maximum starts from the present gauge.
        """
        cells = self.segment.slot(slot)
        chosen = [c for c in COUNTERS.values() if c.kind is Kind.MAX or (everything and c.offset not in _KEPT)]
        for row in sorted(self.names.rows()):
            base = row * ROW_CELLS
            if not any(cells[base : base + ROW_CELLS].tolist()):
                continue
            for counter in chosen:
                for at in range(base + counter.offset, base + counter.offset + counter.width):
                    cells[at] = 0
            for at, of in _PEAKS:
                if of in _KEPT:
                    cells[base + at] = cells[base + of]


def _fold(values: list[int], target: memoryview, base: int) -> None:
    """Add one row of a slot to the same row of the retired slot."""
    for at in _ADDED:
        if values[at]:
            target[base + at] += values[at]
    for at in _GREATEST:
        if values[at] > target[base + at]:
            target[base + at] = values[at]
    # The newest samples stay whole; what the retired slot had before fills the window up.
    samples, had = values[TIMES], target[base + TIMES]
    if samples:
        keep = min(had, rates.WINDOW - samples)
        for at in _MEANS:
            old = target[base + at]
            target[base + at] = values[at] + (old * keep // had if keep else 0)
        target[base + TIMES] = samples + keep
