"""The loop: events, stale events, deadlines, timers, signals, faults."""

from __future__ import annotations

import gc
import os
import select
import selectors
import signal
import socket
import time
import weakref
from collections.abc import Iterator
from random import Random

import pytest

from forkproxy.clock import Clock, ManualClock
from forkproxy.net import loop as loop_module
from forkproxy.net.loop import CROWD, ERR, EXCLUSIVE, HUP, INF, READ, WRITE, Loop, Watched
from tests.descriptors import none_left


class Note(Watched):
    """A watcher that notes what it was told."""

    __slots__ = ("__weakref__", "log")

    def __init__(self, fd: int, log: list[object]) -> None:
        super().__init__(fd, note_ready, note_expired)
        self.log = log


def note_ready(w: Note, mask: int) -> None:
    w.log.append((w.fd, mask))


def note_expired(w: Note) -> None:
    w.log.append(("late", w.fd))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def loop(clock: ManualClock) -> Iterator[Loop]:
    loop = Loop(clock)

    def explode(w: Watched | None, exc: Exception) -> None:
        raise exc

    loop.on_error = explode
    yield loop
    loop.close()


@pytest.fixture
def event() -> Iterator[int]:
    fd = os.eventfd(1, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


def test_is_a_selector(loop: Loop) -> None:
    assert isinstance(loop.poller, selectors.EpollSelector)


def test_level_triggered_and_mask(loop: Loop, event: int) -> None:
    log: list[object] = []
    w = Note(event, log)
    loop.add(w)
    loop.run_once(0)
    loop.run_once(0)
    assert log == [(event, READ)] * 2
    os.read(event, 8)
    loop.run_once(0)
    assert len(log) == 2
    loop.modify(w, READ | WRITE)
    loop.run_once(0)
    assert log[2:] == [(event, WRITE)]
    loop.modify(w, 0)
    loop.run_once(0)
    assert len(log) == 3


def test_hang_up_is_told_while_paused(loop: Loop) -> None:
    a, b = socket.socketpair()
    with a, b:
        log: list[object] = []
        w = Note(a.fileno(), log)
        loop.add(w, READ)
        loop.modify(w, 0)
        b.close()
        loop.run_once(0)
        assert log == [(a.fileno(), HUP)]
        loop.remove(w)


def test_error_is_told(loop: Loop) -> None:
    r, w_end = os.pipe()
    log: list[object] = []
    w = Note(w_end, log)
    loop.add(w, WRITE)
    os.close(r)
    loop.run_once(0)
    assert log == [(w_end, WRITE | ERR)]
    loop.remove(w)
    os.close(w_end)


def test_adding_twice_is_refused(loop: Loop, event: int) -> None:
    loop.add(Watched(event))
    with pytest.raises(ValueError, match="watched already"):
        loop.add(Watched(event))


def test_remove_is_idempotent_and_forgets_the_successor_never(loop: Loop, event: int) -> None:
    log: list[object] = []
    first, second = Note(event, log), Note(event, log)
    loop.add(first)
    loop.remove(first)
    loop.remove(first)
    loop.add(second)
    loop.remove(first)
    assert loop.watching(second) and not loop.watching(first) and len(loop) == 1


def test_stale_event_is_not_delivered_to_a_new_watcher_of_the_same_number(loop: Loop) -> None:
    """Two descriptors are ready in one turn; the first handler closes the second one and opens another with its number."""
    log: list[object] = []
    pairs = [socket.socketpair() for _ in range(2)]
    for _, far in pairs:
        far.send(b"x")
    near = {pair[0].fileno(): pair[0] for pair in pairs}
    born: list[Note] = []
    fresh: list[int] = []

    def kill_the_other(w: Watched, mask: int) -> None:
        log.append("first")
        (other,) = set(near) - {w.fd}
        loop.remove(watchers[other])
        near[other].close()
        fd = os.eventfd(0)  # the lowest free number: the one just closed; not readable
        assert fd == other
        fresh.append(fd)
        born.append(Note(fd, log))
        loop.add(born[0], READ)
        loop.remove(w)

    watchers = {fd: Watched(fd, kill_the_other) for fd in near}
    for w in watchers.values():
        loop.add(w)
    loop.run_once(0)
    assert log == ["first"]
    loop.run_once(0)
    assert log == ["first"]
    os.eventfd_write(fresh[0], 1)
    loop.run_once(0)
    assert log == ["first", (fresh[0], READ)]
    loop.remove(born[0])
    os.close(fresh[0])
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_a_descriptor_readded_in_its_own_turn_hears_in_the_next(loop: Loop) -> None:
    log: list[object] = []
    fds = [os.eventfd(1) for _ in range(2)]

    def readd(w: Watched, mask: int) -> None:
        (other,) = set(fds) - {w.fd}
        log.append("moved")
        loop.remove(watchers[other])
        loop.add(Note(other, log), READ)
        loop.remove(w)

    watchers = {fd: Watched(fd, readd) for fd in fds}
    for w in watchers.values():
        loop.add(w)
    loop.run_once(0)
    assert log == ["moved"]
    loop.run_once(0)
    assert len(log) == 2  # level triggering brought it back
    for fd in fds:
        os.close(fd)


def test_maxevents_bounds_a_turn_and_nobody_starves(clock: ManualClock) -> None:
    loop = Loop(clock, maxevents=4)
    log: list[object] = []
    fds = [os.eventfd(1) for _ in range(10)]
    for fd in fds:
        loop.add(Note(fd, log))
    loop.run_once(0)
    assert len(log) == 4
    loop.run_once(0)
    loop.run_once(0)
    assert {entry[0] for entry in log} == set(fds)  # type: ignore[index]
    loop.close()
    for fd in fds:
        os.close(fd)


def test_exclusive_can_be_modified_and_removed(loop: Loop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        log: list[object] = []
        w = Note(server.fileno(), log)
        loop.add(w, READ | EXCLUSIVE)
        with socket.create_connection(server.getsockname()):
            loop.run_once(0)
            assert log == [(server.fileno(), READ)]
            loop.modify(w, 0)
            loop.run_once(0)
            assert len(log) == 1
            loop.modify(w, READ | EXCLUSIVE)
            loop.run_once(0)
            assert len(log) == 2
        loop.remove(w)


def test_closed_before_removed_while_a_copy_lives_elsewhere(loop: Loop) -> None:
    """epoll keeps watching the open file although its number is gone: the loop must get rid of it and keep the others."""
    log: list[object] = []
    r, far = os.pipe()
    elsewhere = os.dup(r)  # as another process would have it
    os.write(far, b"x")
    w = Note(r, log)
    loop.add(w)
    other = os.eventfd(1)
    loop.add(Note(other, log))
    os.close(r)
    loop.remove(w)
    loop.run_once(0)
    loop.run_once(0)
    log.clear()
    assert [fd for fd, _ in loop.poller.epoll.poll(0)] == [other]
    loop.run_once(0)
    assert log == [(other, READ)]
    for fd in (far, elsewhere, other):
        os.close(fd)


# -- who is handled behind others


def told(loop: Loop, *, behind: bool, log: list[object]) -> Note:
    """Watches a descriptor that is ready."""
    w = Note(os.eventfd(1), log)
    w.behind = behind
    loop.add(w)
    return w


def test_some_are_handled_behind_others_whoever_was_ready_first(loop: Loop) -> None:
    log: list[object] = []
    last = [told(loop, behind=True, log=log) for _ in range(3)]
    first = [told(loop, behind=False, log=log) for _ in range(3)]
    loop.run_once(0)
    assert log == [(w.fd, READ) for w in (*first, *last)]
    assert loop.events == 6
    close(loop, *first, *last)


def test_so_many_of_those_behind_in_a_turn_and_all_in_turn(loop: Loop) -> None:
    log: list[object] = []
    last = [told(loop, behind=True, log=log) for _ in range(CROWD + 10)]
    one = told(loop, behind=False, log=log)
    fds = [w.fd for w in last]
    loop.run_once(0)
    loop.run_once(0)
    assert log == [(fd, READ) for fd in (one.fd, *fds[:CROWD], one.fd, *fds[CROWD:], *fds[: CROWD - 10])]
    close(loop, one, *last)


def test_those_behind_have_their_turn_when_others_never_end(clock: ManualClock) -> None:
    loop = Loop(clock, maxevents=3)
    log: list[object] = []
    many = [told(loop, behind=False, log=log) for _ in range(7)]
    last = told(loop, behind=True, log=log)
    for _ in range(3):
        log.clear()
        loop.run_once(0)
        assert log[-1] == (last.fd, READ)
    close(loop, last, *many)
    loop.close()


def test_nobody_is_behind_and_nothing_is_asked(loop: Loop) -> None:
    log: list[object] = []
    w = told(loop, behind=False, log=log)
    loop.poller.behind.close()  # asking it would fail
    loop.run_once(0)
    assert log == [(w.fd, READ)]
    close(loop, w)


def test_one_behind_is_paused_late_and_forgotten_as_others_are(loop: Loop, clock: ManualClock) -> None:
    log: list[object] = []
    w = told(loop, behind=True, log=log)
    loop.modify(w, 0)
    loop.run_once(0)
    assert log == []
    loop.modify(w, READ | WRITE)
    loop.run_once(0)
    assert log == [(w.fd, READ | WRITE)]
    loop.modify(w, 0)
    loop.set_deadline(w, clock.now + 1)
    clock.advance(2)
    loop.run_once(0)
    assert log[1:] == [("late", w.fd)]
    loop.modify(w, READ)
    loop.remove(w)
    assert loop.poller.behind.poll(0) == []
    loop.run_once(0)
    assert log[2:] == []
    os.close(w.fd)


def test_who_is_closed_by_an_event_is_not_told_behind_it(loop: Loop) -> None:
    log: list[object] = []
    last = told(loop, behind=True, log=log)
    first = told(loop, behind=False, log=log)
    first.ready = lambda _w, _mask: close(loop, last)
    loop.run_once(0)
    assert log == []
    close(loop, first)


def test_a_copy_of_one_behind_lives_elsewhere(loop: Loop) -> None:
    log: list[object] = []
    gone, other, last = (told(loop, behind=behind, log=log) for behind in (True, False, True))
    elsewhere = os.dup(gone.fd)
    os.close(gone.fd)
    loop.remove(gone)
    loop.run_once(0)
    loop.run_once(0)
    log.clear()
    loop.run_once(0)
    assert log == [(other.fd, READ), (last.fd, READ)]
    assert [fd for fd, _ in loop.poller.behind.poll(0)] == [last.fd]
    os.close(elsewhere)
    close(loop, other, last)


def close(loop: Loop, *watchers: Watched) -> None:
    for w in watchers:
        loop.remove(w)
        os.close(w.fd)


# -- deadlines


def expired(loop: Loop, log: list[object]) -> list[object]:
    loop.run_once(0)
    result = list(log)
    log.clear()
    return result


def quiet_fd() -> int:
    return os.eventfd(0)


def test_deadline_once_and_not_early(loop: Loop, clock: ManualClock) -> None:
    log: list[object] = []
    w = Note(quiet_fd(), log)
    loop.add(w)
    loop.set_deadline(w, clock.now + 5)
    clock.advance(4.999)
    assert expired(loop, log) == []
    clock.advance(0.001)
    assert expired(loop, log) == [("late", w.fd)]
    assert w.deadline == INF == w.armed
    clock.advance(100)
    assert expired(loop, log) == []
    os.close(w.fd)


def test_extending_is_one_attribute(loop: Loop, clock: ManualClock) -> None:
    log: list[object] = []
    w = Note(quiet_fd(), log)
    loop.add(w)
    loop.set_deadline(w, clock.now + 5)
    for _ in range(100):
        clock.advance(1)
        w.deadline = clock.now + 5  # what activity does
        assert expired(loop, log) == []
        assert len(loop._heap) == 1
    clock.advance(5)
    assert expired(loop, log) == [("late", w.fd)]
    os.close(w.fd)


def test_shortening_and_the_inlined_form(loop: Loop, clock: ManualClock) -> None:
    log: list[object] = []
    w = Note(quiet_fd(), log)
    loop.add(w)
    loop.set_deadline(w, clock.now + 50)
    w.deadline = when = clock.now + 2
    assert when < w.armed
    loop.arm(w)
    clock.advance(2)
    assert expired(loop, log) == [("late", w.fd)]
    clock.advance(48)
    assert expired(loop, log) == []
    os.close(w.fd)


def test_clearing_and_setting_again(loop: Loop, clock: ManualClock) -> None:
    log: list[object] = []
    w = Note(quiet_fd(), log)
    loop.add(w)
    loop.set_deadline(w, clock.now + 2)
    loop.set_deadline(w, None)
    clock.advance(3)
    assert expired(loop, log) == []
    loop.set_deadline(w, clock.now + 2)
    clock.advance(2)
    assert expired(loop, log) == [("late", w.fd)]
    os.close(w.fd)


def test_a_deadline_set_before_add_counts(loop: Loop, clock: ManualClock) -> None:
    log: list[object] = []
    w = Note(quiet_fd(), log)
    loop.set_deadline(w, clock.now + 2)
    loop.add(w)
    clock.advance(2)
    assert expired(loop, log) == [("late", w.fd)]
    os.close(w.fd)


def test_removed_watchers_never_expire_and_are_freed_at_once(loop: Loop, clock: ManualClock) -> None:
    log: list[object] = []
    w = Note(quiet_fd(), log)
    ref = weakref.ref(w)
    loop.add(w)
    loop.set_deadline(w, clock.now + 2)
    loop.remove(w)
    os.close(w.fd)
    gc.disable()
    try:
        del w
        assert ref() is None  # neither the heap nor a cycle holds it
    finally:
        gc.enable()
    clock.advance(3)
    assert expired(loop, log) == []


def test_the_successor_of_a_number_is_not_hurt_by_its_heritage(loop: Loop, clock: ManualClock) -> None:
    log: list[object] = []
    first = Note(quiet_fd(), log)
    loop.add(first)
    loop.set_deadline(first, clock.now + 2)
    loop.remove(first)
    second = Note(first.fd, log)
    loop.add(second)
    loop.set_deadline(second, clock.now + 5)
    assert len(loop._heap) == 1
    clock.advance(2)
    assert expired(loop, log) == []
    clock.advance(3)
    assert expired(loop, log) == [("late", second.fd)]
    os.close(second.fd)


def test_handlers_of_one_turn_see_removals(loop: Loop, clock: ManualClock) -> None:
    """Two watchers are late in one turn; the first one's expiry removes the second."""
    late: list[int] = []

    def expire(w: Watched) -> None:
        late.append(w.fd)
        for other in watchers:
            if other is not w:
                loop.remove(other)

    watchers = [Watched(quiet_fd(), expire=expire) for _ in range(2)]
    for w in watchers:
        loop.add(w)
        loop.set_deadline(w, clock.now + 1)
    clock.advance(1)
    loop.run_once(0)
    assert len(late) == 1
    for w in watchers:
        os.close(w.fd)


def test_expire_may_set_the_deadline_again(loop: Loop, clock: ManualClock) -> None:
    times: list[float] = []

    def expire(w: Watched) -> None:
        times.append(clock.now)
        loop.set_deadline(w, clock.now + 1)

    w = Watched(quiet_fd(), expire=expire)
    loop.add(w)
    loop.set_deadline(w, clock.now + 1)
    for _ in range(3):
        clock.advance(1)
        loop.run_once(0)
    assert len(times) == 3
    os.close(w.fd)


def test_heap_stays_small_with_short_connections(loop: Loop, clock: ManualClock) -> None:
    """10,000 connections a second that live 10 ms, under a timeout of 50 s: entries must not pile up to 500,000."""
    fds = [quiet_fd() for _ in range(100)]
    alive: list[Watched] = []
    most = 0
    for n in range(60_000):
        if len(alive) == len(fds):
            loop.remove(alive.pop(0))
        w = Watched(fds[n % 100])
        loop.add(w)
        loop.set_deadline(w, clock.now + 50)
        alive.append(w)
        clock.advance(0.0001)
        most = max(most, len(loop._heap))
    assert most <= 100  # one per descriptor number
    for fd in fds:
        os.close(fd)


def test_heap_stays_small_with_ever_shorter_deadlines_and_cancelled_timers(loop: Loop, clock: ManualClock) -> None:
    w = Watched(quiet_fd())
    loop.add(w)
    for n in range(20_000):
        loop.set_deadline(w, clock.now + 50 - n / 1000)
        loop.call_at(clock.now + 50, print).cancel()
    assert len(loop._heap) <= loop_module._SLACK + 4
    assert not loop._timers
    os.close(w.fd)


def test_sweep_keeps_what_lives(loop: Loop, clock: ManualClock) -> None:
    log: list[object] = []
    keep = Note(quiet_fd(), log)
    loop.add(keep)
    loop.set_deadline(keep, clock.now + 3)
    loop.call_at(clock.now + 3, log.append, "timer")
    gone = Note(quiet_fd(), log)
    loop.add(gone)
    loop.set_deadline(gone, clock.now + 1)
    loop.remove(gone)
    loop._sweep()
    assert len(loop._heap) == 2
    heir = Note(gone.fd, log)
    loop.add(heir)
    loop.set_deadline(heir, clock.now + 2)  # must push: what the predecessor left was swept away
    clock.advance(2)
    assert expired(loop, log) == [("late", heir.fd)]
    clock.advance(1)
    assert sorted(map(str, expired(loop, log))) == sorted(["timer", str(("late", keep.fd))])
    os.close(keep.fd)
    os.close(gone.fd)


# -- calls


def test_call_at_in_order_and_cancelled(loop: Loop, clock: ManualClock) -> None:
    log: list[str] = []
    loop.call_at(clock.now + 2, log.append, "two")
    loop.call_later(1, log.append, "one")
    never = loop.call_at(clock.now + 1, log.append, "never")
    never.cancel()
    never.cancel()
    assert not never.pending
    clock.advance(2)
    loop.run_once(0)
    assert log == ["one", "two"]


def test_call_soon_of_a_call_soon_waits_for_the_next_turn(loop: Loop) -> None:
    log: list[str] = []

    def first() -> None:
        log.append("first")
        loop.call_soon(log.append, "second")

    loop.call_soon(first)
    loop.run_once()  # does not wait, although nothing is watched
    assert log == ["first"]
    loop.run_once()
    assert log == ["first", "second"]


def test_on_turn_runs_last_once_per_turn(loop: Loop, event: int) -> None:
    log: list[object] = []
    loop.on_turn.append(lambda: log.append("turn"))
    loop.add(Note(event, log))
    loop.call_soon(log.append, "soon")
    loop.run_once(0)
    assert log == [(event, READ), "soon", "turn"]
    assert loop.turns == 1


def test_run_until_stop(loop: Loop, event: int) -> None:
    turns: list[int] = []

    def ready(w: Watched, mask: int) -> None:
        turns.append(1)
        if len(turns) == 3:
            loop.stop()

    loop.add(Watched(event, ready))
    loop.run()
    assert len(turns) == 3


def test_run_once_waits_for_the_nearest_deadline() -> None:
    """With the real clock: the wait is bounded by what is due, not by the limit."""
    loop = Loop(Clock())
    log: list[str] = []
    loop.call_at(loop.clock.read() + 0.01, log.append, "due")
    begin = time.monotonic()
    while not log:
        loop.run_once(30)
    assert time.monotonic() - begin < 5
    loop.close()


# -- faults


def test_an_error_costs_its_watcher_only(loop: Loop, event: int) -> None:
    seen: list[tuple[Watched | None, str]] = []
    loop.on_error = lambda w, exc: seen.append((w, str(exc)))

    def bad(w: Watched, mask: int) -> None:
        raise RuntimeError("oops")

    w = Watched(event, bad)
    loop.add(w)
    other = os.eventfd(1)
    log: list[object] = []
    loop.add(Note(other, log))
    loop.run_once(0)
    loop.run_once(0)
    assert seen == [(w, "oops")]
    assert not loop.watching(w)
    assert len(log) == 2
    os.close(other)


def test_errors_of_deadlines_timers_calls_and_hooks(loop: Loop, clock: ManualClock) -> None:
    seen: list[tuple[bool, str]] = []
    loop.on_error = lambda w, exc: seen.append((w is None, str(exc)))

    def fail(*args: object) -> None:
        raise RuntimeError("late" if args else "call")

    w = Watched(quiet_fd(), expire=fail)
    loop.add(w)
    loop.set_deadline(w, clock.now)
    loop.call_at(clock.now, fail)
    loop.call_soon(fail)
    loop.on_turn.append(fail)
    loop.run_once(0)
    assert sorted(seen) == [(False, "late"), (True, "call"), (True, "call"), (True, "call")]
    assert not loop.watching(w)
    os.close(w.fd)


def test_a_failing_on_error_does_not_end_the_loop(loop: Loop, event: int, capsys: pytest.CaptureFixture[str]) -> None:
    def bad(w: Watched, mask: int) -> None:
        raise RuntimeError("inner")

    loop.add(Watched(event, bad))  # the fixture's on_error raises
    loop.run_once(0)
    assert "RuntimeError: inner" in capsys.readouterr().err


def test_keyboard_interrupt_is_not_swallowed(loop: Loop, event: int) -> None:
    def interrupt(w: Watched, mask: int) -> None:
        raise KeyboardInterrupt

    loop.add(Watched(event, interrupt))
    with pytest.raises(KeyboardInterrupt):
        loop.run_once(0)


class SlowClock(ManualClock):
    """Every fresh reading is later than the tick before."""

    __slots__ = ()

    def read(self) -> float:
        return self.now + 0.25


def test_lag_is_the_longest_turn_without_waiting() -> None:
    loop = Loop(SlowClock())
    loop.run_once(0)
    assert loop.take_lag() == 0.25
    assert loop.take_lag() == 0.0
    assert loop.busy_s == 0.25
    loop.close()


# -- signals


def test_signals_run_in_the_loop(loop: Loop) -> None:
    log: list[object] = []
    loop.add_signal(signal.SIGUSR1, log.append, "usr1")
    loop.add_signal(signal.SIGUSR2, log.append, "usr2")
    os.kill(os.getpid(), signal.SIGUSR1)
    assert log == []  # not in the signal's frame
    os.kill(os.getpid(), signal.SIGUSR2)
    loop.run_once()
    assert log == ["usr1", "usr2"]
    loop.remove_signal(signal.SIGUSR1, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.run_once(0)
    assert log == ["usr1", "usr2"]
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def test_close_gives_signals_and_descriptors_back(clock: ManualClock) -> None:
    with none_left():
        loop = Loop(clock)
        loop.add_signal(signal.SIGUSR1, print)
        loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


def test_a_child_that_closes_the_loop_does_not_disturb_its_parent(loop: Loop, event: int) -> None:
    log: list[object] = []
    loop.add(Note(event, log))
    loop.add_signal(signal.SIGUSR1, log.append, "parent")
    pid = os.fork()
    if not pid:
        status = 1
        try:
            loop.close()
            own = Loop()
            own.add_signal(signal.SIGUSR1, log.append, "child")
            os.kill(os.getpid(), signal.SIGUSR1)
            own.run_once()
            status = 0 if log == ["child"] else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    loop.run_once(0)
    assert log == [(event, READ)]


def test_masks_are_epolls() -> None:
    assert (READ, WRITE, HUP, ERR) == (select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP, select.EPOLLERR)


def test_deadlines_agree_with_a_plain_model(loop: Loop, clock: ManualClock) -> None:
    """Ten thousand random steps (add, remove, set, extend, clear, wait) against a dictionary of deadlines."""
    random = Random(7)
    fds = [quiet_fd() for _ in range(8)]
    watchers: dict[int, Note] = {}
    model: dict[int, float] = {}
    log: list[object] = []
    for _ in range(10_000):
        fd = random.choice(fds)
        w = watchers.get(fd)
        step = random.randrange(6)
        if w is None:
            watchers[fd] = w = Note(fd, log)
            loop.add(w)
        elif step == 0:
            loop.remove(w)
            del watchers[fd]
            model.pop(fd, None)
        elif step in (1, 2):
            model[fd] = clock.now + random.choice((0.5, 1.0, 3.0, 50.0))
            loop.set_deadline(w, model[fd])
        elif step == 3:
            loop.set_deadline(w, None)
            model.pop(fd, None)
        elif step == 4 and fd in model:
            model[fd] = w.deadline = model[fd] + random.random()
        elif step == 5:
            clock.advance(random.random() / 4)
            due = {fd for fd, when in model.items() if when <= clock.now}
            assert {entry[1] for entry in expired(loop, log)} == due  # type: ignore[index]
            for fd in due:
                del model[fd]
    for fd in fds:
        os.close(fd)


def test_superseded_entries_are_dropped_when_they_surface(loop: Loop, clock: ManualClock) -> None:
    log: list[object] = []
    w = Note(quiet_fd(), log)
    loop.add(w)
    begin = clock.now
    loop.set_deadline(w, begin + 10)
    loop.set_deadline(w, begin + 2)
    w.deadline = begin + 20
    clock.advance(2)
    assert expired(loop, log) == []
    assert sorted(loop._heap) == [(begin + 10, w.fd), (begin + 20, w.fd)]
    clock.advance(8)
    assert expired(loop, log) == []
    assert loop._heap == [(begin + 20, w.fd)]
    os.close(w.fd)


def test_masks_are_the_kernels() -> None:
    names = {"READ": "IN", "WRITE": "OUT", "ERR": "ERR", "HUP": "HUP", "RDHUP": "RDHUP", "ET": "ET", "EXCLUSIVE": "EXCLUSIVE"}
    for ours, theirs in names.items():
        assert getattr(loop_module, ours) == getattr(select, f"EPOLL{theirs}")
