"""``show events`` in one worker."""

from __future__ import annotations

import os
from collections.abc import Iterator

from forkproxy.proxy.logs import kept
from forkproxy.proxy.runtime import Runtime
from forkproxy.registry import order


@order("show events")
def show_events(rt: Runtime, ring: str, since: dict[str, int]) -> Iterator[str]:
    """How many lines this worker's ring of the name ``ring`` has had, a line feed, and those that it holds after the first so many
    (``since``, by process)."""
    total, text = kept(rt.logs.sinks, ring, since.get(str(os.getpid()), 0))
    yield f"{total}\n"
    yield text
