"""The capture action: keep a sample for the log (manual 4.4 "capture")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkproxy.plan import Step
from forkproxy.registry import Type, action
from forkproxy.rules.action import HTTP_AFTER, HTTP_REQ, HTTP_RES, TCP_CONT, Parser
from forkproxy.rules.converters.variable import keep
from forkproxy.rules.words import to_bytes

if TYPE_CHECKING:
    from forkproxy.rules.txn import Txn


@action("capture", at=(TCP_CONT, HTTP_REQ, HTTP_RES, HTTP_AFTER), synopsis="<sample> [ len <length> | id <id> ]")
def capture(p: Parser) -> Step:
    """Keep a sample in a capture slot: a new one of a length, or a declared one by its number."""
    text = p.words.peek() or ""
    sample = p.sample(Type.STR)
    attribute, slots = ("captures_req", p.ctx.captures[0]) if p.on_request else ("captures_res", p.ctx.captures[1])
    match p.word("'len' or 'id'"):
        case "len":
            if p.ctx.caps not in ("frontend", "listen"):
                p.words.fail("'len' declares a slot and can only be used in a frontend", hint="declare capture request … and use 'id'")
            if not p.on_request:
                p.words.fail("'len' is for requests", hint="declare capture response … and use 'id'")
            length = p.integer("a length", 1, 1 << 16)
            index = len(slots)
            slots.append((to_bytes(text), length))
        case "id":
            index = p.integer("the number of a slot", 0, 1 << 16)
            if p.ctx.caps in ("frontend", "listen") and index >= len(slots):
                p.words.fail(f"unable to find capture id '{index}' referenced by the rule")
        case other:
            p.words.fail(f"expects 'len' or 'id', and not '{other}'")
    fetch = sample.fetch

    def step(txn: Txn) -> None:
        value = fetch(txn)
        if value is not None:
            keep(txn, attribute, index, slots, value)

    return step
