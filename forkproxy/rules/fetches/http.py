"""Fetches of HTTP messages (manual 7.3.6): request line, header fields, cookies, authentication.

A field with several values is cut at commas outside quotes, except by the ``fhdr`` family. ACLs look at every value; an
expression gets the last one, or the one that its second argument counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from forkproxy.registry import Needs, Type, acl_alias, fetch
from forkproxy.rules import phases
from forkproxy.rules.args import Arg, Context, Int, Name, Str
from forkproxy.rules.context import RuleContext
from forkproxy.rules.expr import FetchFn, Multi
from forkproxy.rules.types import Addr, read_int
from forkproxy.rules.web import cookie_values, params, path_of, path_query_of, query_of, split_values

_REQ: dict[str, Any] = {"needs": Needs.HEADERS, "uses": phases.REQUEST}
_KEPT: dict[str, Any] = {"needs": Needs.HEADERS, "uses": phases.KEPT}
_RES: dict[str, Any] = {"needs": Needs.RES_HEADERS, "uses": phases.RESPONSE}

Values = Callable[[Any], list[bytes]]


# -- the request line ---------------------------------------------------------------------------------------------------


@fetch("method", out=Type.METH, **_KEPT)
def method() -> FetchFn:
    """The request's method."""
    return lambda txn: txn.req.method if txn.req is not None else None


@fetch("path", out=Type.STR, **_REQ)
def path() -> FetchFn:
    """The path of the request's target, without scheme, authority and query."""

    def get(txn: Any) -> bytes | None:
        req = txn.req
        if req is None:
            return None
        target: bytes = req.target
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

    def get(txn: Any) -> bytes | None:
        if txn.req is None:
            return None
        found = query_of(txn.req.target)
        return None if found is None else prefix + found if found or prefix else found

    return get


@fetch("base", out=Type.STR, **_REQ)
def base() -> FetchFn:
    """The Host field followed by the path."""

    def get(txn: Any) -> bytes | None:
        if txn.req is None:
            return None
        return (txn.req.get(b"host") or b"") + (path_of(txn.req.target) or b"")

    return get


@fetch("baseq", out=Type.STR, **_REQ)
def baseq() -> FetchFn:
    """The Host field followed by the path and the query."""

    def get(txn: Any) -> bytes | None:
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


@fetch("capture.res.ver", out=Type.STR, needs=Needs.RES_HEADERS, uses=phases.SERVER)
def capture_res_ver() -> FetchFn:
    """The response's protocol version with its name."""
    return lambda txn: b"HTTP/" + _version(txn.res) if txn.res is not None else None


def _capture(slot: str) -> Callable[[int], FetchFn]:
    def factory(index: int) -> FetchFn:
        """The value kept in a capture slot."""

        def get(txn: Any) -> bytes | None:
            kept = getattr(txn, slot)
            return kept[index] if kept is not None and index < len(kept) else None

        return get

    return factory


fetch("capture.req.hdr", out=Type.STR, args=(Int(lo=0),), **_KEPT)(_capture("captures_req"))
fetch("capture.res.hdr", out=Type.STR, args=(Int(lo=0),), needs=Needs.RES_HEADERS, uses=phases.SERVER)(_capture("captures_res"))


# -- header fields ------------------------------------------------------------------------------------------------------


def _lines(side: str, name: bytes) -> Values:
    """``values(txn)``: one element per field line called ``name`` (b"": all fields)."""
    lower = name.lower()
    if side == "req":

        def from_request(txn: Any) -> list[bytes]:
            head = txn.req
            if head is None:
                return []
            return head.get_all(lower) if lower else [v for _, v in head.items()]

        return from_request

    def from_response(txn: Any) -> list[bytes]:
        head = txn.res
        if head is None:
            return []
        return head.get_all(lower) if lower else [v for _, v in head.items()]

    return from_response


def _elements(side: str, name: bytes) -> Values:
    """``values(txn)``: one element per comma-separated value of the fields called ``name``."""
    lines = _lines(side, name)
    lower = name.lower()
    is_host = lower == b"host"
    if side == "req" and lower:

        def of_request(txn: Any) -> list[bytes]:
            head = txn.req
            if head is None:
                return []
            # Host ACLs are in every file, and the reader has found Host (one value, or it had refused the request):
            # 0.5 µs instead of 1.3 for an ACL, as long as no rule has edited a field.
            if is_host and not head.changed:
                host = head.host
                if host is None:
                    return []
                if b"," not in host:
                    return [host]
            found: list[bytes] = head.get_all(lower)
            if len(found) == 1 and b"," not in found[0]:
                return found
            return [part for line in found for part in (split_values(line) if b"," in line else (line,))]

        return of_request

    def values(txn: Any) -> list[bytes]:
        found = lines(txn)
        if len(found) == 1:
            value = found[0]
            return [value] if b"," not in value else split_values(value)
        return [part for line in found for part in (split_values(line) if b"," in line else (line,))]

    return values


