"""Fetches of the parameters and the authority of a request's target (manual 7.3.6)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from forkproxy.registry import Needs, Type, fetch, string_aliases
from forkproxy.rules import phases
from forkproxy.rules.args import Str
from forkproxy.rules.expr import FetchFn, Multi
from forkproxy.rules.fetches.http_fields import Values, header_addr, pick
from forkproxy.rules.types import Addr, read_int
from forkproxy.rules.web import params, query_of

if TYPE_CHECKING:
    from forkproxy.rules.txn import Txn

_REQ: dict[str, Any] = {"needs": Needs.HEADERS, "uses": phases.REQUEST}



def _param_values(source: Callable[[Any], bytes | None], name: bytes, delimiter: bytes, icase: bool = False) -> Values:
    wanted = name.lower() if icase else name

    def values(txn: Txn) -> list[bytes]:
        text = source(txn)
        if not text:
            return []
        return [v for n, v in params(text, delimiter) if not wanted or (n.lower() if icase else n) == wanted]

    return values


def _query_source(delimiter: bytes) -> Callable[[Any], bytes | None]:
    if delimiter == b"?":
        return lambda txn: query_of(txn.req.target) if txn.req is not None else None

    def get(txn: Txn) -> bytes | None:
        if txn.req is None:
            return None
        found: bytes = txn.req.target.partition(delimiter)[2]
        return found

    return get


_PARAM_ARGS = (Str(optional=True, default=b""), Str(optional=True, default=b"?"), Str(optional=True, default=b""))


@fetch("url_param", "urlp", out=Type.STR, args=_PARAM_ARGS, **_REQ)
def url_param(name: bytes, delimiter: bytes, option: bytes) -> Multi:
    """The value of a parameter of the query string; ``i`` as third argument ignores the case of the name."""
    delimiter = delimiter[:1]
    if option not in (b"", b"i"):
        raise ValueError("the only option is 'i'")
    values = _param_values(_query_source(delimiter), name, delimiter, bool(option))
    return Multi(pick(values, 1), values)


@fetch("urlp_val", "url_param_val", out=Type.SINT, args=_PARAM_ARGS, **_REQ)
def urlp_val(name: bytes, delimiter: bytes, option: bytes) -> Multi:
    """The value of a parameter of the query string as an integer."""
    made = url_param(name, delimiter, option)
    return Multi(
        lambda txn: read_int(v) if (v := made.one(txn)) else None, lambda txn: [read_int(v) for v in made.each(txn) if v]
    )


def _url_host(txn: Txn) -> bytes | None:
    if txn.req is None:
        return None
    found = re.match(rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?@]*@)?([^/?]*)", txn.req.target)
    return found[1] if found is not None else None


@fetch("url_ip", out=Type.IPV4, **_REQ)
def url_ip() -> FetchFn:
    """The IPv4 address in the authority of an absolute target."""

    def get(txn: Txn) -> Addr | None:
        host = _url_host(txn)
        found = header_addr(host) if host is not None else None
        return None if found is None else found.as_v4()

    return get


@fetch("url_port", out=Type.SINT, **_REQ)
def url_port() -> FetchFn:
    """The port in the authority of an absolute target (80 when there is none)."""

    def get(txn: Txn) -> int | None:
        host = _url_host(txn)
        if host is None:
            return None
        port = host.rpartition(b":")[2]
        return int(port) if b":" in host and port.isdigit() else 80

    return get


string_aliases("urlp", "urlp")
