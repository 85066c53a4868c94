"""What the master does once a second."""

from __future__ import annotations

import os
import types

from forkproxy.master.master import Master
from forkproxy.state import limits
from forkproxy.state.limits import TOTAL, USED, Area
from forkproxy.state.segment import LIMIT_CELLS, PART_CELLS, Segment


def test_sums_that_the_master_changed_without_their_lock_are_made_anew() -> None:
    segment = Segment.create(2, 4)
    bells = limits.bells(1)
    try:
        area = Area(segment, bells)
        area.place(1, 1)
        segment.claim(0, os.getpid())
        segment.parts[0][PART_CELLS + USED] = 2
        area.cells[LIMIT_CELLS + TOTAL] = 7
        area.dirty.add(1)
        state = types.SimpleNamespace(names=(), limits=area)
        again: list[float] = []
        loop = types.SimpleNamespace(call_later=lambda after_s, _fn: again.append(after_s))
        shared = types.SimpleNamespace(state=state, tables=None)
        master = types.SimpleNamespace(shared=shared, loop=loop, _observe=lambda names: None, _every_second=None)
        Master._every_second(master)  # type: ignore[arg-type]
        assert area.cells[LIMIT_CELLS + TOTAL] == 2 and not area.dirty and again == [1.0]
    finally:
        for bell in bells:
            os.close(bell)
        os.close(segment.fd)
