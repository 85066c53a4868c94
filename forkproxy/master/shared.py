"""The master's side of what processes share: the segment, the rows of all names, the slots of the workers.

Rows are made when a configuration is taken on and never move, so counters survive reloads; the segment is mapped before the first fork,
with room to spare (it is sparse: what is not used costs nothing). Knows state and plan; nothing of processes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from forkproxy.clock import Clock
from forkproxy.errors import ConfigError
from forkproxy.plan import Plan
from forkproxy.state import layout, limits
from forkproxy.state.counters import Rows
from forkproxy.state.limits import Area
from forkproxy.state.names import NameTable, backend_key, frontend_key, listener_key
from forkproxy.state.segment import Segment
from forkproxy.state.servers import ServerTable
from forkproxy.values import record

if TYPE_CHECKING:
    from forkproxy.state.ledger import Ledger
    from forkproxy.state.sticktables import Tables

#: Room for workers of this many reloads that are still leaving (one more than mworker-max-reloads lets live by default).
GENERATIONS = 52
_MIN_SLOTS = 32
_MAX_SLOTS = 480
#: Entries of stick tables that a worker can hold at once, at least.
_LEDGER = 1 << 16


@record
class State:
    """What workers get to see."""

    segment: Segment
    names: NameTable
    rows: Rows
    servers: ServerTable
    limits: Area
    started: float  # epoch of the master's start


def keys(plan: Plan) -> Iterator[str]:
    """The rows that a configuration needs."""
    for frontend in plan.frontends:
        yield frontend_key(frontend.name)
        for bind in frontend.binds:
            yield listener_key(frontend.name, bind.label)
    for backend in plan.backends.values():
        yield backend_key(backend.name)
        for server in backend.servers:
            yield server.key


class Shared:
    """Slots are taken by workers and given back when they are gone.

    ``memory`` is the segment and the dumped names of a master that died (owned from now on): counting goes on where it stopped, if its
    layout is ours and there is room for what ``plan`` names. ``strangers`` are then its workers, which still count: slot → pid."""

    __slots__ = ("state", "strangers", "tables")

    def __init__(
        self, plan: Plan, workers: int, clock: Clock, memory: tuple[int, bytes] | None = None, tables: Mapping[str, int] | None = None
    ) -> None:
        """``tables`` are the memories of the other master's stick tables, owned from now on: what they hold is copied.

        Raises ConfigError when the names do not fit, OSError when the kernel gives no memory."""
        self.strangers: dict[int, int] = {}
        self.tables: Tables | None = None
        self.bind_tables(plan)
        self._learn(plan, tables or {}, clock)
        if memory is not None and self._inherit(plan, workers, clock, *memory):
            return
        wanted = sum(1 for _ in keys(plan)) + 1
        segment = Segment.create(min(_MAX_SLOTS, max(_MIN_SLOTS, GENERATIONS * workers)), max(1024, 4 * wanted))
        names = NameTable(segment.rows)
        self._take_on(segment, names, clock, workers)
        self.extend(plan)
        self.limit(plan)

    def _learn(self, plan: Plan, tables: Mapping[str, int], clock: Clock) -> None:
        if self.tables is not None:
            self.tables.learn(plan.tables, tables, int(clock.now * 1000.0))
            return
        for fd in tables.values():
            os.close(fd)

    def _take_on(self, segment: Segment, names: NameTable, clock: Clock, workers: int) -> None:
        rows = Rows(segment, names, clock)
        self.state = State(segment, names, rows, ServerTable(rows), Area(segment, limits.bells(workers)), clock.wall)

    def _inherit(self, plan: Plan, workers: int, clock: Clock, fd: int, dump: bytes) -> bool:
        try:
            segment = Segment.attach(fd)
        except (OSError, ValueError):
            os.close(fd)
            return False
        try:
            names = NameTable.load(dump)
            for key in keys(plan):
                names.allocate(key)
        except (ConfigError, ValueError, KeyError):
            segment.close()
            return False
        segment.changing(False)  # the dead one may have been in the middle of a move
        self._take_on(segment, names, clock, workers)
        self.strangers = {slot: segment.owner(slot) for slot in segment.live()}
        self.extend(plan)
        self.limit(plan)
        return True

    @property
    def started(self) -> float:
        """Epoch of the start."""
        return self.state.started

    def extend(self, plan: Plan) -> None:
        """Make rows for what a configuration names and has none. Raises ConfigError when there is no room."""
        names, area = self.state.names, self.state.limits
        area.place(0, 0)
        fresh = set()
        for key in keys(plan):  # a backend before its servers
            row = names.allocate(key)
            if not area.placed(row):
                area.place(row, self._home(key))
                fresh.add(key)
        self.limit(plan, fresh)

    def forget(self, key: str) -> None:
        """Give the row of a server, or of a backend that was added, back that no worker knows any more."""
        names = self.state.names
        rows = names.prune(set(names) - {key})
        self.state.rows.wipe(rows)
        for row in rows:
            self.state.limits.vacate(row)

    def _home(self, key: str) -> int:
        """The row whose lock guards the limits of ``key``: a backend's for itself and its servers, else that of the process."""
        names, section = self.state.names, key.partition("/")[0]
        return 0 if key.startswith((frontend_key(section), listener_key(section, ""))) else names.row(backend_key(section))

    def limit(self, plan: Plan, only: Collection[str] | None = None) -> None:
        """Let the limits of a configuration (``only`` those of these keys) be in force. Workers of other ones follow it, too."""
        row, area = self.state.names.row, self.state.limits
        settings = plan.global_
        changed = []
        if only is None:
            changed.append(area.set(0, limits.LIMIT, settings.limit or settings.maxconn))
            changed.append(area.set(0, limits.CONN_LIMIT, settings.maxconnrate))
            changed.append(area.set(0, limits.SESS_LIMIT, settings.maxsessrate))
        for frontend in plan.frontends:
            key = frontend_key(frontend.name)
            if only is None or key in only:
                own = frontend.maxconn if not settings.maxconn or frontend.maxconn < settings.maxconn else 0
                changed.append(area.set(row(key), limits.LIMIT, own))
                changed.append(area.set(row(key), limits.SESS_LIMIT, frontend.rate_limit_sessions))
            for bind in frontend.binds:
                key = listener_key(frontend.name, bind.label)
                if only is None or key in only:
                    changed.append(area.set(row(key), limits.LIMIT, bind.maxconn))
        for backend in plan.backends.values():
            changed += [area.set(row(s.key), limits.LIMIT, s.maxconn) for s in backend.servers if only is None or s.key in only]
        if any(changed):
            area.ring_all()
            self.state.servers.bump()

    def take_slot(self, pid: int) -> int | None:
        """A free slot, marked as ``pid``'s until :meth:`owned_by`; None: there is none."""
        segment = self.state.segment
        slot = segment.free_slot()
        if slot is not None:
            segment.claim(slot, pid)
        return slot

    def owned_by(self, slot: int, pid: int) -> None:
        """The worker of this slot has been forked."""
        self.state.segment.claim(slot, pid)

    def give_back(self, slot: int) -> None:
        """Its worker is gone: its counters stay, its gauges go, it holds no entry of a stick table and no part of a limit any more."""
        if self.state.segment.owner(slot):
            self.state.limits.settle(slot)
        self.state.rows.retire(slot)
        if self.tables is not None:
            self.tables.settle(slot)

    def ledger(self, slot: int, plan: Plan) -> Ledger | None:
        """Where the worker of ``slot`` notes which entries of stick tables it holds; None where ``plan`` has no tables."""
        if not plan.tables or self.tables is None:
            return None
        counters = int(plan.global_.options.get("stick-counters", 3))
        return self.tables.ledger(slot, max(_LEDGER, 2 * counters * plan.global_.maxconn))

    def bind_tables(self, plan: Plan, old: Plan | None = None) -> None:
        """Give the stick tables of ``plan`` their memory: that of the same ones in ``old``, which is in force, or new memory. Raises
        ConfigError when there is none."""
        if plan.tables:
            if self.tables is None:
                from forkproxy.state.sticktables import Tables  # ctypes and more, for those who have tables

                self.tables = Tables()
            try:
                self.tables.bind(plan.tables, {} if old is None else old.tables)
            except OSError as exc:
                raise ConfigError(f"no memory for stick tables: {exc.strerror}") from exc

    def pulse(self, slot: int) -> memoryview:
        """The cell that the worker writes its sign of life into (milliseconds, monotonic)."""
        return self.state.segment.slot(slot)[layout.PULSE : layout.PULSE + 1]

    def memories(self, plan: Plan) -> dict[str, int]:
        """The descriptors of the stick tables of ``plan``, for a master that replaces this one."""
        if self.tables is None:
            return {}
        from forkproxy.state.sticktables import memories

        return memories(plan.tables)
