"""The supervisor's decisions, with workers that are only pretended and a clock that is driven."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from forkproxy.clock import ManualClock
from forkproxy.master.generation import Generation
from forkproxy.master.listeners import Rack
from forkproxy.master.messages import Messages
from forkproxy.master.shared import Shared
from forkproxy.master.supervisor import BACKOFF_FIRST_S, HANG_S, LOOK_S, START_S, STOP_S, Supervisor
from forkproxy.net.loop import Loop, Watched
from forkproxy.plan import Address, Bind, Frontend, Global, Plan
from forkproxy.values import replace
from forkproxy.worker.channel import Channel, Message
from forkproxy.worker.heritage import Heritage
from forkproxy.worker.inbox import Ends

KILLED = 9


@dataclass
class Fake:
    """One pretended worker: what it was told, and how it ends."""

    heritage: Heritage
    end: Callable[[int], None]
    told: list[Message] = field(default_factory=list)
    channel: Channel | None = None


class FakeSpawner:
    """Makes fakes; ``pid`` counts up; a pipe stands in for the pidfd."""

    def __init__(self) -> None:
        self.rendezvous: socket.socket | None = None
        self.successor = -1
        self.inbox: Ends | None = None
        self.fakes: list[Fake] = []
        self.signals: list[int] = []

    def spawn(self, heritage: Heritage, loop: Loop, on_exit: Callable[[int], None]) -> tuple[int, Watched | None]:
        fake = Fake(heritage, on_exit)
        fake.channel = Channel(heritage.channel, loop, fake.told.append, lambda: None)
        self.fakes.append(fake)
        read_end, write_end = os.pipe()
        os.close(write_end)
        watched = Watched(read_end, lambda w, _mask: loop.remove(w))
        return 1000 + len(self.fakes), watched


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    made = House()
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda fd, signum: made.spawner.signals.append(signum))
    yield made
    made.close()


class House:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.loop = Loop(self.clock)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        frontend = Frontend(name="f", id=1, binds=(Bind(address=Address("ipv4", "127.0.0.1", port)),))
        self._directory = tempfile.TemporaryDirectory()
        shared = Frontend(name="u", id=2, binds=(Bind(address=Address("unix", f"{self._directory.name}/sock")),))
        self.plan = Plan(global_=Global(nbproc=2, hard_stop_after_s=9.0), frontends=(frontend, shared))
        self.spawner = FakeSpawner()
        self.messages = Messages(quiet=True)
        self.shared = Shared(self.plan, 2, self.clock)
        self.supervisor = Supervisor(self.loop, self.shared, self.spawner, self.messages)
        self.happened: list[str] = []
        self.supervisor.listen(
            on_ready=lambda g: self.happened.append("ready"),
            on_stillborn=lambda g, reason: self.happened.append(f"stillborn {reason}"),
            on_empty=lambda: self.happened.append("empty"),
        )
        self.rack = Rack.build(self.plan, 2)

    def start(self) -> Generation:
        generation = self.supervisor.start(self.plan, self.rack, 2)
        for fake in self.spawner.fakes:
            self.ready(fake)
        self.supervisor.promote(generation)
        return generation

    def ready(self, fake: Fake) -> None:
        assert fake.channel is not None
        fake.channel.send("ready")
        self.turn()

    def turn(self, seconds_s: float = 0.0) -> None:
        self.clock.advance(seconds_s)
        for _ in range(4):
            self.loop.run_once(0)

    def alive(self) -> None:
        for fake in self.spawner.fakes:
            fake.heritage.pulse[0] = int(self.clock.now * 1000)

    def close(self) -> None:
        for worker in self.supervisor.workers():
            worker.channel.close()
            if worker.process is not None:
                os.close(worker.process.fd)
        for fake in self.spawner.fakes:
            if fake.channel is not None:
                fake.channel.close()
        self.rack.close()
        self.loop.close()
        self._directory.cleanup()


def test_ready_when_all_are(house: House) -> None:
    house.supervisor.start(house.plan, house.rack, 2)
    house.ready(house.spawner.fakes[0])
    assert house.happened == []
    house.ready(house.spawner.fakes[1])
    assert house.happened == ["ready"]
    assert [f.heritage.number for f in house.spawner.fakes] == [1, 2]


def test_a_dead_worker_is_replaced_at_once_with_its_sockets(house: House) -> None:
    house.start()
    house.turn(60)
    house.spawner.fakes[1].end(KILLED)
    assert len(house.spawner.fakes) == 3
    assert house.spawner.fakes[2].heritage.number == 2
    assert house.spawner.fakes[2].heritage.share == house.spawner.fakes[1].heritage.share
    assert "was ended by signal 9 (SIGKILL)" in house.messages.history[-1]


def test_a_crash_loop_is_slowed_down_and_another_worker_accepts_meanwhile(house: House) -> None:
    house.start()
    first = house.spawner.fakes[0]
    house.spawner.fakes[1].end(KILLED)  # young: once is nothing
    house.ready(house.spawner.fakes[-1])
    house.spawner.fakes[-1].end(KILLED)
    assert len(house.spawner.fakes) == 3
    house.turn()
    assert [m["op"] for m in first.told] == ["adopt"]
    assert [index for _key, index in first.told[0]["sockets"]] == [1]  # and not the unix socket, from which it accepts anyway
    house.turn(BACKOFF_FIRST_S)
    assert len(house.spawner.fakes) == 4
    house.ready(house.spawner.fakes[-1])
    assert [m["op"] for m in first.told] == ["adopt", "release"]
    house.spawner.fakes[-1].end(KILLED)
    house.turn(BACKOFF_FIRST_S)
    assert len(house.spawner.fakes) == 4  # twice as long now
    house.turn(BACKOFF_FIRST_S)
    assert len(house.spawner.fakes) == 5


def test_who_accepts_for_a_missing_one_is_replaced_in_that_too(house: House) -> None:
    """Two of three workers die again and again: the third one accepts for both."""
    generation = house.supervisor.start(house.plan, house.rack, 3)
    for fake in house.spawner.fakes:
        house.ready(fake)
    house.supervisor.promote(generation)
    first, second, third = house.spawner.fakes
    for fake in (third, second):
        fake.end(KILLED)
        again = house.spawner.fakes[-1]
        house.ready(again)
        again.end(KILLED)
        house.turn()
    assert generation.fosters == {2: 1, 3: 1}
    first.end(KILLED)  # once is nothing: its replacement comes at once …
    house.ready(house.spawner.fakes[-1])
    house.spawner.fakes[-1].end(KILLED)  # … and then nobody is left to accept for anyone
    assert generation.fosters == {}


def test_a_worker_that_becomes_ready_during_a_pause_pauses_too(house: House) -> None:
    house.start()
    house.supervisor.paused = True
    house.spawner.fakes[0].end(KILLED)
    house.ready(house.spawner.fakes[-1])
    assert [m["op"] for m in house.spawner.fakes[-1].told] == ["pause"]


def test_a_worker_that_ended_in_good_order_may_have_heard_what_the_master_hears_next(house: House) -> None:
    """A signal to the whole group: no alert, no replacement, if the master is told to leave as well."""
    house.start()
    house.spawner.fakes[0].end(0)
    house.supervisor.drain_all()
    house.turn(1)
    assert len(house.spawner.fakes) == 2 and not house.messages.history
    house.spawner.fakes[1].end(0)
    assert house.happened == ["ready", "empty"]


def test_a_worker_without_a_sign_of_life_is_killed(house: House) -> None:
    house.start()
    silent = house.spawner.fakes[1].heritage.pulse
    house.alive()
    before = silent[0]
    for _ in range(int((HANG_S + 1) / LOOK_S)):
        house.turn(LOOK_S)
        house.alive()
        silent[0] = before
    assert house.spawner.signals.count(signal.SIGKILL) == 1
    house.spawner.fakes[1].end(KILLED)
    assert len(house.spawner.fakes) == 3


def test_a_worker_that_starts_may_take_its_time(house: House) -> None:
    """One that makes what it runs of thousands of proxies shows nothing for seconds; for ever it may not."""
    house.supervisor.start(house.plan, house.rack, 2)
    for _ in range(int((START_S - 2 * LOOK_S) / LOOK_S)):
        house.turn(LOOK_S)
    house.ready(house.spawner.fakes[0])  # and has shown no other sign of life yet
    house.turn(LOOK_S)
    assert house.spawner.signals == []
    for _ in range(4):
        house.turn(LOOK_S)
    assert house.spawner.signals == [signal.SIGKILL]


def test_nobody_is_killed_because_the_master_was_stopped_itself(house: House) -> None:
    house.start()
    house.alive()
    house.turn(60)
    assert house.spawner.signals == []
    house.turn(LOOK_S)
    assert house.spawner.signals == []


def test_draining_tells_the_bounds_and_does_not_replace(house: House) -> None:
    generation = house.start()
    house.supervisor.drain_all(grace_s=1.5)
    house.turn()
    message = house.spawner.fakes[0].told[-1]
    assert (message["op"], message["hard_s"], message["grace_s"]) == ("drain", 9.0, 1.5)
    house.spawner.fakes[0].end(0)
    assert house.happened == ["ready"]
    house.spawner.fakes[1].end(0)
    assert house.happened == ["ready", "empty"]
    assert len(house.spawner.fakes) == 2
    assert not generation.workers and not house.supervisor.generations


def test_a_worker_that_is_not_ready_yet_has_nothing_to_finish(house: House) -> None:
    house.supervisor.start(house.plan, house.rack, 2)
    house.ready(house.spawner.fakes[0])
    house.supervisor.drain_all()
    house.turn()
    assert [[m["op"] for m in fake.told] for fake in house.spawner.fakes] == [["drain"], ["stop"]]


def test_a_worker_that_does_not_stop_is_killed(house: House) -> None:
    house.start()
    house.supervisor.stop_all()
    house.supervisor.stop_all()  # a second signal changes nothing
    house.turn()
    assert house.spawner.fakes[0].told[-1]["op"] == "stop"
    assert house.spawner.signals == []
    house.turn(STOP_S)
    assert house.spawner.signals == [signal.SIGKILL, signal.SIGKILL]


def test_a_new_generation_that_dies_is_stillborn_and_not_replaced(house: House) -> None:
    house.start()
    house.supervisor.start(house.plan, house.rack, 2)
    house.spawner.fakes[-1].end(1 << 8)
    assert house.happened[-1] == "stillborn worker 2 (pid 1004) exited with code 1"
    assert len(house.spawner.fakes) == 4


def test_slots_are_given_back(house: House) -> None:
    house.start()
    segment = house.shared.state.segment
    assert sorted(segment.owner(slot) for slot in segment.live()) == [1001, 1002]
    house.turn(60)
    for _ in range(50):
        house.turn(60)
        house.spawner.fakes[-1].end(KILLED)
        house.ready(house.spawner.fakes[-1])
    assert len(house.shared.state.segment.live()) == 2


def test_without_a_free_slot_the_oldest_leaving_worker_ends_with_a_warning(house: House) -> None:
    """Long sessions over more reloads than there is room for."""
    first = house.start()
    second = house.supervisor.start(house.plan, house.rack, 2)
    for fake in house.spawner.fakes[2:]:
        house.ready(fake)
    house.supervisor.promote(second)
    house.supervisor.drain(first)
    while house.shared.take_slot(1) is not None:
        pass
    oldest, second_oldest = house.spawner.fakes[:2]
    house.supervisor.start(house.plan, house.rack, 1)
    house.turn()
    assert len(house.spawner.fakes) == 4
    assert [m["op"] for m in oldest.told] == ["drain", "stop"]
    assert [m["op"] for m in second_oldest.told] == ["drain"]
    assert "Too many old workers: stopping worker 1 (pid 1001), which was to finish its sessions" in house.messages.history[-1]
    oldest.end(0)
    house.alive()
    house.turn(BACKOFF_FIRST_S)
    assert len(house.spawner.fakes) == 5


def test_charts_outlive_workers_and_reloads(house: House) -> None:
    """The master looks every few seconds; who is forked later begins with what is known."""
    house.start()
    assert house.supervisor.current is not None and house.supervisor.current.history is None, "nobody has a page"
    first = replace(house.plan.frontends[0], statistics=(lambda txn: None,))
    house.plan = replace(house.plan, frontends=(first, house.plan.frontends[1]))
    current = house.start()
    history = current.history
    assert history is not None and house.spawner.fakes[-1].heritage.history is history
    for _ in range(7):  # 14 looks of the supervisor at its workers
        house.alive()
        house.turn(LOOK_S)
        house.turn(history.STEP_S - LOOK_S)
    known = len(dict(history.charts(["F/f"]))["F/f"])
    assert 4 <= known <= 7
    house.plan = replace(house.plan, frontends=(first,))
    later = house.start().history
    assert later is not None and later is not history and dict(later.charts(["F/f", "F/u"])) == dict(history.charts(["F/f"]))
    house.plan = replace(house.plan, frontends=())
    assert house.start().history is None
