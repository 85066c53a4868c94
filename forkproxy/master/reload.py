"""Reloading: from new text to new workers without losing a connection, or not at all.

Steps, each of which can fail and then leaves everything as it was:

1. a child reads the files and says whether they are good (a big or slow file does not hold up the master);
2. the master reads them (now known to be good) and binds what is new beside what it has;
3. the new generation is forked; all its workers must say ``ready``;
4. only then: the new generation is the current one, the old one drains. Sockets that nobody needs any more are closed when the
   last old worker has said that it accepts no more; surplus sockets of groups that shrank run dry first.

Knows the supervisor and the rack; knows no signal and no command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from collections.abc import Callable
from typing import NoReturn

from forkproxy.errors import ConfigError
from forkproxy.master.generation import Generation, Worker
from forkproxy.master.listeners import ListenError, Rack, Shelf, pending, steer
from forkproxy.master.messages import Messages
from forkproxy.master.spawn import process_watcher
from forkproxy.master.supervisor import START_S, Supervisor
from forkproxy.net.loop import READ, Loop, Timer, Watched
from forkproxy.plan import Plan

#: How long the sockets of workers that are no longer wanted run dry before they are closed.
DRY_S = 2.0
#: How long a removed listener's queue may take to empty before the old workers are told to leave.
QUEUE_S = 1.0

#: ``load(tell)`` reads the files: the plan, or None after telling why not (one message per call).
Load = Callable[[Callable[[str], None]], Plan | None]
#: ``done(success, messages)``
Done = Callable[[bool, list[str]], None]


class Reloader:
    """One reload at a time; requests during one are answered together by one more, which reads the files as they are then.

    ``on_begin()``, ``on_end(success)`` tell the outside (systemd, process title); ``on_switch(plan)`` is called in the moment in
    which the new generation takes over. ``inline``: no child, no fork (``-d``).
    """

    def __init__(
        self,
        loop: Loop,
        supervisor: Supervisor,
        messages: Messages,
        load: Load,
        *,
        on_begin: Callable[[], None],
        prepare: Callable[[Plan], None],
        on_switch: Callable[[Plan], None],
        on_end: Callable[[bool], None],
        inline: bool = False,
    ) -> None:
        self.loop = loop
        self.supervisor = supervisor
        self.messages = messages
        self.load = load
        self.inline = inline
        self.succeeded = 0
        self.failed = 0
        self.last_failed = False
        self._on_begin = on_begin
        self._prepare = prepare
        self._on_switch = on_switch
        self._on_end = on_end
        self._busy = False
        self._waiting: list[Done] = []  # who hears how the reload that is going on ends …
        self._later: list[Done] = []  # … and how the one after it ends
        self._again: bool | None = None  # whether there is to be one after it, and whether a hard one
        self._told: list[str] = []
        self._next: Generation | None = None
        self._limit: Timer | None = None
        self._drying: list[Shelf] = []
        self._owing: set[int] = set()  # pids of workers that have not let go of the surplus sockets yet
        self._hard = False

    def request(self, done: Done | None = None, *, hard: bool = False) -> None:
        """Reload now, or once more after the one that is going on. ``hard``: old workers end at once (``hard-reload``)."""
        if self._busy:
            self._again = hard or bool(self._again)
            if done is not None:
                self._later.append(done)
            return
        self._busy = True
        self._hard = hard
        self._told = []
        if done is not None:
            self._waiting.append(done)
        self._on_begin()
        if self.inline:
            self._read()
        else:
            self._check()

    def abandon(self) -> None:
        """The service stops: forget what is going on."""
        if self._limit is not None:
            self._limit.cancel()
        self._next = None

    # -- 1. a child reads

    def _check(self) -> None:
        read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                _try_out(self.load, self.loop, write_end)
        except OSError as exc:
            os.close(read_end)
            os.close(write_end)
            self._fail(f"Cannot fork to read the configuration: {exc.strerror}")
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.close(write_end)
        text = bytearray()

        def readable(w: Watched, _mask: int) -> None:
            with contextlib.suppress(BlockingIOError):
                while data := os.read(read_end, 65536):
                    text.extend(data)
                self.loop.remove(w)

        pipe = Watched(read_end, readable)
        self.loop.add(pipe, READ)

        def ended(status: int) -> None:
            self.loop.remove(process)
            os.close(process.fd)
            readable(pipe, 0)
            self.loop.remove(pipe)
            os.close(read_end)
            if self.supervisor.stopping:
                return
            if status == 0:
                self._read()
                return
            for line in text.decode(errors="replace").splitlines():
                self._tell(line)
            self._fail("")

        process = process_watcher(pid, ended)
        self.loop.add(process, READ)

    # -- 2. the master reads and binds

    def _read(self) -> None:
        try:
            plan = self.load(self._tell)
        except Exception:
            plan = None
            self._tell(traceback.format_exc())
        if plan is None:
            self._fail("")
            return
        current = self.supervisor.current
        assert current is not None
        size = 1 if self.inline else plan.global_.nbproc
        try:
            rack = Rack.build(plan, size, old=current.rack)
        except ListenError as exc:
            self._fail(str(exc))
            return
        try:
            self._prepare(plan)
        except (ConfigError, ListenError, ValueError) as exc:
            self._close_new(rack, current.rack)
            self._fail(str(exc))
            return
        # 3. fork
        self._limit = self.loop.call_later(START_S, self._too_late)
        try:
            self._next = self.supervisor.start(plan, rack, size)
        except Exception:  # our own fault must not leave a reload that never ends
            self._tell(traceback.format_exc())
            self._next = self.supervisor.generations[-1]
            self.stillborn(self._next, "the new workers could not be started")

    def _too_late(self) -> None:
        if self._next is not None:
            self.stillborn(self._next, f"new workers were not ready within {START_S:.0f}s")

    def stillborn(self, generation: Generation, reason: str) -> None:
        """A worker of the new generation died: undo."""
        if generation is not self._next:
            return
        current = self.supervisor.current
        assert current is not None
        self._next = None
        self.supervisor.stop_generation(generation)
        self._close_new(generation.rack, current.rack)
        self._fail(f"reload undone: {reason}")

    @staticmethod
    def _close_new(new: Rack, current: Rack) -> None:
        """Close what a failed reload bound, and send connections where they went before."""
        kept = current.sockets()
        for name, sock in new.sockets().items():
            if kept.get(name) is not sock:
                sock.close()
        for shelf in current.shelves.values():
            steer(shelf)

    # -- 4. the switch

    def ready(self, generation: Generation) -> None:
        """All workers of the new generation serve."""
        if generation is not self._next:
            return
        current = self.supervisor.current
        assert current is not None
        self._wait_for_queues(generation, current.rack.leftovers(generation.rack), self.loop.clock.now + QUEUE_S)

    def _wait_for_queues(self, generation: Generation, leftovers: list[Shelf], until: float) -> None:
        """Old workers accept what still waits at listeners that go away, before they are told to accept no more."""
        if generation is not self._next:
            return
        if self.loop.clock.now < until and pending(sock for shelf in leftovers for sock in shelf.sockets):
            self.loop.call_later(0.01, self._wait_for_queues, generation, leftovers, until)
            return
        self._switch(generation, leftovers)

    def _switch(self, generation: Generation, leftovers: list[Shelf]) -> None:
        self._next = None
        old = self.supervisor.promote(generation)
        self._drying.extend(leftovers)
        self._on_switch(generation.plan)
        if old is not None:
            for other in self.supervisor.generations:
                if other is not generation:
                    for worker in other.workers.values():
                        worker.reloads += 1
                    self.supervisor.bequeath(other, generation.plan)
            if self._hard:
                self.supervisor.stop_generation(old)
            else:
                self.supervisor.drain(old)
            self._cull(generation.plan.global_.max_reloads)
        if generation.rack.surplus():
            self.loop.call_later(DRY_S, self._dry, generation)
        self.worker_stopped(None)
        self.succeeded += 1
        self._finish(True)

    def _cull(self, max_reloads: int) -> None:
        """Manual 3.1 "mworker-max-reloads": a worker that survived too many reloads is stopped."""
        for worker in self.supervisor.workers():
            if worker.state == "leaving" and worker.reloads > max_reloads:
                self.supervisor.stop(worker)

    def worker_stopped(self, worker: Worker | None) -> None:
        """An old worker accepts no more, or a worker is gone: close what nobody needs any more."""
        if worker is not None and not worker.alive:
            self.worker_released(worker)
        if self._drying and all(w.stopped for g in self.supervisor.generations if g.leaving for w in g.workers.values()):
            for shelf in self._drying:
                shelf.close()
            self._drying.clear()

    def _dry(self, generation: Generation) -> None:
        """The surplus sockets got nothing new for a while: the workers let go of them, then they are closed."""
        if generation is not self.supervisor.current:
            return
        if any(w.state == "starting" for w in generation.workers.values()):  # it is about to accept from them
            self.loop.call_later(DRY_S, self._dry, generation)
            return
        self._owing = {w.pid for w in generation.workers.values() if w.state == "serving"}
        surplus = generation.rack.surplus()
        for worker in generation.workers.values():
            worker.channel.send("release", sockets=surplus, forget=True)

    def worker_released(self, worker: Worker) -> None:
        """A worker let go of surplus sockets (or is gone): after the last one they are closed."""
        current = self.supervisor.current
        if worker.pid in self._owing:
            self._owing.discard(worker.pid)
            if not self._owing and current is not None:
                current.rack.drop_surplus()

    # -- the end

    def _tell(self, line: str) -> None:
        self._told.append(line)
        self.messages.show(line)

    def _fail(self, reason: str) -> None:
        if reason:
            self._told.append(self.messages.alert(reason))
        self._told.append(self.messages.warning("Loading failure! Reload failed, the running configuration stays in force."))
        self.failed += 1
        self._finish(False)

    def _finish(self, success: bool) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        self._busy = False
        self.last_failed = not success
        if success:
            self._told.append(self.messages.notice("Loading success."))
        self._on_end(success)
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done(success, self._told)
        if self._again is not None:
            hard, self._again = self._again, None
            self._waiting, self._later = self._later, []
            self.request(hard=hard)


def _try_out(load: Load, loop: Loop, pipe: int) -> NoReturn:
    """In the child: read the files, write what there is to say into the pipe, end."""
    status = 1
    try:
        loop.close()
        os.set_blocking(pipe, True)
        lines: list[str] = []
        try:
            status = 0 if load(lines.append) is not None else 1
        except Exception:
            lines.append(traceback.format_exc())
        os.write(pipe, "\n".join(lines).encode(errors="replace")[:60000])
    finally:
        os._exit(status)
