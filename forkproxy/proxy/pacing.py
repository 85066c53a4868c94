"""Bandwidth limits (manual 9.7): flows that may not move more than so many bytes in a period.

Theory. A limit is a frequency over a sliding period, as stick tables keep it (``state/frequency.py``): of the stream's own, or of an entry
that the streams of all workers with the same key share: together they keep to the limit, and each of them to an equal part of it by a
frequency of its own. When no reasonable piece is left, the source is not read until one will be. So the first ``limit`` bytes pass at
once, as in HAProxy, and from then on so many per period. Bytes that came together with a head are held back like all others: an answer's
stay in the server's ``inbuf``, a request waits with them for its server. Limited flows are copied, never spliced.

Streams without a limit have ``Flow.pace`` None, which is all they pay. Knows flows and sides; what a limit says is told by
``rules/bandwidth.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkproxy.net.loop import ET, READ
from forkproxy.proxy import dispatch, flow, relay
from forkproxy.proxy.sides import pause, resume
from forkproxy.state import frequency
from forkproxy.state.stickspec import HOLDERS

if TYPE_CHECKING:
    from forkproxy.net.loop import Timer
    from forkproxy.proxy.flow import Flow
    from forkproxy.proxy.sides import Side
    from forkproxy.proxy.stream import Stream
    from forkproxy.rules.bandwidth import Wanted

#: A piece is what the limit allows in this time, unless ``min-size`` says something else: fifty wake-ups in a second, milliseconds.
PIECE_MS = 20
#: Nobody sleeps longer than this at a time: who shares a limit may have gone, and timers of inactivity are started anew, seconds.
NAP_S = 1.0


class Limit:
    """One limit of one stream. ``own`` is its frequency; ``held`` the entry of a shared one, ``cells`` and ``at`` the frequency there."""

    __slots__ = ("at", "cells", "event", "held", "least", "limit", "own", "period", "wanted")

    def __init__(self, wanted: Wanted, now: int) -> None:
        self.wanted = wanted
        rule = wanted.filter
        self.limit, self.period = wanted.limit, wanted.period_ms
        self.own: Any = [now, 0, 0]
        self.cells: Any = None
        self.at = 0
        self.held: Any = None
        self.event: Any = None
        if rule.table is not None:
            table = rule.table.table
            self.held = table.hold_share(wanted.key, now)
            if self.held is not None:
                self.cells, self.at = table.cells, self.held[1] + rule.rate
                self.event = table.events["bytes_in" if rule.inward else "bytes_out"]
        self.least = min(self.limit, rule.least or max(1, self.limit * PIECE_MS // self.period))

    @property
    def works(self) -> bool:
        """Whether there is a limit: not where a table had no room for an entry."""
        return self.wanted.filter.table is None or self.held is not None

    def share(self) -> int:
        """The stream's part of the limit."""
        return self.limit if self.held is None else max(1, self.limit // max(1, self.cells[self.held[1] + HOLDERS]))

    def room(self, now: int) -> int:
        """How many bytes may pass now; less than nothing where shares became smaller."""
        left = self.share() - frequency.read(self.own, 0, self.period, now)
        if self.held is None:
            return left
        return min(left, self.limit - frequency.read(self.cells, self.at, self.period, now))

    def piece(self) -> int:
        """The fewest bytes that are worth a move."""
        return min(self.least, self.share())

    def wait_ms(self, now: int, size: int) -> int:
        """When ``size`` bytes, no more than a share, may pass."""
        own = frequency.wait(self.own, 0, self.period, self.share() - size, now)
        return own if self.held is None else max(own, self.turn_ms(now, size))

    def turn_ms(self, now: int, size: int) -> int:
        """When all those who share the limit leave room for ``size`` bytes; of a limit of its own: when they may pass."""
        if self.held is None:
            return frequency.wait(self.own, 0, self.period, max(0, self.limit - size), now)
        return frequency.wait(self.cells, self.at, self.period, max(0, self.limit - size), now)

    def count(self, now: int, size: int) -> None:
        """``size`` bytes passed."""
        frequency.count(self.own, 0, self.period, size, now)
        if self.held is not None:
            self.held[0].count(self.held, now, ((self.event, size),))

    def close(self, now: int) -> None:
        """The stream needs it no more."""
        held, self.held = self.held, None
        if held is not None:
            held[0].leave_share(held, now, 0, 0)


class Pace:
    """The limits of one flow, and the timer that lets it go on. Made by :func:`attach`, closed by ``Flow.free``."""

    __slots__ = ("clock", "limits", "timer")

    def __init__(self, limits: list[Limit], clock: Any) -> None:
        self.limits = limits
        self.clock = clock
        self.timer: Timer | None = None

    def now(self) -> int:
        """The present, as tables count it."""
        return int(self.clock.now * 1000.0)

    def close(self) -> None:
        """The flow is over."""
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()
        now = self.now()
        for limit in self.limits:
            limit.close(now)
        self.limits = []

    def charge(self, size: int) -> float:
        """``size`` bytes will pass together: seconds until they may."""
        now = self.now()
        wait_ms = max((limit.turn_ms(now, size) for limit in self.limits), default=0)
        for limit in self.limits:
            limit.count(now, size)
        return wait_ms / 1000.0

    def move(self, f: Flow) -> int:
        """As ``flow.move``, with what the limits allow."""
        src, dst = f.src, f.dst
        if dst is not None and dst.out:
            if src.inbuf:
                self.later(f, NAP_S / 10)  # the kernel will not call for bytes that are here already
            pause(src)
            return flow.BLOCKED
        wanted = f.bufsize if f.left < 0 else min(f.left, f.bufsize)
        now = self.now()
        if dst is not None:
            room = min((limit.room(now) for limit in self.limits), default=wanted)
            piece = min(wanted, min((limit.piece() for limit in self.limits), default=1))
            if room < piece:
                self.hold(f, max(limit.wait_ms(now, piece) for limit in self.limits))
                return flow.HELD
            wanted = min(wanted, room)
        held = src.inbuf
        if held:
            data, src.inbuf = held[:wanted], b""
        elif src.eof:
            return flow.ENDED
        else:
            try:
                data = src.sock.recv(wanted)
            except (BlockingIOError, InterruptedError):
                return flow.MORE
            except OSError:
                return flow.SRC_GONE
            if not data:
                src.eof = True
                return flow.ENDED
        what = flow.feed(f, data)
        f.full = flow.SPLICE_AFTER
        rest = held[wanted:]
        if what <= flow.BLOCKED:
            for limit in self.limits:
                limit.count(now, len(data))
            if rest:
                src.inbuf += rest
                if what != flow.DONE:
                    self.later(f, PIECE_MS / 1000)
            elif what == flow.MORE and src.eof:
                return flow.ENDED
        return what

    def hold(self, f: Flow, wait_ms: int) -> None:
        """Do not read the source for a while."""
        src = f.src
        delay_s = min(max(wait_ms, 1) / 1000.0, NAP_S)
        for side in (src, f.dst):
            if side is not None and side.limit_s:
                delay_s = min(delay_s, side.limit_s / 2)
        if src.mask & READ:
            pause(src)
        else:
            src.loop.modify(src, src.mask | ET)  # it broke, which the kernel would tell in every turn; it is found out when it is read
        self.later(f, delay_s)

    def later(self, f: Flow, delay_s: float) -> None:
        """Go on after ``delay_s``, if that was not arranged for yet."""
        if self.timer is None:
            self.timer = f.src.loop.call_later(delay_s, self.again, f)

    def again(self, f: Flow) -> None:
        """It may be time to move something."""
        self.timer = None
        src = f.src
        if src.fd < 0 or f.done:
            return
        for side in (src, f.dst):
            if side is not None and side.peer is not None:
                relay.restart(side)
        if src.mask & ET:
            src.loop.modify(src, src.mask & ~ET)
        resume(src)
        src.ready(src, READ)


def attach(s: Stream, f: Flow | None, inward: bool) -> bool:
    """Let the limits that rules want for ``s`` work on ``f``; those that do already go on. True: there are some."""
    marks = s.marks
    wanted: dict[str, Wanted] = marks.get("bandwidth", {}) if marks is not None else {}
    chosen = [one for one in wanted.values() if one.filter.inward is inward]
    if f is None or not chosen:
        return False
    old = f.pace
    known = {id(limit.wanted): limit for limit in old.limits} if old is not None else {}
    pace = Pace([], s.clock) if old is None else old
    now = pace.now()
    limits = [known.pop(id(one)) if id(one) in known else Limit(one, now) for one in chosen]
    for limit in known.values():
        limit.close(now)
    pace.limits = [limit for limit in limits if limit.works]
    f.pace = pace
    f.full = flow.SPLICE_AFTER  # the short way of a relay is not for us
    return True


def request(s: Stream, f: Flow, body: bytes | bytearray) -> bool:
    """A request with a body is about to look for its server, with ``body`` in its head's company. True: it waits with it, and goes on by
    itself."""
    if not attach(s, f, True):
        return False
    wait_s = f.pace.charge(len(body)) if body and f.pace is not None else 0.0
    if wait_s <= 0.0:
        return False
    s.timer = s.client.loop.call_later(wait_s, allowed, s)
    return True


def allowed(s: Stream) -> None:
    """The first bytes of a request may go."""
    s.timer = None
    if not s.logged:
        dispatch.assign(s)


def is_limited(s: Stream) -> bool:
    """Whether rules want a limit on what the client gets."""
    wanted: dict[str, Wanted] = s.marks.get("bandwidth", {}) if s.marks is not None else {}
    return any(not one.filter.inward for one in wanted.values())


def answer(s: Stream, f: Flow) -> None:
    """The body of an answer begins: its first bytes are in the server's ``inbuf``."""
    attach(s, s.req_flow, True)  # rules of the answer may slow down the rest of the request
    attach(s, f, False)


def both(s: Stream, there: Flow, back: Flow) -> bool:
    """A relay begins, or rules about the server's first bytes have spoken. True: what is left of the client's bytes is passed on from
    here."""
    attach(s, back, False)
    if not attach(s, there, True):
        return False
    if there.pace is not None and (there.src.inbuf or there.src.eof):
        there.pace.later(there, 0.0)
    return True


def first(side: Side) -> bool:
    """The server's first bytes, which rules looked at, are in ``side.inbuf`` and may go. False: nothing limits them."""
    f: Flow = side.flow
    both(side.stream, side.peer.flow, f)
    if f.pace is None:
        return False
    f.pace.later(f, 0.0)
    return True

