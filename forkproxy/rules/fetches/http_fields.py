"""Fetches of header fields (manual 7.3.6).

A field with several values is cut at commas outside quotes, except by the ``fhdr`` family. ACLs look at every value; an
expression gets the last one, or the one that its second argument counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from forkproxy.registry import Needs, Type, fetch, string_aliases
from forkproxy.rules import phases
from forkproxy.rules.args import Arg, Int, Str
from forkproxy.rules.expr import FetchFn, Multi
from forkproxy.rules.types import Addr, parse_addr, read_int
from forkproxy.rules.web import split_values
from forkproxy.wire import varint

if TYPE_CHECKING:
    from forkproxy.http.message import Head
    from forkproxy.rules.txn import Txn

_REQ: dict[str, Any] = {"needs": Needs.HEADERS, "uses": phases.REQUEST}
_RES: dict[str, Any] = {"needs": Needs.RES_HEADERS, "uses": phases.RESPONSE}

#: looking for one byte by its number costs less
_COMMA: Final = ord(",")

Values = Callable[["Txn"], Sequence[Any]]


def lines_of(side: str, name: bytes) -> Values:
    """``values(txn)``: one element per field line called ``name`` (b"": all fields). ``side`` is "req" or "res"; "": the response once
    there is one."""
    lower = name.lower()
    asked, either = side == "req", not side

    def values(txn: Txn) -> list[bytes]:
        head: Head | None = txn.req if asked or (either and txn.res is None) else txn.res
        if head is None:
            return []
        return head.get_all(lower) if lower else [v for _, v in head.items()]

    return values


def _elements(side: str, name: bytes) -> Values:
    """``values(txn)``: one element per comma-separated value of the fields called ``name``.

    Rules about Host are in every file, and the reader has found it (one value, or it had refused the request): that is three times as fast
    as a search, as long as no rule has edited it.
    """
    lower = name.lower()
    asked, either = side == "req", not side

    def values(txn: Txn) -> list[bytes]:
        head: Head | None = txn.req if asked or (either and txn.res is None) else txn.res
        if head is None:
            return []
        found = head.get_all(lower) if lower else [v for _, v in head.items()]
        if len(found) == 1 and _COMMA not in found[0]:
            return found
        return [part for line in found for part in (split_values(line) if _COMMA in line else (line,))]

    if lower != b"host" or side == "res":
        return values

    def hosts(txn: Txn) -> Sequence[bytes]:
        head = txn.req
        if head is None or head.reframed or (either and txn.res is not None):
            return values(txn)
        host = head.host
        if host is None:
            return ()
        return (host,) if _COMMA not in host else values(txn)

    return hosts


def _last(side: str, name: bytes) -> FetchFn:
    """``value(txn)``: the last comma-separated value of the fields called ``name``."""
    lower = name.lower()
    if not lower:
        return pick(_elements(side, name), 0)
    asked, either = side == "req", not side

    def value(txn: Txn) -> bytes | None:
        head: Head | None = txn.req if asked or (either and txn.res is None) else txn.res
        if head is None:
            return None
        found = head.last(lower)
        return found if found is None or _COMMA not in found else split_values(found)[-1]

    if lower != b"host" or side == "res":
        return value

    def host(txn: Txn) -> bytes | None:
        head = txn.req
        if head is None or head.reframed or (either and txn.res is not None):
            return value(txn)
        found = head.host
        return found if found is None or _COMMA not in found else split_values(found)[-1]

    return host


def pick(values: Values, occurrence: int) -> FetchFn:
    """The value that ``occurrence`` counts: from 1 on, or backwards from -1; 0 is the last one."""
    index = occurrence - 1 if occurrence > 0 else occurrence or -1

    def get(txn: Txn) -> Any:
        found = values(txn)
        try:
            return found[index]
        except IndexError:
            return None

    return get


def _several(values: Values, occurrence: int | None) -> Multi | FetchFn:
    return Multi(pick(values, 0), values) if occurrence is None or occurrence == 0 else pick(values, occurrence)


_HDR_ARGS: tuple[Arg, ...] = (Str(optional=True, default=b""), Int(optional=True, lo=-10))


def _register_headers(side: str, place: dict[str, Any], prefix: str, old: str, *more: str) -> None:
    def hdr(name: bytes, occurrence: int | None) -> Multi | FetchFn:
        """One comma-separated value of a header field; in ACLs all of them."""
        values = _elements(side, name)
        return pick(values, occurrence) if occurrence else Multi(_last(side, name), values)

    def fhdr(name: bytes, occurrence: int | None) -> Multi | FetchFn:
        """A whole header field line, commas included."""
        return _several(lines_of(side, name), occurrence)

    def hdr_cnt(name: bytes) -> FetchFn:
        """How many values a header field has."""
        values = _elements(side, name)
        return lambda txn: len(values(txn))

    def fhdr_cnt(name: bytes) -> FetchFn:
        """How many lines a header field has."""
        values = lines_of(side, name)
        return lambda txn: len(values(txn))

    def hdr_val(name: bytes, occurrence: int | None) -> Multi | FetchFn:
        """A header field's value as an integer."""
        values = _elements(side, name)
        return _several(lambda txn: [read_int(v) for v in values(txn) if v], occurrence)

    def hdr_ip(name: bytes, occurrence: int | None) -> Multi | FetchFn:
        """A header field's value as an address; a port after it is ignored."""
        values = _elements(side, name)
        if occurrence:
            one = pick(values, occurrence)
            return lambda txn: header_addr(v) if (v := one(txn)) is not None else None
        return Multi(
            lambda txn: header_addr(found[-1]) if (found := values(txn)) else None,
            lambda txn: [a for v in values(txn) if (a := header_addr(v)) is not None],
        )

    def hdr_names(delimiter: bytes) -> FetchFn:
        """The names of all fields in order, joined by a delimiter (a comma by default)."""

        def get(txn: Txn) -> bytes | None:
            head: Head | None = txn.req if side == "req" else txn.res
            return delimiter.join(n.lower() for n, _ in head.items()) if head is not None else None

        return get

    def hdrs() -> FetchFn:
        """All header fields with the empty line that ends them."""

        def get(txn: Txn) -> bytes | None:
            head: Head | None = txn.req if side == "req" else txn.res
            if head is None:
                return None
            return b"".join(b"%b: %b\r\n" % (n.lower(), v) for n, v in head.items()) + b"\r\n"

        return get

    def hdrs_bin() -> FetchFn:
        """All header fields as names and values, each behind its length (wire.varint); two empty ones are the end."""

        def get(txn: Txn) -> bytes | None:
            head: Head | None = txn.req if side == "req" else txn.res
            return varint.pack((n.lower(), v) for n, v in head.items()) if head is not None else None

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
    fetch(f"{prefix}.hdrs_bin", out=Type.BIN, **place)(hdrs_bin)


_PORT = re.compile(rb"(.*?):\d+\Z")


def header_addr(value: bytes) -> Addr | None:
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
    values = _elements("", name)
    return pick(values, occurrence) if occurrence else Multi(_last("", name), values)


string_aliases("hdr", "req.hdr")
string_aliases("shdr", "res.hdr")
