"""The data plane of one worker: every party, listener, connection and pool of it, and how it begins to leave.

Made once after the fork from what the worker inherited (``make``), then driven by the worker's role. Owns every client's side: ``clients``
is the one place from which all of them can be reached. Knows plan, net and state; no processes, no configuration text.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from forkproxy.errors import ERRORS, StreamError
from forkproxy.net import carry
from forkproxy.net.loop import ET, INF, READ, Loop, Watched
from forkproxy.net.pipes import PipePool
from forkproxy.net.sockets import connect
from forkproxy.proxy import client, counting, finish, moving, pool, queue, tracking, view
from forkproxy.proxy.backend import BackendRt, ServerRt
from forkproxy.proxy.client import Client
from forkproxy.proxy.frontend import BindRt, FrontendRt
from forkproxy.proxy.listener import Listener
from forkproxy.proxy.listener import ready as accept_from
from forkproxy.proxy.logs import LogTargets
from forkproxy.proxy.neighbours import Neighbours
from forkproxy.proxy.outbox import Outbox
from forkproxy.proxy.profiles import access_log
from forkproxy.proxy.sides import Side
from forkproxy.proxy.tally import Sums, Tally
from forkproxy.rules import variables, world
from forkproxy.state import layout, rates
from forkproxy.state.limits import ALARMS, Area
from forkproxy.state.names import PROCESS, backend_key, frontend_key
from forkproxy.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkproxy.net.sockets import Way
    from forkproxy.plan import Bind, Frontend, Plan
    from forkproxy.proxy.captures import Capture
    from forkproxy.proxy.profiling import Profiler
    from forkproxy.proxy.stream import Stream


class Runtime:
    """See the head of this file. ``leaving`` is set while the worker drains; ``cells`` are the worker's slot, ``process``
    row 0 of it."""

    def __init__(self, plan: Plan, loop: Loop, cells: memoryview, state: Any, number: int, slot: int = 0) -> None:
        self.plan = plan
        self.loop = loop
        self.clock = loop.clock
        self.state = state
        self.number = number
        self.slot = slot
        self.cells = cells
        self.process = cells[: layout.ROW_CELLS]
        settings = plan.global_
        self.workers = max(1, settings.nbproc)
        variables.begin(plan.objects.get("variables") or {})
        self.bufsize = settings.bufsize_bytes
        self.maxaccept = settings.maxaccept
        self.area: Area = state.limits.of(slot, number)
        self._alarms = 0
        self._bell = Watched(os.dup(self.area.bell), lambda _w, _mask: self.ring())  # with -d two of us may share a loop
        loop.add(self._bell, READ | ET)
        limit = settings.maxpipes or max(16, settings.maxconn // 4 or 256)
        self.pipes = None if settings.nosplice else PipePool(max(1, limit // self.workers), settings.pipesize_bytes or 1 << 18)
        #: begins connections to servers
        self.connect: Callable[[Way], tuple[socket.socket, bool]] = connect
        #: moves a small piece of bytes: ``net.carry``
        self.carry: Any = carry.best.carry
        self.connections = 0
        self.profiler: Profiler | None = None
        self.leaving = False
        self._moving: moving.Moving | None = None
        self._spread = (1.0, 3.0)
        self._closing = True
        self._closed = False
        self.paused = False
        self.clients: set[Client] = set()
        self.listeners: list[Listener] = []
        #: bad messages by (is it a request?, name of the frontend or backend)
        self.captures: dict[tuple[bool, str], Capture] = {}
        self.marked: list[FrontendRt | BackendRt | ServerRt] = []
        self.poured: list[Tally] = []
        self.logs = LogTargets(plan.global_, loop, self.process)
        #: other workers' streams, where an algorithm wants to know of them
        self.neighbours: Neighbours | None = None
        self.backends: dict[str, BackendRt] = {name: BackendRt(self, be) for name, be in plan.backends.items()}
        self.mind_neighbours()
        self.frontends: dict[str, FrontendRt] = {
            fe.name: FrontendRt(self, fe, self.backends, access_log(fe, self.logs)) for fe in plan.frontends
        }
        self.hide()
        #: by key of the address: where connections arrive there (of the first frontend that names it)
        self.binds: dict[str, BindRt] = {}
        for fe in plan.frontends:
            for bind in () if fe.disabled else fe.binds:
                self.binds.setdefault(bind.key, self.frontends[fe.name].binds[bind.id])
        self._held: set[Listener] = set()
        #: some frontend's log asks for the addresses of servers' connections
        self.keeps_ends = any(fe.keeps_ends for fe in self.frontends.values())
        self._continuous = any(fe.told is not None for fe in self.frontends.values())
        self.list_rows()
        self.refresh()
        world.install(view.WorkerView(self))
        self.outbox = Outbox(loop)
        loop.on_turn.append(self._turn)
        if settings.profiling:
            loop.call_soon(self._measure)
        self._others_fault = loop.on_error
        loop.on_error = self._fault
        self._second()

    def _measure(self) -> None:
        """The file, or the operator before we were forked, wants us to measure ourselves."""
        from forkproxy.proxy.profiling import Profiler

        self.profiler = Profiler()
        for kind in self.plan.global_.profiling:
            self.profiler.switch(kind, True)

    def row(self, name: str) -> memoryview:
        """The cells of a row (``state.names``) in this worker's slot: its own to write. Raises KeyError."""
        base = self.state.rows.base(name)
        return self.cells[base : base + layout.ROW_CELLS]

    def mind_neighbours(self) -> None:
        """Look at other workers for the backends whose pickers count. To be called again after backends came or went."""
        counting_pickers = [be for be in self.backends.values() if be.picker.counts]
        self.neighbours = Neighbours(self, counting_pickers) if counting_pickers and self.workers > 1 else None

    def hide(self) -> None:
        """Let frontends pass over the backends that are disabled or unpublished, and no others."""
        names = frozenset(be.name for be in self.backends.values() if be.plan.disabled or be.plan.unpublished)
        for fe in self.frontends.values():
            fe.pass_over(names)

    def pour(self) -> None:
        """What was counted since the turn began goes to the shared segment now: somebody wants to read it."""
        self._turn()

    def _fault(self, w: Any, exc: Exception) -> None:
        """A handler of ours let an exception out: a fault of this program. It costs the stream concerned, nothing else."""
        self._others_fault(w, exc)
        self.process[layout.HANDLER_ERRORS] += 1
        if isinstance(w, Listener):
            w.on = False
            w.watch()
        elif isinstance(w, Side):
            s = w.stream
            if s is not None:
                if s.error is None:
                    s.error = ERRORS[f"internal-{finish.place(s)}"]
                    s.flags = s.error.flags
                finish.abort(s)
            elif isinstance(w, Client):
                finish.close_client(w)
            elif w.fd >= 0:
                pool.remove(w)  # type: ignore[arg-type]  # the only other kind: a server's connection

    def _turn(self) -> None:
        """At the end of each turn: what it counted goes to the shared segment."""
        if self.poured:
            full: list[Sums] = []
            for tally in self.poured:
                tally.pour(full)
            self.poured.clear()
            for sums in full:
                sums.pour()
        if self.marked:
            for party in self.marked:
                party.show()
            self.marked.clear()
            if self.neighbours is not None:
                self.neighbours.look()

    def _second(self) -> None:
        """Once a second: rates are taken."""
        if self._closed:
            return
        rates.close_second(self.cells, self._rates, self.clock.now)
        process = self.process
        for ref in self.plan.tables.values():
            if ref.table.ledger.late:
                tracking.catch_up(ref.table.ledger, self.clock)
        process[layout.STREAMS_CUR] = self.connections
        if self.pipes is not None:
            process[layout.PIPES_USED] = self.pipes.used
            process[layout.PIPES_FREE] = self.pipes.free
        for be in self.backends.values():
            for srv in be.servers:
                srv.second()
        self.area.tidy()
        self._look(True)  # should a bell have been missed
        if self._continuous:
            for c in self.clients:
                if c.stream is not None and c.fe.told is not None:
                    c.fe.progress(c.stream)
        self.loop.call_later(1.0, self._second)

    def list_rows(self) -> None:
        """Whose rates are taken: everything that there is now. To be called again after servers came or went."""
        keys = [("P", PROCESS), *(("F", frontend_key(name)) for name in self.frontends)]
        keys += [("B", backend_key(name)) for name in self.backends]
        keys += [("S", srv.key) for be in self.backends.values() for srv in be.servers]
        self._rates = [pair for scope, key in keys for pair in rates.pairs(self.state.rows.base(key), scope)]

    # -- listening

    def attach(self, listeners: list[tuple[Frontend, Bind, socket.socket]]) -> None:
        """Accept from these sockets too."""
        for fe, bind, sock in listeners:
            rt = self.frontends.get(fe.name)
            if rt is None or fe.disabled:
                continue
            shared = not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
            listener = Listener(self, rt.binds[bind.id], sock, shared)
            self.listeners.append(listener)
            rt.listeners.append(listener)
            if not self.paused and not fe.held:
                listener.watch()

    def detach(self, sockets: Iterable[socket.socket] | None = None) -> None:
        """Accept no more from these sockets (None: from any); their owner closes them."""
        chosen = None if sockets is None else {sock.fileno() for sock in sockets}
        for listener in list(self.listeners):
            if chosen is None or listener.fd in chosen:
                listener.unwatch()
                listener.at.door.forgo()
                self.listeners.remove(listener)
                listener.fe.listeners.remove(listener)
                self._held.discard(listener)

    def pause(self) -> None:
        """Accept nothing until :meth:`resume`."""
        self.paused = True
        for listener in self.listeners:
            listener.unwatch()
            listener.at.door.forgo()

    def resume(self) -> None:
        """Accept again."""
        self.paused = False
        for listener in self.listeners:
            if not listener.fe.plan.held:
                listener.watch()

    def hold_back(self, listener: Listener, pause_s: float = 0.0) -> None:
        """A limit is reached: leave the connections of ``listener`` in the kernel until one of ours ends, or for ``pause_s``."""
        listener.unwatch()
        self._held.add(listener)
        if pause_s and (listener.retry is None or not listener.retry.pending):
            listener.retry = self.loop.call_later(pause_s, self._try, listener)

    def accept_failed(self, listener: Listener, _exc: OSError) -> None:
        """Out of descriptors or memory: try again in a moment instead of spinning."""
        self.hold_back(listener, 0.1)

    def release(self) -> None:
        """Accept again where a limit held connections back, as far as limits allow now."""
        for listener in list(self._held):
            self._try(listener)

    def _try(self, listener: Listener) -> None:
        if listener not in self._held or self.paused or self.leaving:
            return
        self._held.discard(listener)
        if listener.fe.plan.held:
            listener.at.door.forgo()
            return
        accept_from(listener, READ)
        if listener not in self._held:
            listener.watch()

    def _look(self, everything: bool) -> None:
        """The bell rang: something was given to who waits here. ``everything``: or may be free without being given to anybody."""
        if self._held:
            self.release()
        for be in self.backends.values():
            if be.queues is not None:
                queue.serve(be, everything)

    def ring(self) -> None:
        """See :meth:`_look`."""
        alarms = self.area.cells[ALARMS]
        everything = alarms != self._alarms
        self._alarms = alarms
        self._look(everything)

    # -- clients

    def count_error(self, s: Stream, row: StreamError) -> None:
        """A stream failed."""
        counting.count_error(s, row)
        if s.fe.tracks:
            if row.counter == "req_errors":
                tracking.client_error(s)
            elif row.counter == "resp_errors":
                tracking.server_error(s)

    def count_denied(self, s: Stream) -> None:
        """A request was denied by a rule."""
        if s.fe.tracks:
            tracking.client_error(s)
        counting.count_error(s, ERRORS["request-rejected"])

    def count_response_denied(self, s: Stream) -> None:
        """A response was denied by a rule."""
        counting.front_event(s.client.at, "resp_denied")
        if s.be is not None:
            counting.event(s.be.count.row, "resp_denied")
            if s.srv is not None:
                counting.event(s.srv.count.row, "resp_denied")

    # -- the servers' state

    def refresh(self) -> None:
        """The master changed a server: read all of them anew, let pickers rebuild, close what belongs to servers that went down."""
        table = self.state.servers
        for fe in self.frontends.values():
            fe.relimit()
        for be in self.backends.values():
            left, went, came = [], [], []
            for srv in be.servers:
                state = table.get(srv.key)
                usable, alive = state.usable, state.up
                if srv.usable and not usable:
                    left.append(srv)
                elif usable and not srv.usable:
                    came.append(srv)
                if srv.alive and not alive:
                    went.append(srv)
                srv.alive, srv.usable, srv.weight = alive, usable, state.weight
                if srv.gate is not None:
                    srv.gate.usable = usable
                    srv.gate.percent = state.throttle or 100
            be.relimit()
            be.picker.rebuild()
            for srv in left:  # down, or draining: nobody new comes to it
                pool.clear(srv)
                queue.redistribute(srv)
            for srv in went:
                if srv.plan.on_marked_down == "shutdown-sessions":
                    self._shutdown_sessions(srv, "server-went-down")
            if came and be.queues is not None:
                queue.serve(be, True)
            for srv in came:
                if srv.plan.on_marked_up == "shutdown-backup-sessions":
                    for other in be.servers:
                        if other.plan.backup:
                            self._shutdown_sessions(other, "better-server-up")

    def _shutdown_sessions(self, srv: ServerRt, why: str) -> None:
        for c in list(self.clients):
            s = c.stream
            if s is not None and s.srv is srv:
                finish.kill(s, why)

    # -- leaving

    def busy(self) -> int:
        """How many client connections are left."""
        return self.connections

    def heirs(self, give: moving.Give, without: Iterable[str] | None) -> None:
        """Who serves after us takes idle clients over, on all our addresses but those with these keys; None: nobody does."""
        if without is None:
            self._moving = None
        else:
            gone = set(without)
            binds = frozenset(key for key, at in self.binds.items() if at.fe.http and key not in gone)
            self._moving = moving.Moving(self, give, binds)
        if self.leaving:
            self._let_go()

    def adopt(self, sock: socket.socket, note: dict[str, Any]) -> None:
        """Go on with an idle client of another worker."""
        moving.adopt(self, sock, note)

    def parting(self, c: Client) -> bool:
        """Whether the connection of ``c`` ends with the answer that begins now: this worker leaves, and no other takes it."""
        return self._closing and (self._moving is None or not self._moving.takes(c))

    def drain(self, spread_s: float | None) -> None:
        """Finish what there is. Idle clients go to the heirs. Where there are none, answers say ``Connection: close`` from now
        on, and what stays idle is closed late and spread, so that no request crosses a close: an idle client that still sends is
        served once more."""
        self.leaving = True
        for be in self.backends.values():
            for srv in be.servers:
                pool.clear(srv)
        if spread_s is not None:
            self._closing = spread_s != INF  # the manual's "infinite": nothing is closed before its own time
            self._spread = (spread_s / 4, spread_s)
        self._let_go()

    def _let_go(self) -> None:
        for c in list(self.clients):
            if c.stream is None and (c.fe.http or c.served):
                self.idle_soon(c)

    def idle_soon(self, c: Client) -> None:
        """Give an idle client of a leaving worker to an heir, or close it at a time of its own, if it asks nothing before."""
        if self._moving is not None and self._moving.takes(c):
            self._moving.offer(c)
            return
        if self._closing:
            idle_close(c, self.clock.now + random.uniform(*self._spread))

    def plan_now(self) -> Plan:
        """The plan as the operator's orders have changed it since: servers that came and went, limits, frontends that are held."""
        frontends = tuple(fe.plan for fe in self.frontends.values())
        return replace(self.plan, frontends=frontends, backends={name: be.plan for name, be in self.backends.items()})

    def kill_all(self) -> None:
        """End every stream and connection now."""
        for c in list(self.clients):
            s = c.stream
            if s is not None:
                s.close_client = True
                finish.kill(s, "killed", silent=True)
            if c.fd >= 0:
                finish.close_client(c)

    def close(self) -> None:
        """Nothing is left to serve: let go of the loop and of everything that is open (with ``-d`` the loop goes on)."""
        self.outbox.close()
        self._turn()
        self._closed = True
        self.loop.remove(self._bell)
        os.close(self._bell.fd)
        self.loop.on_turn.remove(self._turn)
        if self.loop.on_error == self._fault:
            self.loop.on_error = self._others_fault
        for be in self.backends.values():
            for srv in be.servers:
                pool.clear(srv)
        if self.pipes is not None:
            self.pipes.close()
        self.logs.close()


def idle_close(c: Client, when: float) -> None:
    """Close an idle client at ``when``, unless it sends a request before."""
    if not c.inbuf:
        c.expire = leave
    if c.deadline == INF or c.deadline > when:
        c.loop.set_deadline(c, when)


def leave(c: Client) -> None:
    """The time of an idle connection of a draining worker is up. What arrived this very moment is served first."""
    client.last_look(c)


def make(heritage: Any, loop: Loop) -> Runtime:
    """The runtime of a worker from what it inherited."""
    state = heritage.state
    for ref in heritage.plan.tables.values():
        ref.table.ledger = heritage.ledger
    return Runtime(heritage.plan, loop, state.segment.slot(heritage.slot), state, heritage.number, heritage.slot)
