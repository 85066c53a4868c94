"""Fetches of the first line of HTTP messages: method, target, version, status, and what of them is kept for the log (manual 7.3.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from forkproxy.registry import Needs, Type, acl_alias, fetch, string_aliases
from forkproxy.rules import phases
from forkproxy.rules.args import Int, Str
from forkproxy.rules.expr import FetchFn
from forkproxy.rules.web import path_of, path_query_of, query_of

if TYPE_CHECKING:
    from forkproxy.rules.txn import Txn

_REQ: dict[str, Any] = {"needs": Needs.HEADERS, "uses": phases.REQUEST}
_KEPT: dict[str, Any] = {"needs": Needs.HEADERS, "uses": phases.KEPT}



@fetch("method", out=Type.METH, **_KEPT)
def method() -> FetchFn:
    """The request's method."""
    return lambda txn: txn.req.method if txn.req is not None else None


@fetch("path", out=Type.STR, **_REQ)
def path() -> FetchFn:
    """The path of the request's target, without scheme, authority and query."""

    def get(txn: Txn) -> bytes | None:
        req = txn.req
        if req is None:
            return None
        target = req.target
        return target.partition(b"?")[0] if target[:1] == b"/" else path_of(target)

    return get


@fetch("pathq", out=Type.STR, **_REQ)
def pathq() -> FetchFn:
    """The path with the query string."""
    return lambda txn: path_query_of(txn.req.target) if txn.req is not None else None


@fetch("url", out=Type.STR, **_REQ)
def url() -> FetchFn:
    """The request's target as it was received."""
    return lambda txn: txn.req.target if txn.req is not None else None


@fetch("query", out=Type.STR, args=(Str(optional=True, default=b""),), **_REQ)
def query(options: bytes) -> FetchFn:
    """What follows the question mark; with ``with_qm`` including it."""
    if options not in (b"", b"with_qm"):
        raise ValueError("the only option is 'with_qm'")
    prefix = b"?" if options else b""

    def get(txn: Txn) -> bytes | None:
        if txn.req is None:
            return None
        found = query_of(txn.req.target)
        return None if found is None else prefix + found if found or prefix else found

    return get


@fetch("base", out=Type.STR, **_REQ)
def base() -> FetchFn:
    """The Host field followed by the path."""

    def get(txn: Txn) -> bytes | None:
        if txn.req is None:
            return None
        return (txn.req.get(b"host") or b"") + (path_of(txn.req.target) or b"")

    return get


@fetch("baseq", out=Type.STR, **_REQ)
def baseq() -> FetchFn:
    """The Host field followed by the path and the query."""

    def get(txn: Txn) -> bytes | None:
        if txn.req is None:
            return None
        return (txn.req.get(b"host") or b"") + (path_query_of(txn.req.target) or b"")

    return get


def _version(head: Any) -> bytes:
    return b"%d.%d" % divmod(head.version, 10)


@fetch("req.ver", "req_ver", out=Type.STR, **_KEPT)
def req_ver() -> FetchFn:
    """The request's protocol version, for example "1.1"."""
    return lambda txn: _version(txn.req) if txn.req is not None else None


@fetch("res.ver", "resp_ver", out=Type.STR, needs=Needs.RES_HEADERS, uses=phases.SERVER)
def res_ver() -> FetchFn:
    """The response's protocol version."""
    return lambda txn: _version(txn.res) if txn.res is not None else None


@fetch("status", out=Type.SINT, needs=Needs.RES_HEADERS, uses=phases.SERVER)
def status() -> FetchFn:
    """The response's status code."""
    return lambda txn: txn.res.status if txn.res is not None else txn.status or None


@fetch("server_status", out=Type.SINT, needs=Needs.RES_HEADERS, uses=phases.SERVER)
def server_status() -> FetchFn:
    """The response's status code as the server sent it."""

    def get(txn: Txn) -> int | None:
        found: int | None = txn.marks.get("server_status") if txn.marks is not None else None
        return txn.res.status if found is None and txn.res is not None else found

    return get


@fetch("last_rule_file", out=Type.STR, uses=phases.RUNNING)
def last_rule_file() -> FetchFn:
    """The file of the last rule that ended its set."""
    return _last_rule(lambda place: place[0].encode())


@fetch("last_rule_line", out=Type.SINT, uses=phases.RUNNING)
def last_rule_line() -> FetchFn:
    """The line of the last rule that ended its set."""
    return _last_rule(lambda place: place[1])


@fetch("last_entity", out=Type.STR, uses=phases.RUNNING)
def last_entity() -> FetchFn:
    """The file and the line of the last rule that ended its set, joined by a colon."""
    return _last_rule(_shown)


@fetch("waiting_entity", out=Type.STR, uses=phases.RUNNING)
def waiting_entity() -> FetchFn:
    """The file and the line, joined by a colon, of the rule that was waiting for more bytes or for time to pass when the stream ended."""

    def get(txn: Txn) -> bytes | None:
        place = txn.marks.get("waiting_rule") if txn.marks is not None else None
        return None if place is None else _shown(place)

    return get


def _shown(place: tuple[str, int]) -> bytes:
    return f"{place[0]}:{place[1]}".encode()


def _last_rule(part: Callable[[tuple[str, int]], Any]) -> FetchFn:
    def get(txn: Txn) -> Any:
        place = txn.marks.get("last_rule") if txn.marks is not None else None
        return None if place is None else part(place)

    return get


@fetch("http_first_req", out=Type.BOOL, **_KEPT)
def http_first_req() -> FetchFn:
    """True for the first request of a connection."""
    return lambda txn: txn.t_start <= 0.0 or abs(txn.wall_start - txn.origin.wall_accept) < 1e-9


@fetch("capture.req.method", out=Type.STR, **_KEPT)
def capture_req_method() -> FetchFn:
    """The request's method, also in the response and the log."""
    return lambda txn: txn.req.method if txn.req is not None else None


@fetch("capture.req.uri", out=Type.STR, **_KEPT)
def capture_req_uri() -> FetchFn:
    """The request's path and query, also in the response and the log."""
    return lambda txn: path_query_of(txn.req.target) if txn.req is not None else None


@fetch("capture.req.ver", out=Type.STR, **_KEPT)
def capture_req_ver() -> FetchFn:
    """The request's protocol version with its name, for example "HTTP/1.1"."""
    return lambda txn: b"HTTP/" + _version(txn.req) if txn.req is not None else None


@fetch("capture.res.ver", out=Type.STR, needs=Needs.RES_HEADERS, uses=phases.KEPT)
def capture_res_ver() -> FetchFn:
    """The response's protocol version with its name."""
    return lambda txn: b"HTTP/" + _version(txn.res) if txn.res is not None else None


def _capture(slot: str) -> Callable[[int], FetchFn]:
    def factory(index: int) -> FetchFn:
        """The value kept in a capture slot."""

        def get(txn: Txn) -> bytes | None:
            kept = getattr(txn, slot)
            return kept[index] if kept is not None and index < len(kept) else None

        return get

    return factory


fetch("capture.req.hdr", out=Type.STR, args=(Int(lo=0),), **_KEPT)(_capture("captures_req"))
fetch("capture.res.hdr", out=Type.STR, args=(Int(lo=0),), needs=Needs.RES_HEADERS, uses=phases.SERVER)(_capture("captures_res"))


for _name in ("base", "path", "url"):
    string_aliases(_name, _name)
acl_alias("method", "method", "str")
acl_alias("req_ver", "req.ver", "str")
acl_alias("resp_ver", "res.ver", "str")
