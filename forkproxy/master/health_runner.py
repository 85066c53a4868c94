"""The master's health checks: when they run, their sockets, and what comes of them.

One :class:`_Job` per checked server with one timer; a check in flight is one :class:`_Probe`, a watcher of the loop. Nothing blocks
and nothing waits for
another server: a server that hangs costs its own descriptor until its own deadline. The first checks are spread evenly over the smallest
interval (``max-spread-checks`` bounds it), so that thousands of servers make no burst; each next one counts from the end of the last
(``spread-checks`` adds noise). What results mean is the business of ``health.board``.

Source: configuration manual 5.2 "check", "inter", "addr", "port", "check-send-proxy"; 4.2 "timeout check"; 3.2 "spread-checks",
"max-spread-checks".
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator

from forkproxy import registry
from forkproxy.health import kinds  # noqa: F401  # registers the kinds
from forkproxy.health.board import Board, Changed, Limit, Log
from forkproxy.health.conversation import About, Command, Conversation, Hop, Next, Parting, Program, Result, View
from forkproxy.health.entry import Entry
from forkproxy.health.external import verdict
from forkproxy.health.machine import delay_s
from forkproxy.health.status import Status
from forkproxy.master.check_sockets import OUR_FAULT, failed, greeting, target
from forkproxy.master.errands import Errand, Errands
from forkproxy.master.observer import Observer
from forkproxy.net import sockets as net_sockets
from forkproxy.net.loop import READ, WRITE, Loop, Timer, Watched
from forkproxy.plan import Check, Plan, Server
from forkproxy.state.servers import IN_FLIGHT, SUSPENDED, ServerTable

_RECV_BYTES = 16384
#: Steps of a slow start.
_SLOW_STEP_S = 0.5
#: When too many external checks run, the next one looks again after this.
_BUSY_S = 0.05


class _Job:
    """The checks of one server, or those of its agent: ``timer`` while waiting, ``probe`` while one runs."""

    __slots__ = ("about", "agent", "check", "entry", "key", "probe", "program", "runner", "timer")

    def __init__(self, runner: Runner, entry: Entry, check: Check, program: Program, agent: bool) -> None:
        self.runner = runner
        self.entry = entry
        self.agent = agent
        self.key = _key(entry.key, agent)
        self.about = runner._about(entry)
        self.check = check
        self.program = program
        self.timer: Timer | None = None
        self.probe: _Probe | Errand | None = None


class _Probe(Watched):
    """One connection of one check."""

    __slots__ = ("connected", "conversation", "hop", "job", "out", "sock", "started", "then")

    def __init__(self, job: _Job, conversation: Conversation, hop: Hop, sock: socket.socket, started: float) -> None:
        super().__init__(sock.fileno(), _on_ready, _on_late)
        self.job = job
        self.conversation = conversation
        self.hop = hop
        self.sock = sock
        self.started = started  # of the whole check, monotonic
        self.out: bytes = b""
        self.then: Hop | Result | None = None  # what comes when ``out`` has left
        self.connected = False


class Runner:
    """Runs all checks of ``plan`` on ``loop`` and keeps ``servers`` up to date until :meth:`stop`.

    ``log(backend, level, text)`` gets the lines for the backend's log targets, ``on_change(entry, before)`` is told of every change of an
    operational state, ``on_limit(entry, maxconn)`` of another limit that an agent wants. The rows of all servers and
    backends must exist. The operator's commands go to :attr:`board`.
    """

    __slots__ = ("_errands", "_jobs", "_loop", "_observer", "_plan", "_random", "_servers", "_slow_timer", "_stopped", "board")

    def __init__(
        self,
        plan: Plan,
        loop: Loop,
        servers: ServerTable,
        log: Log,
        on_change: Changed | None = None,
        on_limit: Limit | None = None,
    ) -> None:
        self._loop = loop
        self._plan = plan
        self._jobs: dict[str, _Job] = {}
        self._random = random.Random()
        self._servers = servers
        self._errands = Errands(loop)
        self._observer = Observer(loop, servers.rows, self._observed)
        self._slow_timer: Timer | None = None
        self._stopped = False
        self.board = Board(servers, loop.clock, log, on_change, on_limit)
        self.replace(plan)

    # -- life

    def replace(self, plan: Plan) -> None:
        """Go on with another plan; states of servers that it still has are kept, and checks that the operator suspended stay so. Raises
        ValueError for a check that cannot be compiled, and then nothing has changed."""
        wanted = [
            (server.key, check, agent, registry.CHECKS[check.kind].factory(check))
            for backend in plan.backends.values()
            for server in backend.servers
            for agent, check in _checks(server)
        ]
        old, self._jobs = self._jobs, {}
        for job in old.values():
            self._cancel(job)
        self._plan = plan
        settings = plan.global_
        if os.geteuid() == 0 and settings.uid is not None:
            group = settings.gid if settings.gid is not None else settings.uid
            self._errands.credentials = {"user": settings.uid, "group": group, "extra_groups": []}
        looks = {_key(key, agent): self._look(key, agent) for key, _, agent, _ in wanted}
        self.board.replace(plan)
        for key, check, agent, program in wanted:
            job = _Job(self, self.board.entries[key], check, program, agent)
            self._jobs[job.key] = job
        self._spread([job for job in self._jobs.values() if not _suspended(job, looks[job.key])])
        for job in self._jobs.values():
            self._mark(job)
        self._observer.replace([entry for entry in self.board.entries.values() if entry.server.observe and entry.machine is not None])
        self._watch_slow()

    def _observed(self, entry: Entry, errors: int, why: str) -> None:
        """Live traffic had too many errors: whatever else follows, the next check comes soon."""
        self.board.observed(entry, errors, why)
        self._watch_slow()
        job = self._jobs.get(entry.key)
        if job is not None and job.timer is not None:
            check = job.check
            soon = self._loop.clock.now + (check.fastinter_s if check.fastinter_s is not None else check.inter_s)
            if soon < job.timer.when:
                job.timer.cancel()
                job.timer = self._loop.call_at(soon, _start, job)

    def amend(self, server: Server) -> None:
        """Go on with other fields of a server (an address, a port); a check that is under way ends as it began."""
        entry = self.board.entries[server.key]
        entry.server = server
        for agent, check in _checks(server):
            job = self._jobs.get(_key(server.key, agent))
            if job is not None:
                job.check = check
                job.program = registry.CHECKS[check.kind].factory(check)
                job.about = self._about(entry)

    def add(self, server: Server) -> None:
        """One more server, in maintenance; its checks begin with :meth:`resume`."""
        entry = self.board.add(server)
        for agent, check in _checks(server):
            job = _Job(self, entry, check, registry.CHECKS[check.kind].factory(check), agent)
            self._jobs[job.key] = job
            self._mark(job)

    def remove(self, key: str) -> None:
        """Forget a server that is in maintenance and that nobody tracks."""
        for agent in (False, True):
            job = self._jobs.pop(_key(key, agent), None)
            if job is not None:
                self._cancel(job)
        self.board.remove(key)

    def resume(self, key: str, *, agent: bool = False) -> None:
        """Check a server (or ask its agent) again. Raises KeyError for one without checks."""
        job = self._jobs[_key(key, agent)]
        if job.timer is None and job.probe is None:
            job.timer = self._loop.call_at(self._loop.clock.now, _start, job)
            self._mark(job)

    def suspend(self, key: str, *, agent: bool = False) -> None:
        """Check a server no more for a while: it counts as up; or ask its agent no more: its last word holds. Raises KeyError for one
        without checks."""
        job = self._jobs[_key(key, agent)]
        self._cancel(job)
        self._mark(job)
        if not agent:
            self.board.unchecked(key)

    def runs(self, key: str, *, agent: bool = False) -> bool:
        """Whether a server is being checked (its agent asked), and not suspended."""
        job = self._jobs.get(_key(key, agent))
        return job is not None and (job.timer is not None or job.probe is not None)

    def stop(self) -> None:
        """End all checks and close their sockets; states stay as they are."""
        self._stopped = True
        for job in self._jobs.values():
            self._cancel(job)
        self._jobs.clear()
        self._errands.stop()
        self._observer.stop()
        if self._slow_timer is not None:
            self._slow_timer.cancel()

    def _cancel(self, job: _Job) -> None:
        if job.timer is not None:
            job.timer.cancel()
            job.timer = None
        if isinstance(job.probe, _Probe):
            self._close(job.probe)
        elif job.probe is not None:
            job.probe.drop()
            job.probe = None

    def _spread(self, jobs: list[_Job]) -> None:
        """Set the first timers: evenly over the smallest interval, at least over a job's own, at most over max-spread-checks."""
        if not jobs:
            return
        smallest = min(self._delay(job) for job in jobs)
        bound = self._plan.global_.max_spread_checks_s
        now = self._loop.clock.now
        for position, job in enumerate(jobs):
            window = max(smallest, self._delay(job))
            if bound is not None:
                window = min(window, bound)
            job.timer = self._loop.call_at(now + window * position / len(jobs), _start, job)

    def _delay(self, job: _Job) -> float:
        if job.agent:
            return job.check.inter_s
        assert job.entry.machine is not None
        return delay_s(job.entry.machine, job.check.inter_s, job.check.fastinter_s, job.check.downinter_s)

    def check_now(self, key: str) -> None:
        """Let a server's next check begin at once (it left maintenance, its address changed). Raises KeyError for a server without
        checks."""
        job = self._jobs[key]
        if job.probe is None:
            if job.timer is not None:
                job.timer.cancel()
            job.timer = self._loop.call_at(self._loop.clock.now, _start, job)
            self._mark(job)

    def _look(self, key: str, agent: bool) -> int | None:
        """What :meth:`_mark` wrote of a check last, or did so in an earlier master; None for a server that nobody has known."""
        table = self._servers
        return table.read(key, "agent_look" if agent else "check_look") if table.read(key, "last_change") else None

    def _mark(self, job: _Job) -> None:
        """Let statistics know whether a check is in flight (an asterisk in ``check_status`` and ``agent_status``) or suspended."""
        look = IN_FLIGHT if job.probe is not None else SUSPENDED if job.timer is None else 0
        self._servers.set(job.entry.key, **{"agent_look" if job.agent else "check_look": look})

    # -- one check

    def _begin(self, job: _Job) -> None:
        job.timer = None
        if self._stopped:
            return
        if job.entry.admin.maint and not job.agent:  # no checks in maintenance (only the agent can end its own); look again later
            self._again(job)
            return
        if job.check.kind == "external-check" and self._errands.full:
            job.timer = self._loop.call_later(_BUSY_S, _start, job)
            return
        conversation = job.program.begin(job.about)
        if isinstance(conversation, Command):
            self._run(job, conversation)
        else:
            self._connect(job, conversation, conversation.hop(), self._loop.clock.now)
        self._mark(job)

    def _run(self, job: _Job, command: Command) -> None:
        started = self._loop.clock.now

        def done(code: int | None) -> None:
            job.probe = None
            self._finish(job, Result(Status.PROCTOUT) if code is None else verdict(code), started)

        limit = job.check.timeout_s if job.check.timeout_s is not None else job.check.inter_s
        try:
            job.probe = self._errands.start(command.argv, command.env, limit, done)
        except OSError as exc:
            self._finish(job, Result(Status.PROCERR, 255, exc.strerror or str(exc)), started)

    def _about(self, entry: Entry) -> About:
        return About(entry.group.backend, entry.server, self._loop.clock, lambda: self._view(entry))

    def _view(self, entry: Entry) -> View:
        group, address = entry.group, entry.server.address
        inet = address.family in ("ipv4", "ipv6")
        sessions, queued = self._servers.load(entry.key)
        return View(
            status=entry.status(),
            address=address.host if inet else "unix",
            port=address.port,
            name=entry.key,
            node=self._plan.global_.node or socket.gethostname(),
            weight=entry.uweight,
            total_weight=self.board.total_weight(group),
            sessions=sessions,
            total_sessions=sum(self._servers.load(other.key)[0] for other in group.entries),
            queued=queued,
        )

    def _connect(self, job: _Job, conversation: Conversation, hop: Hop, started: float) -> None:
        server = job.entry.server
        try:
            sock, connected = net_sockets.dial(
                target(server, job.check, hop), source=server.source, interface=server.source_interface,
                user_timeout_ms=server.tcp_ut_ms, namespace=server.namespace,
            )  # fmt: skip
        except OSError as exc:
            if exc.errno in OUR_FAULT:
                self._again(job)
            else:
                self._finish(job, failed(exc.errno or 0, False, conversation), started)
            return
        probe = job.probe = _Probe(job, conversation, hop, sock, started)
        self._loop.add(probe, WRITE)
        self._loop.set_deadline(probe, self._loop.clock.now + self._connect_timeout(job.check))
        if connected:
            self._established(probe)

    @staticmethod
    def _connect_timeout(check: Check) -> float:
        if check.timeout_s is None or check.connect_timeout_s is None:
            return check.inter_s
        return min(check.connect_timeout_s, check.inter_s)

    def _established(self, probe: _Probe) -> None:
        probe.connected = True
        check = probe.job.check
        if check.timeout_s is not None:
            self._loop.set_deadline(probe, self._loop.clock.now + check.timeout_s)
        else:
            self._loop.set_deadline(probe, probe.started + check.inter_s)
        first = greeting(probe.job.entry.server, probe.sock) if probe.hop.send_proxy else b""
        self._go_on(probe, probe.conversation.start(), first)

    def _go_on(self, probe: _Probe, then: Next, first: bytes = b"") -> None:
        """Do what the conversation says, after sending ``first``."""
        if isinstance(then, Parting):
            first, then = first + then.data, then.then
        elif isinstance(then, bytes):
            first, then = first + then, None
        if first:
            probe.out, probe.then = first, then
            self._send(probe)
        elif isinstance(then, Result):
            self._end(probe, then)
        elif isinstance(then, Hop):
            job, conversation, started = probe.job, probe.conversation, probe.started
            self._close(probe)
            self._connect(job, conversation, then, started)
        else:
            self._loop.modify(probe, READ)

    def _send(self, probe: _Probe) -> None:
        try:
            sent = probe.sock.send(probe.out)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            # A verdict that stands already needs no more than the connection.
            self._end(probe, probe.then if isinstance(probe.then, Result) else failed(exc.errno or 0, True, probe.conversation))
            return
        probe.out = probe.out[sent:]
        if probe.out:
            self._loop.modify(probe, WRITE)
            return
        then, probe.then = probe.then, None
        self._go_on(probe, then)

    def _receive(self, probe: _Probe) -> None:
        try:
            data = probe.sock.recv(_RECV_BYTES)
        except BlockingIOError:
            return
        except OSError as exc:
            self._end(probe, failed(exc.errno or 0, True, probe.conversation))
            return
        self._go_on(probe, probe.conversation.feed(data) if data else probe.conversation.eof())

    def _close(self, probe: _Probe) -> None:
        self._loop.remove(probe)
        if probe.sock.family != socket.AF_UNIX and not probe.hop.linger:
            net_sockets.reset_on_close(probe.sock)  # thousands of checks must not leave thousands of TIME_WAITs
        probe.sock.close()
        probe.job.probe = None

    def _end(self, probe: _Probe, result: Result) -> None:
        job, started = probe.job, probe.started
        self._close(probe)
        self._finish(job, result, started)

    def _finish(self, job: _Job, result: Result, started: float) -> None:
        took_ms = round((self._loop.clock.now - started) * 1000)
        if job.agent:
            self.board.agent(job.entry, result, took_ms)
        else:
            self.board.result(job.entry, result, took_ms)
        self._watch_slow()
        self._again(job)
        self._mark(job)

    def _again(self, job: _Job) -> None:
        if self._stopped or self._jobs.get(job.key) is not job:
            return
        delay = self._delay(job)
        spread = self._plan.global_.spread_checks_percent
        if spread:
            delay *= 1.0 + self._random.uniform(-spread, spread) / 100.0
        job.timer = self._loop.call_at(self._loop.clock.now + delay, _start, job)

    def broken(self, probe: _Probe, exc: Exception) -> None:
        """A conversation failed in a way it should not: our own fault, and no reason to stop checking."""
        self._end(probe, Result(Status.SOCKERR, 0, f"internal error ({type(exc).__name__})"))

    # -- slow starts

    def _watch_slow(self) -> None:
        if self.board.slow and (self._slow_timer is None or not self._slow_timer.pending):
            self._slow_timer = self._loop.call_at(self._loop.clock.now + _SLOW_STEP_S, _step, self)

    def _step_slow(self) -> None:
        self.board.step()
        self._watch_slow()


