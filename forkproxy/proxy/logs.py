"""The log targets of a worker: one sink per address, one header maker per line of configuration.

Joins ``wire.syslog`` (forms of the header) and ``net.logsink`` (sending that never blocks). Knows the plan's LogTarget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkproxy.proxy.accesslog import Send

if TYPE_CHECKING:
    from forkproxy.net.loop import Loop
    from forkproxy.plan import Frontend, Global


class LogTargets:
    """Opens every distinct target once."""

    def __init__(self, settings: Global, loop: Loop, process: memoryview) -> None:
        self._settings = settings
        self._loop = loop
        self._process = process
        self._sinks: dict[Any, Any] = {}

    def open(self, fe: Frontend) -> list[tuple[int, int, Send]]:
        """The targets of one frontend."""
        return []
