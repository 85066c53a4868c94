"""What rules may ask about the running service beyond their own stream (``rules.world.View``), answered by a worker.

Numbers are over all workers, those that drain included: totals of the shared segment, which are added up at most once per name in a turn
of the loop, however many requests ask in it; of connections, which many ask for, only their one cell of each worker. What only this
worker knows (is it leaving?) comes from the runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkproxy.rules.world import View
from forkproxy.state import layout as L
from forkproxy.state.names import backend_key, frontend_key
from forkproxy.state.servers import shown_weight

if TYPE_CHECKING:
    from forkproxy.proxy.backend import BackendRt, ServerRt
    from forkproxy.proxy.runtime import Runtime

_NOTHING: list[int] = []
#: For how long log lines may show what the other workers had, seconds: asking costs 1 µs for four numbers of three workers.
_RECENT_S = 0.02


class WorkerView(View):
    """See the head of this file. Unknown names give None, as the contract says."""

    __slots__ = ("_at", "_backs", "_due", "_fronts", "_lines", "_names", "_others", "_recent", "_rt", "_totals")

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._at = -1.0
        self._totals: dict[str, list[int]] = {}
        self._lines: dict[str, int] = {}
        self._names = frozenset(rt.plan.backends) | {fe.name for fe in rt.plan.frontends}
        base = rt.state.rows.base
        self._fronts = {name: base(frontend_key(name)) + L.SESS_CUR for name in rt.frontends}
        self._backs = {name: base(backend_key(name)) + L.SESS_CUR for name in rt.backends}
        self._due = -1.0
        self._others: list[memoryview] = []
        #: what the others have in a cell, for :meth:`connections`
        self._recent: dict[int, int] = {}

    def _row(self, name: str) -> list[int]:
        """All cells of one row over all workers, as of this turn. What this worker counted in it goes to the segment first."""
        now = self._rt.clock.now
        if now != self._at:
            self._at = now
            self._totals.clear()
            self._rt.pour()
        found = self._totals.get(name)
        if found is None:
            try:
                found = self._rt.state.rows.totals(name)
            except KeyError:
                found = _NOTHING
            self._totals[name] = found
        return found

    def _elsewhere(self, cell: int) -> int:
        """What a gauge comes to in all other workers, now; what this worker has in it its owner knows better."""
        if self._rt.clock.now >= self._due:
            self._look()
        return sum([cells[cell] for cells in self._others])

    def _look(self) -> None:
        segment, me = self._rt.state.segment, self._rt.slot
        self._others = [segment.slot(slot) for slot in segment.live() if slot != me]
        self._recent.clear()
        self._due = self._rt.clock.now + _RECENT_S

    def cpu_percent(self, everybody: bool) -> int:
        segment, me = self._rt.state.segment, self._rt.slot
        slots = segment.live() if everybody else [me]
        busy: list[int] = [100 - segment.slot(slot)[L.IDLE_PERCENT] for slot in slots]
        return sum(busy) // max(1, len(busy))

    def _lately(self, cell: int) -> int:
        found = self._recent.get(cell)
        if found is None:
            found = self._recent[cell] = sum([cells[cell] for cells in self._others])
        return found

    def connections(self, txn: Any) -> tuple[int, int, int, int]:
        own: tuple[int, int, int, int] = txn.conn_counts
        if self._rt.clock.now >= self._due:
            self._look()
        if not self._others:
            return own
        be, srv = txn.be, txn.srv
        return (
            own[0] + self._lately(L.CONN_CUR),
            own[1] + self._lately(self._fronts[txn.fe.name]),
            own[2] + self._lately(self._backs[be.name]) if be is not None else 0,
            own[3] + self._lately(srv.base + L.SESS_CUR) if srv is not None else 0,
        )

    def _of_frontend(self, frontend: str, offset: int) -> int | None:
        if frontend not in self._rt.frontends:
            return None
        row = self._row(frontend_key(frontend))
        return row[offset] if row else None

    def _of_backend(self, backend: str, offset: int) -> int | None:
        if backend not in self._rt.backends:
            return None
        row = self._row(backend_key(backend))
        return row[offset] if row else None

    def _server(self, backend: str, server: str) -> ServerRt | None:
        be = self._rt.backends.get(backend)
        return None if be is None else be.by_name.get(server)

    def _of_server(self, backend: str, server: str, offset: int) -> int | None:
        srv = self._server(backend, server)
        if srv is None:
            return None
        row = self._row(srv.key)
        return row[offset] if row else None

    # -- backends

    def usable_servers(self, backend: str) -> int | None:
        be = self._rt.backends.get(backend)
        return None if be is None else len(be.picker.candidates)

    def backend_connections(self, backend: str) -> int | None:
        cell = self._backs.get(backend)
        return None if cell is None else self._elsewhere(cell) + self._rt.backends[backend].streams

    def backend_free(self, backend: str) -> int | None:
        be = self._rt.backends.get(backend)
        return None if be is None else self._room(be, queues=False)

    def backend_slots(self, backend: str) -> int | None:
        be = self._rt.backends.get(backend)
        return None if be is None else self._room(be, queues=True)

    def _room(self, be: BackendRt, queues: bool) -> int:
        """Free slots of the servers that work, of their queues too; -1 when one has no limit."""
        total = 0
        for srv in be.servers:
            if not srv.usable:
                continue
            if not srv.maxconn or (queues and not srv.plan.maxqueue):
                return -1
            total += max(0, srv.maxconn - self._streams(srv))
            if queues:
                row = self._row(srv.key)
                total += max(0, srv.plan.maxqueue - row[L.QUEUE_CUR]) if row else 0
        return total

    def _streams(self, srv: ServerRt) -> int:
        return self._elsewhere(srv.base + L.SESS_CUR) + srv.served

    def backend_queue(self, backend: str) -> int | None:
        be = self._rt.backends.get(backend)
        own = self._of_backend(backend, L.QUEUE_CUR)
        if be is None or own is None:
            return None
        return own + sum(row[L.QUEUE_CUR] for srv in be.servers if (row := self._row(srv.key)))

    def backend_rate(self, backend: str) -> int | None:
        return self._of_backend(backend, L.SESS_RATE)

    # -- frontends

    def frontend_connections(self, frontend: str) -> int | None:
        cell = self._fronts.get(frontend)
        return None if cell is None else self._elsewhere(cell) + self._rt.frontends[frontend].connections

    def frontend_rate(self, frontend: str) -> int | None:
        return self._of_frontend(frontend, L.SESS_RATE)

    def frontend_request_rate(self, frontend: str) -> int | None:
        return self._of_frontend(frontend, L.REQ_RATE)

    def listener_connections(self, bind: Any) -> int | None:
        """Of one address among several of a frontend a worker knows only its own: the whole frontend's are divided as this worker's are."""
        at = self._rt.binds.get(bind.key)
        if at is None:
            return None
        owner = at.fe
        total = self.frontend_connections(owner.name)
        if total is None or len(owner.plan.binds) == 1 or not owner.connections:
            return total
        return max(at.open, round(total * at.open / owner.connections))

    # -- servers

    def server_up(self, backend: str, server: str) -> bool | None:
        srv = self._server(backend, server)
        return None if srv is None else self._rt.state.servers.get(srv.key).up

    def server_connections(self, backend: str, server: str) -> int | None:
        srv = self._server(backend, server)
        return None if srv is None else self._streams(srv)

    def server_free(self, backend: str, server: str) -> int | None:
        srv = self._server(backend, server)
        if srv is None:
            return None
        if not srv.maxconn:
            return -1
        return max(0, srv.maxconn - self._streams(srv))

    def server_queue(self, backend: str, server: str) -> int | None:
        return self._of_server(backend, server, L.QUEUE_CUR)

    def server_rate(self, backend: str, server: str) -> int | None:
        return self._of_server(backend, server, L.SESS_RATE)

    def server_weight(self, backend: str, server: str, kind: str) -> int | None:
        srv = self._server(backend, server)
        if srv is None:
            return None
        if kind == "initial":
            return srv.plan.weight
        state = self._rt.state.servers.get(srv.key)
        return state.uweight if kind == "user" else shown_weight(state.weight)

    # -- the service

    def process_connections(self) -> int:
        return self._elsewhere(L.CONN_CUR) + self._rt.connections

    def workers(self) -> int:
        return self._rt.workers

    def worker(self) -> int:
        return max(1, self._rt.number)

    def stopping(self) -> bool:
        return self._rt.leaving

    def log_count(self, frontend: str) -> int:
        """Asked once per line by the formats that show it, which is how the lines are counted."""
        count = self._lines[frontend] = self._lines.get(frontend, -1) + 1
        return count

    def certain_names(self) -> frozenset[str]:
        return self._names
