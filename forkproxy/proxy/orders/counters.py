"""``clear counters`` in one worker."""

from __future__ import annotations

from forkproxy.proxy.runtime import Runtime
from forkproxy.registry import order


@order("clear counters")
def clear_counters(rt: Runtime, everything: bool) -> None:
    """Zero the maxima of this worker's slot, or with ``everything`` all that it counted."""
    rt.pour()
    for be in rt.backends.values():
        be.peak = be.streams
        for srv in be.servers:
            srv.peak = srv.served
    rt.state.rows.clear(rt.slot, everything)
