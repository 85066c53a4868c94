"""Actions that write a log line of their own: do-log (manual 4.4)."""

from __future__ import annotations

from typing import Any

from forkproxy.plan import Step
from forkproxy.registry import action
from forkproxy.rules.action import EVERYWHERE, Parser


@action("do-log", at=EVERYWHERE, synopsis="[profile <name>]")
def do_log(p: Parser) -> Step:
    """Write a log line now, in the proxy's format or that of a log profile; ``%OG`` tells which kind of rule did. The line at the end is
    written all the same."""
    origin = p.kind.encode()
    profile = ""
    if p.words.accept("profile"):
        profile = p.word("the name of a log profile")
        try:
            p.ctx.find("log-profile", profile)
        except ValueError as err:
            p.words.fail(str(err))

    def step(txn: Any) -> None:
        txn.log_now(origin, profile)

    return step
