"""Streams that wait for a server: each limited server has a queue, and each backend one for streams that any server may take.

Slots and order are those of all workers (``state.queues``); what is told here is how a stream gets into a queue and out of it. Waiting
is bounded by ``timeout queue`` and ``maxqueue``. Knows streams, backends and servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkproxy.errors import ERRORS
from forkproxy.proxy import counting, dispatch, finish, marks

if TYPE_CHECKING:
    from forkproxy.proxy.backend import BackendRt, ServerRt
    from forkproxy.proxy.stream import Stream
    from forkproxy.state.queues import Ticket


def wait(s: Stream, srv: ServerRt | None, freed: int = -1) -> bool:
    """Put ``s`` into the queue of ``srv``, or into its backend's; False: the server's queue is full (manual: maxqueue).

    ``freed`` is what ``Queues.freed`` said before all servers were found full."""
    be = s.be
    queues = be.limit()
    if srv is None:
        ticket, mine = queues.join(queues.any, s, marks.rank(s), freed=freed)
    else:
        ticket, mine = queues.join(srv.gate, s, marks.rank(s), most=srv.plan.maxqueue)
    if ticket is None:
        return False
    s.srv = srv
    if srv is not None:
        s.server_id = srv.label  # also of a stream that never gets there
    s.waiting = ticket
    be.count_queue(srv, 1)
    limit = marks.timeout(s, "queue", be.plan.timeouts.queue_s)
    if limit is None:
        limit = be.connect_s
    if limit is not None:
        s.timer = s.client.loop.call_later(limit, timeout, s)
    if mine:
        s.client.loop.call_soon(serve, be)
    return True


def leave(s: Stream) -> None:
    """``s`` waits no more, and nobody serves it."""
    ticket, be = s.waiting, s.be
    if ticket is None:
        return
    mine = be.limit().quit(ticket)
    _out(s, ticket)
    s.srv = None
    if mine:
        s.client.loop.call_soon(serve, be)


def serve(be: BackendRt, everything: bool = False) -> None:
    """Some streams that wait in this worker were given slots: it is their turn. ``everything``: see first whether slots are free."""
    queues = be.limit()
    for ticket in queues.look() if everything else queues.collect():
        s, srv = ticket.item, ticket.gate.owner  # type: ignore[union-attr]  # it has one by now
        _out(s, ticket)
        if srv.redirect:
            s.srv = None
            if srv.gate.leave():
                s.client.loop.call_soon(serve, be)
            dispatch.take(s, srv)
        else:
            dispatch.hold(s, srv)


def _out(s: Stream, ticket: Ticket) -> None:
    """What logs tell of the queue: how many were served from it until it was this one's turn, itself included (observed)."""
    s.waiting = None
    if s.srv is not None:
        s.queue_srv += ticket.place
    else:
        s.queue_be += ticket.place
    s.t_queue = s.clock.now
    s.be.count_queue(s.srv, -1)
    if s.timer is not None:
        s.timer.cancel()
        s.timer = None


def timeout(s: Stream) -> None:
    """``timeout queue``."""
    s.timer = None
    srv = s.srv
    leave(s)
    if srv is not None:
        counting.event(srv.count.row, "conn_errors")
    finish.fail(s, ERRORS["queue-timeout"])


def redistribute(srv: ServerRt) -> None:
    """``srv`` went down: with ``option redispatch`` what waits for it looks for another server; without, it goes on waiting for this one,
    which serves its queue (observed), and may come back."""
    plan = srv.backend.plan
    if srv.gate is None or not plan.redispatch or "persist" in plan.options:
        return
    for ticket in list(srv.gate.tickets):
        s = ticket.item
        leave(s)
        s.redispatched = True
        s.server_id = b"<NOSRV>"
        dispatch.assign(s)
