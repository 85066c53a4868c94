"""Changes of lists of patterns on their way from the master to the workers: the master's own copy first, then an order to each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from forkproxy.rules.patternfiles import Op, PatternFiles, lots

if TYPE_CHECKING:
    from forkproxy.master.generation import Generation
    from forkproxy.master.supervisor import Supervisor


def spread(supervisor: Supervisor, generation: Generation, ops: list[Op], done: Callable[[], None] = lambda: None) -> None:
    """Carry out ``ops`` on the lists of ``generation`` in all processes; ``done`` is called when all workers did so, never before this
    returns."""
    files: PatternFiles = generation.plan.objects["patterns"]
    files.apply(ops)
    workers = [w for w in generation.workers.values() if w.process is not None]  # without a process of its own it has this very copy
    *most, last = list(lots(ops)) or [[]]
    for lot in most:
        supervisor.orders.give(workers, "patterns", ops=lot)
    supervisor.orders.give(workers, "patterns", lambda _replies: done(), ops=last)
