"""Process-wide variables in this worker: the order that changes them (``set var``, ``set-var(proc.x)`` in another worker …), and the one
that asks for the value of an expression, which only a worker knows everything for.
"""

from __future__ import annotations

from typing import Any

from forkproxy.errors import ConfigError
from forkproxy.proxy.runtime import Runtime
from forkproxy.registry import order
from forkproxy.rules.context import RuleContext
from forkproxy.rules.expr import compile_sample
from forkproxy.rules.logformat import compile_format
from forkproxy.rules.patternfiles import Loaded
from forkproxy.rules.txn import Txn
from forkproxy.rules.variables import SHARED, Op, pack
from forkproxy.rules.words import Words


@order("variables")
def change(runtime: Runtime, ops: list[Op]) -> None:
    """Carry out changes that the master made on its own copy."""
    SHARED.apply(ops)


@order("evaluate")
def evaluate(runtime: Runtime, words: list[str], as_format: bool) -> Any:
    """The value of an expression, or of a log format, of what is known without traffic, as ``rules.variables`` packs it."""
    import forkproxy.rules.library  # noqa: F401  (a file without rules did not need it)

    def find(kind: str, name: str) -> None:
        if kind == "frontend":
            known = name in runtime.frontends
        else:
            backend, _, server = name.rpartition("/") if kind == "server" else (name, "", "")
            be = runtime.backends.get(backend)
            known = be is not None and (kind != "server" or server in be.by_name)
        if not known:
            raise ValueError(f"unable to find {kind} '{name}'")

    files = Loaded(runtime.plan.objects["patterns"])
    context = RuleContext(kind="cli", caps="listen", name="CLI", files=files, tables=runtime.plan.tables, find=find)
    text = Words(words)
    try:
        fetch = compile_format(text, context, style="raw").render if as_format else compile_sample(text, context).fetch
        text.end("'set var'")
    except ConfigError as exc:
        raise ValueError(exc.message) from None
    bare = Txn()
    bare.clock = runtime.clock
    try:
        return pack(fetch(bare))
    except AttributeError:  # it wants a stream after all
        raise ValueError("the expression needs a stream") from None
