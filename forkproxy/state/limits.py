"""Limits that hold over all workers together: the shared cells, their locks, who wakes whom, and what happens when a worker dies.

Theory. A limit is kept by counting under a lock: ``TOTAL`` of a row is raised only where it is below ``LIMIT``. Beside it every worker
writes down its own part (``USED``), so the total is a sum that can be made anew at any time; that is what makes the death of a worker
harmless. The locks are robust (``state.robust``): who takes the lock of a dead process makes the sums of its rows anew before anything
else (:meth:`Area.recount`), and the master takes what a dead worker had out of the sums (:meth:`Area.settle`).

One lock guards everything that must be decided together: a backend's row (``HOME``) guards its servers and its queue, row 0
the acceptance of connections. Taking it costs no system call unless somebody else has it, for about a microsecond.

**Waiting.** Who is refused leaves word in its part while it has the lock, so nothing can become free unnoticed: whoever gives something
back hands it over under the same lock and rings the bell of the worker concerned. Bells are event descriptors made before the first fork.
They are watched edge triggered and never read: each ring wakes whoever sleeps, none is lost, and several workers may share one.
Who waits also looks by itself once a second, so a fault costs a second, not for ever.

**Who is stopped with a lock** (SIGSTOP) must not stop the others: after ``robust.PATIENCE_S`` they go on without it, at the risk of totals
that are wrong by a few, remember that (``dirty``) and make the sums anew when they have the lock again.

Knows rows by number, nothing of what is counted: ``state.queues`` is about servers, ``state.doors`` about connections.
Numbers: docs/decisions/0008-shared-limits.md.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Sequence
from typing import Final

from forkproxy.state import robust
from forkproxy.state.robust import Busy, Died, attempt
from forkproxy.state.segment import LIMIT_CELLS, PART_CELLS, Segment

#: Cells of a row among the limits. The lock takes the first eight; it is used in rows that are the home of others.
LIMIT: Final = 8  # the most at a time, UNLIMITED without a limit
TOTAL: Final = 9  # how many there are now: the sum of all parts
WAITING: Final = 10  # streams that wait and were given nothing yet, or workers that want to accept
PASSED: Final = 11  # how many were served from this queue so far
SESS_LIMIT: Final = 12  # events a second (0: any number), followed by a frequency (state.frequency)
CONN_LIMIT: Final = 16  # the same of another event
HOME: Final = 20  # the row whose lock guards this one
READY: Final = 22  # the lock of this row was made
FREED: Final = 23  # of a backend's row: grows whenever a slot of a server became free and nobody waited
ALARMS: Final = FREED  # of row 0: grows when everybody is to look for himself what is free

#: Cells of a row in a worker's part.
USED: Final = 0  # what it has
GRANTED: Final = 1  # given to it from this row's queue, and not taken note of yet (of a backend's row: the sum of LENT of its servers)
LENT: Final = 2  # of a server's row: the same from the backend's queue
LENGTH: Final = 3  # how many of its streams wait here, those that were given something included
RANKS: Final = 4  # the ranks of the first SHOWN of them, in order
PLACES: Final = 12  # what PASSED was when each of the first SHOWN was given something
BELL: Final = 20  # of row 0: which bell wakes this worker
KNOWN: Final = 21  # of a server's row: this worker has this server
SHOWN: Final = 8

UNLIMITED: Final = 1 << 60


class Area:
    """The limits as one process sees them. ``slot`` is its own part (-1: the master has none).

    ``bells`` are the event descriptors, made before the first fork; whoever made them closes them."""

    __slots__ = ("_locks", "bells", "cells", "dirty", "segment", "slot")

    def __init__(self, segment: Segment, bells: Sequence[int], slot: int = -1) -> None:
        self.segment = segment
        self.cells = segment.limits
        self.bells = bells
        self.slot = slot
        self.dirty: set[int] = set()  # homes that this process changed without their lock
        self._locks: dict[int, ctypes.c_void_p] = {}

    def of(self, slot: int, number: int) -> Area:
        """The same for the worker of ``slot``, whose bell is that of worker ``number``."""
        self.segment.parts[slot][BELL] = number % len(self.bells)
        return Area(self.segment, self.bells, slot)

    @property
    def bell(self) -> int:
        """The descriptor that is readable, edge triggered, when there is something to look at for this worker."""
        return self.bells[self.segment.parts[self.slot][BELL]]

    # -- the master's: what is limited

    def place(self, row: int, home: int) -> None:
        """Row ``row`` is counted under the lock of row ``home`` from now on. Raises OSError where there are no locks."""
        cells = self.cells
        for each in (home, row):
            at = each * LIMIT_CELLS
            if not cells[at + LIMIT]:
                cells[at + LIMIT] = UNLIMITED
        if not cells[home * LIMIT_CELLS + READY]:
            robust.make(self.segment.memory, self._address(home), 1)
            cells[home * LIMIT_CELLS + READY] = 1
        cells[row * LIMIT_CELLS + HOME] = home

    def placed(self, row: int) -> bool:
        """Whether :meth:`place` was called for this row, maybe by an earlier master."""
        return self.cells[row * LIMIT_CELLS + LIMIT] > 0

    def vacate(self, row: int) -> None:
        """Row ``row``, which nobody counts in and which is nobody's home, is not limited any more; whoever gets it next places it anew."""
        self.cells[row * LIMIT_CELLS + LIMIT] = 0

    def set(self, row: int, cell: int, value: int) -> bool:
        """Let a LIMIT (0: none), SESS_LIMIT or CONN_LIMIT be ``value``. Whether it changed: then :meth:`ring_all` tells who waits."""
        if cell == LIMIT:
            value = value or UNLIMITED
        at = row * LIMIT_CELLS + cell
        if self.cells[at] == value:
            return False
        self.cells[at] = value
        return True

    def settle(self, slot: int) -> None:
        """The worker of ``slot`` is gone: what it had is free, and who waits is told (master only)."""
        part, cells = self.segment.parts[slot], self.cells
        rows = [row for row in range(self.segment.rows) if any(part[row * PART_CELLS : row * PART_CELLS + BELL].tolist())]
        for home in {cells[row * LIMIT_CELLS + HOME] for row in rows}:
            held = self.enter(home)
            # All rows of this home: it may have been given something in one that was empty when we looked.
            for row in self._of(home):
                part[row * PART_CELLS : (row + 1) * PART_CELLS] = _ZEROS
            self.recount(home)
            self.leave(home, held)
        if rows:
            self.ring_all()

    def limited(self, row: int) -> bool:
        """Whether there is a limit for this row now."""
        return 0 < self.cells[row * LIMIT_CELLS + LIMIT] < UNLIMITED

    # -- locks

    def lock(self, home: int) -> ctypes.c_void_p:
        """The lock of a home, for ``robust.attempt``."""
        found = self._locks.get(home)
        if found is None:
            found = self._locks[home] = robust.at(self.segment.memory, self._address(home))
        return found

    def enter(self, home: int) -> bool:
        """Take the lock of ``home``; what this says goes to :meth:`leave`."""
        code = attempt(self.lock(home))
        return not code or self.after(home, code)

    def after(self, home: int, code: int) -> bool:
        """The lock of ``home`` was not to be had at once: ``code`` is the answer. Whether it was in the end; if not, go on without."""
        if home in self.dirty and code == errno.EBUSY:
            return False  # it was waited for a moment ago
        try:
            robust.take(self.lock(home), code)
        except Died:
            self.recount(home)
            self.ring_all()  # it may have died between taking something back and handing it on
        except Busy:
            self.dirty.add(home)
            return False
        return True

    def leave(self, home: int, held: bool) -> None:
        """End what :meth:`enter` began."""
        if held:
            robust.give(self.lock(home))

    def tidy(self) -> None:
        """Once a second: sums that were changed without their lock are made anew."""
        for home in list(self.dirty):
            if self.enter(home):  # which does not wait again for what is dirty
                self.dirty.discard(home)
                self.recount(home)
                self.ring_all()
                self.leave(home, True)

    def recount(self, home: int) -> None:
        """Make the sums of all rows of ``home`` anew from the workers' parts (with its lock)."""
        cells = self.cells
        parts = self.parts()
        of_home = self._of(home)
        for part in parts if home else ():
            part[home * PART_CELLS + GRANTED] = sum(part[row * PART_CELLS + LENT] for row in of_home if row != home)
        for row in of_home:
            at = row * PART_CELLS
            total = waiting = 0
            for part in parts:
                used, granted, lent, length = part[at : at + LENGTH + 1].tolist()
                total += used if row == home else used + granted + lent
                waiting += max(0, length - granted)
            cells[row * LIMIT_CELLS + TOTAL] = total
            cells[row * LIMIT_CELLS + WAITING] = waiting

    def _of(self, home: int) -> list[int]:
        """The rows that are guarded by the lock of ``home``, itself included."""
        cells = self.cells
        return [row for row in range(self.segment.rows) if cells[row * LIMIT_CELLS + LIMIT] and cells[row * LIMIT_CELLS + HOME] == home]

    def _address(self, home: int) -> int:
        return self.segment.limits_at + home * LIMIT_CELLS * 8

    # -- the others

    def parts(self) -> list[memoryview]:
        """The parts of all workers that live, or are not settled yet."""
        parts = self.segment.parts
        return [parts[slot] for slot in self.segment.live()]

    def ring(self, slots: Iterable[int]) -> None:
        """Wake these workers."""
        for slot in slots:
            os.eventfd_write(self.bells[self.segment.parts[slot][BELL]], 1)

    def ring_all(self) -> None:
        """Wake everybody: something happened that nobody was chosen for."""
        self.cells[ALARMS] += 1
        for bell in self.bells:
            os.eventfd_write(bell, 1)


def bells(workers: int) -> tuple[int, ...]:
    """Descriptors that wake ``workers`` workers, the caller's to close."""
    return tuple(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(max(_FEWEST_BELLS, min(_MOST_BELLS, workers))))


#: Workers of which the numbers are equal modulo the number of bells share one.
_FEWEST_BELLS: Final = 4
_MOST_BELLS: Final = 64
_ZEROS: Final = memoryview(bytes(PART_CELLS * 8)).cast("q")
