"""Decisions of a reload, with pretended workers, a clock that is driven and files that are a variable."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from forkproxy.errors import ConfigError
from forkproxy.master.listeners import Rack
from forkproxy.master.reload import DRY_S, QUEUE_S, Reloader
from forkproxy.master.supervisor import START_S
from forkproxy.plan import Address, Bind, Frontend, Global, Plan
from forkproxy.values import replace
from tests.unit.master.test_supervisor import Fake, House


class Here(Reloader):
    """Reads where it stands instead of in a child first."""

    def _check(self) -> None:
        self._read()


class Yard(House):
    """A house with a reloader; ``file`` is what reading gives (None: it is bad), ``answers`` what requesters got."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = replace(self.plan, global_=replace(self.plan.global_, nbproc=1), frontends=self.plan.frontends[:1])
        self.rack.close()
        self.rack = Rack.build(self.plan, 2)
        self.file: Plan | None = self.plan
        self.answers: list[tuple[str, bool, list[str]]] = []
        self.prepared: Callable[[Plan], None] = lambda _plan: None
        self.ends: list[bool] = []
        self.switched: list[Plan] = []
        self.reloader = Here(
            self.loop, self.supervisor, self.messages, self.load,
            on_begin=lambda: None, prepare=lambda plan: self.prepared(plan), on_switch=self.switched.append, on_end=self.ends.append,
        )  # fmt: skip
        self.supervisor.listen(
            on_ready=self.reloader.ready,
            on_stillborn=self.reloader.stillborn,
            on_stopped=self.reloader.worker_stopped,
            on_released=self.reloader.worker_released,
        )
        self.first = self.supervisor.start(self.plan, self.rack, 1)
        self.supervisor.promote(self.first)
        self.ready(self.spawner.fakes[0])

    def load(self, tell: Callable[[str], None]) -> Plan | None:
        if self.file is None:
            tell("it is bad")
        return self.file

    def request(self, name: str, *, hard: bool = False) -> None:
        self.reloader.request(lambda success, lines: self.answers.append((name, success, lines)), hard=hard)
        self.turn()

    def ops(self, fake: Fake) -> list[str]:
        self.turn()
        return [message["op"] for message in fake.told]

    def say(self, fake: Fake, op: str) -> None:
        assert fake.channel is not None
        fake.channel.send(op)
        self.turn()

    def end(self, fake: Fake, status: int = 0) -> None:
        fake.end(status)
        self.turn()


@pytest.fixture
def yard() -> Iterator[Yard]:
    made = Yard()
    yield made
    for generation in made.supervisor.generations:
        generation.rack.close()
    made.close()


