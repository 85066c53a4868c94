"""HTTP requests seen by rules of proxies in TCP mode: the head is parsed in flight, out of the first bytes (manual 4, on HTTP upgrades).

A fetch sees the head as ``txn.req`` while it runs; what the bytes turned out to be is remembered among the stream's marks. Knows the
reader of requests.
"""

from __future__ import annotations

from typing import Any

from forkproxy.errors import ProtocolError
from forkproxy.http.message import RequestHead
from forkproxy.http.reader import Limits, parse_request
from forkproxy.rules.errors import NotYet

#: what comes is bounded by the buffer already
_LIMITS = Limits(1 << 20, 101)
#: kinds of rules that run while the first bytes are at hand; an ACL is compiled before it is known where it will be used
KINDS = frozenset({"", "tcp-req-cont", "use-backend", "use-server", "balance", "stick"})


def head_of(txn: Any) -> RequestHead | None:
    """The head that the first bytes are; None: they are no HTTP request, or not the whole of its head. Raises NotYet while it may come."""
    body = txn.body
    marks = txn.marks
    if marks is not None and "in_flight" in marks and marks["in_flight"][0] == len(body):
        found: RequestHead | None = marks["in_flight"][1]
        return found
    try:
        parsed = parse_request(bytes(body), 0, _LIMITS)
    except ProtocolError:
        found = None
    else:
        if parsed is None:
            if txn.body_done:
                return None
            raise NotYet
        found = parsed[0]
    txn.marks = {**(marks or {}), "in_flight": (len(body), found)}
    return found


def seeing(fetch: Any) -> Any:
    """``fetch``, which looks at ``txn.req``, for streams that may have none."""
    if fetch is None:
        return None

    def look(txn: Any) -> Any:
        if txn.req is not None:
            return fetch(txn)
        head = head_of(txn)
        if head is None:
            return None
        txn.req = head
        try:
            return fetch(txn)
        finally:
            txn.req = None

    return look


def seeing_all(each: Any) -> Any:
    """The same of a fetch that gives all its values."""
    one = seeing(each)
    return None if one is None else lambda txn: one(txn) or []
