"""Actions on how a stream or its connection is treated: addresses, marks, timeouts, log level, waiting (manual 4.4).

They leave what they decided in ``txn.marks`` for the proxy, under the names in :data:`MARKS`.
"""

from __future__ import annotations

import re
from typing import Any

from forkproxy.http.message import BodyKind
from forkproxy.plan import Step
from forkproxy.registry import Needs, Type, action
from forkproxy.rules.action import (
    ALL_HTTP,
    HTTP_REQ,
    HTTP_RES,
    TCP_CONN,
    TCP_CONT,
    TCP_RES,
    TCP_SESS,
    Parser,
    mark,
)
from forkproxy.rules.verdict import WAIT, Pause, Verdict

#: what the proxy finds in ``txn.marks``: name → meaning
MARKS = {
    "src": "Addr in the place of the client's address",
    "src_port": "int in the place of the client's port",
    "dst": "Addr in the place of the address that the client connected to",
    "dst_port": "int in the place of the port that the client connected to",
    "timeout.client": "seconds",
    "timeout.connect": "seconds",
    "timeout.queue": "seconds",
    "timeout.server": "seconds",
    "timeout.body": "seconds for the body that rules wait for",
    "timeout.tarpit": "seconds",
    "timeout.tunnel": "seconds",
    "retries": "int, in the place of the backend's retries",
    "nice": "int, -1024 … 1024; nobody looks at it",
    "fc_tos": "int, the TOS byte of packets to the client",
    "fc_mark": "int, the netfilter mark of packets to the client",
    "bc_tos": "int, the TOS byte of packets to the server",
    "bc_mark": "int, the netfilter mark of packets to the server",
    "priority_class": "int, -2047 … 2047, of the queue",
    "priority_offset_ms": "int, -524287 … 524287, of the queue",
    "strict": "bool: a rewrite that fails ends the stream (default True)",
    "answer_wait": "(seconds, bytes) that a rule of the answer waits for its body",
    "bandwidth": "rules.bandwidth.Wanted by the name of its filter",
    "body_least": "int, bytes of the body after which rules go on (absent: all of it, or a full buffer)",
    "early_hints": "list of (name, value) to send in a 103 response before the real one",
    "server_status": "int, the status code as the server sent it, once a rule changed it",
    "origin": "bytes, which rules write a log line just now (%OG)",
    "service": "True: a service answers",
    "last_rule": "(file, line) of the last rule that ended its set, where something asks for it",
    "waiting_rule": "(file, line) of the rule that the stream waits for, where something asks for it",
    "in_flight": "(size, head or None): what the first bytes are as a request (rules.inflight)",
    "log_connect": "True: a line of the log is written when the server's connection stands",
    "gathered": "what came of an answer's body that a rule waits for (proxy.holding)",
    "fc_err": "int, number of the error of the client's connection (rules.connerrors)",
    "bc_err": "int, the same of the server's",
    "no_l7_retry": "True: do not send the request again after a failure",
}

_FRONT = (TCP_CONN, TCP_SESS, TCP_CONT, HTTP_REQ)
_CLIENT_SIDE = (TCP_CONN, TCP_SESS, TCP_CONT, TCP_RES, HTTP_REQ, HTTP_RES)
_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")


def _mark_sample(p: Parser, name: str, want: Type) -> Step:
    fetch = p.sample(want).fetch

    def step(txn: Any) -> None:
        value = fetch(txn)
        if value is not None:
            mark(txn, name, value)

    return step


@action("set-src", at=_FRONT, synopsis="<expr>")
def set_src(p: Parser) -> Step:
    """Use a sample as the client's address."""
    return _mark_sample(p, "src", Type.ADDR)


@action("set-src-port", at=_FRONT, synopsis="<expr>")
def set_src_port(p: Parser) -> Step:
    """Use a sample as the client's port."""
    return _mark_sample(p, "src_port", Type.SINT)


@action("set-dst", at=_FRONT, synopsis="<expr>")
def set_dst(p: Parser) -> Step:
    """Use a sample as the address that the client connected to."""
    return _mark_sample(p, "dst", Type.ADDR)