def pick(values: Values, occurrence: int) -> FetchFn:
    """The value that ``occurrence`` counts: from 1 on, or backwards from -1; 0 is the last one."""
    if occurrence == 0:
        occurrence = -1
    index = occurrence - 1 if occurrence > 0 else occurrence

    def get(txn: Any) -> bytes | None:
        found = values(txn)
        try:
            return found[index]
        except IndexError:
            return None

    return get


def _several(values: Values, occurrence: int | None) -> Multi | FetchFn:
    return Multi(pick(values, 0), values) if occurrence is None or occurrence == 0 else pick(values, occurrence)


_HDR_ARGS: tuple[Arg, ...] = (Str(optional=True, default=b""), Int(optional=True))


def _register_headers(side: str, place: dict[str, Any], prefix: str, old: str, *more: str) -> None:
    def hdr(name: bytes, occurrence: int | None) -> Multi | FetchFn:
        """One comma-separated value of a header field; in ACLs all of them."""
        return _several(_elements(side, name), occurrence)

    def fhdr(name: bytes, occurrence: int | None) -> Multi | FetchFn:
        """A whole header field line, commas included."""
        return _several(_lines(side, name), occurrence)

    def hdr_cnt(name: bytes) -> FetchFn:
        """How many values a header field has."""
        values = _elements(side, name)
        return lambda txn: len(values(txn))

    def fhdr_cnt(name: bytes) -> FetchFn:
        """How many lines a header field has."""
        values = _lines(side, name)
        return lambda txn: len(values(txn))

    def hdr_val(name: bytes, occurrence: int | None) -> Multi | FetchFn:
        """A header field's value as an integer."""
        values = _elements(side, name)
        return _several(lambda txn: [read_int(v) for v in values(txn) if v], occurrence)  # type: ignore[misc]

    def hdr_ip(name: bytes, occurrence: int | None) -> Multi | FetchFn:
        """A header field's value as an address; a port after it is ignored."""
        values = _elements(side, name)
        if occurrence:
            one = pick(values, occurrence)
            return lambda txn: _header_addr(v) if (v := one(txn)) is not None else None
        return Multi(
            lambda txn: _header_addr(found[-1]) if (found := values(txn)) else None,
            lambda txn: [a for v in values(txn) if (a := _header_addr(v)) is not None],
        )

    def hdr_names(delimiter: bytes) -> FetchFn:
        """The names of all fields in order, joined by a delimiter (a comma by default)."""

        def get(txn: Any) -> bytes | None:
            head = txn.req if side == "req" else txn.res
            return delimiter.join(n.lower() for n, _ in head.items()) if head is not None else None

        return get

    def hdrs() -> FetchFn:
        """All header fields with the empty line that ends them."""

        def get(txn: Any) -> bytes | None:
            head = txn.req if side == "req" else txn.res
            if head is None:
                return None
            return b"".join(b"%b: %b\r\n" % (n.lower(), v) for n, v in head.items()) + b"\r\n"

        return get

    one = (Str(optional=True, default=b""),)
    fetch(f"{prefix}.hdr", *more, out=Type.STR, args=_HDR_ARGS, **place)(hdr)
    fetch(f"{prefix}.fhdr", out=Type.STR, args=_HDR_ARGS, **place)(fhdr)
    fetch(f"{prefix}.hdr_cnt", f"{old}_cnt", out=Type.SINT, args=one, **place)(hdr_cnt)
    fetch(f"{prefix}.fhdr_cnt", out=Type.SINT, args=one, **place)(fhdr_cnt)
    fetch(f"{prefix}.hdr_val", f"{old}_val", out=Type.SINT, args=_HDR_ARGS, **place)(hdr_val)
    fetch(f"{prefix}.hdr_ip", f"{old}_ip", out=Type.ADDR, args=_HDR_ARGS, **place)(hdr_ip)
    fetch(f"{prefix}.hdr_names", out=Type.STR, args=(Str(optional=True, default=b","),), **place)(hdr_names)
    fetch(f"{prefix}.hdrs", out=Type.BIN, **place)(hdrs)


