"""What is shown of workers; this very process plays one."""

from __future__ import annotations

import os

from forkproxy.state import layout
from forkproxy.stats.workers import Workers

from .fixtures import world


def test_this_process_as_a_worker() -> None:
    made = world(workers=0)
    made.rows.segment.claim(2, os.getpid())
    cells = made.rows.cells(2)
    cells[layout.DRAINING] = 1
    cells[layout.GENERATION] = 3
    cells[layout.BUSY_US] = 1_500_000
    samples = [sample for family in Workers(made.rows).families(restarts=4) for sample in family.samples]
    who = {"worker": "2", "pid": str(os.getpid())}

    def value(name: str, **more: str) -> float:
        return next(sample.value for sample in samples if sample.name == name and sample.labels == who | more)

    assert value("forkproxy_worker_state", state="draining") == 1
    assert value("forkproxy_worker_state", state="running") == 0
    assert value("forkproxy_worker_generation") == 3
    assert value("forkproxy_worker_loop_busy_seconds_total") == 1.5
    assert value("forkproxy_worker_resident_memory_bytes") > 1_000_000
    assert value("forkproxy_worker_open_fds") > 2
    assert value("forkproxy_worker_cpu_seconds_total", mode="user") > 0
    assert [sample.value for sample in samples if sample.name == "forkproxy_worker_restarts_total"] == [4]


def test_workers_that_are_gone_show_no_process() -> None:
    made = world(workers=2)
    names = {family.name for family in Workers(made.rows).families()}
    assert "forkproxy_worker_state" in names
    assert "forkproxy_worker_resident_memory_bytes" not in names
    assert "forkproxy_worker_restarts" not in names
