"""Fetches of variables (manual 7.3.2): one of them, or all of a scope as text."""

from __future__ import annotations

import re
from typing import Any

from forkproxy.registry import Type, fetch
from forkproxy.rules import phases
from forkproxy.rules.args import OneOf, Str, Var
from forkproxy.rules.expr import FetchFn
from forkproxy.rules.types import Addr
from forkproxy.rules.variables import PROCESS, getter

_ANY: dict[str, Any] = {"uses": phases.ANYWHERE}
#: scopes in the order in which they are told
_SCOPES = ("sess", "txn", "req", "res", "proc")
_ESCAPED = {b'"': b'\\"', b"\\": b"\\\\", b"\r": b"\\r", b"\n": b"\\n", b"\b": b"\\b", b"\0": b"\\0"}
_SPECIAL = re.compile(rb'["\\\r\n\x08\0]')


@fetch("var", out=Type.ANY, args=(Var(), Str(optional=True)), **_ANY)
def var(name: str, default: bytes | None) -> FetchFn:
    """A variable's value, or the default where it is not set."""
    get = getter(name)
    if default is None:
        return get
    return lambda txn: default if (value := get(txn)) is None else value


def _shown(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, Addr):
        return bytes(value)
    return b'"' + _SPECIAL.sub(lambda found: _ESCAPED[found[0]], value) + b'"'


@fetch("dump_all_vars", out=Type.STR, args=(
    OneOf("string", optional=True, default="", words=_SCOPES), Str(optional=True, default=b""), Str(optional=True, default=b", ")), **_ANY)
def dump_all_vars(scope: str, prefix: bytes, delimiter: bytes) -> FetchFn:
    """All variables of a scope (of all scopes), or those whose names begin with a prefix, as name=value with a delimiter between them."""
    scopes = (scope,) if scope else _SCOPES
    begin = prefix.decode("utf-8", "replace")

    def get(txn: Any) -> bytes:
        held = {**PROCESS, **((txn.origin.vars or {}) if txn is not None else {}), **((txn.vars or {}) if txn is not None else {})}
        return delimiter.join(
            name.encode() + b"=" + _shown(held[name])
            for chosen in scopes
            for name in sorted(held)
            if name.startswith(f"{chosen}.{begin}")
        )

    return get
