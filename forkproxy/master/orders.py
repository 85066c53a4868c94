"""Asking all workers: what a command of the runtime CLI wants of them goes out over every control channel, and comes back as one answer.

An order is a name of ``registry.ORDERS`` with JSON fields; a worker carries it out as one event of its loop, and several in the sequence in
which they were given. A worker that ends or hangs meanwhile does not hold the answer up: what it did not say is missing. Nothing here
blocks.

An order that changes something changes only those who live: whoever gives it also changes the master's own plan or state, so that a worker
forked later has it (``master/changes.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from forkproxy.master.generation import Worker
from forkproxy.net.loop import Loop, Timer
from forkproxy.worker.channel import Message

#: A worker that says nothing for so long is left out of the answer.
PATIENCE_S = 2.0
#: So much text is kept of one worker's answer; the rest is cut off with a word about it.
TEXT_LIMIT = 64 << 20


class Reply:
    """What one worker said: ``value`` (a JSON value; text that came in slices is one string), or ``error`` in words."""

    __slots__ = ("error", "value", "worker")

    def __init__(self, worker: Worker, value: Any, error: str) -> None:
        self.worker = worker
        self.value = value
        self.error = error


#: ``done(replies)``: in the order of the workers, without those that said nothing.
Done = Callable[[list[Reply]], None]


class _Inquiry:
    """One order under way."""

    __slots__ = ("awaited", "done", "number", "replies", "slices", "timer", "workers")

    def __init__(self, number: int, workers: list[Worker], done: Done) -> None:
        self.number = number
        self.workers = workers
        self.awaited = set(workers)
        self.done = done
        self.slices: dict[Worker, list[str]] = {}
        self.replies: dict[Worker, Reply] = {}
        self.timer: Timer | None = None


class Orders:
    """All orders under way."""

    __slots__ = ("_inquiries", "_last", "_loop")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._last = 0
        self._inquiries: dict[int, _Inquiry] = {}

    def give(self, workers: Iterable[Worker], what: str, done: Done = lambda _replies: None, **fields: Any) -> None:
        """Ask ``workers`` to carry out ``what``; ``done`` is called once, never before this returns."""
        chosen = [w for w in workers if w.state in ("starting", "serving", "leaving")]
        self._last += 1
        inquiry = _Inquiry(self._last, chosen, done)
        self._inquiries[self._last] = inquiry
        for worker in chosen:
            worker.channel.send("order", id=inquiry.number, what=what, fields=fields)
        inquiry.timer = self._loop.call_later(PATIENCE_S if chosen else 0.0, self._finish, inquiry)

    def answered(self, worker: Worker, message: Message) -> None:
        """A worker says something about an order: a slice of text, or the end of its answer."""
        inquiry = self._inquiries.get(message["id"])
        if inquiry is None or worker not in inquiry.awaited:
            return
        if "slice" in message:
            said = inquiry.slices.setdefault(worker, [])
            if sum(map(len, said)) < TEXT_LIMIT:
                said.append(message["slice"])
            if inquiry.timer is not None:
                inquiry.timer.cancel()  # it is at it
            inquiry.timer = self._loop.call_later(PATIENCE_S, self._finish, inquiry)
            return
        text = "".join(inquiry.slices.pop(worker, ()))
        inquiry.replies[worker] = Reply(worker, text or message.get("value"), message.get("error", ""))
        self._no_more(inquiry, worker)

    def gone(self, worker: Worker) -> None:
        """A worker has ended: nobody waits for it any more."""
        for inquiry in list(self._inquiries.values()):
            if worker in inquiry.awaited:
                self._no_more(inquiry, worker)

    def _no_more(self, inquiry: _Inquiry, worker: Worker) -> None:
        inquiry.awaited.discard(worker)
        if not inquiry.awaited:
            self._finish(inquiry)

    def _finish(self, inquiry: _Inquiry) -> None:
        if self._inquiries.pop(inquiry.number, None) is None:
            return
        if inquiry.timer is not None:
            inquiry.timer.cancel()
        inquiry.done([inquiry.replies[w] for w in inquiry.workers if w in inquiry.replies])
