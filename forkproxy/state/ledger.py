"""Which entries of stick tables one worker holds: a cell each, in memory that it shares with the master.

An entry counts who holds it (it must not be evicted), and a worker that is killed can no longer say that it does not. So it
writes down here what it takes, and the master settles the account when the worker is gone (``sticktables``). A cell is written
under the lock of the entry's stripe, before and after the entry's own counters: while these change it says UNSURE.

Only the worker writes; the master reads when it is gone.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any, Final

#: In a cell: the number of the table stands above the entry, and the lowest bit says that the entry's counters were being changed.
_ENTRY_BITS: Final = 40
UNSURE: Final = 1


class Ledger:
    """``cells`` is the shared memory: 0 or what :func:`note` gives. ``free`` and ``top`` are the worker's own: cells given back, and the
    first that was never used. ``late``: what could not be let go in time (``stickhold.Held``)."""

    __slots__ = ("_memory", "cells", "free", "late", "size", "top")

    def __init__(self, size: int = 1 << 16) -> None:
        """Raises OSError when there is no memory for ``size`` entries."""
        self.size = size
        self._memory = mmap.mmap(-1, size * 8)
        self.cells = memoryview(self._memory).cast("q")
        self.free: list[int] = []
        self.late: list[Any] = []
        self.top = 1  # cell 0 tells nothing: 0 is "no cell"

    def cell(self) -> int:
        """A cell for one more entry, 0 when all are taken; give it back by appending it to ``free``."""
        if self.free:
            return self.free.pop()
        if self.top < self.size:
            self.top += 1
            return self.top - 1
        return 0

    def held(self) -> Iterator[tuple[int, int, bool]]:
        """What the cells say: (number of the table, entry, whether its counters were being changed)."""
        for start in range(0, self.size, 4096):
            for value in self.cells[start : start + 4096].tolist():
                if value:
                    yield value >> _ENTRY_BITS, (value & (1 << _ENTRY_BITS) - 1) >> 1, bool(value & UNSURE)

    def close(self) -> None:
        """Give the memory back."""
        self.cells.release()
        self._memory.close()


#: The ledger of a process that holds nothing.
NONE: Final = Ledger(1)


def note(number: int, base: int) -> int:
    """What a cell says when the entry at ``base`` of table ``number`` is held."""
    return number << _ENTRY_BITS | base << 1
