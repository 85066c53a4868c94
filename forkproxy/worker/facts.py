"""What "show info" and the exporter say of the service beyond counters; the same for the master and for a worker."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from forkproxy.plan import Plan

if TYPE_CHECKING:
    from forkproxy.stats.info import Facts


def of(plan: Plan, started: float, **more: int | bool) -> Facts:
    """The facts of ``plan``; ``started`` is the epoch of the master's start, ``more`` what the caller knows better."""
    from forkproxy.stats.info import Facts  # here and not above: statistics are loaded where somebody can ask for them

    settings = plan.global_
    return Facts(
        pid=os.getpid(),
        workers=settings.nbproc,
        started=started,
        maxconn=settings.limit or settings.maxconn,
        hard_maxconn=settings.maxconn,
        maxconnrate=settings.maxconnrate,
        maxsessrate=settings.maxsessrate,
        ulimit_n=settings.ulimit_n,
        maxpipes=settings.maxpipes,
        node=settings.node or socket.gethostname(),
        description=settings.description,
        listeners=sum(len(f.binds) for f in plan.frontends if not f.disabled),
        **more,  # type: ignore[arg-type]  # names and kinds are those of Facts
    )
