"""``show info`` (management manual 9.3)."""

from __future__ import annotations

from collections.abc import Iterable

from forkproxy.master.cli_session import Refused, Session
from forkproxy.registry import Level, command
from forkproxy.stats import info


@command("show info", level=Level.USER, synopsis="show info [desc|json|typed|float]*")
def show_info(session: Session, words: list[str]) -> str | Iterable[str]:
    """Report information about the running process."""
    context = session.master.desk.context
    if context is None:
        raise Refused("not started yet")
    fields = context.info()
    if "json" in words:
        return info.to_json(fields)
    if "typed" in words:
        return info.to_typed(fields, desc="desc" in words)
    return info.to_text(fields, desc="desc" in words)
