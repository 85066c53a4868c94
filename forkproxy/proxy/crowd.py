"""When first requests leave: at once, but those of a crowd when all of it is connected.

Theory. Many clients may begin at once: behind a cut of the network, or a fail-over. Each first request needs a connection of its own, and
who has had his answer asks again before the server has accepted all of them. A server that takes one connection each time it has looked at
all requests, as nginx does, lets the rest wait for seconds when it is the slower one. So a crowd's requests leave when all of it is
connected, which by then the server has accepted (``python -m bench start``: 512 clients, p99 1,250 → 43 ms, haproxy 48 or 600; 2,000:
433 → 197, haproxy 356). This costs clients of a fast server 10 to 20 ms, once in :data:`REST_S` at most.

A crowd is told from load by what came before: where as many connections are begun all the time, nobody waits (clients that come for one
request each had half their rate otherwise). In TCP mode nobody waits either, since nobody overtakes. Who waits is served by nobody yet,
so whatever happens to his stream meanwhile happens as while it connects; there are no more of them than clients. Knows streams, servers'
connections and the loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forkproxy.proxy import tcp, upstream

if TYPE_CHECKING:
    from forkproxy.net.loop import Loop
    from forkproxy.proxy.stream import Stream
    from forkproxy.proxy.upstream import Upstream

#: So many connections begun at once are a crowd (the outbox begins no more at a time).
CROWD: Final = 32
#: How often it is looked at, seconds, and how many connections more mean that it is still coming.
LOOK_S: Final = 0.01
COMING: Final = 64
#: How long its first request waits at most.
GATHER_S: Final = 0.2
#: What comes sooner behind a crowd is no other, nor what comes where since then so many connections were begun in a second: half as many as
#: would let it look as if it were still coming.
REST_S: Final = 2.0
USUAL: Final = COMING / LOOK_S / 2
#: How many leave in a turn.
LEAVING: Final = 128


class Crowd:
    """One worker's: connections over which nothing was sent yet, while others come."""

    __slots__ = ("_begun", "_loop", "_met", "_waiting")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: list[tuple[Upstream, Stream]] = []
        self._met = loop.clock.now - REST_S  # when the last one was met
        self._begun = 0  # connections since it was looked at

    def keep(self, begun: list[tuple[Upstream, Stream]]) -> list[tuple[Upstream, Stream]]:
        """Connections were begun; returns those over which something may be sent now."""
        now = self._loop.clock.now
        if not self._waiting and (len(begun) < CROWD or now < self._met + REST_S or self._begun > USUAL * (now - self._met)):
            self._begun += len(begun)
            return begun
        waiting = [each for each in begun if each[1].mode_http]
        if waiting and not self._waiting:
            self._met = now
            self._begun = 0
            self._loop.call_at(now + LOOK_S, self._look)
        self._waiting += waiting
        self._begun += len(begun)
        return [each for each in begun if not each[1].mode_http]

    def _look(self) -> None:
        """Is more of it coming?"""
        now = self._loop.clock.now
        begun, self._begun = self._begun, 0
        if begun >= COMING and now < self._met + GATHER_S:
            self._loop.call_at(now + LOOK_S, self._look)
        else:
            self._leave()

    def _leave(self) -> None:
        """It goes, so many in a turn; who still comes is its end."""
        leaving, self._waiting = self._waiting[:LEAVING], self._waiting[LEAVING:]
        first_bytes(self._loop, leaving)
        if self._waiting:
            self._loop.call_soon(self._leave)

    def close(self) -> None:
        """All of it goes now."""
        waiting, self._waiting = self._waiting, []
        first_bytes(self._loop, waiting)


def first_bytes(loop: Loop, begun: list[tuple[Upstream, Stream]]) -> None:
    """Send what comes first over connections that were begun. Whatever goes wrong with one of them is its stream's affair."""
    busy = len(begun) > 1  # what clients say first in TCP mode is likely to be there by now: it leaves with the first call
    for up, s in begun:
        try:
            if busy and s.up is up and not s.mode_http:
                tcp.first_bytes(s)
            if s.up is up:
                upstream.try_at_once(up, s)
        except Exception as exc:
            loop.fault(s.client, exc)
