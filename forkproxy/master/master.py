"""The master: a role on a loop that ties supervisor, reload, signals and the outside world together.

Lives as long as the service. The same object serves forked workers and, with ``-d``, the one worker on its own loop.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from setproctitle import setproctitle

from forkproxy.config.options import Options
from forkproxy.health.entry import Entry
from forkproxy.master import daemon, greeting, limits, oldsocks, states, variables
from forkproxy.master.changes import Changes
from forkproxy.master.desk import Desk
from forkproxy.master.generation import Generation, Worker
from forkproxy.master.health_runner import Runner
from forkproxy.master.listeners import ListenError, Rack
from forkproxy.master.logs import Logs
from forkproxy.master.messages import ALERT, WARNING, Messages
from forkproxy.master.reload import Load, Reloader
from forkproxy.master.shared import Shared
from forkproxy.master.spawn import Forker, Inline
from forkproxy.master.supervisor import START_S, Supervisor
from forkproxy.net import notify
from forkproxy.net.loop import Loop, Watched
from forkproxy.plan import Backend, Plan
from forkproxy.worker import environment, facts, handover, inbox, privileges
from forkproxy.worker.channel import Message

if TYPE_CHECKING:
    from forkproxy.stats.context import Context
    from forkproxy.stats.info import Facts

#: How many rows are looked at in one turn.
OBSERVED = 100


class Master:
    """``run()`` serves ``plan`` until a signal ends it and returns the exit status."""

    def __init__(
        self,
        plan: Plan,
        options: Options,
        *,
        loop: Loop,
        spawner: Forker | Inline,
        load: Load,
        messages: Messages,
    ) -> None:
        self.plan = plan
        self.options = options
        self.loop = loop
        self.messages = messages
        self.started = time.monotonic()
        self.spawner = spawner
        #: Which column of the signal table holds: reloads by signal, status 0 for TERM.
        self.supervised = options.master_worker or (plan.global_.master_worker and not options.debug)
        self.master_mode = self.supervised or not (options.foreground or options.debug)
        self.size = 1 if options.debug else plan.global_.nbproc
        pids = (*options.sf_pids, *options.st_pids)
        self._name = handover.name_of(plan.files or options.files)
        self._estate = handover.ask(self._name, pids)
        self._bequeathed = False  # another master has our sockets and reads our inbox
        memory, tables = (self._estate.memory, self._estate.tables) if self._estate is not None else (None, None)
        self.shared = Shared(plan, self.size, loop.clock, memory, tables)
        self.logs = Logs(plan, loop)
        messages.log = self.logs.general
        if self._estate is None and "stats-file" in plan.global_.options:
            self._preload(plan.global_.options["stats-file"])
        self.health = Runner(plan, loop, self.shared.state.servers, self._server_log, on_limit=self._server_limit)
        self.supervisor = Supervisor(loop, self.shared, spawner, messages)
        self.reloader = Reloader(
            loop,
            self.supervisor,
            messages,
            load,
            prepare=self._prepare,
            on_begin=self._reload_begins,
            on_switch=self._switched,
            on_end=self._reload_ended,
            inline=options.debug,
        )
        self.changes = Changes(self)
        self.pid = os.getpid()
        self.desk = Desk(loop, self, lambda: self._up and not self.supervisor.stopping)
        self._boot_ms = 0
        self._epoch = 0
        self.status = 0
        self.checked = plan  # the plan whose servers are being checked
        self._rendezvous: Watched | None = None
        self._up = False
        self._strangers: dict[Watched, int] = {}

    # -- starting

    def _preload(self, path: str) -> None:
        """Begin with the counters of a file; one that cannot be read costs no more than a warning."""
        from forkproxy.stats.statsfile import preload

        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                wrong = preload(file, self.plan, self.shared.state.rows)
        except OSError as exc:
            wrong = [str(exc.strerror)]
        for complaint in wrong:
            self.messages.warning(f"config : stats-file '{path}' : {complaint}")

    def run(self) -> int:
        """Bind, fork, serve, end."""
        try:
            rack = Rack.build(self.plan, self.size, inherited=self._inherit())
            self.desk.prepare(self.plan)
        except ListenError as exc:
            self.messages.alert(str(exc))
            self.messages.alert("[forkproxy.main()] Some protocols failed to start their listeners! Exiting.")
            return 1
        self._open_rendezvous()
        self.supervisor.listen(
            on_ready=self._ready,
            on_stillborn=self._stillborn,
            on_stopped=self._stopped,
            on_released=self.reloader.worker_released,
            on_empty=self.loop.stop,
            on_form=self._form,
        )
        self.desk.commit(self.plan, self.context)
        environment.apply(self.plan)
        self._signals()
        self._title()
        self._every_second()
        self.loop.on_turn.append(self._spread_states)
        self.loop.call_later(START_S, self._too_late)
        if self.options.debug and not self.supervised:
            self._write_pid()  # before a chroot hides the path
            privileges.drop(privileges.Privileges.of(self.plan.global_))
        self._watch_strangers()
        variables.begin(self.loop, self.supervisor, self.plan.objects.get("variables", {}))
        self.supervisor.start(self.plan, rack, self.size)
        self.loop.run()
        self._clean_up()
        return self.status

    def _inherit(self) -> dict[str, list[socket.socket]]:
        sockets: dict[str, list[socket.socket]] = {}
        if self.options.x_socket:
            try:
                sockets = oldsocks.fetch(self.options.x_socket)
            except OSError as exc:
                self.messages.alert(f"Failed to get the sockets from the old process! ({exc})")
        if self._estate is not None:
            for (key, _index), sock in sorted(self._estate.sockets.items(), key=lambda item: item[0]):
                sockets.setdefault(key, []).append(sock)
        return sockets

    def _open_rendezvous(self) -> None:
        """Where a later master of these files finds us, and our workers when we are gone."""
        self.spawner.successor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        if self._estate is not None:
            self.spawner.rendezvous, self.spawner.inbox = self._estate.rendezvous, self._estate.inbox
        else:
            self.spawner.rendezvous, self.spawner.inbox = handover.open_rendezvous(self._name), inbox.pair()
        if self.spawner.rendezvous is not None:
            self._rendezvous = Watched(self.spawner.rendezvous.fileno(), lambda _w, _mask: self._asked())
            self.loop.add(self._rendezvous)

    def _asked(self) -> None:
        """Another master was started with the same files: it gets the sockets if it came to replace us."""
        rendezvous, current, ends = self.spawner.rendezvous, self.supervisor.current, self.spawner.inbox
        assert rendezvous is not None and ends is not None
        sockets = current.rack.sockets() if current is not None else {}
        estate = handover.Estate(sockets, rendezvous, self.spawner.successor, ends, None, self.shared.memories(self.plan))
        if handover.serve(rendezvous, lambda pids: current is not None and os.getpid() in pids, estate):
            self._bequeathed = True
            self._stop_answering()

    def _stop_answering(self) -> None:
        if self._rendezvous is not None:
            self.loop.remove(self._rendezvous)
            self._rendezvous = None

    def _ready(self, generation: Generation) -> None:
        if self._up:
            self.reloader.ready(generation)
            return
        self._up = True
        self._boot_ms = int((time.monotonic() - self.started) * 1000)
        self.supervisor.promote(generation)
        self._relieve(generation)
        if not self.options.debug or self.supervised:
            self._write_pid()
        _signal_all(self.options.sf_pids, signal.SIGUSR1)
        _signal_all(self.options.st_pids, signal.SIGTERM)
        self._tell_manager(f"READY=1\nMAINPID={os.getpid()}\nSTATUS=Ready.\n")
        if self.supervised or not daemon.waited():  # as HAProxy: scripts take a daemon's words on stderr for an error
            for worker in generation.workers.values():
                self.messages.notice(f"New worker ({worker.pid}) forked")
            self.messages.notice("Loading success.")
        if greeting.wanted(self.options):
            for line in greeting.lines(self.plan, len(generation.workers), self._boot_ms):
                self.messages.show(line, keep=False)
        daemon.ready()

    def _write_pid(self) -> None:
        if complaint := daemon.write_pid_file(self.plan.global_.pidfile or self.options.pidfile, os.getpid()):
            self.messages.alert(complaint)

    def _relieve(self, generation: Generation) -> None:
        """We serve with sockets of a master that died: its orphans may go, and what they had beyond our file is closed."""
        if self._estate is None:
            return
        os.eventfd_write(self._estate.successor, 1)
        os.close(self._estate.successor)
        used = {sock.fileno() for sock in generation.rack.sockets().values()}
        for sock in self._estate.sockets.values():
            if sock.fileno() not in used:
                sock.close()
        self._estate = None

    def _watch_strangers(self) -> None:
        """The orphans of a dead master go on counting in memory that is ours now: what they counted is kept when they are gone."""
        for slot, pid in self.shared.strangers.items():
            try:
                process = Watched(os.pidfd_open(pid), lambda w, _mask: self._stranger_ended(w))
            except OSError:
                self.shared.give_back(slot)
                continue
            self._strangers[process] = slot
            self.loop.add(process)

    def _stranger_ended(self, process: Watched) -> None:
        self.loop.remove(process)
        os.close(process.fd)
        self.shared.give_back(self._strangers.pop(process))

    def _stillborn(self, generation: Generation, reason: str) -> None:
        if self._up:
            self.reloader.stillborn(generation, reason)
            return
        self.messages.alert(f"Could not start: {reason}")
        self.status = 1
        self.supervisor.stop_all()

    def _too_late(self) -> None:
        if not self._up and not self.supervisor.stopping:
            self.messages.alert(f"Could not start: workers were not ready within {START_S:.0f}s")
            self.status = 1
            self.supervisor.stop_all()

    @staticmethod
    def _tell_manager(state: str) -> None:
        """To systemd, wherever the configuration sends the environment."""
        notify.sd_notify(state, environment.base)

    def _title(self, state: str = "") -> None:
        files = " ".join(self.options.files)
        role = "master" if not self.options.debug else "master and worker"
        setproctitle(f"forkproxy: {role}{f' ({state})' if state else ''} {files}".rstrip())

    def context(self, plan: Plan) -> Context:
        """What statistics show of ``plan``."""
        from forkproxy.stats.context import Context  # only where somebody can ask

        state = self.shared.state
        return Context(plan, state.rows, state.servers, lambda: self._facts(plan), lambda: self.supervisor.restarts)

    def _facts(self, plan: Plan) -> Facts:
        return facts.of(
            plan,
            self.shared.started,
            stopping=self.supervisor.stopping,
            reloads=self.reloader.succeeded,
            failed_reloads=self.reloader.failed,
            boot_ms=self._boot_ms,
        )

    def _form(self, worker: Worker, message: Message) -> None:
        """The operator sent a form of the statistics page to a worker."""
        from forkproxy.master.forms import carry_out

        status = carry_out(self, message["action"], message["backend"], message["servers"])
        worker.channel.send("managed", id=message["id"], status=status)

    def _spread_states(self) -> None:
        """At the end of a turn in which servers changed, wake the workers up, so that they see it at once."""
        epoch = self.shared.state.servers.epoch
        if epoch != self._epoch:
            self._epoch = epoch
            self.supervisor.broadcast("refresh")

    def _every_second(self) -> None:
        """Peaks that are spread over workers are seen by looking often."""
        self._observe(list(self.shared.state.names))
        self.shared.state.limits.tidy()
        if self.shared.tables is not None:
            self.shared.tables.keep([self.plan.tables, *(generation.plan.tables for generation in self.supervisor.generations)])
            self.shared.tables.sweep(int(self.loop.clock.now * 1000.0))
        self.loop.call_later(1.0, self._every_second)

    def _observe(self, names: list[str]) -> None:
        """Note the peaks of some rows now and of the others in later turns: thousands of servers must not hold the loop up."""
        self.shared.state.rows.observe(names[:OBSERVED])
        if len(names) > OBSERVED:
            self.loop.call_soon(self._observe, names[OBSERVED:])

    # -- signals

    def _signals(self) -> None:
        add = self.loop.add_signal
        add(signal.SIGTERM, self.stop, 0 if self.master_mode else 143)
        add(signal.SIGINT, self.stop, 130)
        add(signal.SIGUSR1, self.leave)
        add(signal.SIGTTOU, self.pause)
        add(signal.SIGTTIN, self.resume)
        if self.master_mode:
            add(signal.SIGUSR2, self.reload)
            add(signal.SIGHUP, self.reload)
        else:
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
            add(signal.SIGHUP, self.tell_states)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def stop(self, status: int = 0) -> None:
        """End now with ``status``; everything that is open is closed."""
        self.status = status
        self._tell_manager("STOPPING=1")
        self._leave_stage("stopping")
        self.supervisor.stop_all()

    def leave(self) -> None:
        """Accept no more (after ``grace``), finish what there is, end with status 0."""
        if self.supervisor.stopping:
            return
        self._tell_manager("STOPPING=1")
        self._leave_stage("draining")
        for generation in self.supervisor.generations:
            self.supervisor.bequeath(generation, generation.plan if self._bequeathed else None)
        grace_s = self.plan.global_.grace_s
        self.supervisor.drain_all(grace_s=grace_s)
        self.loop.call_later(grace_s, self._close_listeners)

    def _leave_stage(self, state: str) -> None:
        self.reloader.abandon()
        self._stop_answering()
        self._title(state)

    def _close_listeners(self) -> None:
        """Nothing is accepted any more: the ports must not stay open because we hold them."""
        if not all(w.stopped for w in self.supervisor.workers()):
            self.loop.call_later(0.01, self._close_listeners)
            return
        for generation in self.supervisor.generations:
            generation.rack.close()

    def pause(self) -> None:
        """Refuse new connections until :meth:`resume`: workers stop accepting, then the sockets stop listening."""
        if not self.supervisor.paused and self.supervisor.current is not None:
            self.supervisor.paused = True
            self.messages.warning("Pausing all listeners.")
            self.supervisor.broadcast("pause")

    def resume(self) -> None:
        """Undo :meth:`pause`."""
        current = self.supervisor.current
        if self.supervisor.paused and current is not None:
            self.supervisor.paused = False
            self.messages.warning("Resuming all listeners.")
            current.rack.resume()
            self.supervisor.broadcast("resume")

    def _stopped(self, worker: Worker) -> None:
        current = self.supervisor.current
        if self.supervisor.paused and current is not None and all(w.paused for w in current.workers.values()):
            current.rack.pause()
        self.reloader.worker_stopped(worker)

    def tell_states(self) -> None:
        """SIGHUP without master mode: the state of every server as warnings."""
        for line in states.describe(self.plan, self.health.board, self.shared.state.rows):
            self.messages.warning(line)

    def _server_limit(self, entry: Entry, maxconn: int) -> None:
        """An agent gave a server another limit: as ``set maxconn server`` does."""
        self.changes.server(entry, maxconn=maxconn)
        self.supervisor.orders.give(self.supervisor.workers(), "set server maxconn", server=entry.key, maxconn=maxconn)

    def _server_log(self, backend: Backend, level: int, text: str) -> None:
        """A server changed: its backend's log, and stderr as a warning; an alert when nobody is left."""
        self.logs.backend(backend, level, text)
        self.messages.say(WARNING if level >= ALERT else ALERT, text, log=False)

    # -- reload

    def reload(self) -> None:
        """Load the files again (SIGUSR2, SIGHUP, ``reload``)."""
        if self._up and not self.supervisor.stopping:
            self.reloader.request()

    def _reload_begins(self) -> None:
        self.messages.notice("Reloading the configuration.")
        self._tell_manager(f"RELOADING=1\nSTATUS=Reloading Configuration.\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\n")
        self._title("reloading")

    def _prepare(self, plan: Plan) -> None:
        """Before the new workers are forked: what they will look up must be there. Raises ConfigError, ListenError and ValueError."""
        strict, complaint = limits.provide(plan)
        if strict and complaint:
            raise ListenError(complaint)
        if complaint:
            self.messages.warning(complaint)
        self.desk.prepare(plan)
        self.shared.bind_tables(plan, self.plan)
        self.shared.extend(plan)
        self._check(plan)

    def _check(self, plan: Plan) -> None:
        self.health.replace(plan)
        self.checked = plan

    def _switched(self, plan: Plan) -> None:
        self.changes.end()
        self.plan = plan
        self.shared.limit(plan)
        environment.apply(plan)
        variables.begin(self.loop, self.supervisor, plan.objects.get("variables", {}))
        self.logs.replace(plan)
        self.desk.commit(plan, self.context)

    def _reload_ended(self, success: bool) -> None:
        if not success:
            self.desk.undo()
        if not success and self.checked is not self.plan:
            self._check(self.plan)
        if success:
            self._tell_manager(f"READY=1\nMAINPID={os.getpid()}\nSTATUS=Ready.\n")
        else:
            self._tell_manager("READY=1\nSTATUS=Reload failed!\n")
        self._title()

    # -- the end

    def _clean_up(self) -> None:
        self.desk.close()
        self.health.stop()
        for generation in self.supervisor.generations:
            generation.rack.close()
        if self.supervisor.current is not None:
            self.supervisor.current.rack.close()
        self.logs.close()


def _signal_all(pids: Iterable[int], signum: int) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signum)
