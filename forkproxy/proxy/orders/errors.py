"""``show errors`` in one worker: what it kept of messages that broke the protocol, for the master, which puts all workers' together."""

from __future__ import annotations

import base64
from typing import Any

from forkproxy.proxy.captures import Capture
from forkproxy.proxy.runtime import Runtime
from forkproxy.registry import order

#: Of each message so much crosses to the master.
_SHOWN = 4096


@order("show errors")
def show_errors(rt: Runtime) -> list[dict[str, Any]]:
    """All captures, newest first, at most as many as fit a message."""
    kept = sorted(rt.captures.values(), key=lambda c: -c.wall)[:20]
    return [_told(one) for one in kept]


def _told(one: Capture) -> dict[str, Any]:
    told = one.told()
    told["length"] = len(one.data)
    told["data"] = base64.b64encode(one.data[:_SHOWN]).decode()
    return told
