"""From a request (or a TCP session) to an established connection: server choice, pool, dial, retries, redispatch.

Serves both modes: what happens once a connection stands is ``s.mode_http`` → ``upstream.transmit`` or ``relay.join``. Retries follow
the manual ("retries", "option redispatch", "retry-on"): a turn-around delay before the same server is tried again, none before another
one. Knows pickers, pools and dialling.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from forkproxy.errors import ERRORS, StreamError
from forkproxy.net.loop import INF
from forkproxy.proxy import client, counting, finish, flow, marks, pool, queue, reply, upstream
from forkproxy.proxy.sides import close, pause, resume

if TYPE_CHECKING:
    from forkproxy.proxy.backend import BackendRt, ServerRt
    from forkproxy.proxy.stream import Stream

#: Longest turn-around delay before the same server is tried again, seconds (manual: retries).
TURN_AROUND_S = 1.0

#: errno of a connection attempt → row of errors.ERRORS
_RESOURCE = frozenset({errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN})


def assign(s: Stream) -> None:
    """Choose a server for ``s`` and get a connection to it."""
    be: BackendRt = s.be
    if be.direct and s.avoid is None and not s.client.own:
        i = be.picker.pick(s)
        if i is None:
            finish.fail(s, ERRORS["no-server"])
        else:
            hold(s, be.servers[i])
        return
    if be.by_algorithm and s.avoid is None and not s.client.own:
        balance(s)
        return
    srv = None
    kept = s.kept
    if s.avoid is None:  # else what was chosen failed
        if kept is not None:
            srv = kept.rule.choose(s, kept)
        elif be.use_server is not None:
            srv = be.use_server(s)
    if be.stick is not None:
        stuck = be.stick.choose(s)  # asked in any case: what is to be stored is noted there
        if srv is None and stuck is not None:
            srv = stuck
            if kept is not None:
                kept.server = srv
    if srv is None and be.prefer_last and s.client.last_srv is not None and not s.retries and stays(be, s.client.last_srv):
        srv = s.client.last_srv
    if s.client.own and srv is None and not s.retries and be.may_stay:
        # it knows by this connection who the client is
        srv = next((own for own, up in s.client.own.items() if up.private and stays(be, own)), None)
    if srv is not None:
        s.elected = srv
        take(s, srv, chosen=True)
    else:
        balance(s)


def balance(s: Stream) -> None:
    """The server that the algorithm gives, or the backend's queue when all are full."""
    be = s.be
    queues = be.queues
    freed = -1 if queues is None else queues.freed()
    for _ in range(len(be.servers) + 1):
        srv = be.pick(s)
        if srv is None:
            if be.has_usable():
                queue.wait(s, None, freed)
            else:
                finish.fail(s, ERRORS["no-server"])
            return
        gate = srv.gate
        if gate is None or srv.redirect or not be.may_stay:
            break
        if gate.enter():
            hold(s, srv)
            return
        if not be.full(srv.index):
            break  # it takes more than it serves
        # Another worker was faster, and the picker knows it now.
    assert srv is not None
    take(s, srv)


def stays(be: BackendRt, last: ServerRt) -> bool:
    """Whether a client's next request goes to the server of its previous one (options prefer-last-server, max-keep-alive-queue)."""
    if last.backend is not be or not last.usable:
        return False
    return be.keep_queue is None or not last.full() or last.waiting() < be.keep_queue


def take(s: Stream, srv: ServerRt, *, chosen: bool = False) -> None:
    """Use ``srv`` now, or wait for one of its slots. ``chosen``: not by the algorithm, which may be asked when its queue is full, too."""
    if srv.redirect and s.req is not None and s.req.method in (b"GET", b"HEAD"):
        reply.to_server(s, srv)
        return
    gate = srv.gate
    if gate is None or gate.enter():
        hold(s, srv)
    elif not queue.wait(s, srv):
        if chosen and s.be.plan.redispatch:
            balance(s)
        else:
            s.server_id = srv.label
            counting.event(srv.count.row, "conn_errors")
            finish.fail(s, ERRORS["queue-full"])


def hold(s: Stream, srv: ServerRt) -> None:
    """``srv`` serves ``s`` from now on: counted, then connected."""
    s.srv = srv
    s.server_id = srv.label
    s.t_queue = s.clock.now
    srv.begin(s)
    if s.mode_http:
        be: BackendRt = s.be
        if be.naming is not None:
            s.sending = be.naming(s.sending, srv.label)
        up = pool.take(s, srv)
        if up is not None:
            upstream.transmit(up, s)
            return
    s.client.rt.outbox.dial(s, srv)


def release(s: Stream) -> None:
    """``s.srv`` no longer serves ``s``; whoever waits for a slot gets it."""
    srv = s.srv
    if srv is not None and s.attempted and srv.end(s):
        s.client.loop.call_soon(queue.serve, srv.backend)