@action("set-dst-port", at=_FRONT, synopsis="<expr>")
def set_dst_port(p: Parser) -> Step:
    """Use a sample as the port that the client connected to."""
    return _mark_sample(p, "dst_port", Type.SINT)


@action("set-priority-class", at=(TCP_CONT, HTTP_REQ), synopsis="<expr>")
def set_priority_class(p: Parser) -> Step:
    """Set the stream's class in queues: lower ones go first."""
    return _mark_sample(p, "priority_class", Type.SINT)


@action("set-priority-offset", at=(TCP_CONT, HTTP_REQ), synopsis="<expr>")
def set_priority_offset(p: Parser) -> Step:
    """Set the stream's offset in queues in milliseconds."""
    return _mark_sample(p, "priority_offset_ms", Type.SINT)


_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]+|\d+")


def _number_or_sample(p: Parser, name: str, what: str, limit: int) -> Step:
    if _NUMBER.fullmatch(p.words.peek() or ""):
        value = p.integer(what, 0, limit)

        def constant(txn: Any) -> None:
            mark(txn, name, value)

        return constant
    return _mark_sample(p, name, Type.SINT)


@action("set-fc-tos", "set-tos", at=_CLIENT_SIDE, synopsis="{ <tos> | <expr> }")
def set_fc_tos(p: Parser) -> Step:
    """Set the TOS byte of packets to the client."""
    return _number_or_sample(p, "fc_tos", "a TOS value", 255)


@action("set-fc-mark", "set-mark", at=_CLIENT_SIDE, synopsis="{ <mark> | <expr> }")
def set_fc_mark(p: Parser) -> Step:
    """Set the netfilter mark of packets to the client."""
    return _number_or_sample(p, "fc_mark", "a mark", 0xFFFFFFFF)


@action("set-bc-tos", at=(TCP_CONT, HTTP_REQ), synopsis="{ <tos> | <expr> }")
def set_bc_tos(p: Parser) -> Step:
    """Set the TOS byte of packets to the server."""
    return _number_or_sample(p, "bc_tos", "a TOS value", 255)


@action("set-bc-mark", at=(TCP_CONT, HTTP_REQ), synopsis="{ <mark> | <expr> }")
def set_bc_mark(p: Parser) -> Step:
    """Set the netfilter mark of packets to the server."""
    return _number_or_sample(p, "bc_mark", "a mark", 0xFFFFFFFF)


@action("set-retries", at=(TCP_CONT, HTTP_REQ), synopsis="{ <int> | <expr> }")
def set_retries(p: Parser) -> Step:
    """Set how often a failed connection is tried again for this stream."""
    return _number_or_sample(p, "retries", "a number", 100)


@action("set-nice", at=(TCP_CONT, TCP_RES, HTTP_REQ, HTTP_RES), synopsis="<nice>")
def set_nice(p: Parser) -> Step:
    """Set the niceness of the stream, from -1024 to 1024 (values beyond are cut)."""
    value = max(-1024, min(1024, p.integer("a niceness", -(1 << 31), 1 << 31)))
    p.ctx.note("'set-nice' has no effect: forkproxy serves all streams of a worker in turn")

    def step(txn: Any) -> None:
        mark(txn, "nice", value)

    return step


@action("set-log-level", at=(TCP_CONT, TCP_RES, *ALL_HTTP), synopsis="<level>")
def set_log_level(p: Parser) -> Step:
    """Set the level of the stream's log line; "silent" makes none."""
    name = p.word("a log level")
    if name not in (*_LEVELS, "silent"):
        p.words.fail(f"'{name}' is not a log level", hint="one of silent " + " ".join(_LEVELS))
    level = -1 if name == "silent" else _LEVELS.index(name)

    def step(txn: Any) -> None:
        txn.log_level = level

    return step


@action("set-timeout", at=(HTTP_REQ, HTTP_RES),
        synopsis="{ client | connect | queue | server | tarpit | tunnel } { <timeout> | <expr> }")  # fmt: skip
