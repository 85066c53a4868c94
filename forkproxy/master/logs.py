"""The master's log: worker events to the targets of the ``global`` section, server events to those of the backend concerned.

Joins the headers of ``wire.syslog`` with the sinks of ``net.logsink``; one sink per place, however many lines of configuration name it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from forkproxy.net.logsink import Sink
from forkproxy.net.loop import Loop
from forkproxy.plan import Backend, LogTarget, Plan
from forkproxy.proxy.logs import open_target
from forkproxy.wire import syslog

Line = Callable[[int, float, bytes], bytes]


class Outlet:
    """One ``log`` line of the configuration: which levels pass, what the header looks like, where it goes."""

    __slots__ = ("_line", "_sink", "_target")

    def __init__(self, target: LogTarget, line: Line, sink: Sink) -> None:
        self._target = target
        self._line = line
        self._sink = sink

    def send(self, level: int, wall: float, text: bytes) -> None:
        """Send one message if its level passes (manual 4.2 "log": the least severe level sent, and the level it is raised to at most)."""
        if level <= self._target.level:
            level = max(level, self._target.minlevel)
            self._sink.send(level, self._line(level, wall, text))


class Logs:
    """All outlets of one configuration; :meth:`replace` on a reload."""

    __slots__ = ("_backends", "_general", "_loop", "sinks")

    def __init__(self, plan: Plan, loop: Loop) -> None:
        self._loop = loop
        self.sinks: dict[Any, Sink] = {}
        self._general: list[Outlet] = []
        self._backends: dict[str, list[Outlet]] = {}
        self.replace(plan)

    def replace(self, plan: Plan) -> None:
        """Log as ``plan`` says from now on; sinks that nobody needs any more are closed."""
        old, self.sinks = self.sinks, {}
        settings = plan.global_
        hostname = settings.log_send_hostname
        self._general = self._open(settings.log_targets, settings.log_tag, hostname, old)
        self._backends = {
            name: self._open(backend.log_targets, settings.log_tag, hostname, old)
            for name, backend in plan.backends.items()
        }
        for place, sink in old.items():
            if place not in self.sinks:
                sink.close()

    def close(self) -> None:
        """Send what is to be sent yet, and give everything back."""
        for sink in self.sinks.values():
            sink.close()
        self.sinks.clear()

    def _open(self, targets: Iterable[LogTarget], tag: str, hostname: str, old: dict[Any, Sink]) -> list[Outlet]:
        outlets = []
        for target in targets:
            place = (target.address, target.stream, target.ring)
            sink = self.sinks.get(place) or old.get(place)
            if sink is None:
                try:
                    sink = open_target(target, self._loop)
                except (OSError, ValueError):
                    continue
            self.sinks[place] = sink
            line = syslog.make(
                target.format, target.facility, target.length, target.tag or tag, os.getpid(), hostname
            )
            outlets.append(Outlet(target, line, sink))
        return outlets

    def general(self, level: int, text: bytes) -> None:
        """To the ``global`` section's targets."""
        for outlet in self._general:
            outlet.send(level, self._loop.clock.wall, text)

    def backend(self, backend: Backend, level: int, text: str) -> None:
        """To a backend's own targets."""
        for outlet in self._backends.get(backend.name, ()):
            outlet.send(level, self._loop.clock.wall, text.encode(errors="replace"))
