"""Servers that come and go while a worker runs (``add server``, ``del server``)."""

from __future__ import annotations

from typing import Any

from forkproxy.plan import Server
from forkproxy.proxy import pool
from forkproxy.proxy.backend import ServerRt
from forkproxy.proxy.orders.limits import server_of
from forkproxy.proxy.portable import unpack
from forkproxy.proxy.runtime import Runtime
from forkproxy.registry import order


@order("add server")
def add_server(rt: Runtime, server: Any, row: int) -> None:
    """Take a server on; ``row`` is where it counts. It gets traffic when the master's table says so."""
    made: Server = unpack(server)
    rt.state.names.adopt(made.key, row)
    be = rt.backends.get(made.backend)
    if be is None or made.name in be.by_name:
        return  # this worker leaves with another file, or was forked with the server
    be.settle([*be.servers, ServerRt(rt, be, made, len(be.servers))])
    rt.list_rows()
    rt.refresh()


@order("server busy")
def server_busy(rt: Runtime, server: str) -> int:
    """How many streams are at a server or wait for it. Idle connections are closed when it is removed."""
    try:
        srv = server_of(rt, server)
    except LookupError:
        return 0
    return srv.served + (0 if srv.gate is None else len(srv.gate.tickets))


@order("del server")
def del_server(rt: Runtime, server: str) -> None:
    """Forget a server that has no stream."""
    try:
        srv = server_of(rt, server)
    except LookupError:
        return
    pool.clear(srv)
    for c in rt.clients:
        if c.own and srv in c.own:
            pool.remove(c.own[srv])
        if c.last_srv is srv:
            c.last_srv = None
    if srv.gate is not None:
        srv.backend.limit().close(srv.gate)
    srv.backend.settle([one for one in srv.backend.servers if one is not srv])
    rt.list_rows()
