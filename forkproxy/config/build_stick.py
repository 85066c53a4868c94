"""Stick tables of a configuration, and ``stick`` rules compiled. The tables come first: rules refer to any of them, wherever it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from forkproxy.config.drafts import ProxyDraft
from forkproxy.plan import Stick
from forkproxy.registry import Needs
from forkproxy.rules import tables
from forkproxy.rules.conditions import read_condition
from forkproxy.rules.context import RuleContext
from forkproxy.rules.errors import NotYet
from forkproxy.rules.expr import ExprError, cast_sample, compile_sample
from forkproxy.rules.words import Words
from forkproxy.state.stickspec import TableRef


def stick_tables(proxies: Iterable[ProxyDraft]) -> dict[str, TableRef]:
    """All tables by name. Those that a ``stick`` rule refers to store servers."""
    proxies = list(proxies)
    found: dict[str, TableRef] = {}
    for draft in proxies:
        spec = draft.settings.get("stick-table")
        if spec is None:
            continue
        if draft.name in found:
            other = next(p for p in proxies if p.name == draft.name and "stick-table" in p.settings)
            line, there = draft.settings["stick-table-line"], other.settings["stick-table-line"]
            line.alert(
                f"stick-table name '{draft.name}' conflicts with table declared in {other.label} '{other.name}' "
                f"at {there.file}:{there.number}."
            )
            continue
        found[draft.name] = TableRef(spec)
    for draft in proxies:
        for rule in draft.rules:
            if rule.kind == "stick":
                words = rule.line.words[rule.start + 2 :]
                ref = found.get(words[1] if words[:1] == ["table"] and len(words) > 1 else draft.name)
                if ref is not None:
                    ref.store("server_id", "server_key")
    return found


def compile_stick(words: Words, context: RuleContext) -> tuple[Stick, Needs]:
    """A ``stick`` rule and what it needs. Raises ConfigError."""
    what = words.next()
    response = what == "store-response"
    ctx = context.at("stick-store" if response else "stick")
    at = words.pos
    sample = compile_sample(words, ctx)
    name = words.next("the name of a table") if words.accept("table") else ""
    try:
        ref = tables.find(name, ctx)
    except ValueError:
        words.fail(f"Proxy '{ctx.name}': unable to find stick-table '{name or ctx.name}'", at)
    try:
        fetch = cast_sample(sample, tables.KEY_TYPES[ref.spec.type]).fetch
    except ExprError:
        words.fail(f"Proxy '{ctx.name}': type of fetch not usable with type of stick-table '{name or ctx.name}'", at)
    if words.peek() not in (None, "if", "unless"):
        words.fail(f"'stick': unknown keyword '{words.peek()}'")
    condition = read_condition(words, ctx)
    needs = sample.needs | (condition.needs if condition is not None else Needs.NONE)
    if context.mode != "http" and needs & (Needs.RES_L6 | Needs.RES_BODY):
        words.fail("'stick': the first bytes of a server's answer are not looked at for this yet", at)
    make_key = tables.key_maker(ref)

    def key(txn: Any) -> bytes | None:
        try:
            value = fetch(txn)
        except NotYet:  # the server is chosen now: nothing is waited for any more
            return None
        return None if value is None else make_key(value)

    made = Stick(
        table=ref,
        key=key,
        condition=None if condition is None else _decided(condition.pred),
        match=what in ("on", "match"),
        store=what != "match",
        response=response,
    )
    return made, needs


def _decided(pred: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """``pred`` for a moment at which nothing is waited for: what is not known is not so."""

    def decided(txn: Any) -> bool:
        try:
            return pred(txn)
        except NotYet:
            return False

    return decided
