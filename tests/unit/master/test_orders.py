"""Orders: one question to all workers, one answer. Workers are pretended, the clock is driven."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from forkproxy.master.orders import PATIENCE_S, Reply
from tests.unit.master.test_supervisor import KILLED, Fake, House


class Asked(House):
    def __init__(self) -> None:
        super().__init__()
        self.generation = self.start()
        self.answers: list[list[tuple[int, Any, str]]] = []

    def give(self, what: str, **fields: Any) -> None:
        def done(replies: list[Reply]) -> None:
            self.answers.append([(r.worker.number, r.value, r.error) for r in replies])

        self.supervisor.orders.give(self.supervisor.workers(), what, done, **fields)
        assert len(self.answers) == 0
        self.turn()

    def says(self, fake: Fake, **fields: Any) -> None:
        assert fake.channel is not None
        fake.channel.send("answer", id=fake.told[-1]["id"], **fields)
        self.turn()


@pytest.fixture
def asked() -> Iterator[Asked]:
    made = Asked()
    yield made
    made.close()


def test_everybody_is_asked_and_answers_come_in_the_order_of_workers(asked: Asked) -> None:
    one, two = asked.spawner.fakes
    asked.give("sing", song="x")
    assert [m["fields"] for fake in (one, two) for m in fake.told if m["op"] == "order" and m["what"] == "sing"] == [{"song": "x"}] * 2
    asked.says(two, value={"b": 2})
    assert asked.answers == []
    asked.says(one, error="no voice")
    assert asked.answers == [[(1, None, "no voice"), (2, {"b": 2}, "")]]
    asked.says(one, value="again")  # nobody listens any more
    asked.turn(PATIENCE_S + 1)
    assert len(asked.answers) == 1


def test_slices_are_one_text_and_whoever_is_at_it_is_waited_for(asked: Asked) -> None:
    one, two = asked.spawner.fakes
    asked.give("sing")
    asked.says(two, value="")
    for part in ("a", "b", "c"):
        asked.turn(PATIENCE_S - 0.1)
        asked.says(one, slice=part)
    assert asked.answers == []
    asked.says(one, value="")
    assert asked.answers == [[(1, "abc", ""), (2, "", "")]]


@pytest.mark.parametrize("end", ["silence", "death"])
def test_who_says_nothing_is_missing(asked: Asked, end: str) -> None:
    one, two = asked.spawner.fakes
    asked.give("sing")
    asked.says(two, value=1)
    if end == "death":
        one.end(KILLED)
    else:
        asked.alive()
        asked.turn(PATIENCE_S)
    assert asked.answers == [[(2, 1, "")]]


def test_nobody_to_ask_is_an_answer_too(asked: Asked) -> None:
    asked.supervisor.stop_all()
    asked.give("sing")
    assert asked.answers == [[]]
