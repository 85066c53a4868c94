"""Fetches of cookies (manual 7.3.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkproxy.registry import Needs, Type, fetch, string_aliases
from forkproxy.rules import phases
from forkproxy.rules.args import Str
from forkproxy.rules.expr import FetchFn, Multi
from forkproxy.rules.fetches.http_fields import Values, lines_of, pick
from forkproxy.rules.types import read_int
from forkproxy.rules.web import cookie_values

if TYPE_CHECKING:
    from forkproxy.rules.txn import Txn

_REQ: dict[str, Any] = {"needs": Needs.HEADERS, "uses": phases.REQUEST}
_RES: dict[str, Any] = {"needs": Needs.RES_HEADERS, "uses": phases.RESPONSE}



def _values_of(side: str, name: bytes) -> Values:
    lines = lines_of(side, b"cookie" if side == "req" else b"set-cookie")

    def values(txn: Txn) -> list[bytes]:
        return [v for line in lines(txn) for n, v in cookie_values(line, side == "req") if not name or n == name]

    return values


def _register_cookies(side: str, place: dict[str, Any], prefix: str, old: str) -> None:
    def cook(name: bytes) -> Multi:
        """The value of a cookie, the last one of that name; in ACLs all of them."""
        values = _values_of(side, name)
        return Multi(pick(values, 0), values)

    def cook_cnt(name: bytes) -> FetchFn:
        """How often a cookie occurs."""
        values = _values_of(side, name)
        return lambda txn: len(values(txn))

    def cook_val(name: bytes) -> Multi:
        """The value of a cookie as an integer."""
        values = _values_of(side, name)

        def numbers(txn: Txn) -> list[int]:
            return [read_int(v) for v in values(txn) if v]

        return Multi(lambda txn: found[-1] if (found := numbers(txn)) else None, numbers)

    def cook_names(delimiter: bytes) -> FetchFn:
        """The names of all cookies, joined by a delimiter (a comma by default)."""
        lines = lines_of(side, b"cookie" if side == "req" else b"set-cookie")
        return lambda txn: delimiter.join([n for line in lines(txn) for n, _ in cookie_values(line, side == "req")])

    one = (Str(optional=True, default=b""),)
    fetch(f"{prefix}.cook", old, out=Type.STR, args=one, **place)(cook)
    fetch(f"{prefix}.cook_cnt", f"{old}_cnt", out=Type.SINT, args=one, **place)(cook_cnt)
    fetch(f"{prefix}.cook_val", f"{old}_val", out=Type.SINT, args=one, **place)(cook_val)
    fetch(f"{prefix}.cook_names", out=Type.STR, args=(Str(optional=True, default=b","),), **place)(cook_names)


_register_cookies("req", _REQ, "req", "cook")
_register_cookies("res", _RES, "res", "scook")


@fetch("cookie", out=Type.STR, args=(Str(optional=True, default=b""),), needs=Needs.HEADERS, uses=phases.EITHER)
def cookie(name: bytes) -> FetchFn:
    """The old name of req.cook and res.cook: the response's cookie once there is a response."""
    asked, answered = _values_of("req", name), _values_of("res", name)
    sent, given = pick(asked, 0), pick(answered, 0)
    return lambda txn: sent(txn) if txn.res is None else given(txn)


string_aliases("cook", "req.cook")
string_aliases("scook", "res.cook")
