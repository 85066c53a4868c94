"""Streams that wait for a server: each limited server has a queue, and each backend one for streams that any server may take.

A freed slot serves whoever is first of its server's queue and the backend's; order is priority (set by rules), then arrival. Waiting is
bounded by ``timeout queue`` and ``maxqueue``. The limits are this worker's share of ``maxconn``. Knows streams, backends and servers.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from forkproxy.errors import ERRORS
from forkproxy.proxy import dispatch, finish, marks

if TYPE_CHECKING:
    from forkproxy.proxy.backend import ServerRt
    from forkproxy.proxy.stream import Stream

Queue = deque["Stream"]


def wait(s: Stream, srv: ServerRt | None) -> None:
    """Put ``s`` into the queue of ``srv``, or into its backend's."""
    be = s.be
    place: Queue
    if srv is not None and srv.plan.maxqueue and len(srv.waiting) >= srv.plan.maxqueue:
        srv = None  # its queue is full: any server may take it (manual: maxqueue)
    if srv is not None:
        s.queue_srv = len(srv.waiting) + 1
        s.srv = srv
        place = srv.waiting
    else:
        s.queue_be = len(be.waiting) + 1
        place = be.waiting
    at = len(place)
    mine = marks.rank(s)
    while at and marks.rank(place[at - 1]) > mine:
        at -= 1
    place.insert(at, s)
    s.waiting = place
    be.count_queue(srv, 1)
    limit = marks.timeout(s, "queue", be.plan.timeouts.queue_s)
    if limit is None:
        limit = be.plan.timeouts.connect_s
    if limit is not None:
        s.timer = s.client.loop.call_later(limit, timeout, s)


def leave(s: Stream) -> None:
    """Take ``s`` out of the queue that it waits in."""
    place = s.waiting
    if place is None:
        return
    s.waiting = None
    try:
        ahead = place.index(s)
    except ValueError:
        return
    del place[ahead]
    # What logs tell: how many were served from this queue until it was this one's turn, itself included (observed).
    if s.srv is not None:
        s.queue_srv = max(1, s.queue_srv - ahead)
    else:
        s.queue_be = max(1, s.queue_be - ahead)
    s.t_queue = s.clock.now
    s.be.count_queue(s.srv, -1)
    s.srv = None
    if s.timer is not None:
        s.timer.cancel()
        s.timer = None


def freed(srv: ServerRt) -> None:
    """A slot of ``srv`` is free: the next one in line gets it."""
    be = srv.backend
    while srv.alive and (not srv.maxconn or srv.served < srv.limit()):
        if srv.waiting:
            s = srv.waiting[0]
            if be.waiting and marks.rank(be.waiting[0]) < marks.rank(s):
                s = be.waiting[0]
        elif be.waiting:
            s = be.waiting[0]
        else:
            return
        leave(s)
        dispatch.take(s, srv)


def timeout(s: Stream) -> None:
    """``timeout queue``."""
    s.timer = None
    leave(s)
    finish.fail(s, ERRORS["queue-timeout"])


def redistribute(srv: ServerRt) -> None:
    """``srv`` went down: what waits for it looks for another server."""
    for s in list(srv.waiting):
        leave(s)
        dispatch.assign(s)


def serve_backend(srv: ServerRt) -> None:
    """``srv`` came up: it takes from the backend's queue what it may."""
    if srv.backend.waiting:
        freed(srv)
