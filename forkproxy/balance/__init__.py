"""balance: which server a stream goes to. One file per algorithm; what they share stands in ``picker`` (the contract), ``turns`` (weighted
round robin), ``maps`` and ``ring`` (where a hash leads), ``hashing`` and ``keyed``.

Sans I/O: a picker sees the plan, a :class:`~forkproxy.balance.picker.View` of the servers' present state, and the transaction. Queues
and limits are the proxy's; a picker only avoids servers that the view calls full, where HAProxy's algorithm does.
"""

from __future__ import annotations

from forkproxy import plan
from forkproxy.balance import (
    first,
    hash,
    hdr,
    leastconn,
    random,
    rdp_cookie,
    roundrobin,
    source,
    static_rr,
    uri,
    url_param,
)
from forkproxy.balance.picker import SCALE, Picker, View
from forkproxy.registry import ALGORITHMS, Needs

__all__ = ["SCALE", "Picker", "View", "build", "needs"]

#: The modules whose import registers the algorithms.
MODULES = (roundrobin, static_rr, leastconn, first, source, uri, url_param, hdr, random, rdp_cookie, hash)


def build(backend: plan.Backend, view: View) -> Picker:
    """The picker of a backend. Raises KeyError for an algorithm that is not registered: config has refused it before."""
    picker: Picker = ALGORITHMS[backend.balance.algorithm].factory(backend, view)
    return picker


def needs(balance: plan.Balance) -> Needs:
    """What must have been received before a pick (an expression's own needs are added by who compiled it)."""
    wanted = ALGORITHMS[balance.algorithm].extra.get("needs", Needs.NONE)
    result: Needs = wanted(balance.args) if callable(wanted) else wanted
    return result
