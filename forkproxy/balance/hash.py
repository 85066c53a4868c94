"""``balance hash <sample expression>``: by any value that rules can compute (``plan.Balance.key``)."""

from __future__ import annotations

from typing import Any

from forkproxy import plan
from forkproxy.balance.keyed import hasher, keyed
from forkproxy.balance.picker import Picker, View
from forkproxy.registry import algorithm


def as_key(value: Any, textual: bool) -> bytes | None:
    """A sample as the bytes that are hashed: addresses packed, integers as 8 bytes big-endian; ``textual`` for ``hash-type … none``."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, int):
        return b"%d" % value if textual else (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")
    if textual:
        return str(value).encode()
    packed: bytes = value.packed
    return packed


@algorithm("hash", synopsis="hash <expression>")
def hash_(backend: plan.Backend, view: View) -> Picker:
    """The same value of a sample expression goes to the same server; round robin without one."""
    hash_key = hasher(backend.balance)
    expression = backend.balance.key
    if expression is None:
        raise ValueError("balance hash without an expression")
    textual = backend.balance.hash_function == "none"

    def hash_of(txn: Any) -> int | None:
        key = as_key(expression(txn), textual)
        return None if key is None else hash_key(key)

    return keyed(backend, view, hash_of)
