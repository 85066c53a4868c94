"""The Forwarded field that "option forwarded" adds to requests (manual 4.2; RFC 7239): its words compiled to one function.

The parameters stand in the order proto, host, by, for. A node that is not known is called "unknown", a text of the configuration's own
stands behind an underscore; addresses of version 6, and nodes with a port, are quoted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forkproxy.registry import Needs
from forkproxy.rules.context import RuleContext
from forkproxy.rules.converters.forwarded import split_node, to_name, to_port
from forkproxy.rules.expr import compile_sample
from forkproxy.rules.types import Addr
from forkproxy.rules.words import Words

Value = Callable[[Any], Any]

_name = to_name().fn
_port = to_port().fn


def compile_forwarded(words: Words, ctx: RuleContext) -> tuple[Callable[[Any], bytes], Needs]:
    """``render(txn) -> value`` of the field for the words after "option forwarded", and what it needs. Raises ConfigError."""
    said: dict[str, Value] = {}
    needs = Needs.NONE
    while words:
        index, word = words.pos, words.next("an option")
        what, dash, _ = word.partition("-")
        if what not in _DEFAULTS or (dash and (what == "proto" or word != f"{what}-expr")):
            words.fail(
                "'option forwarded' only supports optional values: 'proto', 'host', 'host-expr', 'by', 'by-expr', 'by_port', "
                "'by_port-expr', 'for', 'for-expr', 'for_port', 'for_port-expr'.", index,
            )  # fmt: skip
        if dash:
            sample = compile_sample(words, ctx)
            said[what] = sample.fetch
            needs |= sample.needs
        else:
            said[what] = _DEFAULTS[what]
    for who in ("by", "for"):
        if f"{who}_port" in said and who not in said:
            ctx.warn(f"'option forwarded' : '{who}_port' is ignored without '{who}'")
            del said[f"{who}_port"]
    said = said or {"proto": _DEFAULTS["proto"], "for": _DEFAULTS["for"]}
    parts = [part for part in (
        _proto if "proto" in said else None,
        _host(said["host"]) if "host" in said else None,
        _node(b"by=", said["by"], said.get("by_port")) if "by" in said else None,
        _node(b"for=", said["for"], said.get("for_port")) if "for" in said else None,
    ) if part is not None]  # fmt: skip

    def render(txn: Any) -> bytes:
        return b";".join([text for part in parts if (text := part(txn))])

    return render, needs


def _proto(_txn: Any) -> bytes:
    return b"proto=http"


def _host(value: Value) -> Callable[[Any], bytes]:
    def host(txn: Any) -> bytes:
        text = value(txn)
        if not isinstance(text, bytes) or not text or b'"' in text or b"\\" in text:
            return b""
        return b'host="' + text + b'"'

    return host


def _node(lead: bytes, name: Value, port: Value | None) -> Callable[[Any], bytes]:
    def node(txn: Any) -> bytes:
        text = _named(name(txn))
        number = None if port is None else _numbered(port(txn))
        if number is not None:
            text += b":" + number
        return lead + (b'"' + text + b'"' if b":" in text else text)

    return node


def _named(value: Any) -> bytes:
    if value is None:
        return b"unknown"
    if isinstance(value, bytes):
        node = split_node(value)
        if node is not None and not node[1]:
            return value
    return _name(value) or b"unknown"


def _numbered(value: Any) -> bytes | None:
    if isinstance(value, bytes) and (node := split_node(b"unknown:" + value)) is not None:
        return node[1]
    return None if value is None else _port(value)


def _address(text: str) -> Addr | None:
    return Addr(text) if "." in text or ":" in text else None


_DEFAULTS: dict[str, Value] = {
    "proto": _proto,
    "host": lambda txn: txn.req.get(b"host"),
    "by": lambda txn: _address(txn.origin.local()[0]),
    "by_port": lambda txn: txn.origin.local()[1] or None,
    "for": lambda txn: _address(txn.origin.src),
    "for_port": lambda txn: txn.origin.src_port or None,
}
