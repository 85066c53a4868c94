"""An answer that rules hold back: ``http-response pause`` and ``http-response wait-for-body`` (manual 4.4).

What came of the body stays in ``up.inbuf`` as received, never more than a buffer, and the interrupted rule set goes on by calling
``response.begin`` again. States: :func:`gathering` (more of the body is read) and :func:`paused` (nothing is). Knows streams and
framings, no heads but how their bodies end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkproxy.errors import ERRORS, ProtocolError
from forkproxy.http.body import Chunks, payload
from forkproxy.http.message import BodyKind
from forkproxy.net.loop import ET, INF, READ, WRITE
from forkproxy.proxy import captures, finish, flow, marks, response
from forkproxy.rules.verdict import Pause

if TYPE_CHECKING:
    from forkproxy.http.message import ResponseHead
    from forkproxy.proxy.stream import Stream
    from forkproxy.proxy.upstream import Upstream
    from forkproxy.rules.verdict import Verdict

_CHUNKED = BodyKind.CHUNKED
_LENGTH = BodyKind.LENGTH
_BODIES = frozenset({BodyKind.CHUNKED, BodyKind.LENGTH, BodyKind.CLOSE})


class Gathered:
    """What is there of a body that a rule waits for: at least ``least`` bytes (0: all), until ``until`` on the clock."""

    __slots__ = ("chunks", "framed", "head", "least", "until", "used")

    def __init__(self, head: ResponseHead, least: int = 0, until: float = INF) -> None:
        self.head = head
        self.least = least
        self.until = until
        self.chunks = Chunks() if head.body is _CHUNKED else None
        self.framed = bytearray()  # chunks as they would be forwarded
        self.used = 0  # what of the bytes as received is in there

    def take(self, raw: bytes) -> bool:
        """Look at all that came so far; True: that is the whole body. Raises ProtocolError."""
        if self.chunks is None:
            return self.head.body is _LENGTH and len(raw) >= self.head.length
        good, self.used, done = self.chunks.feed(raw, self.used)
        self.framed += good
        return done

    def body(self, raw: bytes) -> bytes:
        """The payload."""
        if self.chunks is not None:
            return payload(bytes(self.framed))
        return raw[: self.head.length] if self.head.body is _LENGTH else raw

    def enough(self, raw: bytes) -> bool:
        """Whether the rule asked for no more than this."""
        least = self.least
        return 0 < least <= max(len(raw), len(self.framed)) and len(self.body(raw)) >= least


def look(up: Upstream, s: Stream, head: ResponseHead) -> None:
    """Show rules that look at bodies what came with the head."""
    if head.body in _BODIES:
        first = Gathered(head)
        try:
            s.res_done = first.take(up.inbuf)
        except ProtocolError:
            s.res_done = True  # whoever forwards it finds out
        s.res_body = first.body(up.inbuf)


def hold(s: Stream, verdict: Verdict) -> None:
    """A rule pauses or waits for the body; ``s.step`` is its place in its set."""
    up = s.up
    head = s.res
    assert up is not None and head is not None
    if isinstance(verdict, Pause):
        s.step += 1
        up.ready = paused
        up.deadline = INF
        up.loop.modify(up, up.mask & ~READ)
        s.timer = up.loop.call_later(verdict.delay_s, over, s)
        return
    assert s.marks is not None  # the rule has left its limits there
    limit_s, least = s.marks["answer_wait"]
    s.marks["gathered"] = gathered = Gathered(head, least, up.rt.clock.now + limit_s)
    up.ready = gathering
    up.expire = timeout
    came(up, s, gathered)


def over(s: Stream) -> None:
    """The pause is over: the next rule, unless the stream ended meanwhile."""
    s.timer = None
    up = s.up
    if up is not None and not s.logged:
        up.loop.modify(up, up.mask & ~ET | READ)
        marks.waited(s)
        go_on(up, s)


def go_on(up: Upstream, s: Stream) -> None:
    """The interrupted rules go on, with what came of the body by now."""
    assert s.res is not None
    response.begin(up, s, s.res, up.inbuf)


def paused(up: Upstream, mask: int) -> None:
    """Events of a server whose answer is paused: it takes the rest of the request, or breaks, which is seen when the answer is read on."""
    if mask & WRITE:
        response.rest_of_request(up, up.stream)
    if mask & ~WRITE:
        up.loop.modify(up, up.mask | ET)  # the kernel would say it in every turn


def gathering(up: Upstream, mask: int) -> None:
    """More of a body that a rule waits for, or its end."""
    s = up.stream
    if mask & WRITE:
        response.rest_of_request(up, s)
        if not mask & ~WRITE:
            return
    gone = False
    try:
        data = up.sock.recv(up.rt.bufsize - len(up.inbuf))
    except (BlockingIOError, InterruptedError):
        return
    except OSError:
        data, gone = b"", True
    if data:
        up.inbuf += data
        came(up, s, s.marks["gathered"])
        return
    up.eof = True
    s.res_done = True  # rules decide with what is there; that it is not whole is found out when it is forwarded
    s.res_body = s.marks["gathered"].body(up.inbuf)
    go_on(up, s)
    if gone and not s.logged:  # the kernel tells it only once
        response.body_moved(up, s, flow.SRC_GONE)


def came(up: Upstream, s: Stream, gathered: Gathered) -> None:
    """Go on if this is what the rule waits for."""
    raw = up.inbuf
    try:
        s.res_done = gathered.take(raw) or len(raw) >= up.rt.bufsize or gathered.enough(raw)
    except ProtocolError as error:
        captures.remember(up.rt, s, False, raw, error)
        s.unanswer()
        finish.fail(s, ERRORS["bad-response"])
        return
    if s.res_done:
        s.res_body = gathered.body(raw)
        go_on(up, s)
        return
    limit = marks.timeout(s, "server", up.srv.server_timeout)
    now = up.rt.clock.now
    up.loop.set_deadline(up, gathered.until if limit is None else min(gathered.until, now + limit))


def timeout(up: Upstream) -> None:
    """The rule has waited long enough, or ``timeout server``."""
    s = up.stream
    s.unanswer()
    finish.fail(s, ERRORS["server-timeout-headers"])
