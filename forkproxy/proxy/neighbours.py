"""What the other workers have in progress on servers, for algorithms that count streams (leastconn, random, bounded loads).

Read from their rows of the shared segment, only when streams began or ended here, and so seldom that it stays below a hundredth of the
time: every 20 ms for up to 60 servers and 8 workers, with more of them less often. Between two looks a picker goes by its own streams.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from forkproxy.state.layout import SESS_CUR

if TYPE_CHECKING:
    from forkproxy.proxy.backend import BackendRt, ServerRt
    from forkproxy.proxy.runtime import Runtime

_LEAST_S = 0.02
#: a hundred times what it takes to read one cell
_PER_CELL_S = 4e-5


class Neighbours:
    """The other workers, for the backends of one worker whose pickers count."""

    __slots__ = ("_backends", "_due", "_others", "_rt")

    def __init__(self, rt: Runtime, backends: list[BackendRt]) -> None:
        self._rt = rt
        self._backends = backends
        self._due = 0.0
        self._others: list[memoryview] = []

    def look(self) -> None:
        """Let the pickers know, if it is time."""
        now = self._rt.clock.now
        if now < self._due:
            return
        segment, me = self._rt.state.segment, os.getpid()
        self._others = [segment.slot(slot) for slot in segment.live() if segment.owner(slot) != me]
        for backend in self._backends:
            backend.picker.sync()
        cells = len(self._others) * sum(len(backend.servers) for backend in self._backends)
        self._due = now + max(_LEAST_S, cells * _PER_CELL_S)

    def streams(self, server: ServerRt) -> int:
        """How many streams the others had on ``server`` at the last look."""
        at: int = server.base + SESS_CUR
        return sum([cells[at] for cells in self._others])
