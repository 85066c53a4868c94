"""Actions on lists of header fields in one block of bytes: add-headers-bin, set-headers-bin, del-headers-bin (manual 4.4, wire.varint)."""

from __future__ import annotations

import re
from typing import Any

from forkproxy.plan import Step
from forkproxy.registry import Needs, Type, action
from forkproxy.rules.action import ALL_HTTP, Parser
from forkproxy.rules.logencode import http_safe
from forkproxy.rules.words import to_bytes
from forkproxy.wire import varint

_TOKEN = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_TESTS: dict[str, Any] = {"str": bytes.__eq__, "beg": bytes.startswith, "end": bytes.endswith, "sub": bytes.__contains__}


def _head(p: Parser) -> Any:
    p.needs |= Needs.HEADERS if p.on_request else Needs.RES_HEADERS
    return (lambda txn: txn.req) if p.on_request else (lambda txn: txn.res)


def _putting(p: Parser, replace: bool) -> Step:
    fetch = p.sample(Type.BIN).fetch
    prefix = to_bytes(p.word("a prefix")).lower() if p.words.accept("prefix") else b""
    head_of = _head(p)

    def step(txn: Any) -> None:
        data = fetch(txn)
        try:
            pairs = varint.unpack(data) if data is not None else []
        except ValueError:
            return  # nothing is done with half a list
        head = head_of(txn)
        # HAProxy warns that these are not validated; here a name must be a token, and a value stays on its line.
        pairs = [(n, http_safe(v)) for n, v in pairs if n.lower().startswith(prefix) and _TOKEN.fullmatch(n)]
        if replace:
            for lower in {name.lower() for name, _ in pairs}:
                head.remove(lower)
        for name, value in pairs:
            head.add(name, value)

    return step


@action("add-headers-bin", at=ALL_HTTP, synopsis="<expr> [ prefix <str> ]")
def add_headers_bin(p: Parser) -> Step:
    """Append the header fields of a list (as req.hdrs_bin makes it), or those whose names begin with a prefix."""
    return _putting(p, False)


@action("set-headers-bin", at=ALL_HTTP, synopsis="<expr> [ prefix <str> ]")
def set_headers_bin(p: Parser) -> Step:
    """Put the header fields of a list in the place of those with the same names."""
    return _putting(p, True)


@action("del-headers-bin", at=ALL_HTTP, synopsis="<expr> [ -m <meth> ]")
def del_headers_bin(p: Parser) -> Step:
    """Remove the header fields whose names a list has; the names match by ``-m`` str, beg, end or sub."""
    fetch = p.sample(Type.BIN).fetch
    method = p.word("a matching method") if p.words.accept("-m") else "str"
    if method not in _TESTS:
        p.words.fail(f"'{method}' is not a matching method of 'del-headers-bin'", hint="one of str beg end sub")
    test = _TESTS[method]
    head_of = _head(p)

    def step(txn: Any) -> None:
        data = fetch(txn)
        try:
            wanted = [name.lower() for name in varint.names(data)] if data is not None else []
        except ValueError:
            return
        head = head_of(txn)
        for name in {n.lower() for n, _ in head.items()}:
            if any(test(name, one) for one in wanted):
                head.remove(name)

    return step
