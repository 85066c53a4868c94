"""Converters that read or write what the stream keeps: variables and capture slots (manual 7.3.1)."""

from __future__ import annotations

import hmac
from typing import Any

from forkproxy.registry import Type, converter
from forkproxy.rules.args import Context, Int, Str, Var
from forkproxy.rules.context import RuleContext
from forkproxy.rules.types import Addr
from forkproxy.rules.variables import conditional_setter, getter, setter
from forkproxy.rules.words import to_text


@converter("set-var", args=(Var(), *(Str(optional=True) for _ in range(4))), into=Type.SAME, out=Type.SAME)
def set_var(name: str, *conditions: bytes | None) -> Any:
    """Keep the value in a variable and pass it on."""
    store = conditional_setter(name, [to_text(c) for c in conditions if c is not None])

    def convert(value: Any, txn: Any) -> Any:
        store(txn, value)
        return value

    return convert


@converter("unset-var", args=(Var(),), into=Type.SAME, out=Type.SAME)
def unset_var(name: str) -> Any:
    """Remove a variable and pass the value on."""
    store = setter(name)

    def convert(value: Any, txn: Any) -> Any:
        store(txn, None)
        return value

    return convert


def _text(value: Any) -> bytes | None:
    if isinstance(value, bytes):
        return value
    if isinstance(value, int):
        return b"%d" % value
    return bytes(value) if isinstance(value, Addr) else None


@converter("strcmp", args=(Var(),), into=Type.STR, out=Type.SINT)
def strcmp(name: str) -> Any:
    """How the text compares with a variable: 0 equal, negative less, positive greater."""
    get = getter(name)

    def convert(value: bytes, txn: Any) -> int | None:
        other = _text(get(txn))
        if other is None:
            return None
        for mine, its in zip(value, other, strict=False):
            if mine != its:
                return mine - its
        return (len(value) > len(other)) - (len(value) < len(other))

    return convert


@converter("secure_memcmp", args=(Var(),), into=Type.BIN, out=Type.BOOL)
def secure_memcmp(name: str) -> Any:
    """Is it equal to a variable? Takes the same time whatever the answer."""
    get = getter(name)
    return lambda value, txn: hmac.compare_digest(value, other) if (other := _text(get(txn))) is not None else None


@converter("capture-req", args=(Int(lo=0), Context()), into=Type.STR, out=Type.STR)
def capture_req(index: int, ctx: RuleContext) -> Any:
    """Keep the value in a capture slot of the request and pass it on."""
    return _capture("captures_req", index, ctx.captures[0])


@converter("capture-res", args=(Int(lo=0), Context()), into=Type.STR, out=Type.STR)
def capture_res(index: int, ctx: RuleContext) -> Any:
    """Keep the value in a capture slot of the response and pass it on."""
    return _capture("captures_res", index, ctx.captures[1])


def keep(txn: Any, attribute: str, index: int, slots: list[tuple[bytes, int]], value: bytes) -> None:
    """Put ``value``, cut to the slot's length, into a capture slot of the stream."""
    if index >= len(slots):
        return
    held = getattr(txn, attribute)
    if held is None:
        held = [None] * len(slots)
        setattr(txn, attribute, held)
    held[index] = value[: slots[index][1]]


def _capture(attribute: str, index: int, slots: list[tuple[bytes, int]]) -> Any:
    def convert(value: bytes, txn: Any) -> bytes:
        keep(txn, attribute, index, slots, value)
        return value

    return convert