def _suspended(job: _Job, look: int | None) -> bool:
    """Whether nobody wants this check for now: as it was, and of a server that is new as a state file says."""
    if look is not None:
        return look == SUSPENDED
    saved = job.entry.server.saved
    return saved is not None and not saved.checking and not job.agent


def _checks(server: Server) -> Iterator[tuple[bool, Check]]:
    """What runs for a server: (whether it is its agent's, the check)."""
    if server.check is not None:
        yield False, server.check
    if server.agent is not None:
        yield True, server.agent


def _key(server: str, agent: bool) -> str:
    return f"agent of {server}" if agent else server


def _start(job: _Job) -> None:
    job.runner._begin(job)


def _step(runner: Runner) -> None:
    runner._step_slow()


def _on_ready(probe: _Probe, mask: int) -> None:
    runner = probe.job.runner
    try:
        if not probe.connected:
            code = net_sockets.outcome(probe.sock)
            if code:
                runner._end(probe, failed(code, False, probe.conversation))
            else:
                runner._established(probe)
        elif probe.out and mask & WRITE:
            runner._send(probe)
        else:
            runner._receive(probe)
    except Exception as exc:
        if probe.job.probe is not probe:
            raise
        runner.broken(probe, exc)


def _on_late(probe: _Probe) -> None:
    conversation = probe.conversation
    result = conversation.timeout() if probe.connected else Result(Status.L4TOUT, 0, conversation.where())
    probe.job.runner._end(probe, result)
