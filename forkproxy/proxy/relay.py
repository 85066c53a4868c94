"""Bytes both ways between a client and a server, whatever they mean: TCP mode, and HTTP connections that became tunnels.

Each direction is a flow of its own; an end is carried through as a half-close; the session is over when both directions are, or
when a timer or a broken connection says so. Small exchanges are copied by :func:`ready` itself (two calls, as little Python
as possible), a direction that keeps filling its buffer goes to ``flow.move``, which splices. Knows no protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forkproxy.errors import ERRORS
from forkproxy.net import carry, sockets
from forkproxy.net.loop import ERR, ET, HUP, INF, RDHUP, READ, WRITE
from forkproxy.proxy import finish, flow, marks, pacing, tcp
from forkproxy.proxy.flow import SPLICE_AFTER
from forkproxy.proxy.sides import pause, resume

if TYPE_CHECKING:
    from forkproxy.errors import StreamError
    from forkproxy.proxy.backend import BackendRt
    from forkproxy.proxy.flow import Flow
    from forkproxy.proxy.frontend import FrontendRt
    from forkproxy.proxy.sides import Side
    from forkproxy.proxy.stream import Stream
    from forkproxy.proxy.upstream import Upstream


def join(s: Stream, up: Upstream, moved: int = 0) -> None:
    """From now on bytes pass between ``s.client`` and ``up`` until both sides ended.

    ``client.inbuf`` and ``up.out`` hold what was read already and what could not be sent yet; of the client's bytes so many were
    ``moved`` already."""
    c = s.client
    rt = up.rt
    fe: FrontendRt = s.fe
    be: BackendRt = s.be
    if be.stick is not None and not s.mode_http:
        be.stick.store(s)
    old = s.req_flow
    there = flow.Flow(c, up, -1, None, rt.bufsize, rt.pipes)
    back = flow.Flow(up, c, -1, None, rt.bufsize, rt.pipes)
    there.moved = moved
    if old is not None:
        there.moved = old.moved
        old.free()
    if fe.relay_options or be.relay_options:
        tune(fe.relay_options, be.relay_options, there, back)
    s.req_flow, s.res_flow = there, back
    s.req_done = True
    tunnel_s = marks.timeout(s, "tunnel", be.tunnel_s)  # no frontend has a say (as in HAProxy, whatever its defaults hold)
    c.limit_s = tunnel_s if tunnel_s is not None else fe.client_s
    up.limit_s = tunnel_s if tunnel_s is not None else up.srv.server_timeout
    c.flow, up.flow = there, back
    c.peer, up.peer = up, c
    c.ready = up.ready = _READY
    c.expire = up.expire = _TIMEOUT
    mask = READ | RDHUP | WRITE if up.out else READ | RDHUP
    if up.mask:
        up.loop.modify(up, mask)
    else:
        up.loop.add(up, mask)
    restart(c)
    restart(up)
    if be.answer_rules is not None and not s.mode_http:
        tcp.inspect_answer(s, up)
    paced = s.marks is not None and pacing.both(s, there, back)
    if c.inbuf and not paced:
        data, c.inbuf = c.inbuf, b""
        outcome(c, flow.feed(there, data))
        if s.logged:
            return
    if fe.log_early and not s.mode_http:  # a tunnel's line was written with the answer's head
        fe.log_now(s)
    if c.eof and not paced:
        outcome(c, flow.ENDED)
    elif not up.out and not c.mask & READ:
        resume(c)


def passed(up: Upstream) -> None:
    """What was held back of the server's first bytes may go to the client; from now on they all do."""
    up.ready = _READY
    if up.stream.marks is not None and pacing.first(up):
        return
    data, up.inbuf = up.inbuf, b""
    if data:
        outcome(up, flow.feed(up.flow, data))


def tune(front: frozenset[str], rear: frozenset[str], there: flow.Flow, back: flow.Flow) -> None:
    """What options ask of both directions: splice from the first byte on, and whose timers activity starts anew."""
    if "splice-request" in front or "splice-request" in rear:
        there.full = SPLICE_AFTER
    if "splice-response" in front or "splice-response" in rear:
        back.full = SPLICE_AFTER
    there.refresh = "independent-streams" not in rear
    back.refresh = "independent-streams" not in front


def active(a: Side, b: Side) -> None:
    """Bytes moved from ``a`` to ``b``: their timers start anew."""
    restart(a)
    if a.flow.refresh:
        restart(b)


def restart(side: Side) -> None:
    """The inactivity timer of one side starts anew."""
    limit = side.limit_s
    if limit is not None:
        side.deadline = when = side.rt.clock.now + limit
        if when < side.armed:
            side.loop.arm(side)


def due(side: Side) -> float:
    """When the inactivity timer of one side really ends: :func:`ready` notes only when it moved bytes, which is a third of what setting two
    deadlines cost, and a deadline that comes too early is put off."""
    limit, back = side.limit_s, side.peer.flow
    if limit is None:
        return side.deadline
    last: float = side.flow.last
    if back.refresh and back.last > last:
        last = back.last
    return max(side.deadline, last + limit)


