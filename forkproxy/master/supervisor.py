"""Keeps the workers: starts them, hears whether they live, replaces those that died or hang, drains and stops them.

Theory. Every process is known by a pidfd: it becomes readable when the process ends, and a signal sent through it cannot hit
a stranger. A worker shows that it lives by a cell of shared memory that its loop writes at least twice a second; one whose cell stands
still for ``HANG_S`` is stopped or caught in a loop: it is killed, and so ends like one that died. A dead worker is replaced at once;
one that keeps dying young is replaced after 0.2, 0.4 … up to 10 seconds, and meanwhile another worker accepts from its sockets.

Nothing here blocks: whatever waits does so by a handler on the loop. Knows generations, channels and sockets; nothing of signals from
outside, reloading or the command line.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from forkproxy.master import patterns, variables
from forkproxy.master.generation import Generation, Worker
from forkproxy.master.listeners import Rack, SocketId
from forkproxy.master.messages import Messages
from forkproxy.master.orders import Orders
from forkproxy.master.shared import Shared
from forkproxy.master.spawn import Spawner
from forkproxy.net.loop import Loop
from forkproxy.plan import Plan
from forkproxy.stats.history import History
from forkproxy.worker import channel as channels
from forkproxy.worker.channel import Channel, Message
from forkproxy.worker.heritage import Heritage

#: No sign of life for so long: the worker hangs.
HANG_S = 3.0
#: How long workers may take to get ready: they make what they run of the plan, and one of thousands of proxies takes them seconds.
START_S = 30.0
#: How often the master looks at the signs of life.
LOOK_S = 0.5
#: A worker that lived shorter than this died young.
YOUNG_S = 5.0
#: A worker that was told to stop at once and is still there after this is killed.
STOP_S = 2.0
#: How long a worker that ended in good order is not missed.
COURTESY_S = 0.05
BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 10.0


class Supervisor:
    """All workers of all generations.

    ``on_ready(generation)`` is called when all workers of a generation serve for the first time, ``on_stillborn(generation, reason)``
    when one of its workers died before that, ``on_empty()`` when the last worker of all is gone, ``on_stopped(worker)`` when
    one accepts no more, ``on_released(worker)`` when it has let go of sockets.
    """

    __slots__ = (
        "_last_look", "_on_empty", "_on_form", "_on_ready", "_on_released", "_on_stillborn", "_on_stopped",
        "current", "generations", "loop", "messages", "orders", "paused", "restarts", "shared", "spawner", "stopping",
    )  # fmt: skip

    def __init__(self, loop: Loop, shared: Shared, spawner: Spawner, messages: Messages) -> None:
        self.loop = loop
        self.shared = shared
        self.spawner = spawner
        self.messages = messages
        self.orders = Orders(loop)
        self.generations: list[Generation] = []
        self.current: Generation | None = None
        self.stopping = False
        self.paused = False  # whether workers that become ready must not accept yet
        self.restarts = 0  # workers that were replaced after they died
        self._on_ready: Callable[[Generation], None] = lambda _g: None
        self._on_stillborn: Callable[[Generation, str], None] = lambda _g, _r: None
        self._on_stopped: Callable[[Worker], None] = lambda _w: None
        self._on_released: Callable[[Worker], None] = lambda _w: None
        self._on_empty: Callable[[], None] = lambda: None
        self._on_form: Callable[[Worker, Message], None] = lambda _w, _m: None
        self._last_look = loop.clock.now
        loop.call_later(LOOK_S, self._look)

    def listen(
        self,
        *,
        on_ready: Callable[[Generation], None] | None = None,
        on_stillborn: Callable[[Generation, str], None] | None = None,
        on_stopped: Callable[[Worker], None] | None = None,
        on_released: Callable[[Worker], None] | None = None,
        on_empty: Callable[[], None] | None = None,
        on_form: Callable[[Worker, Message], None] | None = None,
    ) -> None:
        """Set who hears what happens."""
        self._on_ready = on_ready or self._on_ready
        self._on_stillborn = on_stillborn or self._on_stillborn
        self._on_stopped = on_stopped or self._on_stopped
        self._on_released = on_released or self._on_released
        self._on_empty = on_empty or self._on_empty
        self._on_form = on_form or self._on_form

    # -- starting

    def workers(self) -> list[Worker]:
        """Every worker that may still run, oldest generation first."""
        return [w for g in self.generations for w in g.workers.values()]

    def start(self, plan: Plan, rack: Rack, size: int) -> Generation:
        """Begin a new generation: fork all its workers. It becomes the current one by :meth:`promote`."""
        serial = 1 + (self.generations[-1].serial if self.generations else 0)
        before = self.current.history if self.current is not None else None
        generation = Generation(serial, plan, rack, size, history=History.of(plan, self.shared.state.rows, before))
        self.generations.append(generation)
        for number in range(1, size + 1):
            self._spawn(generation, number)
        return generation

    def promote(self, generation: Generation) -> Generation | None:
        """Make it the current one; returns the one that was."""
        old, self.current = self.current, generation
        return old

    def _spawn(self, generation: Generation, number: int) -> None:
        slot = self.shared.take_slot(os.getpid())
        if slot is None:
            self._make_room()
            self.loop.call_later(BACKOFF_FIRST_S, self._respawn, generation, number)
            return
        ours, theirs = channels.pair()
        rack = generation.rack
        pulse = self.shared.pulse(slot)
        heritage = Heritage(
            number=number,
            generation=generation.serial,
            plan=generation.plan,
            slot=slot,
            state=self.shared.state,
            pulse=pulse,
            ledger=self.shared.ledger(slot, generation.plan),
            channel=theirs,
            share=rack.share(number - 1, generation.size),
            escrow={
                (shelf.key, i): (shelf.frontend, shelf.bind, sock)
                for shelf in rack.shelves.values()
                for i, sock in enumerate(shelf.sockets)
            },
            history=generation.history,
            inbox=self.spawner.inbox,
            handover=self.spawner.rendezvous,
            successor=self.spawner.successor,
        )
        now = self.loop.clock.read()
        worker = Worker(
            number, generation, slot, 0, now, Channel(ours, self.loop, lambda m: self._on_message(worker, m), lambda: None), pulse
        )
        generation.workers[number] = worker
        try:
            worker.pid, process = self.spawner.spawn(heritage, self.loop, lambda status: self._ended(worker, status))
        except OSError as exc:
            self.messages.alert(f"Cannot fork worker {number}: {exc.strerror}")
            self._ended(worker, None)
            return
        self.shared.owned_by(slot, worker.pid)
        worker.process = process
        if process is not None:
            self.loop.add(process)

    def _make_room(self) -> None:
        """No slot is left: the oldest leaving worker has to go."""
        for worker in self.workers():
            if worker.state == "leaving":
                self.messages.warning(
                    f"Too many old workers: stopping worker {worker.number} (pid {worker.pid}), which was to finish its sessions"
                )
                self.stop(worker)
                return

    def _respawn(self, generation: Generation, number: int) -> None:
        if not self.stopping and not generation.leaving and number not in generation.workers:
            self._spawn(generation, number)

    # -- what workers say

    def _on_message(self, worker: Worker, message: Message) -> None:
        op = message["op"]
        if op == "ready" and worker.state == "starting":
            worker.state = "serving"
            worker.pulse[0] = int(self.loop.clock.now * 1000)  # its first turn is yet to come
            if self.paused:
                worker.channel.send("pause")
            self._take_back(worker)
            if worker.generation.ready and worker.generation is not self.current:
                self._on_ready(worker.generation)
        elif op == "stopped":
            worker.stopped = True
            self._on_stopped(worker)
        elif op == "paused":
            worker.paused = True
            self._on_stopped(worker)
        elif op == "resumed":
            worker.paused = False
        elif op == "released":
            self._on_released(worker)
        elif op == "changed":
            if "variables" in message:
                variables.spread(self, worker.generation, message["variables"])
            else:
                patterns.spread(self, worker.generation, message["ops"])
        elif op == "answer":
            self.orders.answered(worker, message)
        elif op == "form":
            self._on_form(worker, message)

    # -- the end of a worker

    def _ended(self, worker: Worker, status: int | None) -> None:
        """A worker is gone; ``status`` as of waitpid (None: never started)."""
        if worker.state == "gone":
            return
        before, worker.state = worker.state, "gone"
        worker.stopped = True
        worker.channel.close()
        if worker.grace is not None:
            worker.grace.cancel()
        if worker.process is not None:
            self.loop.remove(worker.process)
            os.close(worker.process.fd)
            worker.process = None
        self.shared.give_back(worker.slot)
        generation = worker.generation
        if generation.workers.get(worker.number) is worker:
            del generation.workers[worker.number]
        self.orders.gone(worker)
        self._on_stopped(worker)
        if before == "serving" and status == 0 and not generation.leaving:
            # By a signal that may have been meant for all of us: the master's own comes in a moment.
            self.loop.call_later(COURTESY_S, self._replace_unless_leaving, worker)
            return
        expected = before in ("leaving", "stopping") or self.stopping or generation.leaving
        if not expected:
            self._replace(worker, before, status)
        elif status not in (0, None) and before != "stopping":
            self.messages.warning(f"Former worker {worker.number} (pid {worker.pid}) {describe(status)}")
        if not generation.workers and (generation.leaving or self.stopping) and generation in self.generations:
            self.generations.remove(generation)
        if not self.workers() and self.stopping:
            self._on_empty()

    def _replace_unless_leaving(self, worker: Worker) -> None:
        generation = worker.generation
        if not self.stopping and not generation.leaving:
            self._replace(worker, "serving", 0)
        elif not generation.workers and generation in self.generations:
            self.generations.remove(generation)

    def _replace(self, worker: Worker, before: str, status: int | None) -> None:
        generation, number = worker.generation, worker.number
        reason = f"worker {number} (pid {worker.pid}) {describe(status)}"
        if generation is not self.current:
            self._on_stillborn(generation, reason)
            return
        self.restarts += 1
        young = self.loop.clock.read() - worker.started < YOUNG_S
        failures = generation.failures[number] = generation.failures.get(number, 0) + 1 if young else 0
        if failures < 2:
            self.messages.alert(f"Current {reason}; starting another one")
            self._spawn(generation, number)
            return
        delay_s = min(BACKOFF_FIRST_S * 2 ** (failures - 2), BACKOFF_MAX_S)
        self.messages.alert(f"Current {reason}, for the {failures}th time in a row shortly after its start; next one in {delay_s:.1f}s")
        for ward, foster in list(generation.fosters.items()):
            if foster == number:
                del generation.fosters[ward]
                self._foster(generation, ward)
        self._foster(generation, number)
        self.loop.call_later(delay_s, self._respawn, generation, number)

    def _foster(self, generation: Generation, number: int) -> None:
        """Let another worker accept from the sockets of a missing one."""
        if number in generation.fosters:
            return
        for other in generation.workers.values():
            if other.state == "serving":
                generation.fosters[number] = other.number
                other.channel.send("adopt", sockets=self._spread_share(generation, number))
                return

    def _take_back(self, worker: Worker) -> None:
        generation = worker.generation
        foster = generation.workers.get(generation.fosters.pop(worker.number, -1))
        if foster is not None:
            foster.channel.send("release", sockets=self._spread_share(generation, worker.number), forget=False)

    def _spread_share(self, generation: Generation, number: int) -> list[SocketId]:
        shelves = generation.rack.shelves
        return [name for name in generation.rack.share(number - 1, generation.size) if shelves[name[0]].spread]

    # -- signs of life

    def _look(self) -> None:
        now = self.loop.clock.now
        late = now - self._last_look > LOOK_S + 1.0  # we were stopped ourselves: their silence proves nothing
        self._last_look = now
        self.loop.call_later(LOOK_S, self._look)
        if self.current is not None and self.current.history is not None and self.current.history.due():
            self.current.history.look()
        for worker in self.workers():
            if worker.process is None or worker.state == "killed":
                continue
            if late:
                worker.pulse[0] = int(now * 1000)
                continue
            silent_s = now - max(worker.started, worker.pulse[0] / 1000)
            if silent_s > (START_S if worker.state == "starting" else HANG_S):
                self.messages.alert(f"Worker {worker.number} (pid {worker.pid}) shows no sign of life for {silent_s:.1f}s; killing it")
                if worker.state in ("starting", "serving"):
                    worker.state = "killed"
                self.send_signal(worker, signal.SIGKILL)

    # -- telling workers

    def send_signal(self, worker: Worker, signum: int) -> None:
        """Send a signal to its process; a process that has ended is left alone."""
        if worker.process is not None:
            try:
                signal.pidfd_send_signal(worker.process.fd, signum)
            except ProcessLookupError:
                pass

    def bequeath(self, generation: Generation, heir: Plan | None) -> None:
        """Tell the workers of a generation who goes on with their idle clients: those that serve ``heir``; None: nobody."""
        without = None if heir is None else sorted(_http_binds(generation.plan) - _http_binds(heir))
        for worker in generation.workers.values():
            worker.channel.send("heirs", without=without)

    def drain(self, generation: Generation, *, grace_s: float = 0.0) -> None:
        """Tell a generation to finish what it has and leave; its configuration says how long that may last."""
        generation.leaving = True
        settings = generation.plan.global_
        for worker in list(generation.workers.values()):
            if worker.state == "starting":
                self.stop(worker)
            elif worker.state == "serving":
                worker.state = "leaving"
                worker.channel.send("drain", spread_s=settings.close_spread_s, hard_s=settings.hard_stop_after_s, grace_s=grace_s)
        self._sweep()

    def drain_all(self, *, grace_s: float = 0.0) -> None:
        """Leave as soon as everything is finished; ``on_empty`` follows."""
        self.stopping = True
        for generation in list(self.generations):
            self.drain(generation, grace_s=grace_s)
        if not self.workers():
            self.loop.call_soon(self._on_empty)

    def stop(self, worker: Worker) -> None:
        """End one worker now, by SIGKILL when it does not listen."""
        worker.state = "stopping"
        worker.channel.send("stop")
        if worker.process is not None and worker.grace is None:
            worker.grace = self.loop.call_later(STOP_S, self.send_signal, worker, signal.SIGKILL)

    def stop_generation(self, generation: Generation) -> None:
        """End all its workers now."""
        generation.leaving = True
        for worker in list(generation.workers.values()):
            self.stop(worker)
        self._sweep()

    def stop_all(self) -> None:
        """End all workers now; ``on_empty`` follows."""
        self.stopping = True
        for generation in list(self.generations):
            self.stop_generation(generation)
        if not self.workers():
            self.loop.call_soon(self._on_empty)

    def _sweep(self) -> None:
        self.generations = [g for g in self.generations if g.workers or not g.leaving]

    def broadcast(self, op: str, **fields: object) -> None:
        """Send one message to every worker that serves or finishes what it has."""
        for worker in self.workers():
            if worker.state in ("serving", "leaving"):
                worker.channel.send(op, **fields)


def _http_binds(plan: Plan) -> set[str]:
    return {bind.key for f in plan.frontends if f.mode == "http" and not f.disabled for bind in f.binds}


def describe(status: int | None) -> str:
    """How a process ended, in words."""
    if status is None:
        return "could not be started"
    if os.WIFSIGNALED(status):
        signum = os.WTERMSIG(status)
        return f"was ended by signal {signum} ({signal.Signals(signum).name})"
    return f"exited with code {os.waitstatus_to_exitcode(status)}"
