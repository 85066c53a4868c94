"""The loop of a process: descriptors, deadlines, timers, signals. One thread, level triggered, one clock reading per turn.

What carries it:

- **Thin poll.** The kernel's list of events as it is, each with one look into a table (``poller``). A turn with one event costs 0.7 µs
  above the bare poll, its handler's frame and both clock readings included.
- **Stale events.** The kernel hands out a list of events; a handler early in it may close descriptor 7 and open another 7. The event
  further down was meant for the old one. So every descriptor removed during a turn is remembered until its end and its events in
  this turn are dropped; level triggering brings a true one back in the next turn.
- **Lazy deadlines.** The heap holds ``(when, fd)`` pairs, no references: nothing is kept alive and nothing is ever searched. An entry
  speaks for the watcher that stands in the table under ``fd`` with ``armed == when``; any other entry is dead and dropped when it
  surfaces. A later deadline is one attribute; when the entry surfaces it is armed again for what the attribute says then. A closed
  descriptor leaves its entry to its successor on the same number, so connections that come and go push nothing at all.

Knows no protocol, plan or counter.
"""

from __future__ import annotations

import heapq
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from forkproxy.clock import Clock
from forkproxy.compiled import mypyc_attr
from forkproxy.net.poller import Poller

# The kernel's numbers (linux/eventpoll.h), which are select's: as literals the compiled build knows them.
READ: Final = 0x001
WRITE: Final = 0x004
ERR: Final = 0x008
HUP: Final = 0x010
#: The peer said that it will send nothing more. Told with READ, and with what came before to be read.
RDHUP: Final = 0x2000
#: For listeners that several processes share: the kernel wakes one (or few) of them, not all. Given to :meth:`Loop.add` only.
EXCLUSIVE: Final = 1 << 28
#: Edge triggering, for a descriptor whose hang-up would otherwise be told in every turn while its watcher has to wait for something else.
ET: Final = 1 << 31
#: "No deadline", for :attr:`Watched.deadline`.
INF: Final = float("inf")

#: How many events in a turn come from those that are handled behind others.
CROWD: Final = 64

#: The heap is swept when it is longer than twice the live entries plus this.
_SLACK = 1024


def _ignore(_w: Watched, _mask: int) -> None:
    """The handler of a watcher that has none yet."""


