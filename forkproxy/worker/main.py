"""One worker: a role that serves on a loop until it is told to drain, and the process around it.

The role is the same forked (its own process and loop) and inline (``-d``: on the master's loop). States: *serving* → *draining* →
*done*; beside them *orphan*: the master is gone, serving goes on for a bounded time until a new master has taken over.
Knows the heritage, the channel and the runtime; knows no configuration and nothing of other workers.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from setproctitle import setproctitle

from forkproxy.net.loop import Loop, Timer, Watched
from forkproxy.registry import ORDERS
from forkproxy.state import layout
from forkproxy.stats import service
from forkproxy.worker import environment, facts, handover, privileges
from forkproxy.worker.changes import Changes
from forkproxy.worker.channel import Channel, Message
from forkproxy.worker.heritage import Heritage, RuntimeFactory, RuntimeLike
from forkproxy.worker.inbox import Inbox
from forkproxy.worker.turn import Turn

if TYPE_CHECKING:
    from forkproxy.stats.context import Context
    from forkproxy.stats.forms import Form
    from forkproxy.stats.history import History

#: How often an idle worker shows that it is alive.
BEAT_S = 0.5
#: How long a worker whose master died goes on accepting when ``hard-stop-after`` says nothing.
ORPHAN_S = 30.0
#: How often a draining worker that gets no events looks whether it is empty.
LOOK_S = 0.1
#: How long a form of the statistics page waits for the master, and how many may do so.
PATIENCE_S = 3.0
MOST_ASKED = 100
#: Long answers to orders are sent in pieces of about so many characters.
SLICE = 16384


class WorkerRole:
    """Serve with ``heritage`` on ``loop``; ``on_done(status)`` is called once, when nothing is left to do."""

    __slots__ = (
        "_adopted", "_asked", "_cells", "_changes", "_forms", "_hard", "_heirs", "_inbox", "_look", "_on_done", "_turn", "_watched",
        "channel", "heritage", "loop", "runtime", "state",
    )  # fmt: skip

    def __init__(
        self, heritage: Heritage, loop: Loop, factory: RuntimeFactory, on_done: Callable[[int], None]
    ) -> None:
        self.heritage = heritage
        self.loop = loop
        self.state = "serving"
        self._on_done = on_done
        self._watched: list[Watched] = []
        self._hard: Timer | None = None
        self._look: Timer | None = None
        self._adopted: set[tuple[str, int]] = set()
        self._heirs = False
        self._asked: dict[int, Callable[[str], None]] = {}  # forms that the master has, by number
        self._forms = 0
        self._cells = heritage.state.segment.slot(heritage.slot)
        # Before the runtime reads the servers' state: what the master changes meanwhile is news.
        self._turn = Turn(loop, heritage.state.servers.cells, heritage.pulse, lambda: self.runtime.refresh())
        self._cells[layout.PID] = os.getpid()
        self._cells[layout.GENERATION] = heritage.generation
        self._bind_statistics()
        self.runtime: RuntimeLike = factory(heritage, loop)
        self.runtime.attach([heritage.escrow[name] for name in heritage.share])
        self._inbox = Inbox(heritage.inbox, loop, self.runtime.adopt) if heritage.inbox is not None else None
        self.channel = Channel(heritage.channel, loop, self._on_message, self._on_master_gone)
        self._changes = Changes(heritage.plan, self.channel, loop, heritage.number) if not heritage.inline else None
        self._turn.watch()
        self._beat()
        self._title()
        self.channel.send("ready")

    def _bind_statistics(self) -> None:
        history: History | None = self.heritage.history
        if history is not None and not self.heritage.inline:  # else the master looks
            self.loop.call_later(history.STEP_S, self._look_back, history)
        service.bind(self._statistics, self._manage, history)

    def _look_back(self, history: History) -> None:
        """For the charts of the statistics page."""
        if self.state != "done":
            history.look()
            self.loop.call_later(history.STEP_S, self._look_back, history)

    def _manage(self, form: Form, done: Callable[[str], None]) -> None:
        """Have the master carry out a form of the statistics page."""
        if len(self._asked) >= MOST_ASKED:
            self.loop.call_soon(done, "UNKN")
            return
        self._forms += 1
        self._asked[self._forms] = done
        self.channel.send("form", id=self._forms, action=form.action, backend=form.backend, servers=form.servers)
        self.loop.call_later(PATIENCE_S, self._managed, self._forms, "UNKN")

    def _managed(self, number: int, status: str) -> None:
        done = self._asked.pop(number, None)
        if done is not None:
            done(status)

    def _statistics(self) -> Context:
        from forkproxy.stats.context import Context

        plan, state = self.runtime.plan_now(), self.heritage.state
        return Context(plan, state.rows, state.servers, lambda: facts.of(plan, state.started))

    # -- life signs

    def _leave_if_idle(self) -> None:
        if self.state == "draining" and not self.runtime.busy():
            self._done(0)

    def _beat(self) -> None:
        """Wakes the loop up, since the turn itself is the sign of life, and notes how the loop is doing."""
        if self.state == "done":
            return
        loop, cells = self.loop, self._cells
        self.loop.call_later(BEAT_S, self._beat)
        cells[layout.TURNS] = loop.turns
        busy_us = int(loop.busy_s * 1e6)
        cells[layout.IDLE_PERCENT] = max(0, 100 - int((busy_us - cells[layout.BUSY_US]) / (BEAT_S * 1e4)))
        cells[layout.BUSY_US] = busy_us
        cells[layout.LAG_US] = int(loop.take_lag() * 1e6)

    def _title(self) -> None:
        if not self.heritage.inline:
            suffix = "" if self.state == "serving" else f" ({self.state})"
            setproctitle(f"forkproxy: worker {self.heritage.number}{suffix}")

    # -- what the master says

    def _on_message(self, message: Message) -> None:
        op = message["op"]
        if op == "drain":
            self.drain(message.get("spread_s"), message.get("hard_s"), message.get("grace_s") or 0.0)
        elif op == "heirs":
            self._take_leave(message["without"])
        elif op == "stop":
            self.stop()
        elif op == "pause":
            self.runtime.pause()
            self.channel.send("paused")
        elif op == "resume":
            self.runtime.resume()
            self.channel.send("resumed")
        elif op == "adopt":
            self._adopt(message["sockets"])
        elif op == "release":
            self._release(message["sockets"], forget=message["forget"])
        elif op == "order":
            self._carry_out(message)
        elif op == "managed":
            self._managed(message["id"], message["status"])
        # "refresh" only wakes us up: the turn began with a look at the epoch

    def _carry_out(self, message: Message) -> None:
        """An order of the operator's. What goes wrong with it is the answer."""
        number = message["id"]
        try:
            answer = ORDERS[message["what"]](self.runtime, **message["fields"])
            service.forget()
            if isinstance(answer, Iterator):
                self._tell(number, answer)
            else:
                self.channel.send("answer", id=number, value=answer)
        except Exception as exc:
            self._fail(number, exc)

    def _fail(self, number: int, exc: Exception) -> None:
        known = isinstance(exc, (LookupError, ValueError)) and exc.args
        if not known:
            traceback.print_exc()
        self.channel.send("answer", id=number, error=str(exc.args[0]) if known else "internal error")

    def _tell(self, number: int, text: Iterator[str]) -> None:
        """One slice of a long answer per turn of the loop, and none while the master is slow."""
        if self.channel.backlog:
            self.loop.call_later(0.01, self._tell, number, text)
            return
        parts: list[str] = []
        try:
            while sum(map(len, parts)) < SLICE:
                parts.append(next(text))
        except StopIteration:
            self.channel.send("answer", id=number, slice="".join(parts))
            self.channel.send("answer", id=number, value="")
            return
        except Exception as exc:
            self._fail(number, exc)
            return
        self.channel.send("answer", id=number, slice="".join(parts))
        self.loop.call_soon(self._tell, number, text)

    def _adopt(self, names: list[list[Any]]) -> None:
        if self.state not in ("serving", "orphan"):
            return
        wanted = [(str(key), int(index)) for key, index in names]
        fresh = [name for name in wanted if name in self.heritage.escrow and name not in self._mine()]
        self._adopted.update(fresh)
        self.runtime.attach([self.heritage.escrow[name] for name in fresh])

    def _release(self, names: list[list[Any]], *, forget: bool) -> None:
        released = [(str(key), int(index)) for key, index in names]
        mine = self._mine()
        socks = [self.heritage.escrow[name][2] for name in released if name in mine and name in self.heritage.escrow]
        if self.state != "draining":
            self.runtime.detach(socks)
        for name in released:
            self._adopted.discard(name)
            if name in self.heritage.share:
                self.heritage.share.remove(name)
            if forget and (entry := self.heritage.escrow.pop(name, None)) is not None:
                entry[2].close()
        self.channel.send("released", sockets=names)

    def _mine(self) -> set[tuple[str, int]]:
        return self._adopted.union(self.heritage.share)

    # -- leaving

    def _take_leave(self, without: list[str] | None) -> None:
        """Whether somebody goes on with our idle clients, and with which not."""
        if self._inbox is not None:
            self._heirs = without is not None
            self.runtime.heirs(self._inbox.give, without)

    def drain(self, spread_s: float | None, hard_s: float | None, grace_s: float = 0.0) -> None:
        """Accept no more (after ``grace_s``), finish what there is, end; after ``hard_s`` (None: no bound) end all the same."""
        if self.state in ("draining", "done"):
            return
        if grace_s > 0.0:
            self.loop.call_later(grace_s, self.drain, spread_s, hard_s)
            return
        self.state = "draining"
        self._turn.idle = self._leave_if_idle
        self._cells[layout.DRAINING] = 1
        self._unwatch()
        self.runtime.detach()
        self._close_escrow()
        self.channel.send("stopped")
        self._title()
        if self._inbox is not None:
            self._inbox.stop()
            while not self._heirs and self._inbox.take(100):
                pass  # nobody else will read what was passed on to us
        self.runtime.drain(spread_s)
        if hard_s is not None:
            self._hard = self.loop.call_later(hard_s, self.stop)
        self._tick()

    def _tick(self) -> None:
        """Wakes the loop up, so that :meth:`_leave_if_idle` is asked."""
        if self.state == "draining":
            self._look = self.loop.call_later(LOOK_S, self._tick)

    def stop(self) -> None:
        """End every stream now and be done."""
        if self.state == "done":
            return
        self.runtime.detach()
        self._close_escrow()
        if self._inbox is not None:
            self._inbox.stop()
        self.runtime.kill_all()
        self._done(0)

    def _close_escrow(self) -> None:
        """Let go of the listening sockets; the master has its own descriptors."""
        for _frontend, _bind, sock in self.heritage.escrow.values():
            sock.close()
        self.heritage.escrow.clear()

    def _done(self, status: int) -> None:
        self.state = "done"
        self._unwatch()
        self._turn.stop()
        if self._changes is not None:
            self._changes.close()
        self.runtime.close()
        self.channel.close()
        for end in self.heritage.inbox or ():
            end.close()
        for timer in (self._hard, self._look):
            if timer is not None:
                timer.cancel()
        self._on_done(status)

    # -- the master is gone

    def _on_master_gone(self) -> None:
        if self.state != "serving":
            return
        self.state = "orphan"
        self._title()
        hard_s = self.heritage.plan.global_.hard_stop_after_s
        self.loop.call_later(ORPHAN_S if hard_s is None else hard_s, self._leave)
        if self.heritage.successor >= 0:
            self._watch(Watched(self.heritage.successor, lambda _w, _mask: self._succeeded()))
        if self.heritage.handover is not None:
            self._watch(Watched(self.heritage.handover.fileno(), lambda _w, _mask: self._hand_over()))

    def _hand_over(self) -> None:
        heritage = self.heritage
        assert heritage.handover is not None and heritage.inbox is not None
        state = heritage.state
        estate = handover.Estate(
            {name: entry[2] for name, entry in heritage.escrow.items()},
            heritage.handover,
            heritage.successor,
            heritage.inbox,
            (state.segment.fd, state.names.dump()),
            heritage.memories(),
        )
        handover.serve(heritage.handover, lambda _pids: True, estate)

    def _succeeded(self) -> None:
        """A new master's workers serve: they read the same inbox."""
        if self.state == "orphan":
            self._take_leave([])
            self._leave()

    def _leave(self) -> None:
        settings = self.heritage.plan.global_
        self.drain(settings.close_spread_s, settings.hard_stop_after_s)

    def _watch(self, watched: Watched) -> None:
        self._watched.append(watched)
        self.loop.add(watched)

    def _unwatch(self) -> None:
        for watched in self._watched:
            self.loop.remove(watched)
        self._watched.clear()


