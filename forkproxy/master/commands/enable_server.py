"""``enable`` and ``disable`` of servers and their checks (management manual 9.3)."""

from __future__ import annotations

from forkproxy.master import lookup
from forkproxy.master.cli_session import Session
from forkproxy.registry import Level, command


@command("enable server", level=Level.ADMIN, synopsis="enable server <bk>/<srv>")
def enable_server(session: Session, words: list[str]) -> str:
    """Enable a disabled server."""
    session.master.health.board.set_state(lookup.server(session, words, 2).key, "ready")
    return ""


@command("disable server", level=Level.ADMIN, synopsis="disable server <bk>/<srv>")
def disable_server(session: Session, words: list[str]) -> str:
    """Disable a server for maintenance."""
    session.master.health.board.set_state(lookup.server(session, words, 2).key, "maint")
    return ""
