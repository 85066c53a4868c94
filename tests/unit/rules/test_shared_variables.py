"""Process-wide variables in several processes: all agree in the end, and nobody's own count goes back to an earlier one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkproxy.rules import variables
from forkproxy.rules.types import Addr
from forkproxy.rules.variables import LARGEST, PROCESS, Op, Shared, pack, put, unpack


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    with variables.process({}):
        yield


class Worker:
    """One process: its variables, and the packets on their way to it."""

    def __init__(self, number: int) -> None:
        self.held: dict[str, Any] = {}
        self.shared = Shared()
        self.shared.begin(number, lambda: None)
        self.inbox: deque[Op] = deque()

    def set(self, value: Any) -> None:
        with variables.process(self.held):
            put(PROCESS, "proc.x", value)
            self.shared.changed("proc.x")
            self.held = dict(PROCESS)

    def tell(self) -> list[Op]:
        with variables.process(self.held):
            return self.shared.collect()

    def hear(self) -> None:
        with variables.process(self.held):
            self.shared.apply([self.inbox.popleft()])
            self.held = dict(PROCESS)


@pytest.mark.parametrize("value", [b"text \xff", 5, True, Addr("10.0.0.1"), Addr("::1"), None])
def test_values_survive_the_road(value: Any) -> None:
    assert unpack(pack(value)) == value and type(unpack(pack(value))) is type(value)


@given(st.lists(st.tuples(st.sampled_from(["set", "tell", "hear"]), st.integers(0, 2)), max_size=60))
def test_all_agree_in_the_end(deeds: list[tuple[str, int]]) -> None:
    """Whatever the order in which three workers set, tell and hear; what one set stays there until another one's later word comes."""
    workers = [Worker(n) for n in (1, 2, 3)]
    heard: list[Op] = []

    def tell(worker: Worker) -> None:
        for op in worker.tell():
            heard.append(op)
            for other in workers:
                other.inbox.append(op)

    for step, (deed, which) in enumerate(deeds):
        worker = workers[which]
        if deed == "set":
            worker.set(step)
        elif deed == "tell":
            tell(worker)
        elif worker.inbox:
            before, (_, value, number) = worker.held.get("proc.x"), worker.inbox[0]
            worker.hear()
            assert worker.held.get("proc.x") == before or number != worker.shared.number, "the echo of its own earlier word"
            assert worker.held.get("proc.x") in (before, value)
    for worker in workers:
        tell(worker)
    for worker in workers:
        while worker.inbox:
            worker.hear()
    last = heard[-1][1] if heard else None
    assert [worker.held.get("proc.x") for worker in workers] == [last] * 3


def test_what_a_message_cannot_hold_stays_here() -> None:
    worker = Worker(1)
    worker.set(b"x" * (LARGEST + 1))
    assert worker.tell() == []
    worker.set(b"x" * LARGEST)
    assert len(worker.tell()) == 1


def test_nobody_listens() -> None:
    shared = Shared()
    shared.changed("proc.x")
    assert shared.collect() == []
