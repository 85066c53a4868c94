"""Idle connections to servers: kept per server, given by the policy of ``http-reuse``, purged when there are too many.

A connection enters by :func:`give` after a complete exchange and leaves by :func:`take` or when the server closes it; while idle it stays
registered, so that its end is seen at once. ``proven`` holds those that carried more than one request already, ``fresh`` the others
(manual: http-reuse safe, aggressive); no more of these are kept than were in use at a time lately. ``handy`` is the proven one that came
last, by itself: a thousand servers have one each, and their lists are not in the cache. Knows nothing of requests but whether it is a
client's first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forkproxy.net.loop import INF, READ
from forkproxy.proxy.sides import close
from forkproxy.state.layout import IDLE_CUR

if TYPE_CHECKING:
    from forkproxy.proxy.backend import ServerRt
    from forkproxy.proxy.stream import Stream
    from forkproxy.proxy.upstream import Upstream


def take(s: Stream, srv: ServerRt) -> Upstream | None:
    """An idle connection to ``srv`` that ``s`` may use, or None.

    A client's first request takes one only where ``http-reuse`` allows that; a request that failed before wants a new one."""
    c = s.client
    if c.own:
        own: Upstream | None = c.own.pop(srv, None)
        if own is not None:
            own.owner = None
            return own
    if s.retries:
        return None
    first = c.served <= 1
    if not first or srv.first_takes_proven:
        up = srv.handy
        if up is not None:
            srv.handy = None
            return up
        if srv.proven:
            return srv.proven.pop()
    if srv.fresh and (not first or srv.first_takes_fresh):
        return srv.fresh.pop()
    return None


def give(up: Upstream, s: Stream) -> None:
    """The exchange over ``up`` is complete and the server keeps the connection: keep it too, if there is room."""
    srv = up.srv
    rt = up.rt
    up.stream = None
    up.ready = _IDLE_READY
    up.expire = _IDLE_TIMEOUT
    if up.mask != READ:
        up.loop.modify(up, READ)
    if srv.exclusive or up.private:
        c = s.client
        if c.own is None:
            c.own = {}
        if s.close_client or c.fd < 0 or srv in c.own or len(c.own) >= c.fe.most_own or srv.fleeting:
            close(up)
            return
        up.owner = c
        up.deadline = INF
        c.own[srv] = up
        return
    if rt.leaving or (srv.bounded and not has_room(srv, up)):
        close(up)
        return
    if up.uses > 1:
        if srv.handy is not None:
            srv.proven.append(srv.handy)
        srv.handy = up
    elif srv.crowded():
        close(up)
        return
    else:
        srv.fresh.append(up)
    # One deadline per connection: whoever was not used for that long goes.
    up.deadline = when = rt.clock.now + srv.idle_limit
    if when < up.armed:
        up.loop.arm(up)


def has_room(srv: ServerRt, up: Upstream) -> bool:
    """Whether ``up`` may be kept under ``max-reuse`` and, over all workers, ``pool-max-conn``."""
    plan, most = srv.plan, srv.most_idle
    if 0 <= plan.max_reuse < up.uses:
        return False
    if most <= 0:
        return most < 0
    # Said before it is asked: of two workers with a connection each for the last place none gets it, rather than both.
    cell = srv.base + IDLE_CUR
    mine, segment = srv.count.row, srv.rt.state.segment
    mine[IDLE_CUR] = had = srv.idle() + 1
    if had <= most and sum([segment.slot(slot)[cell] for slot in segment.live()]) <= most:
        return True
    mine[IDLE_CUR] = had - 1
    return False


def idle_ready(up: Upstream, _mask: int) -> None:
    """An idle connection has no business to be readable: the server closed it, or sent what nobody asked for."""
    remove(up)


def idle_timeout(up: Upstream) -> None:
    """Not used for so long."""
    srv = up.srv
    if srv.idle() <= srv.fewest_idle and up.owner is None:
        up.loop.set_deadline(up, up.rt.clock.now + srv.idle_limit)
        return
    remove(up)


def remove(up: Upstream) -> None:
    """Take an idle connection out of wherever it waits and close it."""
    if up.owner is not None:
        owner, up.owner = up.owner, None
        if owner.own is not None:
            del owner.own[up.srv]
    elif up.srv.handy is up:
        up.srv.handy = None
    else:
        for place in (up.srv.fresh, up.srv.proven):
            if up in place:
                place.remove(up)
                break
    close(up)


def clear(srv: ServerRt) -> None:
    """Close all idle connections of a server (it went down, or the worker drains)."""
    handy, srv.handy = srv.handy, None
    if handy is not None:
        close(handy)
    for place in (srv.fresh, srv.proven):
        while place:
            close(place.pop())


# States as values: see ``sides``.
_IDLE_READY: Final = idle_ready
_IDLE_TIMEOUT: Final = idle_timeout