_PORT = re.compile(rb"(.*?):\d+\Z")


def _header_addr(value: bytes) -> Addr | None:
    from forkproxy.rules.types import parse_addr

    found = parse_addr(value)
    if found is None:
        cut = _PORT.fullmatch(value)
        if cut is not None:
            value = cut[1]
        if value[:1] == b"[" and value[-1:] == b"]":
            value = value[1:-1]
        found = parse_addr(value)
    return found


_register_headers("req", _REQ, "req", "hdr")
_register_headers("res", _RES, "res", "shdr", "shdr")


@fetch("hdr", out=Type.STR, args=_HDR_ARGS, needs=Needs.HEADERS, uses=phases.EITHER)
def hdr_of_either(name: bytes, occurrence: int | None) -> Multi | FetchFn:
    """One comma-separated value of a header field: the response's once there is one, the request's before."""
    request, response = _elements("req", name), _elements("res", name)
    return _several(lambda txn: request(txn) if txn.res is None else response(txn), occurrence)


# -- cookies ------------------------------------------------------------------------------------------------------------


def _register_cookies(side: str, place: dict[str, Any], prefix: str, old: str) -> None:
    def values_of(name: bytes) -> Values:
        lines = _lines(side, b"cookie" if side == "req" else b"set-cookie")

        def values(txn: Any) -> list[bytes]:
            return [v for line in lines(txn) for n, v in cookie_values(line, side == "req") if not name or n == name]

        return values

    def cook(name: bytes) -> Multi:
        """The value of a cookie, the last one of that name; in ACLs all of them."""
        values = values_of(name)
        return Multi(pick(values, 0), values)

    def cook_cnt(name: bytes) -> FetchFn:
        """How often a cookie occurs."""
        values = values_of(name)
        return lambda txn: len(values(txn))

    def cook_val(name: bytes) -> Multi:
        """The value of a cookie as an integer."""
        values = values_of(name)

        def numbers(txn: Any) -> list[int]:
            return [read_int(v) for v in values(txn) if v]

        return Multi(lambda txn: found[-1] if (found := numbers(txn)) else None, numbers)

    def cook_names(delimiter: bytes) -> FetchFn:
        """The names of all cookies, joined by a delimiter (a comma by default)."""
        lines = _lines(side, b"cookie" if side == "req" else b"set-cookie")
        return lambda txn: delimiter.join([n for line in lines(txn) for n, _ in cookie_values(line, side == "req")])

    one = (Str(optional=True, default=b""),)
    fetch(f"{prefix}.cook", old, out=Type.STR, args=one, **place)(cook)
    fetch(f"{prefix}.cook_cnt", f"{old}_cnt", out=Type.SINT, args=one, **place)(cook_cnt)
    fetch(f"{prefix}.cook_val", f"{old}_val", out=Type.SINT, args=one, **place)(cook_val)
    fetch(f"{prefix}.cook_names", out=Type.STR, args=(Str(optional=True, default=b","),), **place)(cook_names)


_register_cookies("req", _REQ, "req", "cook")
_register_cookies("res", _RES, "res", "scook")


# -- parameters ---------------------------------------------------------------------------------------------------------


def _param_values(source: Callable[[Any], bytes | None], name: bytes, delimiter: bytes, icase: bool = False) -> Values:
    wanted = name.lower() if icase else name

    def values(txn: Any) -> list[bytes]:
        text = source(txn)
        if not text:
            return []
        return [v for n, v in params(text, delimiter) if not wanted or (n.lower() if icase else n) == wanted]

    return values


def _query_source(delimiter: bytes) -> Callable[[Any], bytes | None]:
    if delimiter == b"?":
        return lambda txn: query_of(txn.req.target) if txn.req is not None else None

    def get(txn: Any) -> bytes | None:
        if txn.req is None:
            return None
        found: bytes = txn.req.target.partition(delimiter)[2]
        return found

    return get


_PARAM_ARGS = (Str(optional=True, default=b""), Str(optional=True, default=b"?"), Str(optional=True, default=b""))


@fetch("url_param", "urlp", out=Type.STR, args=_PARAM_ARGS, **_REQ)
def url_param(name: bytes, delimiter: bytes, option: bytes) -> Multi:
    """The value of a parameter of the query string; ``i`` as third argument ignores the case of the name."""
    if len(delimiter) != 1:
        raise ValueError("the delimiter must be a single character")
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


