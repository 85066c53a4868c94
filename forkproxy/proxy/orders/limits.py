"""What the operator changes of limits and addresses while a worker runs. The master's plan is changed in the same way, so a worker that is
forked later begins with it.
"""

from __future__ import annotations

from typing import Any

from forkproxy.plan import Address
from forkproxy.proxy import pool
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
    """The new limit is in force already: the master wrote it where all workers see it. It is counted from now on if it was not."""
    srv = server_of(rt, server)
    srv.settle(replace(srv.plan, maxconn=maxconn))
    srv.backend.settle(srv.backend.servers)


@order("set server address")
def set_server_address(rt: Runtime, server: str, address: list[Any], cookie: str) -> None:
    """New connections go to the new address; idle ones to the old address are closed, busy ones end with their streams. Its ``cookie``
    may be made of the address."""
    srv = server_of(rt, server)
    family, host, port, relative = address
    where = Address(family, host, port, port_relative=relative)
    srv.settle(replace(srv.plan, address=where, cookie=cookie.encode("latin-1")))
    srv.backend.settle(srv.backend.servers)
    pool.clear(srv)


@order("set cookies")
def set_cookies(rt: Runtime, backend: str, cookies: dict[str, str]) -> None:
    """Other cookies for servers (by name) of one backend."""
    be = rt.backends.get(backend)
    for srv in be.servers if be is not None else ():
        if srv.name in cookies:
            srv.settle(replace(srv.plan, cookie=cookies[srv.name].encode("latin-1")))
    if be is not None:
        be.settle(be.servers)


@order("set frontend maxconn")
def set_frontend_maxconn(rt: Runtime, frontend: str, maxconn: int) -> None:
    """The same of a frontend."""
    fe = frontend_of(rt, frontend)
    fe.plan = replace(fe.plan, maxconn=maxconn)
    fe.relimit()


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
