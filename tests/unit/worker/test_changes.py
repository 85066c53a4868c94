"""What rules change is told to the master: once per key and turn, in order, not while the master is slow, and not without bound."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from forkproxy.clock import ManualClock
from forkproxy.master.patterns import spread
from forkproxy.rules import variables
from forkproxy.rules.patternfiles import PatternFiles
from forkproxy.rules.types import Addr
from forkproxy.rules.variables import setter
from forkproxy.worker import changes
from forkproxy.worker.changes import Changes


class Channel:
    def __init__(self) -> None:
        self.backlog = 0
        self.sent: list[list[Any]] = []

    def send(self, op: str, ops: list[Any] | None = None, variables: list[Any] | None = None) -> None:
        assert op == "changed"
        self.sent += ops or variables or []


def a_worker() -> tuple[PatternFiles, Channel, Any, Changes]:
    files, channel, loop = PatternFiles(), Channel(), SimpleNamespace(on_turn=[], soon=[], later=[], clock=ManualClock())
    loop.call_soon = lambda fn: loop.soon.append(fn)
    loop.call_later = lambda _s, fn: loop.later.append(fn)
    files.get("virt@m", True)
    files.settle()
    plan: Any = SimpleNamespace(objects={"patterns": files})
    return files, channel, loop, Changes(plan, channel, loop)  # type: ignore[arg-type]


def test_the_last_word_on_a_key_in_order() -> None:
    files, channel, loop, _ = a_worker()
    for key, value in (("a", "1"), ("b", "1"), ("a", "2")):
        files.changed_by_rule(["put", 0, key, value])
    assert files.lists[0].contents.table[b"a"].value == b"2", "here at once"
    assert channel.sent == []
    channel.backlog = 1
    loop.on_turn[0]()
    assert channel.sent == [], "the master is slow"
    channel.backlog = 0
    loop.on_turn[0]()
    assert channel.sent == [["put", 0, "b", "1"], ["put", 0, "a", "2"]]
    loop.on_turn[0]()
    assert len(channel.sent) == 2


def test_bounded_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "WAITING", 3)
    files, channel, loop, told = a_worker()
    for number in range(9):
        files.changed_by_rule(["put", 0, str(number), "x"])
    told.close()
    assert [op[2] for op in channel.sent] == ["0", "1", "2"] and files.announce is None and not loop.on_turn
    told.close()
    files.changed_by_rule(["put", 0, "later", "x"])
    assert len(channel.sent) == 3


def test_the_master_has_it_first() -> None:
    files = PatternFiles()
    files.get("virt@m", True)
    files.settle()
    given: list[Any] = []

    def give(workers: list[Any], what: str, done: Any = None, **fields: Any) -> None:
        assert b"k" in files.lists[0].contents.table, "before anybody is told"
        given.append((workers, what, fields["ops"]))
        if done is not None:
            done([])

    mine, own = SimpleNamespace(process=object()), SimpleNamespace(process=None)
    generation: Any = SimpleNamespace(plan=SimpleNamespace(objects={"patterns": files}), workers={1: mine, 2: own})
    supervisor: Any = SimpleNamespace(orders=SimpleNamespace(give=give))
    finished: list[int] = []
    ops = [["put", 0, "k", "v" * 20_000], ["put", 0, "l", "v" * 20_000]]
    spread(supervisor, generation, ops, lambda: finished.append(1))
    assert given == [([mine], "patterns", ops[:1]), ([mine], "patterns", ops[1:])] and finished == [1]


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    with variables.process({}):
        yield


def test_variables_of_the_process() -> None:
    """Each once with its last value; a slow master is waited for; nothing is told after the end."""
    _, channel, loop, told = a_worker()
    put, forget = (setter(name) for name in ("proc.a", "proc.b"))
    for value in (b"1", b"\xff", 7):
        put(None, value)
    forget(None, b"x")
    forget(None, None)
    tell, = loop.soon
    channel.backlog = 1
    tell()
    assert channel.sent == [] and len(loop.later) == 1
    channel.backlog = 0
    loop.later.pop()()
    assert sorted(channel.sent) == [["proc.a", 7, 0], ["proc.b", None, 0]]
    put(None, 7)
    assert len(loop.soon) == 1 and loop.later == [], "that is no change"
    put(None, True)
    put(None, 1)
    assert len(loop.soon) == 1 and len(loop.later) == 1, "not at once again"
    loop.clock.advance(1.0)
    loop.later.pop()()
    assert channel.sent[2:] == [["proc.a", 1, 0]]
    del channel.sent[2:]
    put(None, Addr("::1"))
    told.close()
    assert channel.sent[2:] == [["proc.a", ["::1"], 0]]
    put(None, 8)
    assert len(loop.soon) == 1 and len(channel.sent) == 3