def _no_expiry(_w: Watched) -> None:
    """The expiry of a watcher that has none."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Watched:
    """A descriptor and what happens when it is ready or late. Subclasses add slots for what their handlers need.

    ``ready(w, mask)`` and ``expire(w)`` are PLAIN functions: a bound method of ``w`` kept in ``w`` is a cycle that only the
    collector frees. ``mask`` is what epoll watches for (the loop's). The descriptor is the owner's: remove first, then close.

    ``deadline`` is a monotonic time (``INF``: none) and may be written directly in two cases: to clear it, and to move it to a
    *later* time than a finite one it has. Everything else goes through :meth:`Loop.set_deadline`, or its inlined form::

        w.deadline = when = clock.now + timeout_s
        if when < w.armed:
            loop.arm(w)

    ``armed`` is the time of its entry in the heap (``INF``: none), written by the loop only. ``behind``: its events are handled behind
    those of others, :data:`CROWD` in a turn; it stays as it is while the descriptor is watched.
    """

    __slots__ = ("armed", "behind", "deadline", "expire", "fd", "mask", "ready")

    def __init__(
        self,
        fd: int,
        ready: Callable[[Any, int], None] = _ignore,
        expire: Callable[[Any], None] = _no_expiry,
    ) -> None:
        self.fd = fd
        self.ready: Callable[[Any, int], None] = ready
        self.expire: Callable[[Any], None] = expire
        self.deadline = INF
        self.armed = INF
        self.mask = 0
        self.behind = False


class Timer:
    """What :meth:`Loop.call_at` returns: a call that has not happened yet. ``when`` is monotonic."""

    __slots__ = ("_table", "args", "fn", "key", "when")

    def __init__(self, table: dict[int, Timer], key: int, when: float, fn: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._table = table
        self.key = key
        self.when = when
        self.fn = fn
        self.args = args

    @property
    def pending(self) -> bool:
        """True until it has run or was cancelled."""
        return self.key in self._table

    def cancel(self) -> None:
        """Never call it; harmless when it has run or was cancelled before."""
        self._table.pop(self.key, None)


def _complain(w: Watched | None, exc: Exception) -> None:
    """Write the traceback to stderr: what :attr:`Loop.on_error` does until somebody sets it."""
    print(f"forkproxy: error in a handler of {w!r}", file=sys.stderr)
    traceback.print_exception(exc)


def _only_wake(_signum: int, _frame: FrameType | None) -> None:
    """A handler that does nothing: the wake-up descriptor has got the number already."""


class Loop:
    """Runs handlers of descriptors, deadlines, timers, queued calls and signals, one after the other, until stopped.

    A turn: wait, ``clock.tick()``, ``on_wake``, ready descriptors, ``on_ready``, what is due, queued calls, ``on_turn``. An ``Exception``
    in any of them goes to ``on_error(w, exc)`` (w None: not a watcher's) and does not end the loop; a watcher that raised is removed, its
    descriptor is left to ``on_error``. ``maxevents`` bounds how many events one turn handles, :data:`CROWD` those that come behind.

    Handlers must not call :meth:`run` or :meth:`run_once`: a turn within a turn would forget which events are stale.

    After a fork the child must :meth:`close` the parent's loop before making its own, with signals blocked around the fork (the
    wake-up descriptor is shared until then).
    """

    __slots__ = (
        "_gone", "_heap", "_left", "_maxevents", "_running", "_serial", "_signals", "_soon", "_table", "_timers", "_wake_r", "_wake_w",
        "_watched", "busy_s", "clock", "events", "lag_s", "on_error", "on_ready", "on_turn", "on_wake", "poller", "turns",
    )  # fmt: skip

    def __init__(self, clock: Clock | None = None, *, maxevents: int = 200) -> None:
        self.clock = clock or Clock()
        self.poller = Poller()
        #: Run once per turn, after the waiting and before everything else: what the handlers rely on is looked at anew.
        self.on_wake: list[Callable[[], object]] = []
        #: Run once per turn, behind the ready descriptors.
        self.on_ready: list[Callable[[], object]] = []
        #: Run once per turn, after everything else.
        self.on_turn: list[Callable[[], object]] = []
        self.on_error: Callable[[Watched | None, Exception], object] = _complain
        #: Longest turn since the last :meth:`take_lag`, seconds without the waiting.
        self.lag_s = 0.0
        #: Sum of all turns without the waiting; with the uptime it gives the idle percentage.
        self.busy_s = 0.0
        self.turns = 0
        #: How many events this turn began with.
        self.events = 0
        self._table: list[Watched | None] = [None]  # by descriptor: small numbers, which the kernel gives out again
        self._watched = 0
        self._heap: list[tuple[float, int]] = []  # (when, fd of a watcher | negative key of a timer)
        self._left: dict[int, float] = {}  # fd without watcher -> time of the entry it left in the heap
        self._timers: dict[int, Timer] = {}
        self._serial = 0
        self._soon: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._gone: set[int] = set()
        self._signals: dict[int, tuple[Callable[..., object], tuple[Any, ...]]] = {}
        self._wake_r = self._wake_w = -1
        self._running = False
        self._maxevents = maxevents

    # -- descriptors

    def add(self, w: Watched, mask: int = READ) -> None:
        """Watch ``w.fd`` for ``mask`` (errors and hang-ups are always reported). A deadline set before counts from now on.

        Raises ValueError when the descriptor is watched already, OSError when it cannot be.
        """
        fd, table = w.fd, self._table
        if fd >= len(table):
            table += [None] * (fd + 64 - len(table))
        elif table[fd] is not None:
            raise ValueError(f"descriptor {fd} is watched already")
        self.poller.of(w.behind).register(fd, mask)
        table[fd] = w
        self._watched += 1
        w.mask = mask
        w.armed = armed = self._left.pop(fd, INF)
        if w.deadline < armed:
            self.arm(w)

    def modify(self, w: Watched, mask: int) -> None:
        """Watch for ``mask`` instead (0: only errors and hang-ups, so a paused peer still tells its death)."""
        if mask == w.mask:
            return
        epoll = self.poller.of(w.behind)
        if (w.mask | mask) & EXCLUSIVE:  # the kernel refuses to modify from and to this
            epoll.unregister(w.fd)
            epoll.register(w.fd, mask)
        else:
            epoll.modify(w.fd, mask)
        w.mask = mask

    def remove(self, w: Watched) -> None:
        """Forget ``w`` and its deadline; none of its handlers is called again. Does not close; again: nothing happens."""
        if not self.watching(w):
            return
        self.forget(w)
        try:
            self.poller.of(w.behind).unregister(w.fd)
        except OSError:
            pass  # closed first: the kernel has forgotten it (or _orphan will see to it)

    def forget(self, w: Watched) -> None:
        """:meth:`remove` for who closes the descriptor at once: the kernel then drops the registration by itself, a call less."""
        fd, table, armed = w.fd, self._table, w.armed
        if fd >= len(table) or table[fd] is not w:
            return
        table[fd] = None
        self._watched -= 1
        self._gone.add(fd)
        if armed != INF:
            self._left[fd] = armed
        w.armed = w.deadline = INF
        w.mask = 0

    def watching(self, w: Watched) -> bool:
        """Whether ``w`` is in the table."""
        return self.watcher(w.fd) is w

    def watcher(self, fd: int) -> Watched | None:
        """Who watches ``fd``."""
        table = self._table
        return table[fd] if 0 <= fd < len(table) else None

    def __len__(self) -> int:
        """How many descriptors are watched."""
        return self._watched

    def watchers(self) -> list[Watched]:
        """Everything that is watched now, by descriptor."""
        return [w for w in self._table if w is not None]

    def timers(self) -> list[Timer]:
        """Every call that has not happened yet."""
        return list(self._timers.values())

    # -- time

    def set_deadline(self, w: Watched, when: float | None) -> None:
        """Call ``w.expire(w)`` once ``clock.now >= when`` (monotonic seconds); None: never."""
        if when is None:
            w.deadline = INF
            return
        w.deadline = when
        if when < w.armed:
            self.arm(w)

    def arm(self, w: Watched) -> None:
        """Make a heap entry for ``w.deadline``; needed when it is earlier than ``w.armed``. Before ``add`` it does nothing."""
        fd, table = w.fd, self._table
        if fd < len(table) and table[fd] is w:
            w.armed = w.deadline
            self._push(w.deadline, fd)

    def call_at(self, when: float, fn: Callable[..., object], *args: Any) -> Timer:
        """Call ``fn(*args)`` once ``clock.now >= when`` (monotonic seconds); the result can be cancelled."""
        self._serial = key = self._serial - 1
        timer = self._timers[key] = Timer(self._timers, key, when, fn, args)
        self._push(when, key)
        return timer

    def call_later(self, delay_s: float, fn: Callable[..., object], *args: Any) -> Timer:
        """:meth:`call_at` counted from ``clock.now``."""
        return self.call_at(self.clock.now + delay_s, fn, *args)

    def call_soon(self, fn: Callable[..., object], *args: Any) -> None:
        """Call ``fn(*args)`` at the end of this turn; what is queued by such a call waits for the next turn."""
        self._soon.append((fn, args))

    def _push(self, when: float, key: int) -> None:
        heap = self._heap
        heapq.heappush(heap, (when, key))
        if len(heap) > 2 * (self._watched + len(self._timers)) + _SLACK:
            self._sweep()

    def _sweep(self) -> None:
        """Drop dead heap entries (in place: the running loop holds the list)."""
        table, timers = self._table, self._timers
        self._left.clear()
        self._heap[:] = {
            (when, key) for when, key in self._heap if (key in timers if key < 0 else (w := table[key]) is not None and w.armed == when)
        }
        heapq.heapify(self._heap)

    # -- running

    def run(self) -> None:
        """Take turns until :meth:`stop`."""
        self._running = True
        self._spin(None, False)

    def run_once(self, timeout: float | None = None) -> None:
        """Take one turn, waiting at most ``timeout`` seconds (None: until something happens or is due)."""
        self._spin(timeout, True)

    def stop(self) -> None:
        """Let :meth:`run` return at the end of this turn."""
        self._running = False

    def _spin(self, limit: float | None, once: bool) -> None:
        clock, table, heap, soon, gone = self.clock, self._table, self._heap, self._soon, self._gone
        read, tick, maxevents = clock.read, clock.tick, self._maxevents
        end = read()
        while True:
            if soon:
                wait: float | None = 0.0
            elif heap:
                wait = heap[0][0] - end
                if wait < 0.0:
                    wait = 0.0
                if limit is not None and limit < wait:
                    wait = limit
            else:
                wait = limit
            events = self.poller.epoll.poll(wait, maxevents)
            now = tick()
            self.events = len(events)
            if gone:
                gone.clear()
            for hook in self.on_wake:
                try:
                    hook()
                except Exception as exc:
                    self.fault(None, exc)
            others = len(events) == maxevents  # who has more to tell than fits is not waited for
            while True:
                for fd, mask in events:
                    if gone and fd in gone:
                        continue
                    w = table[fd] if fd < len(table) else None
                    if w is None:
                        if fd == self.poller.second:  # somebody behind has something to say
                            others = True
                            self.events -= 1
                        else:
                            self._orphan(fd)
                        continue
                    try:
                        w.ready(w, mask)
                    except Exception as exc:
                        self.fault(w, exc)
                if not others:
                    break
                others = False
                events = self.poller.behind.poll(0, min(CROWD, maxevents))
                self.events += len(events)
                if gone:
                    gone.clear()
            for hook in self.on_ready:
                try:
                    hook()
                except Exception as exc:
                    self.fault(None, exc)
            if heap and heap[0][0] <= now:
                self._expire(now)
            if soon:
                for _ in range(len(soon)):
                    fn, args = soon.popleft()
                    try:
                        fn(*args)
                    except Exception as exc:
                        self.fault(None, exc)
            for hook in self.on_turn:
                try:
                    hook()
                except Exception as exc:
                    self.fault(None, exc)
            self.turns += 1
            end = read()
            took = end - now
            self.busy_s += took
            if took > self.lag_s:
                self.lag_s = took
            if once or not self._running:
                return

    def _expire(self, now: float) -> None:
        """Call what is due; arm again what was put off."""
        heap, table, timers = self._heap, self._table, self._timers
        while heap and heap[0][0] <= now:
            when, key = heapq.heappop(heap)
            if key < 0:
                timer = timers.pop(key, None)
                if timer is not None:
                    try:
                        timer.fn(*timer.args)
                    except Exception as exc:
                        self.fault(None, exc)
                continue
            w = table[key]
            if w is None:
                if self._left.get(key) == when:
                    del self._left[key]
                continue
            if w.armed != when:
                continue
            deadline = w.deadline
            if deadline > now:
                w.armed = deadline
                if deadline != INF:
                    heapq.heappush(heap, (deadline, key))
                continue
            w.armed = w.deadline = INF
            try:
                w.expire(w)
            except Exception as exc:
                self.fault(w, exc)

    def fault(self, w: Watched | None, exc: Exception) -> None:
        """A handler of ``w`` (None: of nobody) let ``exc`` out: also for who calls handlers itself."""
        if w is not None:
            self.remove(w)
        try:
            self.on_error(w, exc)
        except Exception as second:
            _complain(w, second)

    def _orphan(self, fd: int) -> None:
        """An event for a descriptor that nobody watches: it was closed before ``remove`` while a copy of it lives on in another
        process, and epoll goes by the open file, not by the number. Only a new epoll object gets rid of it."""
        try:
            self.poller.epoll.unregister(fd)
        except OSError:
            self.poller.renew((w.fd, w.mask, w.behind) for w in self.watchers())

    def take_lag(self) -> float:
        """Longest turn in seconds since the last call of this."""
        lag_s, self.lag_s = self.lag_s, 0.0
        return lag_s

    # -- signals

    def add_signal(self, signum: int, fn: Callable[..., object], *args: Any) -> None:
        """Call ``fn(*args)`` in the loop for every delivery of ``signum``. Main thread only; one loop per process may do this."""
        if self._wake_r < 0:
            self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
            self.add(Watched(self._wake_r, self._on_wake))
        self._signals[signum] = (fn, args)
        signal.signal(signum, _only_wake)
        signal.siginterrupt(signum, False)

    def remove_signal(self, signum: int, action: signal.Handlers = signal.SIG_DFL) -> None:
        """Stop handling ``signum``: back to the default, or to ``action``."""
        if self._signals.pop(signum, None) is not None:
            signal.signal(signum, action)

    def _on_wake(self, w: Watched, _mask: int) -> None:
        # The one bound method among the handlers: it lives as long as the loop does.
        try:
            numbers = os.read(w.fd, 4096)
        except BlockingIOError:
            return
        for signum in numbers:
            entry = self._signals.get(signum)
            if entry is not None:
                fn, args = entry
                try:
                    fn(*args)
                except Exception as exc:
                    self.fault(None, exc)

    def close(self) -> None:
        """Give back the epoll object and the wake-up pipe, and signals to their defaults; watched descriptors stay open.

        Unregisters nothing, so a forked child may close its parent's loop without touching what the parent watches.
        """
        for signum in list(self._signals):
            self.remove_signal(signum)
        if self._wake_r >= 0:
            signal.set_wakeup_fd(-1)
            os.close(self._wake_r)
            os.close(self._wake_w)
            self._wake_r = self._wake_w = -1
        self._table[:] = [None]
        self._watched = 0
        self._timers.clear()
        self._heap.clear()
        self._left.clear()
        self._soon.clear()
        self.poller.close()
