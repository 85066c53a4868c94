"""The log lines of frontends with log profiles or ``log-steps`` (manual 8.3.5 and 4.2 "log-steps"): when, and for which target how.

What a profile changes is worked out once for every instant and target, so a line costs a look-up more than an ordinary one. Knows the
ordinary log (``accesslog``) and who makes the forms of targets (``logs``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from forkproxy.proxy.accesslog import ERR, INFO, AccessLog, structured
from forkproxy.rules.logprofile import INSTANTS

if TYPE_CHECKING:
    from forkproxy.plan import Frontend, Render
    from forkproxy.proxy.accesslog import Target
    from forkproxy.proxy.logs import LogTargets
    from forkproxy.proxy.stream import Stream
    from forkproxy.rules.logprofile import LogProfile

#: by instant: how the line is made, None for no line
Table = dict[str, "Render | None"]


def access_log(plan: Frontend, logs: LogTargets) -> AccessLog:
    """The log of a frontend, of the cheaper kind where that will do."""
    profiles: Mapping[str, LogProfile] = plan.capabilities.get("log-profiles", {})
    steps: frozenset[str] | None = plan.capabilities.get("log-steps")
    targets = logs.open(plan)
    if not profiles and steps is None:
        return AccessLog(plan, targets)
    named = {name: logs.open(plan, profile.tag) for name, profile in profiles.items()}
    return ProfiledLog(plan, targets, profiles, named, steps)


class ProfiledLog(AccessLog):
    """``steps`` are those of "log-steps", None without. ``named`` are the targets as each profile's ``do-log`` sees them."""

    __slots__ = ("_close", "_named", "_ways")

    def __init__(
        self, plan: Frontend, targets: list[Target], profiles: Mapping[str, LogProfile], named: Mapping[str, list[Target]],
        steps: frozenset[str] | None,
    ) -> None:  # fmt: skip
        super().__init__(plan, targets)
        self.plain = False
        self._close = steps is None or "close" in steps
        self._ways = [(target, self._table(plan, profiles.get(target.profile))) for target in targets]
        self._named = {name: [(target, self._table(plan, profiles[name])) for target in own] for name, own in named.items()}

    def _table(self, plan: Frontend, profile: LogProfile | None) -> Table:
        table: Table = {}
        for instant in INSTANTS:
            error = instant == "error"
            change = None if profile is None else profile.at(instant)
            if change is None:
                table[instant] = (self.error_render if error else None) or self.render
            elif change.drop:
                table[instant] = None
            else:
                usual = (plan.error_log_format if error else None) or plan.log_format
                table[instant] = structured(change.sd or plan.log_format_sd, change.format or usual or _nothing)
        return table

    def emit(self, s: Stream) -> None:
        if s.mode_http and s.req is None:
            if self.on and self.level(s) >= 0:
                self.emit_refused(s)
        elif self._close and self.on and not (self._skip_null and not s.bytes_in):
            self._write(self._ways, self.level(s), s, "close")

    def emit_refused(self, s: Stream) -> None:
        if not (self._skip_null and not s.bytes_in):
            self._write(self._ways, ERR if self._separate else INFO, s, "error")

    def by_rule(self, s: Stream, profile: str) -> None:
        assert s.marks is not None  # who calls this says which rule it was
        ways = self._named[profile] if profile else self._ways
        self._write(ways, INFO if s.log_level is None else s.log_level, s, s.marks["origin"].decode())

    def connected(self, s: Stream) -> None:
        self._write(self._ways, INFO, s, "accept")

    def at(self, s: Stream, step: str) -> None:
        """Write the line of a step other than the end."""
        before = s.marks
        s.marks = {**(before or {}), "origin": b"txn_" + step.encode()}
        self._write(self._ways, self.level(s), s, step)
        s.marks = before

    def _write(self, ways: list[tuple[Target, Table]], level: int, s: Stream, instant: str) -> None:
        if level < 0:
            return
        made: Render | None = None
        line = b""
        for target, table in ways:
            render = table[instant]
            if render is not None and level <= target.most:
                if render is not made:
                    made, line = render, render(s)
                target.send(max(level, target.floor), s.clock.wall, line)


def _nothing(_s: Stream) -> bytes:
    return b""
