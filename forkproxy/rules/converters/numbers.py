"""Converters of integers (manual 7.3.1): arithmetic on 64 bits that saturates, bits, tests. Operands may be variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forkproxy.registry import Type, converter
from forkproxy.rules.args import Var
from forkproxy.rules.expr import Pure
from forkproxy.rules.types import INT64_MAX, clamp64, read_int, wrap64
from forkproxy.rules.variables import getter

_INT: dict[str, Any] = {"into": Type.SINT, "out": Type.SINT}
_TEST: dict[str, Any] = {"into": Type.SINT, "out": Type.BOOL}


def _divide(a: int, b: int) -> int:
    """C's division: towards zero; by zero the largest value."""
    if b == 0:
        return INT64_MAX
    quotient = abs(a) // abs(b)
    return clamp64(quotient if (a < 0) == (b < 0) else -quotient)


def _modulo(a: int, b: int) -> int:
    if b == 0:
        return 0
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest


def _operand(value: Any) -> int | None:
    if isinstance(value, int):
        return int(value)
    return read_int(value) if isinstance(value, bytes) and value else None


def _binary(name: str, doc: str, compute: Callable[[int, int], int]) -> None:
    def factory(operand: int | str) -> Any:
        if isinstance(operand, int):
            number = operand
            return Pure(lambda value: compute(value, number))
        get = getter(operand)

        def convert(value: int, txn: Any) -> int | None:
            other = _operand(get(txn))
            return None if other is None else compute(value, other)

        return convert

    factory.__doc__ = doc
    converter(name, args=(Var(number=True),), **_INT)(factory)


_binary("add", "The sum with a number or variable.", lambda a, b: clamp64(a + b))
_binary("sub", "The difference to a number or variable.", lambda a, b: clamp64(a - b))
_binary("mul", "The product with a number or variable.", lambda a, b: clamp64(a * b))
_binary("div", "The quotient by a number or variable.", _divide)
_binary("mod", "The rest of the division by a number or variable.", _modulo)
_binary("and", "Bitwise and with a number or variable.", lambda a, b: wrap64(a & b))
_binary("or", "Bitwise or with a number or variable.", lambda a, b: wrap64(a | b))
_binary("xor", "Bitwise exclusive or with a number or variable.", lambda a, b: wrap64(a ^ b))


@converter("neg", **_INT)
def neg() -> Pure:
    """The number with the other sign."""
    return Pure(lambda value: clamp64(-value))


@converter("cpl", **_INT)
def cpl() -> Pure:
    """All bits inverted."""
    return Pure(lambda value: ~value)


@converter("bool", **_TEST)
def bool_() -> Pure:
    """False for 0, true for the rest."""
    return Pure(bool)


@converter("not", **_TEST)
def not_() -> Pure:
    """True for 0, false for the rest."""
    return Pure(lambda value: not value)


@converter("odd", **_TEST)
def odd() -> Pure:
    """Is it odd?"""
    return Pure(lambda value: value & 1 == 1)


@converter("even", **_TEST)
def even() -> Pure:
    """Is it even?"""
    return Pure(lambda value: value & 1 == 0)


@converter("htonl", into=Type.SINT, out=Type.BIN)
def htonl() -> Pure:
    """The lower 32 bits as four bytes in network order."""
    return Pure(lambda value: (value & 0xFFFFFFFF).to_bytes(4, "big"))
