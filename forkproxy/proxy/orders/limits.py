"""What the operator changes of limits and addresses while a worker runs. The master's plan is changed in the same way, so a worker that is
forked later begins with it.
"""

from __future__ import annotations

from typing import Any

from forkproxy.plan import Address
from forkproxy.proxy import pool, queue
from forkproxy.proxy.backend import ServerRt
from forkproxy.proxy.frontend import FrontendRt
from forkproxy.proxy.runtime import Runtime
from forkproxy.registry import order
from forkproxy.values import replace


def server_of(rt: Runtime, key: str) -> ServerRt:
    """The server ``backend/server``. Raises LookupError."""
    name, _, server = key.partition("/")
    be = rt.backends.get(name)
    for srv in be.servers if be is not None else ():
        if srv.name == server:
            return srv
    raise LookupError("No such server.")


def frontend_of(rt: Runtime, name: str) -> FrontendRt:
    """The frontend ``name``. Raises LookupError."""
    fe = rt.frontends.get(name)
    if fe is None:
        raise LookupError("No such frontend.")
    return fe


@order("set server maxconn")
def set_server_maxconn(rt: Runtime, server: str, maxconn: int) -> None:
    """This worker's part of the new limit holds at once; a queue that may move on does."""
    srv = server_of(rt, server)
    srv.settle(replace(srv.plan, maxconn=maxconn))
    srv.backend.settle(srv.backend.servers)
    queue.freed(srv)


@order("set server address")
def set_server_address(rt: Runtime, server: str, address: list[Any]) -> None:
    """New connections go to the new address; idle ones to the old address are closed, busy ones end with their streams."""
    srv = server_of(rt, server)
    family, host, port, relative = address
    srv.settle(replace(srv.plan, address=Address(family, host, port, port_relative=relative)))
    srv.backend.settle(srv.backend.servers)
    pool.clear(srv)


@order("set frontend maxconn")
def set_frontend_maxconn(rt: Runtime, frontend: str, maxconn: int) -> None:
    """This worker's part of the new limit holds at once; who waits in the kernel's queue is accepted as far as it allows."""
    fe = frontend_of(rt, frontend)
    fe.plan = replace(fe.plan, maxconn=maxconn)
    fe.share = rt.share(maxconn)
    rt.release()


@order("set maxconn")
def set_maxconn(rt: Runtime, maxconn: int) -> None:
    """The same of the whole service's limit."""
    rt.maxconn = rt.share(maxconn)
    rt.release()


@order("set rate-limit")
def set_rate_limit(rt: Runtime, connections: int, sessions: int) -> None:
    """New limits of what is accepted in a second."""
    rt.limit_rate(connections, sessions)
    rt.release()


@order("hold frontend")
def hold_frontend(rt: Runtime, frontend: str, held: str) -> None:
    """``held`` "PAUSED" or "STOP": accept nothing there any more; "": accept again."""
    fe = frontend_of(rt, frontend)
    fe.plan = replace(fe.plan, held=held)
    for listener in fe.listeners:
        if held:
            listener.unwatch()
        elif not rt.paused:
            listener.watch()
