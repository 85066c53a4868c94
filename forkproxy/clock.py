"""The only place that reads time.

The loop calls :meth:`Clock.tick` once per turn; everybody else reads the attributes. Tests put a :class:`ManualClock`
in its place and drive it. Knows nothing else.
"""

from __future__ import annotations

import time
from typing import Final

from forkproxy.compiled import mypyc_attr

_monotonic: Final = time.monotonic
_since_epoch: Final = time.time


@mypyc_attr(allow_interpreted_subclasses=True)
class Clock:
    """Two readings taken together once per loop turn.

    ``now`` is monotonic seconds (float) for deadlines and durations, ``wall`` is seconds since the epoch (float) for
    log dates. Both stand still between two ticks, so that one turn of the loop sees one time.
    """

    __slots__ = ("now", "wall")

    def __init__(self) -> None:
        self.now = 0.0
        self.wall = 0.0
        self.tick()

    def tick(self) -> float:
        """Read the time anew; returns the monotonic reading."""
        self.wall = _since_epoch()
        self.now = now = _monotonic()
        return now

    def read(self) -> float:
        """A fresh monotonic reading that changes neither attribute: the loop measures its own turns with it."""
        return _monotonic()


@mypyc_attr(allow_interpreted_subclasses=True)
class ManualClock(Clock):
    """A clock for tests: time passes only in :meth:`advance`."""

    __slots__ = ()

    def __init__(self, now: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self.now = now
        self.wall = wall

    def tick(self) -> float:
        return self.now

    def read(self) -> float:
        return self.now

    def advance(self, seconds_s: float) -> None:
        """Let ``seconds_s`` pass on both readings."""
        self.now += seconds_s
        self.wall += seconds_s
