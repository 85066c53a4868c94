"""The rules ``reqdeny``, ``reqideny``, ``rspdeny``, ``rspideny`` of HAProxy before 2.1: an expression against whole lines of a head."""

from __future__ import annotations

from typing import Any

from forkproxy.registry import Needs
from forkproxy.rules.conditions import read_condition
from forkproxy.rules.context import RuleContext
from forkproxy.rules.patterns import compile_regex
from forkproxy.rules.ruleset import Rule
from forkproxy.rules.verdict import Reply
from forkproxy.rules.words import Words

_REFUSED = Reply("deny", status=403, denied=True, default_error=True)
_BAD = Reply("deny", status=502, denied=True, default_error=True)


def deny_lines(name: str, words: Words, ctx: RuleContext) -> Rule:
    """The rule ``name`` whose expression and condition follow in ``words``. Raises ConfigError."""
    on_request = name.startswith("req")
    ctx = ctx.at("http-req" if on_request else "http-res")
    try:
        search = compile_regex(words.next("a regular expression"), name[3:4] == "i").search
    except ValueError as err:
        words.fail(str(err))
    condition = read_condition(words, ctx)
    verdict = _REFUSED if on_request else _BAD

    def step(txn: Any) -> Reply | None:
        head = txn.req if on_request else txn.res
        lines = (head.start_line() + head.block()).split(b"\r\n")
        return verdict if any(search(line) for line in lines if line) else None

    needs = (Needs.HEADERS if on_request else Needs.RES_HEADERS) | (condition.needs if condition is not None else Needs.NONE)
    return Rule(step, condition, needs)
