"""Decisions of a reload, with pretended workers, a clock that is driven and files that are a variable."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from forkproxy.errors import ConfigError
from forkproxy.master.reload import DRY_S, QUEUE_S, READY_S, Reloader
from forkproxy.plan import Address, Bind, Frontend, Global, Plan
from tests.unit.master.test_supervisor import Fake, House


class Yard(House):
    """A house with a reloader; ``file`` is what reading gives (None: it is bad), ``answers`` what requesters got."""

    def __init__(self) -> None:
        super().__init__()
        self.file: Plan | None = self.plan
        self.answers: list[tuple[str, bool, list[str]]] = []
        self.prepared: Callable[[Plan], None] = lambda _plan: None
        self.ends: list[bool] = []
        self.switched: list[Plan] = []
        self.reloader = Reloader(
            self.loop, self.supervisor, self.messages, self.load, inline=True,
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
        yard.turn(READY_S + 0.1)
        assert "stop" in yard.ops(yard.spawner.fakes[1])
    ((_, success, lines),) = yard.answers
    reason = {"prepare": "no room", "death": "ended by signal 9", "late": "were not ready within 10s"}[failure]
    assert not success and any(reason in line for line in lines)
    address = yard.file.frontends[1].binds[0].address
    with socket.socket() as probe:  # SO_REUSEADDR alone: refused while anybody listens there
        probe.bind((address.host, address.port))
    assert yard.supervisor.current is yard.first and yard.ops(yard.spawner.fakes[0]) == []
    assert [s.fileno() >= 0 for s in yard.rack.sockets().values()] == [True, True]


def test_removed_listeners_are_emptied_first_and_closed_when_the_old_ones_have_stopped(yard: Yard) -> None:
    both = elsewhere(yard.plan)
    yard.file = both
    yard.request("a")
    yard.ready(yard.spawner.fakes[1])
    yard.end(yard.spawner.fakes[0])
    second = yard.spawner.fakes[1]
    yard.file = yard.plan
    address = both.frontends[1].binds[0].address
    with socket.create_connection((address.host, address.port)):
        yard.request("b")
        yard.ready(yard.spawner.fakes[2])
        assert yard.ops(second) == []  # a connection waits in the queue of what goes away
        yard.turn(QUEUE_S + 0.1)
        assert yard.ops(second) == ["heirs", "drain"]
        shelf = yard.supervisor.generations[0].rack.shelves[both.frontends[1].binds[0].key]
        assert shelf.sockets
        assert second.channel is not None
        second.channel.send("stopped")
        yard.turn()
        assert not shelf.sockets


def test_surplus_sockets_run_dry_before_they_are_closed(yard: Yard) -> None:
    """The first rack was made for two workers; one that serves alone accepts from both sockets for a while."""
    yard.request("a")
    new = yard.spawner.fakes[1]
    yard.ready(new)
    rack = yard.supervisor.generations[-1].rack
    assert len(rack.surplus()) == 1 and len(new.heritage.share) == 2
    yard.turn(DRY_S + 0.1)
    assert yard.ops(new) == ["release"] and new.told[-1]["forget"] and len(rack.surplus()) == 1
    assert new.channel is not None
    new.channel.send("released")
    yard.turn()
    assert rack.surplus() == []


def test_a_worker_that_survives_too_many_reloads_is_stopped(yard: Yard) -> None:
    yard.file = replace(yard.plan, global_=replace(yard.plan.global_, max_reloads=1))
    for number in (1, 2):
        yard.request(str(number))
        yard.ready(yard.spawner.fakes[number])
    assert [o for o in yard.ops(yard.spawner.fakes[0]) if o != "heirs"] == ["drain", "stop"]
    assert [o for o in yard.ops(yard.spawner.fakes[1]) if o != "heirs"] == ["drain"]
    assert Global().max_reloads > 2
