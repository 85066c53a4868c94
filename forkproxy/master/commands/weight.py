"""``get weight`` and ``set weight`` (management manual 9.3)."""

from __future__ import annotations

from forkproxy.health.entry import Entry
from forkproxy.master import lookup
from forkproxy.master.cli_session import Refused, Session
from forkproxy.registry import Level, command


@command("get weight", level=Level.USER, synopsis="get weight <bk>/<srv>")
def get_weight(session: Session, words: list[str]) -> str:
    """Report a server's current weight."""
    entry = lookup.server(session, words, 2)
    return f"{entry.uweight} (initial {entry.server.weight})\n"


@command("set weight", level=Level.ADMIN, synopsis="set weight <bk>/<srv> <weight>[%]")
def set_weight(session: Session, words: list[str]) -> str:
    """Change a server's weight: absolute (0 to 256), or relative to the file's."""
    change(session, lookup.server(session, words, 2), words[3] if len(words) > 3 else "")
    return ""


def change(session: Session, entry: Entry, text: str) -> None:
    """Give a server the weight that ``text`` says. Raises Refused."""
    try:
        session.master.health.board.change_weight(entry.key, text)
    except ValueError as exc:
        raise Refused(str(exc)) from None
