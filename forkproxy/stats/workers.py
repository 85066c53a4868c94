"""What is known of each worker: its own counters of the loop, and what the kernel says of the process (psutil).

``forkproxy_worker_*`` families, one sample per slot in use. The kernel's part is missing where /proc cannot be read (a worker in a chroot
asks for all the others); nothing fails for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from forkproxy.state import layout
from forkproxy.state.counters import Rows
from forkproxy.stats.families import COUNTER, GAUGE
from forkproxy.stats.own import Labels, add, family

if TYPE_CHECKING:
    from prometheus_client import Metric

#: Cells of row 0 that a worker writes about itself.
_CELLS = tuple(counter for counter in layout.COUNTERS.values() if "W" in counter.family)
_STATES = ("running", "draining")


class Workers:
    """Reads workers' numbers; keeps a psutil handle per process, so that a pid used again is not mistaken."""

    __slots__ = ("_processes", "_rows")

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._processes: dict[int, Any] = {}

    def families(self, restarts: int | None = None) -> list[Metric]:
        """All families of workers. ``restarts``: how many workers were replaced after they died (None: only the master knows)."""
        slots = self._slots()
        found = [self._cell(counter, slots) for counter in _CELLS]
        found += self._kernel(slots)
        state = family("forkproxy_worker_state", GAUGE, "State of the worker, one sample per possible state.")
        generation = family("forkproxy_worker_generation", GAUGE, "Which reload the worker was born in.")
        for who, _, cells in slots:
            for name in _STATES:
                add(state, int((name == "draining") == bool(cells[layout.DRAINING])), {**who, "state": name})
            add(generation, cells[layout.GENERATION], who)
        found += [state, generation]
        if restarts is not None:
            replaced = family("forkproxy_worker_restarts_total", COUNTER, "Workers replaced after they died.")
            add(replaced, restarts)
            found.append(replaced)
        return [one for one in found if one.samples]

    def _slots(self) -> list[tuple[Labels, int, list[int]]]:
        """(labels, pid, cells of row 0) of every slot in use."""
        segment = self._rows.segment
        found = []
        for slot in segment.live():
            pid = segment.owner(slot)
            cells = segment.slot(slot)[: layout.ROW_CELLS].tolist()
            found.append(({"worker": str(slot), "pid": str(pid)}, pid, cells))
        return found

    @staticmethod
    def _cell(counter: layout.Counter, slots: list[tuple[Labels, int, list[int]]]) -> Metric:
        suffix = counter.family["W"]
        shown = family(f"forkproxy_worker_{suffix}", COUNTER if suffix.endswith("_total") else GAUGE, counter.help)
        for who, _, cells in slots:
            add(shown, cells[counter.offset] if counter.scale == 1.0 else cells[counter.offset] * counter.scale, who)
        return shown

    def _kernel(self, slots: list[tuple[Labels, int, list[int]]]) -> list[Metric]:
        import psutil  # 20 ms that only a scrape pays for

        cpu = family("forkproxy_worker_cpu_seconds_total", COUNTER, "CPU time of the worker.")
        memory = family("forkproxy_worker_resident_memory_bytes", GAUGE, "Resident memory of the worker.")
        fds = family("forkproxy_worker_open_fds", GAUGE, "Descriptors that the worker has open.")
        alive: dict[int, Any] = {}
        for who, pid, _ in slots:
            try:
                process = self._processes.get(pid)
                if process is None or not process.is_running():
                    process = psutil.Process(pid)
                alive[pid] = process
                with process.oneshot():
                    times: Mapping[str, float] = process.cpu_times()._asdict()
                    add(cpu, round(times["user"], 2), {**who, "mode": "user"})
                    add(cpu, round(times["system"], 2), {**who, "mode": "system"})
                    add(memory, process.memory_info().rss, who)
                add(fds, process.num_fds(), who)
            except (psutil.Error, OSError):
                continue
        self._processes = alive
        return [cpu, memory, fds]
