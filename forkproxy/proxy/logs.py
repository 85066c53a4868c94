"""The log targets of a worker: one sink per place, one header maker per line of configuration.

Joins ``wire.syslog`` (forms of the header) and ``net.logsink`` (sending that never blocks); what a receiver refuses is counted in the
worker's own row. Knows the plan's LogTarget.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from forkproxy.net.logring import Ring
from forkproxy.net.logsink import Sink, open_sink
from forkproxy.proxy.accesslog import DATA_END, Target
from forkproxy.state import layout
from forkproxy.wire import syslog

if TYPE_CHECKING:
    from forkproxy.net.loop import Loop
    from forkproxy.plan import Frontend, Global, LogTarget
    from forkproxy.proxy.accesslog import Send
    from forkproxy.rules.logprofile import LogProfile


def open_target(target: LogTarget, loop: Loop, on_drop: Callable[[], object] | None = None) -> Sink:
    """The sink of one target, for workers and master alike; raises as ``open_sink``."""
    ring = target.ring
    if ring is None:
        return open_sink(target.address, target.stream, loop, on_drop)
    servers = [(server.address, server.octet_count) for server in ring.servers]
    return Ring(loop, ring.size_bytes, servers, ring.connect_s, ring.server_s, bool(ring.name), on_drop)


def kept(sinks: Mapping[Any, Sink | None], ring: str, since: int = 0) -> tuple[int, str]:
    """How many lines the ring of that name among ``sinks`` has had, and the text of those it still holds but for the first ``since``."""
    for (_address, _stream, plan), sink in sinks.items():
        if plan is not None and plan.name == ring and isinstance(sink, Ring):
            known = since if since <= sink.total else 0  # more than there ever were: it was another ring, before a reload
            lines = islice(sink.kept, max(0, known - sink.total + len(sink.kept)), None)
            return sink.total, os.fsdecode(b"".join(lines))
    return 0, ""


def _with_data(line: syslog.Line, takes_it: bool) -> syslog.Line:
    """``line`` for texts that begin with structured data: in its place before the text in RFC 5424's form, gone in the others."""

    def made(level: int, wall_s: float, text: bytes) -> bytes:
        data, end, rest = text.partition(DATA_END)
        if not end:
            return line(level, wall_s, text)
        if not takes_it or data == b"-":
            return line(level, wall_s, rest)
        # The header ends with the dash that stands for "no data"; what was cut at the end stays cut.
        bare = line(level, wall_s, DATA_END + rest)
        return bare.replace(b"- " + DATA_END, data + b" ", 1)

    return made


class LogTargets:
    """Opens every distinct place once; the sinks live as long as the worker."""

    __slots__ = ("_loop", "_process", "_settings", "sinks")

    def __init__(self, settings: Global, loop: Loop, process: memoryview) -> None:
        self._settings = settings
        self._loop = loop
        self._process = process
        self.sinks: dict[Any, Sink | None] = {}

    def open(self, fe: Frontend, tag: str = "") -> list[Target]:
        """The targets of one frontend; ``tag`` stands for their own where it is not empty."""
        found = []
        for target in fe.log_targets:
            sink = self._sink(target)
            if sink is not None:
                found.append(Target(target.level, target.minlevel, self._sender(fe, target, sink, tag), target.profile))
        return found

    def _sink(self, target: LogTarget) -> Sink | None:
        place = (target.address, target.stream, target.ring)
        if place not in self.sinks:
            try:
                self.sinks[place] = open_target(target, self._loop, self._dropped)
            except (OSError, ValueError):
                self.sinks[place] = None
        return self.sinks[place]

    def close(self) -> None:
        """Close every sink."""
        for sink in self.sinks.values():
            if sink is not None:
                sink.close()
        self.sinks.clear()

    def _dropped(self) -> None:
        self._process[layout.DROPPED_LOGS] += 1

    def _sender(self, fe: Frontend, target: LogTarget, sink: Sink, tag: str) -> Send:
        settings = self._settings
        tag = tag or target.tag or settings.log_tag
        line = syslog.make(target.format, target.facility, target.length, tag, os.getpid(), settings.log_send_hostname)
        profiles: Mapping[str, LogProfile] = fe.capabilities.get("log-profiles", {})
        if fe.log_format_sd is not None or any(profile.structured for profile in profiles.values()):
            line = _with_data(line, target.format == "rfc5424")
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
