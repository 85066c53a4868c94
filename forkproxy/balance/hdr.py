"""``balance hdr(<name>) [use_domain_only]``: by the first value of a request header."""

from __future__ import annotations

from typing import Any

from forkproxy import plan
from forkproxy.balance.keyed import hasher, keyed
from forkproxy.balance.picker import Picker, View
from forkproxy.registry import Needs, algorithm


def first_value(line: bytes) -> bytes:
    """The first of a field's comma-separated values; commas in quotes do not separate."""
    if b"," not in line:
        return line.strip(b" \t")
    if b'"' not in line:
        return line.partition(b",")[0].strip(b" \t")
    quoted = escaped = False
    for k, c in enumerate(line):
        if escaped:
            escaped = False
        elif quoted:
            escaped = c == 0x5C
            quoted = c != 0x22
        elif c == 0x22:
            quoted = True
        elif c == 0x2C:
            return line[:k].strip(b" \t")
    return line.strip(b" \t")


def domain(value: bytes) -> bytes:
    """The main part of a host name, the label before the last dot: ``haproxy`` of ``www.haproxy.org``. All of it without a dot."""
    dot = value.rfind(b".")
    if dot <= 0:
        return value if dot < 0 else b""
    return value[value.rfind(b".", 0, dot - 1) + 1 : dot]


@algorithm("hdr", synopsis="hdr(<name>) [use_domain_only]", needs=Needs.HEADERS, mode="http")
def hdr(backend: plan.Backend, view: View) -> Picker:
    """The same header value goes to the same server; round robin without one. ``use_domain_only`` takes only ``b`` of ``a.b.c``."""
    hash_key = hasher(backend.balance)
    header, domain_only = backend.balance.args
    name = header.lower().encode()

    def hash_of(txn: Any) -> int | None:
        line = txn.req.get(name)
        if line is None:
            return None
        value = first_value(line)
        if not value:
            return None
        return hash_key(domain(value) if domain_only else value)

    return keyed(backend, view, hash_of)
