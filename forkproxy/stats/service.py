"""``http-request use-service prometheus-exporter``: the exporter inside a worker, from the shared segment, through the same code as
the master's endpoint.

A rule that names the service is compiled in the master before any worker exists, so it can hold only the registered function; what
that function shows is bound later:
each worker (and the one process of ``-d``) calls :func:`bind` with its context once at start and again after a reload. Unbound, it
answers 503.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forkproxy import registry
from forkproxy.stats.context import Context
from forkproxy.stats.query import CONTENT_TYPE_OPENMETRICS, CONTENT_TYPE_TEXT, parse_query

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
Handler = Callable[[Any], Answer]

_PLAIN = (b"content-type", b"text/plain; charset=utf-8")


class _Bound:
    """The one thing that a process binds."""

    __slots__ = ("context",)

    def __init__(self) -> None:
        self.context: Context | None = None


_bound = _Bound()


def bind(context: Context) -> Handler:
    """From now on the service shows ``context``; returns the handler for whoever wants to call it directly."""
    _bound.context = context
    return prometheus_exporter


@registry.service("prometheus-exporter")
def factory(words: Any) -> Handler:
    """Answer with the metrics of the service in Prometheus text or OpenMetrics (by Accept).

    Query parameters: scope=global|frontend|backend|server|worker (may repeat), no-maint, metrics=name,-name.
    """
    return prometheus_exporter


def prometheus_exporter(txn: Any) -> Answer:
    """What is bound, as the request asks for it: (status, headers, body)."""
    context = _bound.context
    if context is None:
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
    body = "".join(context.render(query)).encode("utf-8", "surrogateescape")  # for HEAD too: whoever sends it leaves it out
    return 200, [(b"content-type", kind), (b"cache-control", b"no-cache")], body
