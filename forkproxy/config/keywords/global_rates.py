"""Limits of what arrives in a second, for the whole service (manual 3.2 "maxconnrate", "maxsessrate"). ``set rate-limit`` changes them."""

from __future__ import annotations

from forkproxy.config.args import Int
from forkproxy.config.drafts import GlobalDraft
from forkproxy.config.line import Line
from forkproxy.registry import keyword


@keyword("global", "maxconnrate", args=(Int(0, 2**31 - 1),), default=0)
def maxconnrate(draft: GlobalDraft, line: Line, count: int) -> None:
    """The most connections that are accepted in a second over all workers; others wait in the kernel's queues. 0: no limit."""
    draft.settings["maxconnrate"] = count


@keyword("global", "maxsessrate", args=(Int(0, 2**31 - 1),), default=0)
def maxsessrate(draft: GlobalDraft, line: Line, count: int) -> None:
    """The most sessions that begin in a second over all workers: connections that rules of layer 4 refuse do not count. 0: no limit."""
    draft.settings["maxsessrate"] = count
