"""Fetches of bodies (manual 7.3.6 "req.body"): they ask for the body to be buffered and see as much as fits."""

from __future__ import annotations

from typing import Any

from forkproxy.registry import Needs, Type, fetch
from forkproxy.rules import inflight, phases
from forkproxy.rules.args import Str
from forkproxy.rules.errors import NotYet
from forkproxy.rules.expr import FetchFn, Multi
from forkproxy.rules.web import params

_REQ: dict[str, Any] = {"needs": Needs.HEADERS | Needs.BODY, "uses": phases.REQUEST}
_RES: dict[str, Any] = {"needs": Needs.RES_HEADERS | Needs.RES_BODY, "uses": phases.RESPONSE}


def _body(txn: Any) -> bytes:
    if not txn.body_done and txn.req is not None and txn.req.body:
        raise NotYet
    return bytes(txn.body)


@fetch("req.body", out=Type.BIN, **_REQ)
def req_body() -> FetchFn:
    """The request's body, or the part of it that is buffered."""
    return _body


@fetch("req.body_len", out=Type.SINT, **_REQ)
def req_body_len() -> FetchFn:
    """How many bytes of the request's body are there."""
    return lambda txn: len(_body(txn))


@fetch("req.body_size", out=Type.SINT, needs=Needs.HEADERS, uses=phases.REQUEST)
def req_body_size() -> FetchFn:
    """The announced length of the request's body, or what is there of it."""
    return lambda txn: max(txn.req.length, len(txn.body)) if txn.req is not None else None


def _parameters(name: bytes, icase: bool) -> Any:
    def values(txn: Any) -> list[bytes]:
        req = txn.req
        if req is None or not (req.get(b"content-type") or b"").lower().startswith(b"application/x-www-form-urlencoded"):
            return []
        wanted = name.lower() if icase else name
        return [v for n, v in params(_body(txn)) if not wanted or (n.lower() if icase else n) == wanted]

    return values


_PARAM_ARGS = (Str(optional=True, default=b""), Str(optional=True, default=b""))


def _icase(option: bytes) -> bool:
    if option not in (b"", b"i"):
        raise ValueError("the only option is 'i'")
    return bool(option)


@fetch("req.body_param", out=Type.BIN, args=_PARAM_ARGS, **_REQ)
def req_body_param(name: bytes, option: bytes) -> Multi:
    """A parameter of a form in the request's body."""
    values = _parameters(name, _icase(option))
    return Multi(lambda txn: found[0] if (found := values(txn)) else None, values)


@fetch("res.body", out=Type.BIN, **_RES)
def res_body() -> FetchFn:
    """The response's body, or the part of it that is buffered."""
    return lambda txn: bytes(txn.res_body)


@fetch("res.body_len", out=Type.SINT, **_RES)
def res_body_len() -> FetchFn:
    """How many bytes of the response's body are there."""
    return lambda txn: len(txn.res_body)


@fetch("res.body_size", out=Type.SINT, needs=Needs.RES_HEADERS, uses=phases.RESPONSE)
def res_body_size() -> FetchFn:
    """The announced length of the response's body, or what is there of it."""
    return lambda txn: max(txn.res.length, len(txn.res_body)) if txn.res is not None else None


@fetch("req.proto_http", "req_proto_http", out=Type.BOOL, needs=Needs.L6, uses=phases.KEPT)
def req_proto_http() -> FetchFn:
    """Is the request valid HTTP? In TCP mode rules wait until its head is whole."""
    return lambda txn: txn.req is not None or inflight.head_of(txn) is not None
