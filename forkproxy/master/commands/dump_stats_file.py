"""``dump stats-file`` (management manual 9.3, 9.5)."""

from __future__ import annotations

from collections.abc import Iterator

from forkproxy.master.cli_session import Session
from forkproxy.registry import Level, command
from forkproxy.stats.statsfile import dump


@command("dump stats-file", level=Level.USER, synopsis="dump stats-file")
def dump_stats_file(session: Session, words: list[str]) -> Iterator[str]:
    """Dump counters for the keyword stats-file, with which a new start goes on counting."""
    return dump(session.plan, session.master.shared.state.rows)
