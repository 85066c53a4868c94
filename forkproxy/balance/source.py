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


def address_hash(address: str) -> int | None:
    """The hash of a textual IPv4 or IPv6 address; None for anything else (a client on a unix socket)."""
    try:
        if ":" not in address:
            return int.from_bytes(socket.inet_aton(address), "big")
        number = int.from_bytes(socket.inet_pton(socket.AF_INET6, address), "big")
    except OSError:
        return None
    return (number >> 96 ^ number >> 64 ^ number >> 32 ^ number) & 0xFFFFFFFF


@algorithm("source", synopsis="source", needs=Needs.L4)
def source(backend: plan.Backend, view: View) -> Picker:
    """The same client address goes to the same server, as long as the set of servers stays."""
    if backend.balance.hash_modifier == "avalanche":

        def mixed(txn: Any) -> int | None:
            h = address_hash(txn.origin.src)
            return None if h is None else avalanche(h)

        return keyed(backend, view, mixed)
    return keyed(backend, view, lambda txn: address_hash(txn.origin.src))
