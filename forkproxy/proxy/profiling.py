"""Where the time and the memory of one worker go: Python's own profilers, which cost nothing while they are off.

Time: ``cProfile`` counts the calls of every function, its own time and that with what it calls; waiting for events is left out. Memory:
``tracemalloc`` knows which line allocated what is there now. Both are of the process; with ``-d`` that is the master's, too.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cProfile

#: What can be measured.
KINDS = ("tasks", "memory")
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
#: The call in which a worker waits for something to do.
_WAITING = "<method 'poll' of 'select.epoll' objects>"
#: A function: name, calls, seconds of its own, seconds with what it calls. A line: name, blocks, bytes.
Row = list[Any]


class Profiler:
    """What is measured here; what was, stays until it is measured anew."""

    __slots__ = ("_tasks", "on")

    def __init__(self) -> None:
        self.on: set[str] = set()
        self._tasks: cProfile.Profile | None = None

    def switch(self, kind: str, on: bool) -> None:
        """Begin to measure, from nothing, or end it."""
        if kind == "tasks":
            if self._tasks is not None:
                self._tasks.disable()
            if on:
                from cProfile import Profile

                self._tasks = Profile()
                self._tasks.enable()
        else:
            import tracemalloc

            tracemalloc.stop()
            if on:
                tracemalloc.start()
        (self.on.add if on else self.on.discard)(kind)

    def tasks(self) -> list[Row]:
        """Functions that were called."""
        if self._tasks is None:
            return []
        rows: list[Row] = []
        for entry in self._tasks.getstats():
            name = _name(entry.code)
            if name != _WAITING:
                rows.append([name, entry.callcount, entry.inlinetime, entry.totaltime])
        return rows

    def memory(self) -> list[Row]:
        """Lines that allocated what is there now."""
        import tracemalloc

        if not tracemalloc.is_tracing():
            return []
        found = tracemalloc.take_snapshot().statistics("lineno")
        return [[f"{_short(one.traceback[0].filename)}:{one.traceback[0].lineno}", one.count, one.size] for one in found]


def _name(code: Any) -> str:
    """``proxy/client.py:await_head``; a function in C has its name only."""
    return code if isinstance(code, str) else f"{_short(code.co_filename)}:{code.co_qualname}"


def _short(path: str) -> str:
    return path.removeprefix(_PACKAGE) if path.startswith(_PACKAGE) else "/".join(path.split(os.sep)[-2:])
