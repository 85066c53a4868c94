"""``balance source``: by the client's address. The hash is the exclusive or of the address' 32-bit words (``hash-type``'s function
has no part in it, its modifier has)."""

from __future__ import annotations

import socket
from typing import Any

from forkproxy import plan
from forkproxy.balance.hashing import avalanche
from forkproxy.balance.keyed import keyed
from forkproxy.balance.picker import Picker, View
from forkproxy.registry import Needs, algorithm


def packed_hash(packed: bytes) -> int | None:
    """The hash of 4 or 16 bytes in network order; None for anything else (a client on a unix socket)."""
    number = int.from_bytes(packed, "big")
    if len(packed) == 4:
        return number
    return (number >> 96 ^ number >> 64 ^ number >> 32 ^ number) & 0xFFFFFFFF if len(packed) == 16 else None


def address_hash(address: str) -> int | None:
    """The hash of a textual IPv4 or IPv6 address; None for anything else."""
    try:
        return packed_hash(socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address))
    except OSError:
        return None


def source_hash(txn: Any) -> int | None:
    """The hash of the client's address, or of what a rule (``set-src``) put in its place."""
    marks = txn.marks
    if marks is not None and (moved := marks.get("src")) is not None:
        return packed_hash(moved.packed)
    return address_hash(txn.origin.src)


@algorithm("source", synopsis="source", needs=Needs.L4)
def source(backend: plan.Backend, view: View) -> Picker:
    """The same client address goes to the same server, as long as the set of servers stays."""
    if backend.balance.hash_modifier != "avalanche":
        return keyed(backend, view, source_hash)

    def mixed(txn: Any) -> int | None:
        h = source_hash(txn)
        return None if h is None else avalanche(h)

    return keyed(backend, view, mixed)
