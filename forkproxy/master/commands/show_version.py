"""``show version`` (management manual 9.3)."""

from __future__ import annotations

from forkproxy import COMPAT_VERSION
from forkproxy.master.cli_session import Session
from forkproxy.registry import Level, command


@command("show version", level=Level.USER, where=("master", "worker"), synopsis="show version")
def show_version(session: Session, words: list[str]) -> str:
    """Show version of the current process."""
    return f"{COMPAT_VERSION}\n"
