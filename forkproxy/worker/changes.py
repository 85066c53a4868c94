"""What rules of this worker change for all workers: lists of patterns (``set-map`` …) and process-wide variables, told to the master at
the end of a turn.

Many requests of a turn, or of a time in which the master is slow, may change one key: only what it is in the end is told. Knows the
channel and the plan.
"""

from __future__ import annotations

from forkproxy.net.loop import Loop
from forkproxy.plan import Plan
from forkproxy.rules.patternfiles import Op, PatternFiles, lots
from forkproxy.rules.variables import SHARED
from forkproxy.worker.channel import Channel

#: So many keys may wait; a change beyond is this worker's own until somebody changes the key again.
WAITING = 100_000
#: Variables are told so often at most, however often they change, and wait for a master that is slow.
PAUSE_S = 0.02


class Changes:
    """Listens to the lists of ``plan`` from now on until :meth:`close`."""

    __slots__ = ("_channel", "_due", "_files", "_loop", "_waiting")

    def __init__(self, plan: Plan, channel: Channel, loop: Loop, number: int = 0) -> None:
        self._channel = channel
        self._loop = loop
        self._waiting: dict[tuple[int, str], Op] = {}
        self._files: PatternFiles | None = plan.objects.get("patterns")
        if self._files is not None and self._files.lists:
            self._files.announce = self._note
            loop.on_turn.append(self._tell)
        self._due = 0.0
        SHARED.begin(number, self._wake)

    def _wake(self) -> None:
        """A variable changed: it is told at the end of this turn, or once the pause is over."""
        pause_s = self._due - self._loop.clock.now
        if pause_s > 0.0:
            self._loop.call_later(pause_s, self._tell_variables)
        else:
            self._loop.call_soon(self._tell_variables)

    def _tell_variables(self) -> None:
        if self._channel.backlog:
            self._loop.call_later(PAUSE_S, self._tell_variables)
            return
        self._due = self._loop.clock.now + PAUSE_S
        for op in SHARED.collect():  # a message for each: two large values may not fit into one
            self._channel.send("changed", variables=[op])

    def _note(self, op: Op) -> None:
        name = (op[1], op[2])
        self._waiting.pop(name, None)  # the last word on a key comes last
        if len(self._waiting) < WAITING:
            self._waiting[name] = op

    def _tell(self) -> None:
        if self._waiting and not self._channel.backlog:
            for ops in lots(self._waiting.values()):
                self._channel.send("changed", ops=ops)
            self._waiting.clear()

    def close(self) -> None:
        """Tell what is left, and listen no more."""
        self._tell_variables()
        SHARED.begin(0)
        if self._files is not None and self._files.announce is not None:
            self._tell()
            self._files.announce = None
            self._loop.on_turn.remove(self._tell)
