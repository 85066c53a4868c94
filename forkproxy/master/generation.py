"""A generation: the workers that were forked for one configuration, and one worker as the master sees it.

Values and small predicates only; what happens to them is the supervisor's.
"""

from __future__ import annotations

from forkproxy.master.listeners import Rack
from forkproxy.net.loop import Timer, Watched
from forkproxy.plan import Plan
from forkproxy.stats.history import History
from forkproxy.values import field, record
from forkproxy.worker.channel import Channel


@record
class Worker:
    """One worker process.

    ``state`` is one of *starting* (forked, not ready), *serving*, *leaving* (told to drain), *killed* (will not come back by itself)
    and *gone*. ``stopped`` tells that it accepts no more.
    """

    number: int
    generation: Generation
    slot: int
    pid: int
    started: float  # monotonic
    channel: Channel
    pulse: memoryview
    state: str = "starting"
    stopped: bool = False
    paused: bool = False
    process: Watched | None = None  # its pidfd
    reloads: int = 0
    grace: Timer | None = None  # ends in SIGKILL

    @property
    def alive(self) -> bool:
        """Whether the process may still run."""
        return self.state != "gone"


@record
class Generation:
    """All workers of one configuration, by number (1 …); a number without an entry is being replaced.

    ``failures`` counts quick deaths in a row of a number, for the back-off.
    """

    serial: int
    plan: Plan
    rack: Rack
    size: int
    workers: dict[int, Worker] = field(default_factory=dict)
    failures: dict[int, int] = field(default_factory=dict)
    #: adopted sockets: number of the missing worker -> number of the worker that accepts for it meanwhile
    fosters: dict[int, int] = field(default_factory=dict)
    leaving: bool = False
    history: History | None = None  # for the charts of the statistics page; None without one

    @property
    def ready(self) -> bool:
        """Whether every worker serves."""
        return len(self.workers) == self.size and all(w.state == "serving" for w in self.workers.values())
