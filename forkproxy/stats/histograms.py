"""The families of distributions: ``forkproxy_<scope>_<what>_time_seconds``, histograms from the cells that ``proxy.histograms`` writes.

HAProxy's exporter has only means and maxima; these are families of their own, so that quantiles can be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from forkproxy.plan import Plan
from forkproxy.state import layout
from forkproxy.state.counters import Rows
from forkproxy.state.names import backend_key, frontend_key
from forkproxy.stats.columns import Kind

#: what, first cell, help
KINDS: tuple[tuple[str, int, str], ...] = (
    ("queue", layout.QUEUE_HISTOGRAM, "Time that streams waited for a server."),
    ("connect", layout.CONNECT_HISTOGRAM, "Time to get a connection to a server."),
    ("response", layout.RESPONSE_HISTOGRAM, "Time to the head of the answer."),
    ("total", layout.TOTAL_HISTOGRAM, "Time from the first byte of the request to the end of the answer."),
)
_BOUNDS = (*(f"{bound:.6g}" for bound in layout.HISTOGRAM_S), "+Inf")
_SUM = len(_BOUNDS)
#: (labels, cells of the row)
Rowed = tuple[str, list[int]]
Labels = Callable[..., str]


def name(kind: Kind, what: str) -> str:
    """The family."""
    return f"forkproxy_{kind.title.lower()}_{what}_time_seconds"


def rows(plan: Plan, shared: Rows, kind: Kind, labels: Labels, maint: frozenset[str] = frozenset()) -> Iterator[Rowed]:
    """The labels and cells of all objects of one kind, but for servers in ``maint``."""
    if kind is Kind.FRONTEND:
        keys = [(labels(proxy=f.name), frontend_key(f.name)) for f in plan.frontends]
    elif kind is Kind.BACKEND:
        keys = [(labels(proxy=b.name), backend_key(b.name)) for b in plan.backends.values()]
    else:
        keys = [
            (labels(proxy=b.name, server=s.name), s.key) for b in plan.backends.values() for s in b.servers if s.key not in maint
        ]
    for text, key in keys:
        if key in shared.names:  # a worker may not have heard of this row yet
            yield text, shared.totals(key)


#: Which shares of all answers the statistics page shows the times of, and what its CSV calls them.
SHARES = ((0.5, "answer_p50"), (0.95, "answer_p95"), (0.99, "answer_p99"))


def quantile(cells: list[int], first: int, share: float) -> float | None:
    """The time in milliseconds within which ``share`` of all samples were, as even as they may be within a bucket (those in the last one,
    which has no end, count as its beginning); None without samples."""
    counts = cells[first : first + _SUM]
    wanted = share * sum(counts)
    below, begin = 0, 0.0
    for bound, count in zip(layout.HISTOGRAM_S, counts, strict=False):
        if count and below + count >= wanted:
            return float(round(1000.0 * (begin + (bound - begin) * (wanted - below) / count), 1))
        below, begin = below + count, bound
    return float(1000.0 * begin) if counts[-1] else None


def lines(family: str, first: int, text: str, cells: list[int]) -> str:
    """One object's lines of one family; nothing for who had no stream yet."""
    counts = cells[first : first + _SUM]
    if not any(counts):
        return ""
    out, total = [], 0
    for bound, count in zip(_BOUNDS, counts, strict=True):
        total += count
        out.append(f'{family}_bucket{{{text},le="{bound}"}} {total}\n')
    out.append(f"{family}_sum{{{text}}} {cells[first + _SUM] / 1e6:.6f}\n{family}_count{{{text}}} {total}\n")
    return "".join(out)
