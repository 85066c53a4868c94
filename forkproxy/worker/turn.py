"""What a worker does in each turn of its loop besides serving: it looks whether the master changed a server, and gives its sign of life.

A file of its own, so that it can be compiled: a busy worker's turns have few events (five in small TCP exchanges), and two interpreted
hooks were 0.2 µs of each exchange. Knows the shared cells, nothing of roles.
"""

from __future__ import annotations

from collections.abc import Callable

from forkproxy.net.loop import Loop
from forkproxy.state.layout import EPOCH


class Turn:
    """``servers`` are the cells of the table of servers: when its epoch moves from what it is now, ``changed()`` is called before the
    turn's events, so that no request is given to a server of which the master already knew better. ``pulse`` is one cell that gets
    monotonic milliseconds. ``idle``, where it is set, is asked at the end of each turn."""

    __slots__ = ("_changed", "_epoch", "_loop", "_pulse", "_servers", "idle")

    def __init__(self, loop: Loop, servers: memoryview, pulse: memoryview, changed: Callable[[], object]) -> None:
        self._loop = loop
        self._servers = servers
        self._pulse = pulse
        self._changed = changed
        self._epoch: int = servers[EPOCH]
        self.idle: Callable[[], object] | None = None

    def watch(self) -> None:
        """From the next turn on."""
        self._loop.on_wake.append(self.begin)
        self._loop.on_turn.append(self.end)

    def stop(self) -> None:
        """Never again."""
        self._loop.on_wake.remove(self.begin)
        self._loop.on_turn.remove(self.end)

    def begin(self) -> None:
        """Before the turn's events."""
        epoch: int = self._servers[EPOCH]
        if epoch != self._epoch:
            self._epoch = epoch
            self._changed()

    def end(self) -> None:
        """Behind everything else."""
        self._pulse[0] = int(self._loop.clock.now * 1000.0)
        if self.idle is not None:
            self.idle()
