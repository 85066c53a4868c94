"""The action set-bandwidth-limit (manual 4.4, 9.7)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from forkproxy.errors import ConfigError
from forkproxy.plan import Step
from forkproxy.registry import Type, action
from forkproxy.rules import tables
from forkproxy.rules.action import HTTP_REQ, HTTP_RES, TCP_CONT, TCP_RES, Parser
from forkproxy.rules.bandwidth import Bandwidth, Wanted
from forkproxy.rules.expr import compile_sample

_SIZE = re.compile(r"(\d+)([kmg]?)", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@action(
    "set-bandwidth-limit", at=(TCP_CONT, TCP_RES, HTTP_REQ, HTTP_RES),
    synopsis="<name> [limit {<expr>|<size>}] [period {<expr>|<time>}]",
)  # fmt: skip
def set_bandwidth_limit(p: Parser) -> Step:
    """Let a bandwidth limitation filter of this section work on the stream, with a limit and a period of its own if it is no shared one; an
    expression without a positive value leaves what the filter says."""
    at = p.words.pos
    name = p.word("the name of a bandwidth limitation filter")
    found = p.ctx.filters.get(name)
    if found is None:
        p.words.fail(f"unable to find bwlim filter '{name}' referenced by set-bandwidth-limit rule", at)
    given: dict[str, int | Callable[[Any], Any]] = {}
    while p.words.peek() in ("limit", "period"):
        at = p.words.pos
        what = p.words.next()
        if found.table is not None:
            p.words.fail(f"'{what}' cannot be given for the shared filter '{name}'", at)
        given[what] = _amount(p, what)
    if not found.on:
        return _nothing
    key = _key(p, found)
    said_limit, said_period = given.get("limit", 0), given.get("period", 0)

    def step(txn: Any) -> None:
        entry = b"" if key is None else key(txn)
        if entry is None:
            return
        limit = said_limit if isinstance(said_limit, int) else said_limit(txn) or 0
        period = said_period if isinstance(said_period, int) else said_period(txn) or 0
        wanted = Wanted(found, limit if limit > 0 else found.limit, period if period > 0 else found.period_ms, entry)
        marks = txn.marks
        if marks is None:
            marks = txn.marks = {}
        marks.setdefault("bandwidth", {})[name] = wanted

    return step


def _nothing(txn: Any) -> None:
    """The filter is left out by ``filter-sequence``."""


def _amount(p: Parser, what: str) -> int | Callable[[Any], Any]:
    """A size in bytes, a time in milliseconds, or an expression of one."""
    size = _SIZE.fullmatch(p.words.peek() or "")
    if what == "limit" and size is not None:
        p.words.next()
        value = int(size[1]) * _UNITS[size[2].lower()]
    elif what == "period" and p.is_time():
        value = round(p.time_s() * 1000)
    else:
        return p.sample(Type.SINT).fetch
    if not value:
        p.words.fail(f"the {what} of 'set-bandwidth-limit' must be more than zero", p.words.pos - 1)
    return value


def _key(p: Parser, found: Bandwidth) -> Callable[[Any], bytes | None] | None:
    """How the key of the entry is made where this rule stands; None for a filter without a table."""
    ref = found.table
    if ref is None:
        return None
    try:
        sample = compile_sample(found.key, p.ctx, want=tables.KEY_TYPES[ref.spec.type])
    except ConfigError as err:
        p.words.fail(f"filter '{found.name}' : {err.message}")
    p.needs |= sample.needs
    fetch, make = sample.fetch, tables.key_maker(ref)

    def key(txn: Any) -> bytes | None:
        value = fetch(txn)
        return None if value is None else make(value)

    return key
