"""Actions that end a rule set or a stream without an answer of their own: allow, accept, reject, silent-drop."""

from __future__ import annotations

from typing import Any

from forkproxy.plan import Step
from forkproxy.registry import Ends, action
from forkproxy.rules.action import ALL_HTTP, ALL_TCP, HTTP_REQ, HTTP_RES, TCP_CONN, TCP_CONT, TCP_RES, TCP_SESS, Parser
from forkproxy.rules.verdict import ALLOW, REJECT, SILENT_DROP, SWITCH


@action("allow", at=ALL_HTTP, ends=Ends.RULESET)
def allow(p: Parser) -> Step:
    """End this set of rules and let the message pass."""
    return lambda txn: ALLOW


@action("accept", at=ALL_TCP, ends=Ends.RULESET)
def accept(p: Parser) -> Step:
    """End this set of rules and let the connection or its content pass."""
    return lambda txn: ALLOW


@action("switch-mode", at=(TCP_CONT,), ends=Ends.RULESET, synopsis="http [ proto h1 ]")
def switch_mode(p: Parser) -> Step:
    """Go on in HTTP mode: the client's bytes are requests from here on, and the frontend's HTTP rules apply to them. No rule on content
    behind it is looked at. A backend in HTTP mode has to be chosen."""
    if p.ctx.caps == "backend":
        p.words.fail(f"'switch-mode' not allowed because backend '{p.ctx.name}' has no frontend capability")
    if p.word("a mode") != "http":
        p.words.fail("'switch-mode' expects a valid mode", hint="http")
    if p.words.accept("proto"):
        name = p.word("the name of a protocol")
        if name != "h1":
            known = "is known to HAProxy, not supported by forkproxy" if name in ("h2", "fcgi", "spop") else "is no protocol"
            p.words.fail(f"'proto' : '{name}' {known}", hint="h1")

    def step(txn: Any) -> Any:
        return SWITCH if txn.req is None else ALLOW  # later requests of the same connection are HTTP already

    return step


@action("reject", at=(TCP_CONN, TCP_SESS, TCP_CONT, TCP_RES, HTTP_REQ), ends=Ends.STREAM)
def reject(p: Parser) -> Step:
    """Close the connection without an answer."""
    return lambda txn: REJECT


@action("close", at=(TCP_RES,), ends=Ends.STREAM)
def close(p: Parser) -> Step:
    """Close the connection to the server."""
    return lambda txn: REJECT


@action("silent-drop", at=(TCP_CONN, TCP_SESS, TCP_CONT, TCP_RES, HTTP_REQ, HTTP_RES), ends=Ends.STREAM, synopsis="[ rst-ttl <ttl> ]")
def silent_drop(p: Parser) -> Step:
    """Drop the connection so that the client does not notice: no FIN, no RST that reaches it."""
    if p.words.accept("rst-ttl"):
        p.words.fail("'rst-ttl' is known to HAProxy, not supported by forkproxy")

    def step(txn: Any) -> Any:
        return SILENT_DROP

    return step