def elsewhere(plan: Plan) -> Plan:
    """The plan with a second frontend, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        bind = Bind(address=Address("ipv4", "127.0.0.1", probe.getsockname()[1]))
    return replace(plan, frontends=(*plan.frontends, Frontend(name="g", id=2, binds=(bind,))))


def test_the_old_ones_drain_when_all_new_ones_are_ready(yard: Yard) -> None:
    yard.request("a")
    old, new = yard.spawner.fakes
    assert yard.ops(old) == [] and yard.answers == []
    yard.ready(new)
    assert yard.ops(old) == ["heirs", "drain"]
    assert [(n, ok) for n, ok, _ in yard.answers] == [("a", True)]
    assert yard.answers[0][2][-1].endswith("Loading success.")
    assert yard.switched == [yard.plan] and yard.ends == [True]
    assert (yard.reloader.succeeded, yard.reloader.failed) == (1, 0)


def test_a_request_meanwhile_is_answered_by_a_second_reload(yard: Yard) -> None:
    """What was asked while the first one went on may be about a file that the first one did not see."""
    yard.request("a")
    yard.request("b", hard=True)
    yard.request("c")
    assert len(yard.spawner.fakes) == 2
    yard.ready(yard.spawner.fakes[1])
    assert [n for n, _, _ in yard.answers] == ["a"]
    assert yard.ops(yard.spawner.fakes[0]) == ["heirs", "drain"]
    assert len(yard.spawner.fakes) == 3
    yard.ready(yard.spawner.fakes[2])
    assert [n for n, _, _ in yard.answers] == ["a", "b", "c"]
    assert yard.ops(yard.spawner.fakes[1]) == ["heirs", "stop"]  # it was asked to be a hard one
    assert len(yard.spawner.fakes) == 3


def test_a_bad_file_is_told_and_forks_nobody(yard: Yard) -> None:
    yard.file = None
    yard.request("a")
    ((_, success, lines),) = yard.answers
    assert not success and lines[0] == "it is bad" and "Loading failure!" in lines[-1]
    assert list(yard.messages.history)[-2:] == lines
    assert len(yard.spawner.fakes) == 1 and yard.reloader.last_failed and yard.ends == [False]
    yard.file = yard.plan
    yard.request("b")
    yard.ready(yard.spawner.fakes[1])
    assert yard.answers[1][1] and not yard.reloader.last_failed


@pytest.mark.parametrize("failure", ["prepare", "death", "late"])
def test_a_failure_on_the_way_closes_what_was_bound(yard: Yard, failure: str) -> None:
    yard.file = elsewhere(yard.plan)
    if failure == "prepare":

        def refuse(_plan: Plan) -> None:
            raise ConfigError("no room")

        yard.prepared = refuse
    yard.request("a")
    if failure == "death":
        yard.end(yard.spawner.fakes[1], 9)
    elif failure == "late":
        yard.turn(START_S + 0.1)
        assert "stop" in yard.ops(yard.spawner.fakes[1])
    ((_, success, lines),) = yard.answers
    reason = {"prepare": "no room", "death": "ended by signal 9", "late": "were not ready within 30s"}[failure]
    assert not success and any(reason in line for line in lines)
    address = yard.file.frontends[1].binds[0].address
    with socket.socket() as probe:  # SO_REUSEADDR alone: refused while anybody listens there
        probe.bind((address.host, address.port))
    assert yard.supervisor.current is yard.first and yard.ops(yard.spawner.fakes[0]) == []
    assert [s.fileno() >= 0 for s in yard.rack.sockets().values()] == [True, True]


def with_workers(plan: Plan, count: int) -> Plan:
    return replace(plan, global_=replace(plan.global_, nbproc=count))


def test_removed_listeners_are_emptied_first_and_closed_when_the_old_ones_have_stopped(yard: Yard) -> None:
    both = with_workers(elsewhere(yard.plan), 2)
    yard.file = both
    yard.request("a")
    second, third = yard.spawner.fakes[1:]
    yard.ready(second)
    yard.ready(third)
    yard.end(yard.spawner.fakes[0])
    yard.file = yard.plan
    address = both.frontends[1].binds[0].address
    with socket.create_connection((address.host, address.port)):
        yard.request("b")
        yard.ready(yard.spawner.fakes[3])
        assert yard.ops(second) == []  # a connection waits in the queue of what goes away
        yard.turn(QUEUE_S + 0.1)
        assert yard.ops(second) == ["heirs", "drain"]
        shelf = yard.supervisor.generations[0].rack.shelves[both.frontends[1].binds[0].key]
        yard.say(second, "stopped")
        assert shelf.sockets  # the other one may still accept from them
        yard.say(third, "stopped")
        assert not shelf.sockets


def test_surplus_sockets_run_dry_before_they_are_closed(yard: Yard) -> None:
    """With fewer workers the surplus sockets of a group are shared out, until nothing comes to them any more."""
    yard.file = with_workers(yard.plan, 3)
    yard.request("a")
    for fake in yard.spawner.fakes[1:]:
        yard.ready(fake)
    yard.file = with_workers(yard.plan, 2)
    yard.request("b")
    old, one, two = yard.spawner.fakes[3:]
    assert old not in (one, two)
    yard.ready(one)
    yard.ready(two)
    rack = yard.supervisor.generations[-1].rack
    assert len(rack.surplus()) == 1 and [len(one.heritage.share), len(two.heritage.share)] == [2, 1]
    yard.end(two, 9)  # its replacement is about to accept from them
    yard.turn(DRY_S + 0.1)
    assert yard.ops(one) == []
    replacement = yard.spawner.fakes[6]
    yard.ready(replacement)
    yard.turn(DRY_S + 0.1)
    assert yard.ops(one) == yard.ops(replacement) == ["release"] and one.told[-1]["forget"]
    yard.say(one, "released")
    assert len(rack.surplus()) == 1
    yard.say(replacement, "released")
    assert rack.surplus() == []


def test_a_failed_reload_with_fewer_workers_sends_connections_to_all_again(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    steered: list[int] = []
    monkeypatch.setattr("forkproxy.master.reload.steer", lambda shelf: steered.append(shelf.wanted))
    yard.request("a")
    yard.end(yard.spawner.fakes[1], 9)
    assert steered == [2]


def test_whose_idle_clients_have_nowhere_to_go(yard: Yard) -> None:
    """Clients of an address that speaks HTTP no more are not passed on."""
    frontend = replace(yard.plan.frontends[0], mode="http")
    for number, mode in enumerate(("http", "tcp"), 1):
        yard.file = replace(yard.plan, frontends=(replace(frontend, mode=mode),))
        yard.request(mode)
        yard.ready(yard.spawner.fakes[number])
    assert [m["without"] for m in yard.spawner.fakes[1].told if m["op"] == "heirs"] == [[frontend.binds[0].key]]


def test_a_worker_that_survives_too_many_reloads_is_stopped(yard: Yard) -> None:
    yard.file = replace(yard.plan, global_=replace(yard.plan.global_, max_reloads=1))
    for number in (1, 2):
        yard.request(str(number))
        yard.ready(yard.spawner.fakes[number])
    assert [o for o in yard.ops(yard.spawner.fakes[0]) if o != "heirs"] == ["drain", "stop"]
    assert [o for o in yard.ops(yard.spawner.fakes[1]) if o != "heirs"] == ["drain"]
    assert Global().max_reloads > 2
