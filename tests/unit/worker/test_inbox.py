"""Passing connections on: each goes to exactly one, nothing waits in vain."""

from __future__ import annotations

import socket
from typing import Any

from forkproxy.clock import ManualClock
from forkproxy.net.loop import Loop
from forkproxy.worker.inbox import BATCH, REST_S, Inbox, pair


class Worker:
    def __init__(self, ends: tuple[socket.socket, socket.socket]) -> None:
        self.clock = ManualClock()
        self.loop = Loop(self.clock)
        self.got: list[tuple[socket.socket, dict[str, Any]]] = []
        self.inbox = Inbox(ends, self.loop, lambda sock, note: self.got.append((sock, note)))

    def close(self) -> None:
        for sock, _note in self.got:
            sock.close()
        self.loop.close()


def test_a_connection_goes_to_one_with_its_note_and_what_it_holds() -> None:
    ends = pair()
    one, two = Worker(ends), Worker(ends)
    ours, theirs = socket.socketpair()
    assert one.inbox.give(theirs, {"served": 3})
    theirs.close()
    ours.send(b"request")
    two.loop.run_once(0)
    one.loop.run_once(0)
    assert not one.got
    ((sock, note),) = two.got
    assert note == {"served": 3}
    assert sock.recv(20) == b"request"
    for end in (*ends, ours):
        end.close()
    one.close()
    two.close()


def test_it_takes_a_few_and_leaves_the_next_to_others_for_a_moment_and_who_stopped_takes_none() -> None:
    ends = pair()
    one, two = Worker(ends), Worker(ends)
    ours, theirs = socket.socketpair()
    for n in range(BATCH + 1):
        assert one.inbox.give(theirs, {"n": n})
    two.inbox.stop()
    two.loop.run_once(0)
    assert not two.got
    one.loop.run_once(0)
    assert [note["n"] for _sock, note in one.got] == list(range(BATCH))
    one.loop.run_once(0)
    assert len(one.got) == BATCH
    one.clock.advance(REST_S)
    one.loop.run_once(0)
    one.loop.run_once(0)
    assert len(one.got) == BATCH + 1
    for sock in (*ends, ours, theirs):
        sock.close()
    one.close()
    two.close()


def test_full_is_told_and_what_waits_is_not_lost() -> None:
    ends = pair()
    worker = Worker(ends)
    ours, theirs = socket.socketpair()
    given = 0
    while worker.inbox.give(theirs, {"n": given}):
        given += 1
    assert given > 20
    assert not worker.inbox.take(10_000)
    assert [note["n"] for _sock, note in worker.got] == list(range(given))
    assert worker.inbox.give(theirs, {})
    for sock in (*ends, ours, theirs):
        sock.close()
    worker.close()