def _url_host(txn: Any) -> bytes | None:
    if txn.req is None:
        return None
    found = re.match(rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?@]*@)?([^/?]*)", txn.req.target)
    return found[1] if found is not None else None


@fetch("url_ip", out=Type.ADDR, **_REQ)
def url_ip() -> FetchFn:
    """The address in the authority of an absolute target."""
    return lambda txn: _header_addr(host) if (host := _url_host(txn)) is not None else None


@fetch("url_port", out=Type.SINT, **_REQ)
def url_port() -> FetchFn:
    """The port in the authority of an absolute target (80 when there is none)."""

    def get(txn: Any) -> int | None:
        host = _url_host(txn)
        if host is None:
            return None
        port = host.rpartition(b":")[2]
        return int(port) if b":" in host and port.isdigit() else 80

    return get


# -- authentication -----------------------------------------------------------------------------------------------------


@fetch("http_auth", out=Type.BOOL, args=(Name("user list"), Context()), **_REQ)
def http_auth(name: str, ctx: RuleContext) -> FetchFn:
    """True when the request's credentials (Basic) are those of a user of the list."""
    users = ctx.userlist(name)

    def get(txn: Any) -> bool:
        found = _basic(txn)
        return found is not None and users.check(*found)

    return get


@fetch("http_auth_group", out=Type.STR, args=(Name("user list"), Context()), **_REQ)
def http_auth_group(name: str, ctx: RuleContext) -> Multi:
    """The groups of the authenticated user."""
    users = ctx.userlist(name)

    def groups(txn: Any) -> list[bytes]:
        found = _basic(txn)
        return users.groups(found[0]) if found is not None and users.check(*found) else []

    return Multi(lambda txn: found[0] if (found := groups(txn)) else None, groups)


def _basic(txn: Any) -> tuple[bytes, bytes] | None:
    from forkproxy.rules.userlist import basic_credentials

    return basic_credentials(_credentials(txn))


def _credentials(txn: Any) -> bytes | None:
    """The field with the client's credentials; another one where it takes us for its proxy (option http-use-proxy-header)."""
    if txn.req is None:
        return None
    proxied = txn.req.target[:1] not in (b"/", b"*") and "http-use-proxy-header" in txn.fe.plan.options
    found: bytes | None = txn.req.get(b"proxy-authorization" if proxied else b"authorization")
    return found


@fetch("http_auth_user", out=Type.STR, **_REQ)
def http_auth_user() -> FetchFn:
    """The user name of the request's credentials."""
    return lambda txn: found[0] if (found := _basic(txn)) is not None else None


@fetch("http_auth_pass", out=Type.STR, **_REQ)
def http_auth_pass() -> FetchFn:
    """The password of the request's credentials."""
    return lambda txn: found[1] if (found := _basic(txn)) is not None else None


@fetch("http_auth_type", out=Type.STR, **_REQ)
def http_auth_type() -> FetchFn:
    """The scheme of the request's credentials, for example "Basic"."""

    def get(txn: Any) -> bytes | None:
        value = _credentials(txn)
        return value.partition(b" ")[0] if value else None

    return get


@fetch("http_auth_bearer", out=Type.STR, args=(Str(optional=True, default=b"authorization"),), **_REQ)
def http_auth_bearer(header: bytes) -> FetchFn:
    """The token of a Bearer authorization; in another header field than Authorization the whole value."""
    name = header.lower()

    def get(txn: Any) -> bytes | None:
        value = txn.req.get(name) if txn.req is not None else None
        if not value:
            return None
        scheme, blank, token = value.partition(b" ")
        if scheme.lower() == b"bearer" and blank:
            return bytes(token.strip())
        return None if name == b"authorization" else bytes(value)

    return get


# -- ACL names ----------------------------------------------------------------------------------------------------------

for _name, _fetch in (
    ("base", "base"), ("cook", "req.cook"), ("hdr", "req.hdr"), ("path", "path"), ("scook", "res.cook"), ("shdr", "res.hdr"),
    ("url", "url"), ("urlp", "urlp"),
):  # fmt: skip
    acl_alias(_name, _fetch, "str")
    for _match in ("beg", "dir", "dom", "end", "len", "reg", "sub"):
        acl_alias(f"{_name}_{_match}", _fetch, _match)
acl_alias("http_auth_group", "http_auth_group", "str")
acl_alias("method", "method", "str")
acl_alias("req_ver", "req.ver", "str")
acl_alias("resp_ver", "res.ver", "str")
