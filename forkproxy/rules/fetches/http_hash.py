"""Fetches that stand for a target by a short number, for tables (manual 7.3.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forkproxy.registry import Needs, Type, fetch
from forkproxy.rules import hashing, phases
from forkproxy.rules.expr import FetchFn
from forkproxy.rules.types import Addr
from forkproxy.rules.web import path_of

_REQ: dict[str, Any] = {"needs": Needs.HEADERS, "uses": phases.REQUEST}


def _base(txn: Any) -> bytes:
    return (txn.req.get(b"host") or b"") + (path_of(txn.req.target) or b"")


def _url(txn: Any) -> bytes:
    return (txn.req.get(b"host") or b"") + bytes(txn.req.target)


def _register(name: str, of: str, text: Callable[[Any], bytes]) -> None:
    def number() -> FetchFn:
        return lambda txn: hashing.avalanche(hashing.sdbm(text(txn))) if txn.req is not None else None

    def with_source() -> FetchFn:
        def get(txn: Any) -> bytes | None:
            src: Addr | None = txn.source()
            if txn.req is None or src is None:
                return None
            return hashing.avalanche(hashing.sdbm(text(txn))).to_bytes(4, "big") + src.packed

        return get

    number.__doc__ = f"A 32-bit hash of {of}."
    with_source.__doc__ = f"A 32-bit hash of {of}, followed by the client's address: 8 or 20 bytes."
    fetch(name, out=Type.SINT, **_REQ)(number)
    fetch(f"{name}+src", out=Type.BIN, **_REQ)(with_source)


_register("base32", "the Host field and the path", _base)
_register("url32", "the Host field and the target", _url)
