"""The master's look at what workers' traffic says of servers (``observe``): errors in a row over all workers, several times a second.

It reads the workers' rows of observed servers only, and exists only where there are any. What too many errors lead to is the board's and
the runner's business.
"""

from __future__ import annotations

from collections.abc import Callable

from forkproxy.health.entry import Entry
from forkproxy.health.observed import Streak, Why
from forkproxy.net.loop import Loop, Timer
from forkproxy.state import layout
from forkproxy.state.counters import Rows

_EVERY_S = 0.05
_LAST = max(Why)


class Observer:
    """``tell(entry, errors, why)`` is called when a server had as many errors in a row as its ``error-limit`` says."""

    __slots__ = ("_loop", "_rows", "_streaks", "_tell", "_timer")

    def __init__(self, loop: Loop, rows: Rows, tell: Callable[[Entry, int, str], object]) -> None:
        self._loop = loop
        self._rows = rows
        self._tell = tell
        self._streaks: list[tuple[Entry, Streak]] = []
        self._timer: Timer | None = None

    def replace(self, entries: list[Entry]) -> None:
        """Look at these servers from now on; streaks begin anew."""
        self.stop()
        self._streaks = [(entry, Streak(entry.server.error_limit)) for entry in entries]
        for entry, streak in self._streaks:
            streak.look(self._numbers(entry), first=True)
        self._again()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _again(self) -> None:
        if self._streaks:
            self._timer = self._loop.call_later(_EVERY_S, self._look)

    def _look(self) -> None:
        for entry, streak in self._streaks:
            if streak.look(self._numbers(entry)):
                self._tell(entry, streak.limit, self._why(entry))
        self._again()

    def _numbers(self, entry: Entry) -> list[tuple[int, int, int, int]]:
        segment, base = self._rows.segment, self._rows.base(entry.key)
        found = []
        for slot in segment.live():
            cells = segment.slot(slot)
            good, bad = cells[base + layout.OBSERVED_GOOD], cells[base + layout.OBSERVED_BAD]
            found.append((slot, good, bad, cells[base + layout.OBSERVED_RUN]))
        return found

    def _why(self, entry: Entry) -> str:
        for number in self._rows.each(entry.key, layout.OBSERVED_WHY).values():
            if 0 < number <= _LAST:
                return Why(number).text
        return "unknown"
