"""``clear counters`` (management manual 9.3)."""

from __future__ import annotations

from forkproxy.master.cli_session import Deferred, Refused, Session
from forkproxy.registry import Level, command


@command("clear counters", level=Level.OPERATOR, synopsis="clear counters [all]")
def clear_counters(session: Session, words: list[str]) -> Deferred:
    """Clear max statistics counters (or all counters)."""
    everything = words[2:] == ["all"]
    if everything and session.level < Level.ADMIN:
        raise Refused("Permission denied")
    rows = session.master.shared.state.rows
    segment = rows.segment
    for slot in (segment.master, segment.retired):
        rows.clear(slot, everything)
    return session.ask("clear counters", lambda _replies: "", everything=everything)
