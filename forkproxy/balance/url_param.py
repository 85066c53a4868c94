"""``balance url_param <name> [check_post]``: by the value of a parameter in the query string, or in a POST body."""

from __future__ import annotations

from typing import Any

from forkproxy import plan
from forkproxy.balance.keyed import hasher, keyed
from forkproxy.balance.picker import Picker, View
from forkproxy.registry import Needs, algorithm

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def needs(args: tuple[Any, ...]) -> Needs:
    """What must have been received before a pick."""
    return Needs.HEADERS | Needs.BODY if args[1] else Needs.HEADERS


def value_in(text: bytes, name: bytes) -> bytes | None:
    """The first value of ``name`` in ``a=1&b=2`` text, as it stands there."""
    mark = name + b"="
    if text.startswith(mark):
        at = len(mark)
    else:
        at = text.find(b"&" + mark)
        if at < 0:
            return None
        at += 1 + len(mark)
    end = text.find(b"&", at)
    return text[at:] if end < 0 else text[at:end]


def value_in_body(body: bytes, name: bytes) -> bytes | None:
    """As :func:`value_in`, for a body: a value that begins with white space is empty, with another non-token no parameter at all."""
    value = value_in(body, name)
    if value and value[0] not in _TOKEN:
        return b"" if value[0] in b" \t" else None
    return value


@algorithm("url_param", synopsis="url_param <name> [check_post]", needs=needs, mode="http")
def url_param(backend: plan.Backend, view: View) -> Picker:
    """The same value of a URL parameter goes to the same server; round robin without one. ``check_post`` looks into POST bodies too."""
    hash_key = hasher(backend.balance)
    parameter, post = backend.balance.args
    name = parameter.encode()

    def hash_of(txn: Any) -> int | None:
        req = txn.req
        _, mark, query = req.target.partition(b"?")
        value = value_in(query, name) if mark else None
        if value is None and post and req.method == b"POST":
            value = value_in_body(bytes(txn.body), name)
        return None if value is None else hash_key(value)

    return keyed(backend, view, hash_of)
