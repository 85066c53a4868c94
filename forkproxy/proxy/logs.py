"""The log targets of a worker: one sink per place, one header maker per line of configuration.

Joins ``wire.syslog`` (forms of the header) and ``net.logsink`` (sending that never blocks); what a receiver refuses is counted in the
worker's own row. Knows the plan's LogTarget.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from forkproxy.net.logsink import Sink, open_sink
from forkproxy.proxy.accesslog import Send
from forkproxy.state import layout
from forkproxy.wire import syslog

if TYPE_CHECKING:
    from forkproxy.net.loop import Loop
    from forkproxy.plan import Frontend, Global, LogTarget


class LogTargets:
    """Opens every distinct place once; the sinks live as long as the worker."""

    __slots__ = ("_loop", "_process", "_settings", "_sinks")

    def __init__(self, settings: Global, loop: Loop, process: memoryview) -> None:
        self._settings = settings
        self._loop = loop
        self._process = process
        self._sinks: dict[Any, Sink | None] = {}

    def open(self, fe: Frontend) -> list[tuple[int, int, Send]]:
        """The targets of one frontend: (most verbose level, least severe level as sent, send)."""
        found = []
        for target in fe.log_targets:
            sink = self._sink(target)
            if sink is not None:
                found.append((target.level, target.minlevel, self._sender(fe, target, sink)))
        return found

    def _sink(self, target: LogTarget) -> Sink | None:
        place = (target.address, target.stream)
        if place not in self._sinks:
            try:
                self._sinks[place] = open_sink(target.address, target.stream, self._loop.clock, self._dropped)
            except (OSError, ValueError):
                self._sinks[place] = None
        return self._sinks[place]

    def close(self) -> None:
        """Close every sink."""
        for sink in self._sinks.values():
            if sink is not None:
                sink.close()
        self._sinks.clear()

    def _dropped(self) -> None:
        self._process[layout.DROPPED_LOGS] += 1

    def _sender(self, fe: Frontend, target: LogTarget, sink: Sink) -> Send:
        settings = self._settings
        tag = target.tag or fe.log_tag or settings.log_tag
        host = settings.log_send_hostname or socket.gethostname()
        line = syslog.make(target.format, target.facility, target.length, tag, os.getpid(), host)
        emit = sink.send
        if not target.sample_size:
            return lambda level, wall, text: emit(level, line(level, wall, text))
        chosen = {i for first, last in target.sample_ranges for i in range(first, last + 1)}
        turn = 0

        def sampled(level: int, wall: float, text: bytes) -> None:
            nonlocal turn
            turn = turn % target.sample_size + 1
            if turn in chosen:
                emit(level, line(level, wall, text))

        return sampled