def run(
    heritage: Heritage, factory: RuntimeFactory, *, drop_to: privileges.Privileges, let_go: Callable[[], None] | None = None
) -> NoReturn:
    """The whole life of a worker process, called right after the fork with signals blocked; never returns. ``let_go`` is called when it
    is ready: until then what it complains of reaches the terminal."""
    status = 70
    try:
        loop = Loop(heritage.state.rows.clock, maxevents=heritage.plan.global_.maxpollevents)
        box = [0]

        def done(code: int) -> None:
            box[0] = code
            loop.stop()

        environment.apply(heritage.plan)
        privileges.drop(drop_to)
        role = WorkerRole(heritage, loop, factory, done)
        if let_go is not None:
            let_go()
        settings = heritage.plan.global_
        loop.add_signal(signal.SIGTERM, role.stop)
        loop.add_signal(signal.SIGUSR1, role.drain, settings.close_spread_s, settings.hard_stop_after_s)
        loop.add_signal(signal.SIGTTOU, lambda: role.runtime.pause())
        loop.add_signal(signal.SIGTTIN, lambda: role.runtime.resume())
        for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGPIPE):
            signal.signal(signum, signal.SIG_IGN)  # the master's business; the terminal sends INT to the whole group
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        loop.run()
        status = box[0]
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
