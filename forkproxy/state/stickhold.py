"""Holding an entry of a stick table and letting it go: what every tracked connection and request does, so one function each.

Made per table with what it does not store left out: 2.3 µs for both together, where the same in methods of the table was 6.2. The order in
which cells are written is what ``ledger`` tells of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from forkproxy.state import frequency
from forkproxy.state.ledger import UNSURE, note
from forkproxy.state.robust import attempt, give
from forkproxy.state.stickspec import HOLDERS, KEY, TOUCHED

if TYPE_CHECKING:
    from forkproxy.state.sticktable import Table

#: An entry that a stream or a connection of this process holds: its table, its ``base``, its stripe, its cell in the ledger. It can be
#: looked at without a lock, and stays until it is let go.
Held = tuple[Any, int, int, int]


def holder(table: Table, events: tuple[str, ...], present: bool = True) -> Callable[[bytes, int], Held | None]:
    """``hold(key, now)``: hold the entry of ``key`` (padded), made if there is none, and count ``events`` in it; None: no room.

    ``present``: whoever holds it counts as a connection (``conn_cur``) as well."""
    chosen = [table.events[name] for name in events]
    numbers = tuple(event.number for event in chosen if event.number)
    rates = tuple((event.rate, event.period_ms) for event in chosen if event.rate)
    if table.conn_cur and present:
        numbers += (table.conn_cur,)
    cells, memory, locks, size = table.cells, table.memory, table.locks, table.key_cells * 8
    buckets, bucket_mask, stripe_mask, expire_ms = table.buckets, table.bucket_mask, table.stripe_mask, table.expire_ms
    mark = note(table.number, 0)

    def hold(key: bytes, now: int) -> Held | None:
        ledger = table.ledger
        cell = ledger.free.pop() if ledger.free else ledger.cell()
        if not cell:
            return None
        code = hash(key)
        stripe = code & stripe_mask
        lock = locks[stripe]
        if (refused := attempt(lock)) and not table.after(stripe, refused):
            ledger.free.append(cell)
            return None
        try:
            base = cells[buckets + stripe * (bucket_mask + 1) + (code >> 32 & bucket_mask)]
            while base:
                at = base * 8 + KEY * 8
                if memory[at : at + size] == key:
                    if now - cells[base + TOUCHED] >= expire_ms and not cells[base + HOLDERS]:
                        base = 0
                    break
                base = cells[base]
            if not base:
                base = table.make(stripe, key, now)
                if not base:
                    ledger.free.append(cell)
                    return None
            says = mark | base << 1
            ledger.cells[cell] = says | UNSURE
            cells[base + HOLDERS] += 1
            for offset in numbers:
                cells[base + offset] += 1
            ledger.cells[cell] = says
            cells[base + TOUCHED] = now
            for rate, period in rates:
                frequency.count(cells, base + rate, period, 1, now)
        finally:
            give(lock)
        return table, base, stripe, cell

    return hold


def releaser(table: Table, present: bool = True) -> Callable[[Held, int, int, int], None]:
    """``let_go(held, now, bytes_in, bytes_out)``: count what was moved and hold the entry no longer.

    Of what was held without ``present`` the master knows no better, when a worker is killed, than to take it from ``conn_cur`` as well: a
    table that limits bandwidth and counts connections tells too few of them then, until these end."""
    cells, locks, conn_cur = table.cells, table.locks, table.conn_cur if present else 0
    moved = tuple((event, i) for i, name in enumerate(("bytes_in", "bytes_out")) if any((event := table.events[name])[:2]))

    def let_go(held: Held, now: int, bytes_in: int, bytes_out: int) -> None:
        _, base, stripe, cell = held
        lock = locks[stripe]
        if (refused := attempt(lock)) and not table.after(stripe, refused):
            table.ledger.late.append(held)  # it is ours until somebody tries again
            return
        ledger = table.ledger
        try:
            cells[base + TOUCHED] = now
            for (number, rate, period), which in moved:
                n = bytes_out if which else bytes_in
                if number:
                    cells[base + number] += n
                if rate:
                    frequency.count(cells, base + rate, period, n, now)
            ledger.cells[cell] |= UNSURE
            cells[base + HOLDERS] -= 1
            if conn_cur and cells[base + conn_cur] > 0:
                cells[base + conn_cur] -= 1
            ledger.cells[cell] = 0
        finally:
            give(lock)
        ledger.free.append(cell)

    return let_go
