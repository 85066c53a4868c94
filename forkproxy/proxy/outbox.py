"""What leaves together: new connections with their first bytes, requests over connections that stand, and answers in one piece.

Theory. A busy turn has dozens of streams. What each of them sends at once, by itself, wakes its receiver by itself: the sender's kernel
pays for that (1.8 wake-ups and more than 10 µs of system time for a request, where servers and clients have cores of their own and are
faster than we are), and the receiver sleeps again before the next one comes. So messages wait until the ready descriptors of a turn were
looked at, or until :data:`TOGETHER` of them wait, and leave one right behind the other: 0.1 wake-ups. A turn with one event sends at its
end, which is at once. New connections are all begun before the first bytes are sent over any of them: a server that is woken by the one
is still awake for the others, and for what they bring (4 to 6 % of a request on a new connection).

When many clients begin at once, first requests wait longer than that: see ``crowd``. Ends of connections wait, too, for a turn or
two: see :meth:`Outbox.end`.

What has a body still to come does not go this way: its pieces would overtake the head. Who waits here is where he was as far as everybody
else is concerned, so a stream that ends meanwhile is passed over. Knows sides and streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forkproxy.proxy import finish, relay, upstream
from forkproxy.proxy.crowd import Crowd, first_bytes

if TYPE_CHECKING:
    from forkproxy.net.loop import Loop
    from forkproxy.proxy.backend import ServerRt
    from forkproxy.proxy.sides import Side
    from forkproxy.proxy.stream import Stream
    from forkproxy.proxy.upstream import Upstream

#: How many messages wait at most: the first of them a millisecond at the rate of a saturated worker.
TOGETHER: Final = 32
#: Of so many events in a turn more are likely to come at once.
BUSY: Final = 4
#: So many turns a connection has to end by itself before it is told that the other one did.
PATIENCE: Final = 2


class Outbox:
    """One worker's. It is emptied by the loop, behind the ready descriptors and at the end of each turn."""

    __slots__ = ("_answers", "_crowd", "_dials", "_ends", "_loop", "_requests")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._dials: list[tuple[Stream, ServerRt]] = []
        self._requests: list[tuple[Upstream, Stream]] = []
        self._answers: list[tuple[Stream, bytes]] = []
        self._ends: list[tuple[int, Side, Stream]] = []
        self._crowd = Crowd(loop)
        loop.on_ready.append(self.send)
        loop.on_turn.append(self.send)

    def dial(self, s: Stream, srv: ServerRt) -> None:
        """``s``, which ``srv`` serves from now on, needs a new connection."""
        self._dials.append((s, srv))
        if len(self._dials) >= TOGETHER:
            self.send()

    def request(self, up: Upstream, s: Stream) -> None:
        """``s.sending``, all of it, is to go over ``up``, which is idle no more."""
        self._requests.append((up, s))
        if len(self._requests) >= TOGETHER:
            self.send()

    def answer(self, s: Stream, data: bytes) -> None:
        """``data`` is all that the client of ``s`` gets; nothing waits for that client before it. Then ``s`` is complete."""
        self._answers.append((s, data))
        if len(self._answers) >= TOGETHER:
            self.send()

    def end(self, side: Side, s: Stream) -> None:
        """``side`` of ``s`` ended, which the other one is told: at the end of this turn, on a busy machine :data:`PATIENCE` turns later. By
        then it may have gone as well, as clients do that got what they wanted, which saves two calls (7 % of a short session)."""
        loop = self._loop
        if not self._ends:
            loop.call_soon(self._tell)
        self._ends.append((loop.turns + PATIENCE if loop.events >= BUSY else 0, side, s))

    def _tell(self) -> None:
        turn = self._loop.turns
        ends, self._ends = self._ends, [end for end in self._ends if end[0] > turn and not end[2].logged]
        if self._ends:
            self._loop.call_soon(self._tell)
        for when, side, s in ends:
            if when <= turn:
                try:
                    relay.tell(side, s)
                except Exception as exc:
                    self._loop.fault(side, exc)

    def send(self) -> None:
        """Send what waits. Whatever goes wrong with one message is its stream's affair."""
        if self._dials:
            self._dial()
        if self._requests:
            requests, self._requests = self._requests, []
            for up, s in requests:
                if s.up is up:
                    try:
                        upstream.ask(up, s)
                    except Exception as exc:
                        self._loop.fault(up, exc)
        if self._answers:
            answers, self._answers = self._answers, []
            told: list[Stream] = []
            for s, data in answers:
                try:
                    if not s.logged and finish.say(s, data):
                        told.append(s)
                except Exception as exc:
                    self._loop.fault(s.client, exc)
            for s in told:
                try:
                    finish.complete(s)
                except Exception as exc:
                    self._loop.fault(s.client, exc)

    def _dial(self) -> None:
        dials, self._dials = self._dials, []
        begun: list[tuple[Upstream, Stream]] = []
        for s, srv in dials:
            if s.attempted and s.srv is srv and s.up is None:
                try:
                    up = upstream.dial(s, srv)
                    if up is not None:
                        begun.append((up, s))
                except Exception as exc:
                    self._loop.fault(s.client, exc)
        first_bytes(self._loop, self._crowd.keep(begun))

    def close(self) -> None:
        """Send what waits; nothing more will."""
        self.send()
        self._crowd.close()
        self._loop.on_ready.remove(self.send)
        self._loop.on_turn.remove(self.send)