def ready(side: Side, mask: int) -> None:
    """One side is readable, writable, or gone. The path of every small exchange in TCP mode."""
    f: Flow = side.flow
    if mask != READ:
        if mask & WRITE:
            if not drained(side):
                return
            if not mask & ~WRITE:
                return
        if f.done or not mask & READ:
            if mask & (HUP | ERR):
                hung_up(side)
            return  # else its end is known, and will be told
    peer: Side = side.peer
    if f.full >= SPLICE_AFTER or peer.out:
        before = f.moved
        what = flow.move(f)
        if f.moved != before:
            active(side, peer)
        if what >= flow.ENDED:
            outcome(side, what)
        return
    got = side.rt.carry(side.fd, peer.fd, f.bufsize)
    size: int
    if isinstance(got, tuple):
        size, rest = got
        peer.out = memoryview(rest)
        peer.loop.modify(peer, peer.mask | WRITE)
        pause(side)
    else:
        size = got
        if size <= 0:
            missing(side, size)
            return
    f.moved += size
    f.full = f.full + 1 if size >= f.bufsize else 0
    f.last = side.rt.clock.now  # both timers start anew: see due()
    if mask & RDHUP and size < f.bufsize:
        ended(side)  # that was all: servers that answer and close are done with an event and a call less


def missing(side: Side, why: int) -> None:
    """Nothing went from ``side`` to the other one."""
    if why == carry.ENDED:
        ended(side)
    elif why != carry.NOTHING:
        outcome(side, flow.SRC_GONE if why == carry.SOURCE_GONE else flow.DST_GONE)


def drained(side: Side) -> bool:
    """A write event: send what waits for ``side``; when all is out its source is read again. False: the session is over or still
    blocked."""
    peer: Side = side.peer
    f: Flow = peer.flow
    try:
        empty = flow.drain_to(f, side)
    except OSError:
        outcome(peer, flow.DST_GONE)
        return False
    active(peer, side)
    if not empty:
        return True
    if peer.eof:
        shut(peer)
    else:
        if peer.mask & ET:
            peer.loop.modify(peer, peer.mask & ~ET)
        resume(peer)
    return side.fd >= 0 and side.stream is not None


def hung_up(side: Side) -> None:
    """Not readable for us (paused, or its end was seen), yet the kernel has something to say: the connection is broken, or closed both
    ways.

    It would say so in every turn while the rest is still on its way to the other side, hence the change to edge triggering."""
    if sockets.outcome(side.sock):
        broken(side.stream, side)
    elif not side.mask & ET:
        side.loop.modify(side, side.mask | ET)


def outcome(side: Side, what: int) -> None:
    """What reading from ``side`` came to."""
    s: Stream = side.stream
    if what < flow.ENDED:
        active(side, side.peer)
    elif what == flow.ENDED:
        ended(side)
    elif what == flow.SRC_GONE:
        broken(s, side)
    else:
        broken(s, side.peer)


def ended(side: Side) -> None:
    """Nothing more comes from ``side``."""
    side.eof = True
    f: Flow = side.flow
    peer: Side = side.peer
    if peer.out or (f.pipe is not None and f.pipe.held):
        pause(side)
    else:
        shut(side)


def shut(side: Side) -> None:
    """Everything from ``side`` was passed on and it ended: when both ended, so does the session."""
    f: Flow = side.flow
    if f.done:
        return
    f.done = True
    peer: Side = side.peer
    back: Flow = peer.flow
    if back.done and not flow.blocked(back):
        over(side.stream)
    else:
        side.rt.outbox.end(side, side.stream)


def tell(side: Side, s: Stream) -> None:
    """The other one is told that ``side`` ended."""
    if s.logged or side.stream is not s:
        return
    peer: Side = side.peer
    pause(side)  # nothing more will come, which the kernel would say in every turn
    sockets.half_close(peer.sock)
    fin_s: float | None = s.fe.client_fin_s if peer is s.client else s.be.server_fin_s
    if fin_s is not None:
        peer.limit_s = fin_s
        peer.loop.set_deadline(peer, peer.rt.clock.now + fin_s)


def broken(s: Stream, side: Side) -> None:
    """One connection broke: whose it was decides the log's flags."""
    if s.req_flow is not None and s.req_flow.done and s.res_flow is not None and s.res_flow.done:
        over(s)
        return
    abort(s, ERRORS["client-abort-data" if side is s.client else "server-abort-data"])


def timeout(side: Side) -> None:
    """``side`` was idle for too long. If it owes us bytes, its direction ends here, which the other side is told, and may answer;
    if it does not take what we have for it, or had ended before, nothing is left to wait for."""
    s = side.stream
    if s is None:
        return
    c = s.client
    now = c.rt.clock.now
    side.deadline = now
    when = due(side)
    if when > now:
        side.loop.set_deadline(side, when)
        return
    side.deadline = INF
    if side is not c and c.deadline <= now:
        timeout(c)  # both are late: the client comes first, whatever the order of descriptors
        if s.logged:
            return
    row = ERRORS["client-timeout-data" if side is c else "server-timeout-data"]
    if side.eof or flow.blocked(side.peer.flow) or s.mode_http:
        abort(s, row)
        return
    if reason(s) is None:
        side.flow.why = row
        s.fe.rt.count_error(s, row)
    outcome(side, flow.ENDED)


def reason(s: Stream) -> StreamError | None:
    """Which timer ended one of the directions."""
    there, back = s.req_flow, s.res_flow
    return (there.why if there is not None else None) or (back.why if back is not None else None)


def abort(s: Stream, row: StreamError) -> None:
    """End both connections; what went wrong first is what the log says."""
    first = reason(s)
    finish.fail(s, first or row, silent=not s.mode_http, counted=first is not None)


def over(s: Stream) -> None:
    """Both directions ended in order."""
    first = reason(s)
    if first is not None:
        abort(s, first)
        return
    up = s.up
    c = s.client
    s.close_client = True
    s.keep_server = False
    c.peer = c.flow = None
    if up is not None:
        up.peer = up.flow = None
    finish.complete(s)


# States as values: see ``sides``.
_READY: Final = ready
_TIMEOUT: Final = timeout
