"""Backends that come and go while a worker runs, and whether rules may choose them (``add``, ``del``, ``publish`` and ``unpublish
backend``).
"""

from __future__ import annotations

from forkproxy.plan import Backend
from forkproxy.proxy.backend import BackendRt
from forkproxy.proxy.runtime import Runtime
from forkproxy.registry import order
from forkproxy.state.names import backend_key
from forkproxy.values import replace


@order("publish backend")
def publish_backend(rt: Runtime, backend: str, unpublished: bool) -> None:
    """Have the frontends pass over a backend, or no more. Who leaves with another file may not know it."""
    be = rt.backends.get(backend)
    if be is not None:
        be.plan = replace(be.plan, unpublished=unpublished)
        rt.hide()


@order("add backend")
def add_backend(rt: Runtime, backend: str, defaults: str, number: int, row: int) -> None:
    """Take on a backend that inherits from a defaults section of the file; nobody chooses it before it is published."""
    rt.state.names.adopt(backend_key(backend), row)
    model: Backend | None = rt.plan.objects.get(f"defaults/{defaults}")
    if model is None or backend in rt.backends:
        return  # this worker leaves with another file, or was forked with the backend
    rt.backends[backend] = BackendRt(rt, replace(model, name=backend, id=number, added=True, unpublished=True))
    _changed(rt)


@order("backend busy")
def backend_busy(rt: Runtime, backend: str) -> int:
    """How many streams are in a backend."""
    return sum(c.stream is not None and c.stream.be is not None and c.stream.be.name == backend for c in rt.clients)


@order("del backend")
def del_backend(rt: Runtime, backend: str) -> None:
    """Forget a backend that has neither servers nor streams and is not chosen any more."""
    if rt.backends.pop(backend, None) is not None:
        _changed(rt)


def _changed(rt: Runtime) -> None:
    rt.mind_neighbours()
    rt.list_rows()
    rt.hide()
