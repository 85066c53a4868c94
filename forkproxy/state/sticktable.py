"""One stick table in memory that all processes share, mapped before the fork (manual 11.1).

::

    locks | in use | first free | first never used | buckets | entries
    an entry:  next in its bucket or in the free list | touched | holders | key | data, in the order of stickspec.DATA_TYPES

**Stripes.** A table is cut into stripes of at most :data:`STRIPE` entries; the hash of a key says which. A stripe has a lock
(``robust``), buckets and slots of its own and is small enough to be searched and repaired as a whole. Tables of at most that many
entries have one stripe and do exactly what HAProxy's do; in larger ones the oldest entry is the oldest of its stripe, and ``size`` may be
exceeded by what is stored at the very same moment. A stripe has more slots than its share, because keys do not spread evenly; memory is
sparse, so slots that are never used cost nothing.

**Everything in cells of eight bytes,** read without a lock where one number is enough, written under the lock. An entry is found
by a hash that Python keys anew at every start (SipHash), so nobody can choose keys that meet in one bucket.

**A writer may be killed anywhere.** A chain is changed by one store, so it is whole at any moment: an entry is written before it is
linked, and unlinked before it is freed. What is lost is the free list and the count of entries, and both follow from the chains
(:meth:`Table._repair`, done by whoever takes the lock next). Who holds what is in the workers' ledgers (``ledger``).

**Time.** ``touched`` is when an entry was made or last updated, monotonic milliseconds; it expires ``expire`` later. An entry that is
expired is not found; its slot is used again when its stripe needs one, or by the master's sweep.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

from forkproxy.state import frequency, robust
from forkproxy.state.ledger import NONE
from forkproxy.state.robust import LOCK_BYTES, Busy, Died, attempt, give
from forkproxy.state.stickhold import Held, holder, releaser
from forkproxy.state.stickspec import HOLDERS, KEY, TOUCHED, Event, TableSpec, columns, events

#: Entries of a stripe, by share of the table's size.
STRIPE: Final = 1024

#: ``touched`` of a slot that holds nothing: after everything, so that a search for the oldest passes it by.
_NOTHING: Final = (1 << 62) - 1
#: How many of the oldest entries of a stripe are evicted at once: finding one costs as much as finding all.
_LOT: Final = 16
#: For how long a table that was found full is taken for full, milliseconds: counting a large one takes 20 µs.
_FULL_MS: Final = 50
#: For how long nobody waits for a lock that was not given back in time, seconds.
_IMPATIENCE_S: Final = 1.0


class Entry(NamedTuple):
    """An entry at one moment, for who looks at the table. ``base`` tells it from others; ``data`` are its cells."""

    base: int
    key: bytes
    holders: int
    touched: int
    data: Any  # a memoryview: a built-in that the compiled build would not find here


class Table:
    """``number`` names the table in ledgers; ``ledger`` is that of this process (NONE: it can hold nothing). ``cells`` is everything,
    ``columns`` are the data types by name, ``events`` what may happen to an entry ("conn", "sess", "http_req", "http_err", "http_fail",
    "bytes_in", "bytes_out", "glitch"), ``gpc`` the same for the general purpose counters by number.

    ``fd`` is the memory's. ``hold_connection(key, now)`` and ``hold_request(key, now)`` hold an entry and count a connection, and a
    request, in it; ``let_go(held, now, bytes_in, bytes_out)`` ends that. ``hold_share`` and ``leave_share`` count nobody."""

    __slots__ = (
        "_first_free", "_first_new", "_full_until", "_impatient_until", "_room", "_used", "bucket_mask", "buckets", "cells", "columns",
        "conn_cur", "events", "expire_ms", "fd", "gpc", "hold_connection", "hold_request", "hold_share", "key_cells", "leave_share",
        "ledger", "let_go", "locks", "memory", "number", "slots", "spec", "stripe_mask", "stripes", "width",
    )  # fmt: skip

    def __init__(self, spec: TableSpec, number: int, fd: int = -1) -> None:
        """``fd``: that of the same table of another master, owned from now on. Raises OSError when there is no memory for it."""
        self.spec = spec
        self.number = number
        self.expire_ms = spec.expire_ms or _NOTHING
        self.key_cells = spec.key_cells
        self.columns, self.width = columns(spec)
        self.events, self.gpc = events(self.columns)
        conn_cur = self.columns.get("conn_cur")
        self.conn_cur = conn_cur.offset if conn_cur is not None else 0

        self.stripes = 1
        while spec.size > STRIPE * self.stripes:
            self.stripes *= 2
        share = -(-spec.size // self.stripes)
        self.slots = share if self.stripes == 1 else share + 5 * int(share**0.5) + 8
        buckets = 1
        while buckets < self.slots:
            buckets *= 2
        self.stripe_mask, self.bucket_mask = self.stripes - 1, buckets - 1
        self._used = self.stripes * LOCK_BYTES // 8
        self._first_free = self._used + self.stripes
        self._first_new = self._first_free + self.stripes
        self.buckets = self._first_new + self.stripes
        entries = self.buckets + self.stripes * buckets
        size = (entries + self.stripes * self.slots * self.width) * 8
        fresh = fd < 0
        self.fd = os.memfd_create(f"forkproxy-table-{spec.name}", os.MFD_CLOEXEC) if fresh else fd
        try:
            if fresh:
                os.ftruncate(self.fd, size)
            self.memory = mmap.mmap(self.fd, size)
        except BaseException:
            os.close(self.fd)
            raise
        self.cells = memoryview(self.memory).cast("q")
        if fresh:
            self.locks = robust.make(self.memory, 0, self.stripes)
            for stripe in range(self.stripes):
                self.cells[self._first_new + stripe] = entries + stripe * self.slots * self.width
        else:
            self.locks = [robust.at(self.memory, stripe * LOCK_BYTES) for stripe in range(self.stripes)]
        self._room = 0
        self._full_until = 0
        self._impatient_until = 0.0
        self.ledger = NONE
        self.hold_connection = holder(self, ("conn",))
        self.hold_request = holder(self, ("conn", "http_req"))
        self.let_go = releaser(self)
        self.hold_share = holder(self, (), False)
        self.leave_share = releaser(self, False)

    # -- keys

    def pad(self, key: bytes) -> bytes:
        """``key`` as entries hold it: cut to what the table has room for, filled up with NULs."""
        return key[: self.spec.key_bytes].ljust(self.key_cells * 8, b"\0")

    # -- under a lock

    def _take(self, stripe: int) -> bool:
        """Lock a stripe; False: it could not be had in time, and nothing may be done with it."""
        code = attempt(self.locks[stripe])
        return not code or self.after(stripe, code)

    def after(self, stripe: int, code: int, patient: bool = False) -> bool:
        """:meth:`_take` when the lock was not simply free. Whoever had no patience left waits no more for a while: were every request to
        wait for a holder that is stopped, the worker would seem to hang, too."""
        if code == errno.EBUSY and not patient and time.monotonic() < self._impatient_until:
            return False
        try:
            robust.take(self.locks[stripe], code)
        except Died:
            self._repair(stripe)
        except Busy:
            self._impatient_until = time.monotonic() + _IMPATIENCE_S
            return False
        return True

    def _find(self, stripe: int, key: bytes, now: int) -> int:
        """The entry of ``key`` (padded) that is not expired, 0 without one."""
        cells, memory = self.cells, self.memory
        base = cells[self.buckets + stripe * (self.bucket_mask + 1) + (hash(key) >> 32 & self.bucket_mask)]
        size = len(key)
        while base:
            at = (base + KEY) * 8
            if memory[at : at + size] == key:
                return base if now - cells[base + TOUCHED] < self.expire_ms or cells[base + HOLDERS] else 0
            base = cells[base]
        return 0

    def make(self, stripe: int, key: bytes, now: int) -> int:
        """A new entry for ``key`` (padded, not found before); 0 when there is no room and none may be made."""
        cells = self.cells
        bucket = self.buckets + stripe * (self.bucket_mask + 1) + (hash(key) >> 32 & self.bucket_mask)
        self._drop_expired_twin(stripe, bucket, key)
        if self._room:
            self._room -= 1
        elif self._is_full(now):
            freed = self._purge(stripe, now, not self.spec.nopurge)
            if freed:
                self._room = freed - 1
            elif self.spec.nopurge or self.stripes == 1:
                return 0
        base = self._slot(stripe)
        if not base:
            if not self._purge(stripe, now, not self.spec.nopurge):
                return 0
            base = self._slot(stripe)
        at = (base + KEY) * 8
        self.memory[at : at + len(key)] = key
        for offset in range(base + KEY + self.key_cells, base + self.width):
            cells[offset] = 0
        cells[base + HOLDERS] = 0
        cells[base + TOUCHED] = now
        cells[base] = cells[bucket]
        cells[bucket] = base
        cells[self._used + stripe] += 1
        return base

    def _slot(self, stripe: int) -> int:
        """A slot of this stripe that holds nothing, 0 without one. It is in no list any more."""
        cells = self.cells
        base = cells[self._first_free + stripe]
        if base:
            cells[self._first_free + stripe] = cells[base]
            return base
        base = cells[self._first_new + stripe]
        start = self.buckets + self.stripes * (self.bucket_mask + 1) + stripe * self.slots * self.width
        if base >= start + self.slots * self.width:
            return 0
        cells[self._first_new + stripe] = base + self.width
        return base

    def _drop_expired_twin(self, stripe: int, bucket: int, key: bytes) -> None:
        """What :meth:`_find` found expired stands in the way of a new entry with the same key."""
        cells, memory = self.cells, self.memory
        before, base = bucket, self.cells[bucket]
        while base:
            at = (base + KEY) * 8
            if memory[at : at + len(key)] == key:
                self._free(stripe, before, base)
                return
            before, base = base, cells[base]

    def _free(self, stripe: int, before: int, base: int) -> None:
        """Take ``base`` out of its chain, in which the cell ``before`` leads to it, and give its slot back."""
        cells = self.cells
        cells[before] = cells[base]
        cells[base + TOUCHED] = _NOTHING
        cells[base] = cells[self._first_free + stripe]
        cells[self._first_free + stripe] = base
        cells[self._used + stripe] -= 1

    def _remove(self, stripe: int, base: int) -> None:
        """Free the entry at ``base``, wherever it stands."""
        cells = self.cells
        at = (base + KEY) * 8
        key = self.memory[at : at + self.key_cells * 8]
        before = self.buckets + stripe * (self.bucket_mask + 1) + (hash(key) >> 32 & self.bucket_mask)
        while cells[before] != base:
            before = cells[before]
            if not before:
                return
        self._free(stripe, before, base)

    def _is_full(self, now: int) -> bool:
        """Whether as many entries as ``size`` are in use. If not, some more may be made without asking again."""
        used = self.cells[self._used : self._used + self.stripes]
        if self.stripes == 1:
            return used[0] >= self.spec.size
        if now < self._full_until:
            return True
        free = self.spec.size - sum(used.tolist())
        if free > 0:
            self._room = free >> 6  # others make some, too
            return False
        self._full_until = now + _FULL_MS
        return True

    def _purge(self, stripe: int, now: int, oldest: bool) -> int:
        """Free what is expired in a stripe; if that is nothing and ``oldest`` is set, the oldest entries that nobody holds (a 256th of
        a small table, as in HAProxy). Returns how many."""
        start, end = self._extent(stripe)
        touched = self.cells[start + TOUCHED : end : self.width].tolist()
        limit = now - self.expire_ms
        chosen = [i for i, at in enumerate(touched) if at <= limit and not self.cells[start + i * self.width + HOLDERS]]
        if not chosen and oldest and touched:
            chosen = self._oldest(start, touched)
        for i in chosen:
            self._remove(stripe, start + i * self.width)
        return len(chosen)

    def _oldest(self, start: int, touched: list[int]) -> list[int]:
        """Which of the slots from ``start`` on hold the oldest entries that nobody holds."""
        holders, width = start + HOLDERS, self.width
        wanted = (self.spec.size >> 8) + 1 if self.stripes == 1 else _LOT
        if wanted == 1:
            first = touched.index(min(touched))
            if touched[first] != _NOTHING and not self.cells[holders + first * width]:
                return [first]  # without sorting all of them
        order = sorted(range(len(touched)), key=touched.__getitem__)
        return list(islice((i for i in order if touched[i] != _NOTHING and not self.cells[holders + i * width]), wanted))

    def _extent(self, stripe: int) -> tuple[int, int]:
        """The slots of a stripe that were ever used: index of the first, index behind the last."""
        start = self.buckets + self.stripes * (self.bucket_mask + 1) + stripe * self.slots * self.width
        return start, self.cells[self._first_new + stripe]

    def _repair(self, stripe: int) -> None:
        """A process died with the lock of this stripe: make the free list and the count anew from the chains."""
        cells = self.cells
        linked = set()
        first = self.buckets + stripe * (self.bucket_mask + 1)
        for head in cells[first : first + self.bucket_mask + 1].tolist():
            while head:
                linked.add(head)
                head = cells[head]
        free = 0
        start, end = self._extent(stripe)
        for base in range(start, end, self.width):
            if base not in linked:
                cells[base + TOUCHED] = _NOTHING
                cells[base] = free
                free = base
        cells[self._first_free + stripe] = free
        cells[self._used + stripe] = len(linked)

    # -- for rules: single looks and changes

    def look(self, key: bytes, now: int, read: Callable[[memoryview, int, int], Any]) -> Any:
        """``read(cells, base, now)`` of the entry of ``key`` (padded); None without one. Does not touch it."""
        stripe = hash(key) & self.stripe_mask
        if not self._take(stripe):
            return None
        try:
            base = self._find(stripe, key, now)
            return read(self.cells, base, now) if base else None
        finally:
            give(self.locks[stripe])

    def change(self, key: bytes, now: int, write: Callable[[memoryview, int, int], Any], make: bool = True) -> Any:
        """``write(cells, base, now)`` of the entry of ``key`` (padded), made if there is none and ``make``; it is touched.

        None when there is none, or no room for one."""
        stripe = hash(key) & self.stripe_mask
        if not self._take(stripe):
            return None
        try:
            base = self._find(stripe, key, now) or (self.make(stripe, key, now) if make else 0)
            if not base:
                return None
            self.cells[base + TOUCHED] = now
            return write(self.cells, base, now)
        finally:
            give(self.locks[stripe])

    # -- entries that are held

    def key(self, base: int) -> bytes:
        """The key (padded) of an entry that is held."""
        at = (base + KEY) * 8
        return self.memory[at : at + self.key_cells * 8]

    def count(self, held: Held, now: int, events: tuple[tuple[Event, int], ...]) -> None:
        """Count several events, each so often, in an entry that is held."""
        stripe = held[2]
        if not self._take(stripe):
            return
        cells, base = self.cells, held[1]
        try:
            cells[base + TOUCHED] = now
            for (number, rate, period), n in events:
                if number:
                    cells[base + number] += n
                if rate:
                    frequency.count(cells, base + rate, period, n, now)
        finally:
            give(self.locks[stripe])

    def with_held(self, held: Held, now: int, write: Callable[[memoryview, int, int], Any]) -> Any:
        """``write(cells, base, now)`` of an entry that is held, which is touched; None when that could not be done in time."""
        base, stripe = held[1], held[2]
        if not self._take(stripe):
            return None
        try:
            self.cells[base + TOUCHED] = now
            return write(self.cells, base, now)
        finally:
            give(self.locks[stripe])

    # -- for the master

    def settle(self, base: int, holders: Callable[[], int] | None) -> None:
        """A worker that held the entry at ``base`` is gone: one holder less, or as many as ``holders()`` counts where its ledger was unsure
        (under the lock, so that nobody becomes one meanwhile)."""
        cells = self.cells
        stripe = self.stripe_of(base)
        code = attempt(self.locks[stripe])
        if code and not self.after(stripe, code, True):
            return  # its holder is stopped; better an entry that stays than a master that waits
        try:
            exact = None if holders is None else holders()
            for offset in (HOLDERS, self.conn_cur) if self.conn_cur else (HOLDERS,):
                cells[base + offset] = max(0, cells[base + offset] - 1) if exact is None else exact
        finally:
            give(self.locks[stripe])

    def stripe_of(self, base: int) -> int:
        """The stripe that the entry at ``base`` is in."""
        start = self.buckets + self.stripes * (self.bucket_mask + 1)
        return (base - start) // (self.slots * self.width)

    def entries(self, now: int) -> Iterator[list[Entry]]:
        """Copies of all entries, a stripe at a time: between two, others work."""
        for stripe in range(self.stripes):
            if not self.cells[self._used + stripe] or not self._take(stripe):
                continue
            try:
                start, end = self._extent(stripe)
                block = self.cells[start:end].tolist()
                raw = self.memory[start * 8 : end * 8]
            finally:
                give(self.locks[stripe])
            found = []
            for at in range(0, len(block), self.width):
                touched, holders = block[at + TOUCHED], block[at + HOLDERS]
                if touched != _NOTHING and (holders or now - touched < self.expire_ms):
                    key = raw[(at + KEY) * 8 : (at + KEY) * 8 + self.spec.key_bytes]
                    data = memoryview(raw[at * 8 : (at + self.width) * 8]).cast("q")
                    found.append(Entry(start + at, key, holders, touched, data))
            yield found

    def learn(self, entries: list[Entry], now: int) -> None:
        """Take entries of another master's table over, while nobody else uses this one. Nobody holds them here, so that they have no
        connections now."""
        cells, first, width, mask, current = self.cells, KEY + self.key_cells, self.width, self.stripe_mask, self.conn_cur
        for entry in entries:
            key = self.pad(entry.key)
            base = self.make(hash(key) & mask, key, now)
            if base:
                cells[base + first : base + width] = entry.data[first:width]
                cells[base + TOUCHED] = entry.touched
                if current:
                    cells[base + current] = 0

    def drop(self, base: int, key: bytes) -> bool:
        """Remove the entry at ``base`` if it is still that of ``key`` (padded) and nobody holds it; whether it is gone."""
        stripe = self.stripe_of(base)
        if not self._take(stripe):
            return False
        try:
            at = (base + KEY) * 8
            if self.cells[base + TOUCHED] == _NOTHING or self.memory[at : at + len(key)] != key:
                return True
            if self.cells[base + HOLDERS]:
                return False
            self._remove(stripe, base)
            return True
        finally:
            give(self.locks[stripe])

    def sweep(self, stripe: int, now: int) -> None:
        """Free what is expired in a stripe."""
        if self.spec.expire_ms and self.cells[self._used + stripe] and self._take(stripe):
            try:
                self._purge(stripe, now, False)
            finally:
                give(self.locks[stripe])

    def used(self) -> int:
        """How many entries there are, those included that expired and were not swept yet."""
        return sum(self.cells[self._used : self._used + self.stripes].tolist())

    def forget(self) -> None:
        """Nobody uses the table any more: give its memory back, also where younger workers have inherited it unused."""
        self.memory.madvise(mmap.MADV_REMOVE)
        self.part()

    def part(self) -> None:
        """This process uses the table no more; others may."""
        os.close(self.fd)
        nobody: Any = None  # what stood there knows the table: the circle ends here
        self.hold_connection = self.hold_request = self.hold_share = nobody
        self.let_go = self.leave_share = nobody
