"""Changes of process-wide variables on their way from the master to the workers: the master's own copy first, then an order to each.

What the plan in force holds under "variables" is what a worker that is forked later begins with; ``rules.variables.PROCESS`` is what the
checks in this process see. Knows the supervisor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from forkproxy.net.loop import Loop
from forkproxy.rules import variables
from forkproxy.rules.variables import SHARED, Op

if TYPE_CHECKING:
    from forkproxy.master.generation import Generation
    from forkproxy.master.supervisor import Supervisor

#: When changes that nobody can be told of yet are told, seconds.
_SOON_S = 0.05


def begin(loop: Loop, supervisor: Supervisor, held: dict[str, Any]) -> None:
    """A configuration is in force: its variables are those of this process, too, and what checks change goes to the workers."""

    def tell() -> None:
        if supervisor.current is None:  # the first workers are not ready yet
            loop.call_later(_SOON_S, tell)
        elif ops := SHARED.collect():
            spread(supervisor, supervisor.current, ops)

    variables.begin(held)
    SHARED.begin(0, lambda: loop.call_soon(tell))


def spread(supervisor: Supervisor, generation: Generation, ops: list[Op], done: Callable[[], None] = lambda: None) -> None:
    """Change variables of ``generation`` in all its processes; ``done`` is called when all workers did so, never before this returns."""
    held: dict[str, Any] = generation.plan.objects["variables"]
    for name, packed, _number in ops:
        variables.put(held, name, variables.unpack(packed))
    if generation is supervisor.current:
        SHARED.apply(ops)
    workers = [w for w in generation.workers.values() if w.process is not None]  # without a process of its own it is this very copy
    supervisor.orders.give(workers, "variables", lambda _replies: done(), ops=ops)
