"""``show schema json`` (management manual 9.3): what "show info json" and "show stat json" look like."""

from __future__ import annotations

from forkproxy.master.cli_session import Session
from forkproxy.registry import Level, command
from forkproxy.stats import schema


@command("show schema json", level=Level.USER, synopsis="show schema json")
def show_schema(session: Session, words: list[str]) -> str:
    """Report the schema of the JSON outputs (json-schema.org, draft 4)."""
    return schema.text()
