"""``show events`` in one worker."""

from __future__ import annotations

import os

from forkproxy.proxy.logs import kept
from forkproxy.proxy.runtime import Runtime
from forkproxy.registry import order


@order("show events")
def show_events(rt: Runtime, ring: str) -> str:
    """The lines that this worker's ring of the name ``ring`` holds."""
    return os.fsdecode(b"".join(kept(rt.logs.sinks, ring)))
