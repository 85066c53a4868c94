"""Converters that look at what happens to the stream: when, debug (manual 7.3.1)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from forkproxy.registry import Type, converter
from forkproxy.rules import world
from forkproxy.rules.args import Context, OneOf, Str
from forkproxy.rules.context import RuleContext
from forkproxy.rules.logencode import log_safe
from forkproxy.rules.types import Addr, type_of

#: first termination flags of streams in which nothing went wrong (as option dontlog-normal has it)
_WELL = (b"-", b"L")


def _error(txn: Any) -> bool:
    cause = txn.flags[:1]
    return bool(txn.redispatched or cause not in _WELL or (txn.retries and cause == b"-") or (txn.status >= 500 and txn.req is not None))


def _forwarded(txn: Any) -> bool:
    return bool(txn.t_connect)


def _by_service(txn: Any) -> bool:
    return txn.marks is not None and "service" in txn.marks


_CONDITIONS: dict[str, Callable[[Any], bool]] = {
    "error": _error,
    "normal": lambda txn: not _error(txn),
    "forwarded": _forwarded,
    "toapplet": _by_service,
    "processed": lambda txn: _forwarded(txn) or _by_service(txn),
    "stopping": lambda txn: world.view().stopping(),
}


@converter("when", args=(Str(), Str(optional=True), Str(optional=True), Context()), into=Type.SAME, out=Type.SAME)
def when(condition: bytes, name: bytes | None, more: bytes | None, ctx: RuleContext) -> Any:
    """The value, if a condition holds, else nothing: error, normal, forwarded, toapplet, processed, stopping, or acl with the name of one;
    an exclamation mark in front turns it around."""
    word = condition.decode("utf-8", "replace")
    negated = word.startswith("!")
    word = word.lstrip("!")
    if word == "acl":
        holds = _acl((name or b"").decode("utf-8", "replace"), ctx)
    elif word in _CONDITIONS:
        holds = _CONDITIONS[word]
        if name is not None:
            raise ValueError(f"the condition '{word}' takes no argument")
    else:
        raise ValueError(f"unknown condition '{word}', expected one of acl, {', '.join(_CONDITIONS)}")
    if more is not None:
        raise ValueError("too many arguments")
    return lambda value, txn: value if holds(txn) != negated else None


def _acl(name: str, ctx: RuleContext) -> Callable[[Any], bool]:
    tests = ctx.acls.get(name)
    if tests is None:
        raise ValueError(f"no such ACL : '{name}'")
    return lambda txn: any(test.match(txn) for test in tests)


@converter("debug", args=(Str(optional=True, default=b""), OneOf("string", words=("stdout", "stderr"))), into=Type.SAME, out=Type.SAME)
def debug(prefix: bytes, destination: str) -> Any:
    """Write the value to stdout or stderr and pass it on (HAProxy's ring buffers do not exist here: say where)."""
    fd = 1 if destination == "stdout" else 2

    def convert(value: Any, txn: Any) -> Any:
        text = value if isinstance(value, bytes) else bytes(value) if isinstance(value, Addr) else b"%d" % value
        line = b"[debug]%b: type=%b <%b>\n" % (b" " + prefix if prefix else b"", type_of(value).label.encode(), log_safe(text))
        try:
            os.write(fd, line)
        except OSError:
            pass  # nobody reads it
        return value

    return convert
