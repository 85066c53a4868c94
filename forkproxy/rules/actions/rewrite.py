"""Actions that change the start line: method, path, query, target, status (manual 4.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from forkproxy.plan import Render, Step
from forkproxy.registry import Needs, action
from forkproxy.rules.action import HTTP_AFTER, HTTP_REQ, HTTP_RES, Parser, keep_request_line, mark
from forkproxy.rules.actions.headers import replacing
from forkproxy.rules.web import origin_of, path_query_of
from forkproxy.rules.words import to_bytes

if TYPE_CHECKING:
    from forkproxy.http.message import RequestHead, ResponseHead
    from forkproxy.rules.txn import Txn

_REQ = (HTTP_REQ,)
#: ``build(target, value) -> target``: the request's target with one part exchanged
_Build = Callable[[bytes, bytes], bytes]


def _with_pathq(target: bytes, pathq: bytes) -> bytes:
    return origin_of(target) + pathq


def _with_path(target: bytes, path: bytes) -> bytes:
    _, mark, query = target.partition(b"?")
    return origin_of(target) + path + mark + query


def _with_query(target: bytes, query: bytes) -> bytes:
    path = target.partition(b"?")[0]
    return path + b"?" + query if query else path


def _with_uri(target: bytes, uri: bytes) -> bytes:
    return uri


def _put(req: RequestHead, target: bytes) -> None:
    """Exchange the target; Host follows the authority of an absolute one (as in HAProxy, and RFC 9112 3.2.2 wants them equal)."""
    req.set_target(target)
    if target[:1] == b"/":
        return
    origin = origin_of(target)
    if origin:
        host = origin.partition(b"://")[2].rpartition(b"@")[2]
        if req.get(b"host") is None:
            req.add(b"Host", host)
        else:
            req.replace_all([(name, host if name.lower() == b"host" else value) for name, value in req.items()])


def _setter(p: Parser, build: _Build) -> Step:
    render: Render = p.format().render
    p.needs |= Needs.HEADERS

    def step(txn: Txn) -> None:
        keep_request_line(txn)
        req: RequestHead = txn.req  # type: ignore[assignment]  # such rules run where there is one
        _put(req, build(req.target, render(txn)))

    return step


@action("set-path", at=_REQ, synopsis="<fmt>")
def set_path(p: Parser) -> Step:
    """Exchange the path, keep the query."""
    return _setter(p, _with_path)


@action("set-pathq", at=_REQ, synopsis="<fmt>")
def set_pathq(p: Parser) -> Step:
    """Exchange path and query."""
    return _setter(p, _with_pathq)


@action("set-query", at=_REQ, synopsis="<fmt>")
def set_query(p: Parser) -> Step:
    """Exchange the query string."""
    return _setter(p, _with_query)


@action("set-uri", at=_REQ, synopsis="<fmt>")
def set_uri(p: Parser) -> Step:
    """Exchange the whole target."""
    return _setter(p, _with_uri)


@action("set-method", at=_REQ, synopsis="<fmt>")
def set_method(p: Parser) -> Step:
    """Exchange the method."""
    render: Render = p.format().render
    p.needs |= Needs.HEADERS

    def step(txn: Txn) -> None:
        keep_request_line(txn)
        req: RequestHead = txn.req  # type: ignore[assignment]  # such rules run where there is one
        req.set_method(render(txn))

    return step


def _replacer(p: Parser, part: Callable[[bytes], bytes | None], build: _Build) -> Step:
    replace = replacing(p.regex().search, p.format())
    p.needs |= Needs.HEADERS

    def step(txn: Txn) -> None:
        req: RequestHead = txn.req  # type: ignore[assignment]  # such rules run where there is one
        old = part(req.target)
        if old is not None and (new := replace(old, txn)) is not None:
            keep_request_line(txn)
            _put(req, build(req.target, new))

    return step


def _path_part(target: bytes) -> bytes | None:
    if target[:1] == b"/":
        return target.partition(b"?")[0]
    found = path_query_of(target)
    return None if found is None else found.partition(b"?")[0]


@action("replace-path", at=_REQ, synopsis="<match-regex> <replace-fmt>")
def replace_path(p: Parser) -> Step:
    """Exchange the path when it matches; the query stays."""
    return _replacer(p, _path_part, _with_path)


@action("replace-pathq", at=_REQ, synopsis="<match-regex> <replace-fmt>")
def replace_pathq(p: Parser) -> Step:
    """Exchange path and query when they match."""
    return _replacer(p, path_query_of, _with_pathq)


@action("replace-uri", at=_REQ, synopsis="<match-regex> <replace-fmt>")
def replace_uri(p: Parser) -> Step:
    """Exchange the target when it matches."""
    return _replacer(p, lambda target: target, _with_uri)


@action("set-status", at=(HTTP_RES, HTTP_AFTER), synopsis="<status> [reason <str>]")
def set_status(p: Parser) -> Step:
    """Exchange the response's status code and reason."""
    from forkproxy.http.writer import phrase

    status = p.integer("a status code", 100, 999)
    reason = to_bytes(p.word("a reason")) if p.words.accept("reason") else phrase(status)
    p.needs |= Needs.RES_HEADERS

    def step(txn: Txn) -> None:
        res: ResponseHead = txn.res  # type: ignore[assignment]  # such rules run where there is one
        if txn.marks is None or "server_status" not in txn.marks:
            mark(txn, "server_status", res.status)
        res.status, res.reason, res.changed, res.reframed = status, reason, True, True

    return step