def set_timeout(p: Parser) -> Step:
    """Set a timeout for this stream; a bare number or a sample is in milliseconds."""
    which = p.word("the name of a timeout")
    names = ("client", "connect", "queue", "server", "tarpit", "tunnel")
    if which not in names:
        p.words.fail(f"'{which}' is not a timeout that can be set", hint="one of " + " ".join(names))
    if which != "client" and p.ctx.caps == "frontend" and which in ("server", "tunnel"):
        p.words.fail(f"the timeout '{which}' can only be set in a backend", hint="move the rule to the backend")
    key = f"timeout.{which}"
    if p.is_time():
        value = p.time_s("a timeout")
        if not value:
            p.words.fail("null value is not valid for a timeout")

        def constant(txn: Any) -> None:
            mark(txn, key, value)

        return constant
    fetch = p.sample(Type.SINT).fetch

    def step(txn: Any) -> None:
        found = fetch(txn)
        if found is not None and found > 0:
            mark(txn, key, found / 1000)

    return step


@action("strict-mode", at=ALL_HTTP, synopsis="{ on | off }")
def strict_mode(p: Parser) -> Step:
    """Say whether a header that cannot be rewritten ends the stream (default) or is let pass."""
    word = p.word("'on' or 'off'")
    if word not in ("on", "off"):
        p.words.fail(f"expects 'on' or 'off', and not '{word}'")
    value = word == "on"

    def step(txn: Any) -> None:
        mark(txn, "strict", value)

    return step


@action("early-hint", at=(HTTP_REQ,), synopsis="<name> <fmt>")
def early_hint(p: Parser) -> Step:
    """Add a header field to a 103 response that goes to the client before the real one."""
    name = p.header_name()
    render = p.format().render

    def step(txn: Any) -> None:
        marks = txn.marks
        field = (name, render(txn))
        if marks is not None and "early_hints" in marks:
            marks["early_hints"].append(field)
        else:
            mark(txn, "early_hints", [field])

    return step


@action("disable-l7-retry", at=(HTTP_REQ,))
def disable_l7_retry(p: Parser) -> Step:
    """Do not send this request a second time after a failure."""

    def step(txn: Any) -> None:
        mark(txn, "no_l7_retry", True)

    return step


@action("pause", at=(HTTP_REQ, HTTP_RES), synopsis="{ <timeout> | <expr> }")
def pause(p: Parser) -> Step:
    """Wait before the next rule; a bare number or a sample is in milliseconds. A sample without a value does not wait."""
    if p.is_time():
        fixed = Pause("pause", delay_s=p.time_s("a time"))
        return lambda txn: fixed
    fetch = p.sample(Type.SINT).fetch

    def step(txn: Any) -> Pause | None:
        found = fetch(txn)
        return Pause("pause", delay_s=found / 1000) if found is not None and found > 0 else None

    return step


_SIZE = re.compile(r"(\d+)([kKmMgG]?)")


#: answers that have no body to wait for
_BODILESS = frozenset({BodyKind.NONE, BodyKind.TUNNEL})


@action("wait-for-body", at=(HTTP_REQ, HTTP_RES), synopsis="time <time> [ at-least <bytes> ]")
def wait_for_body(p: Parser) -> Step:
    """Wait for the body, or as many bytes of it as asked for, before the next rule, no longer than a time: then a request ends with
    408, a response with 504. One buffer (tune.bufsize) is as much as rules ever see."""
    if p.word("'time'") != "time":
        p.words.fail("expects 'time <time>' first")
    limit_s = p.time_s()
    least = 0
    if p.words.accept("at-least"):
        text = p.word("a size")
        found = _SIZE.fullmatch(text)
        if found is None:
            p.words.fail(f"'{text}' is not a size")
        least = int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[found[2].lower()]
    if not p.on_request:
        p.needs |= Needs.RES_HEADERS | Needs.RES_BODY
        limits = (limit_s, least)

        def response_step(txn: Any) -> Verdict | None:
            if txn.res_done or txn.res.body in _BODILESS or 0 < least <= len(txn.res_body):
                return None
            mark(txn, "answer_wait", limits)
            return WAIT

        return response_step
    p.needs |= Needs.HEADERS | Needs.BODY_RULED

    def step(txn: Any) -> Verdict | None:
        if txn.body_done or not txn.req.body or (least and len(txn.body) >= least):
            return None
        mark(txn, "timeout.body", limit_s)
        if least:
            mark(txn, "body_least", least)
        return WAIT

    return step
