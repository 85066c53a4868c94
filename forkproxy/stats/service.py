"""Statistics inside a worker: ``http-request use-service prometheus-exporter`` and the statistics page ("stats enable"), from the shared
segment, through the same code as the master's endpoint.

A rule that names the service, or a section with a page, is compiled in the master before any worker exists, so it can hold only the
registered function; what that function shows is bound later: each worker (and the one process of ``-d``) calls :func:`bind` once at its
start. Unbound, it answers 503. Nothing else of this room is imported before a file asks for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from forkproxy import registry

if TYPE_CHECKING:
    from forkproxy.plan import StatsPage, Step
    from forkproxy.stats.context import Context
    from forkproxy.stats.forms import Form
    from forkproxy.stats.history import History

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
Handler = Callable[[Any], Answer | None]
#: ``manage(form, done)`` has a form carried out, wherever that is done; ``done(one of forms.MEANING)`` is called once, later
Manage = Callable[["Form", Callable[[str], None]], None]

#: Up to so many objects (proxies, servers) are shown in one turn of the loop.
AT_ONCE = 100

_PLAIN = (b"content-type", b"text/plain; charset=utf-8")


class _Bound:
    """The one thing that a process binds."""

    __slots__ = ("context", "history", "make", "manage")

    def __init__(self) -> None:
        self.make: Callable[[], Context] | None = None
        self.context: Context | None = None
        self.history: History | None = None
        self.manage: Manage | None = None


_bound = _Bound()


def bind(make: Callable[[], Context], manage: Manage | None = None, history: History | None = None) -> Handler:
    """From now on the services show what ``make()`` gives at the first request; returns the exporter for whoever calls it directly."""
    _bound.make, _bound.context, _bound.manage, _bound.history = make, None, manage, history
    return prometheus_exporter


def forget() -> None:
    """The plan may have changed: what is shown is made anew when somebody asks."""
    _bound.context = None


def context() -> Context | None:
    """What is bound."""
    if _bound.context is None and _bound.make is not None:
        _bound.context = _bound.make()
    return _bound.context


def history() -> History | None:
    """The last minutes, where somebody keeps them."""
    return _bound.history


def manage(form: Form, done: Callable[[str], None]) -> None:
    """Have a form carried out."""
    if _bound.manage is None:
        done("UNKN")
    else:
        _bound.manage(form, done)


@registry.service("prometheus-exporter")
def factory(words: Any) -> Handler:
    """Answer with the metrics of the service in Prometheus text or OpenMetrics (by Accept).

    Query parameters: scope=global|frontend|backend|server|listener|sticktable|worker (may repeat), no-maint, metrics=name,-name.
    """
    for module in ("forkproxy.stats.context", "prometheus_client.openmetrics.exposition", "psutil"):
        importlib.import_module(module)  # now, because a worker may live where there are no files (chroot)
    return prometheus_exporter


@registry.page("statistics")
def statistics_page(page: StatsPage) -> Step:
    """The step that answers requests for ``page``."""
    for module in ("forkproxy.stats.context", "forkproxy.stats.history", "psutil"):
        importlib.import_module(module)
    registry.gather("forkproxy.proxy.orders")  # what forms ask of workers
    from forkproxy.stats.page import answering

    return answering(page)


def made_of(txn: Any, fields: list[tuple[bytes, bytes]], slices: Iterator[str], shown: Context, per_turn: int = 1) -> Answer | None:
    """The answer that ``slices`` make: at once where there is little to show. With hundreds of servers it would hold the worker up for
    tenths of a second, so it is made ``per_turn`` slices in a turn of the loop, and sent when it is whole: None."""
    if shown.model.size <= AT_ONCE:
        return 200, fields, "".join(slices).encode("utf-8", "surrogateescape")
    txn.client.loop.call_soon(_go_on, txn, fields, slices, per_turn, [])
    return None


def _go_on(txn: Any, fields: list[tuple[bytes, bytes]], slices: Iterator[str], per_turn: int, parts: list[str]) -> None:
    """A few slices more."""
    from forkproxy.proxy import reply

    if txn.logged:  # the client is gone
        return
    had = len(parts)
    try:
        parts.extend(islice(slices, per_turn))
    except Exception:
        reply.local(txn, 500, [_PLAIN], b"statistics could not be made\n")
        raise
    if len(parts) - had == per_turn:
        txn.client.loop.call_soon(_go_on, txn, fields, slices, per_turn, parts)
    else:
        reply.local(txn, 200, fields, "".join(parts).encode("utf-8", "surrogateescape"))


def prometheus_exporter(txn: Any) -> Answer | None:
    """What is bound, as the request asks for it: (status, headers, body); None: later."""
    from forkproxy.stats.query import CONTENT_TYPE_OPENMETRICS, CONTENT_TYPE_TEXT, parse_query

    shown = context()
    if shown is None:
        return 503, [_PLAIN], b"statistics are not available yet\n"
    head = txn.req
    if head.method not in (b"GET", b"HEAD"):
        return 405, [_PLAIN, (b"allow", b"GET, HEAD")], b"only GET and HEAD\n"
    _, _, raw = head.target.partition(b"?")
    try:
        query = parse_query(raw.decode("latin-1"), head.get(b"accept"))
    except ValueError as error:
        return 400, [_PLAIN], f"{error}\n".encode()
    kind = CONTENT_TYPE_OPENMETRICS if query.openmetrics else CONTENT_TYPE_TEXT
    # for HEAD too: whoever sends it leaves the body out
    return made_of(txn, [(b"content-type", kind), (b"cache-control", b"no-cache")], shown.render(query), shown)
