"""Actions that write a log line of their own: do-log (manual 4.4)."""

from __future__ import annotations

from typing import Any

from forkproxy.plan import Step
from forkproxy.registry import action
from forkproxy.rules.action import EVERYWHERE, Parser


@action("do-log", at=EVERYWHERE)
def do_log(p: Parser) -> Step:
    """Write a log line now, in the proxy's format; ``%OG`` tells which kind of rule did. The line at the end is written all the same."""
    origin = p.kind.encode()

    def step(txn: Any) -> None:
        txn.log_now(origin)

    return step
