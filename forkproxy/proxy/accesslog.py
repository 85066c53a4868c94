"""The log line of a stream: whether it is written, at which level, in which format, to whom (manual 8).

Rendering is the plan's (``rules.logformat``), header forms are ``wire.syslog``'s, sending is ``net.logsink``'s, which never blocks: what a
full or dead syslog refuses is counted and dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from forkproxy.plan import Frontend, Render
    from forkproxy.proxy.stream import Stream

#: ``send(level, wall, message)`` for one target; filtering by level is done here.
Send = Callable[[int, float, bytes], Any]

INFO, ERR = 6, 3
#: between the structured data of a line and its text, where a frontend has such data; no rendered text holds it
DATA_END = b"\0"
#: first termination flags of streams in which nothing went wrong: they ended, or were answered here
_WELL = frozenset((b"-", b"L"))


class Target(NamedTuple):
    """One ``log`` line: the most verbose level that it takes, the least severe level that is sent as it is, and its log profile's name."""

    most: int
    floor: int
    send: Send
    profile: str = ""


class AccessLog:
    """Where one frontend's lines go, where no log profile and no ``log-steps`` have a say (``profiles``).

    ``on`` tells whether anything is ever written, ``plain`` whether every line of an ordinary stream is written in the same way to one
    place: then ``send(INFO, wall, render(s))`` is all there is to do (0.4 µs less per request than :meth:`emit`)."""

    __slots__ = ("_only_errors", "_separate", "_skip_null", "error_render", "on", "plain", "render", "send", "targets")

    def __init__(self, plan: Frontend, targets: list[Target]) -> None:
        self.targets = targets
        self.render: Render = structured(plan.log_format_sd, plan.log_format or _nothing)
        self.error_render: Render | None = plan.error_log_format and structured(plan.log_format_sd, plan.error_log_format)
        self._only_errors = "dontlog-normal" in plan.options
        self._separate = "log-separate-errors" in plan.options
        self._skip_null = "dontlognull" in plan.options
        self.on = plan.log_format is not None and bool(targets) and not plan.log_on_connect
        null = self._skip_null and plan.mode != "http"  # of requests only those that never came are null, and their level is set
        self.plain = self.on and not (self._only_errors or self._separate or null) and len(targets) == 1
        self.plain = self.plain and plan.error_log_format is None and targets[0].most >= INFO >= targets[0].floor
        self.send: Send = targets[0].send if targets else _nowhere

    def emit(self, s: Stream) -> None:
        """Write the line of ``s``, if it is one to be written."""
        if not self.on:
            return
        if self._skip_null and not s.bytes_in:
            return
        level = self.level(s)
        if level < 0:
            return
        if self.error_render is not None and s.mode_http and s.req is None:
            self.emit_refused(s)
            return
        self.say(level, s.clock.wall, self.render(s))

    def level(self, s: Stream) -> int:
        """The level of a line of ``s``; negative: it is not to be written."""
        level = s.log_level
        if level is not None and level < 0:
            return level
        cause = s.flags[:1]
        failed = s.redispatched or cause not in _WELL or (s.retries > 0 and cause == b"-") or (s.status >= 500 and s.mode_http)
        if self._only_errors and not failed:
            return -1
        if level is None:
            return ERR if failed and self._separate else INFO
        return level

    def by_rule(self, s: Stream, _profile: str) -> None:
        """Write a line because a rule wants one (do-log); it does not count as the line of ``s``."""
        level = INFO if s.log_level is None else s.log_level
        if level >= 0 and self.targets:
            self.say(level, s.clock.wall, self.render(s))

    def connected(self, s: Stream) -> None:
        """Write the line of a stream's beginning, where no format was configured."""
        self.say(INFO, s.clock.wall, self.render(s))

    def emit_refused(self, s: Stream) -> None:
        """Write the line of a connection that failed before it became a session (error-log-format, manual 8.2.5)."""
        render = self.error_render
        if render is not None and not (self._skip_null and not s.bytes_in):
            self.say(ERR if self._separate else INFO, s.clock.wall, render(s))

    def say(self, level: int, wall: float, line: bytes) -> None:
        """Send a line to every target that takes its level."""
        for most, floor, send, _profile in self.targets:
            if level <= most:
                send(level if level > floor else floor, wall, line)


def structured(sd: Render | None, render: Render) -> Render:
    """``render`` with the structured data of RFC 5424 in front, which a target's header maker takes or leaves (``logs``)."""
    if sd is None:
        return render
    return lambda s: (sd(s) or b"-") + DATA_END + render(s)


def _nothing(_s: Any) -> bytes:
    return b""


def _nowhere(_level: int, _wall: float, _line: bytes) -> None:
    return None
