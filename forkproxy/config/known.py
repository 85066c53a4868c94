"""Names that HAProxy registers, so that what it knows and forkproxy does not is refused by name, not as a typing error.

The table is ``known_keywords.txt`` beside this file: one line per kind (``global``, ``proxy``, ``bind``, ``server``, ``fetch`` …) with
its names. It is read on the first question, which a good configuration never asks.
"""

from __future__ import annotations

import os
from functools import cache

_PROXIES = frozenset({"defaults", "frontend", "backend", "listen"})


@cache
def _table() -> dict[str, frozenset[str]]:
    with open(os.path.join(os.path.dirname(__file__), "known_keywords.txt"), encoding="ascii") as file:
        text = file.read()
    table: dict[str, frozenset[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            kind, _, names = line.partition("\t")
            table[kind] = frozenset(names.split("|"))
    return table


def names(kind: str) -> frozenset[str]:
    """All names of one kind: a section's, or one of: bind server option timeout fetch converter acl action cli service filter section.

    The proxy sections share one table.
    """
    return _table().get("proxy" if kind in _PROXIES else kind, frozenset())


def find(kind: str, words: list[str]) -> str:
    """The longest known keyword that ``words`` begin with, or ""."""
    table = names(kind)
    for count in (3, 2, 1):
        name = " ".join(words[:count])
        if len(words) >= count and name in table:
            return name
    return ""


def refusal(what: str) -> str:
    """The sentence for something that only HAProxy has."""
    return f"'{what}' is known to HAProxy, not supported by forkproxy yet"