def failed(s: Stream, row: StreamError) -> None:
    """A connection attempt came to nothing: try again or give up."""
    be, srv = s.be, s.srv
    if srv.watch is not None:
        srv.watch.refused()
    retries = marks.retries(s)
    if s.retries >= retries or s.body_sent or "conn-failure" not in be.plan.retry_on:
        finish.fail(s, row)
        return
    s.retries += 1
    if redispatches(s, retries):
        # Somewhere else, so at once. The call goes through the loop: a row of dead servers must not become a row of frames.
        s.timer = s.client.loop.call_later(0.0, elsewhere, s)
        return
    if row is _TIMED_OUT:
        again(s)  # it has waited long enough
        return
    connect_s = be.connect_s
    delay = TURN_AROUND_S if connect_s is None else min(TURN_AROUND_S, connect_s)
    s.timer = s.client.loop.call_later(delay, again, s)


_TIMED_OUT = ERRORS["connect-timeout"]


def repeat(s: Stream) -> None:
    """A server's answer, or the lack of one, is worth another attempt: at once, elsewhere if that is allowed."""
    if redispatches(s, marks.retries(s)):
        s.timer = s.client.loop.call_later(0.0, elsewhere, s)
    else:
        again(s)


def again(s: Stream) -> None:
    """The turn-around delay is over: the same server again, if it is still usable."""
    s.timer = None
    srv = s.srv
    if not srv.alive and s.be.plan.redispatch and not (s.kept is not None and s.kept.forced):
        elsewhere(s)
        return
    s.be.count_retry(srv)
    upstream.dial_for(s, srv)


def elsewhere(s: Stream) -> None:
    """Leave the server that failed and choose anew; it is given again only when there is no other."""
    s.timer = None
    srv = s.srv
    release(s)
    s.redispatched = True
    if s.kept is not None:
        s.kept.lost()
    s.be.count_redispatch(srv, balanced=s.elected is not srv)
    s.elected = None
    s.avoid = srv
    s.srv = None
    s.server_id = b"<NOSRV>"
    assign(s)


def redispatches(s: Stream, retries: int) -> bool:
    """Whether this retry goes to another server: with N every Nth one, with -N every Nth counted from the last (manual: option
    redispatch).

    Round robin goes on to its next server at every retry, as in HAProxy."""
    be, srv = s.be, s.srv
    every: int = be.plan.redispatch
    if not every or (s.kept is not None and s.kept.forced):
        return False
    if be.usable_count() < 2:
        return False
    step = every if every > 0 else retries + 1 + every
    return not srv.alive or be.round_robin or (step > 0 and s.retries % step == 0)


def classify(exc: OSError) -> StreamError:
    """What a failed connect means."""
    if exc.errno == errno.EMFILE:  # this process's own limit
        return ERRORS["descriptors-connect"]
    if exc.errno in _RESOURCE:
        return ERRORS["resource-connect"]
    return ERRORS["connect-refused"]


def body_moved(s: Stream, outcome: int) -> None:
    """A piece of the request's body went (or did not go) to the server."""
    c, up = s.client, s.up
    if outcome == flow.MORE:
        touch_body(s)
    elif outcome == flow.DONE:
        s.req_done = True
        upstream.request_sent(s)
    elif outcome == flow.BLOCKED:
        touch_body(s)
    elif outcome == flow.HELD:
        c.deadline = INF
        if up is not None:
            up.deadline = INF
    elif outcome in (flow.ENDED, flow.SRC_GONE):
        finish.client_gone(s)
    elif outcome == flow.BAD:
        finish.fail(s, ERRORS["bad-request-data" if s.status else "bad-request-headers"], silent=True)
    elif outcome == flow.DST_GONE:
        # The server may have answered before it closed: read that first.
        s.keep_server = False
        if s.req_flow is not None:
            s.req_flow.dst = None
            s.body_sent = s.req_flow.copy is None
        pause(c)
        if up is not None:
            resume(up)


def touch_body(s: Stream) -> None:
    """While a body is on its way, the client's and the server's inactivity timers run from the last movement."""
    c, up = s.client, s.up
    now = c.rt.clock.now
    limit = marks.timeout(s, "client", c.fe.client_s)
    if limit is not None:
        c.expire = client.client_timeout
        # A client that stalls in the middle of its body is given twice the time (observed behaviour).
        c.loop.set_deadline(c, now + 2 * limit)
    if up is not None:
        limit = marks.timeout(s, "server", up.srv.server_timeout)
        if limit is not None:
            up.loop.set_deadline(up, now + limit)


def abandon(s: Stream) -> None:
    """Give up whatever ``s`` holds or waits for on the server's side."""
    if s.timer is not None:
        s.timer.cancel()
        s.timer = None
    if s.waiting is not None:
        queue.leave(s)
    up = s.up
    if up is not None:
        s.up = None
        s.ends = up.named
        close(up)
    if s.srv is not None:
        release(s)
