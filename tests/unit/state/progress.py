"""How far children are, for tests that kill them: a test waits until one has done something more, not for time to pass."""

from __future__ import annotations

import mmap
import os
import time

PATIENCE_S = 20.0


class Progress:
    """A counter for each child, in memory that all share; make it before the first fork."""

    def __init__(self, children: int) -> None:
        self._memory = mmap.mmap(-1, 8 * children)
        self._cells = memoryview(self._memory).cast("Q")

    def step(self, child: int) -> None:
        """``child`` did one thing more."""
        self._cells[child] += 1

    def wait(self, child: int, steps: int) -> None:
        """Until ``child`` has done at least ``steps`` more things. Raises AssertionError when it does not."""
        goal, end = self._cells[child] + steps, time.monotonic() + PATIENCE_S
        while self._cells[child] < goal:
            assert time.monotonic() < end, "the child does nothing"
            os.sched_yield()
