"""``set profiling`` and ``show profiling`` in one worker."""

from __future__ import annotations

from forkproxy.proxy.profiling import Profiler, Row
from forkproxy.proxy.runtime import Runtime
from forkproxy.registry import order

#: So many lines of allocations are told; a worker has thousands.
_LINES = 1000


@order("set profiling")
def set_profiling(rt: Runtime, kind: str, on: bool) -> None:
    """Begin or end to measure."""
    if rt.profiler is None:
        rt.profiler = Profiler()
    rt.profiler.switch(kind, on)


@order("show profiling")
def show_profiling(rt: Runtime, kind: str) -> list[Row]:
    """What was measured."""
    if rt.profiler is None:
        return []
    if kind == "tasks":
        return rt.profiler.tasks()
    return sorted(rt.profiler.memory(), key=lambda row: -row[2])[:_LINES]
