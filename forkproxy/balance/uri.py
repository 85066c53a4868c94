"""``balance uri [len N] [depth N] [whole] [path-only]``: by the left part of the URI (before the question mark), or all of it."""

from __future__ import annotations

from forkproxy import plan
from forkproxy.balance.keyed import hasher, keyed
from forkproxy.balance.picker import Picker, View
from forkproxy.registry import Needs, algorithm


def key_of(target: bytes, length: int, depth: int, whole: bool, path_only: bool) -> bytes:
    """The part of a request target that is hashed: so many characters and directories (0: all), with its query, without its authority."""
    if path_only and not target.startswith(b"/"):
        scheme = target.find(b"://")
        start = target.find(b"/", scheme + 3) if scheme >= 0 else -1
        target = target[start:] if start >= 0 else b""
    if length:
        target = target[:length]
    if not whole:
        target, _, _ = target.partition(b"?")
    if depth:
        # The slash after the last counted directory ends the key.
        end = -1
        for _ in range(depth + 1):
            end = target.find(b"/", end + 1)
            if end < 0:
                return target
        target = target[:end]
    return target


@algorithm("uri", synopsis="uri [len <len>] [depth <depth>] [whole] [path-only]", needs=Needs.HEADERS, mode="http")
def uri(backend: plan.Backend, view: View) -> Picker:
    """The same URI goes to the same server: for caches."""
    hash_key = hasher(backend.balance)
    length, depth, whole, path_only = backend.balance.args or (0, 0, False, False)
    if not (length or depth or whole or path_only):
        return keyed(backend, view, lambda txn: hash_key(txn.req.target.partition(b"?")[0]))
    return keyed(backend, view, lambda txn: hash_key(key_of(txn.req.target, length, depth, whole, path_only)))
