"""``set maxconn server`` and ``set maxconn global`` (management manual 9.3)."""

from __future__ import annotations

from forkproxy.health.amounts import parse_maxconn
from forkproxy.health.entry import Entry
from forkproxy.master import lookup
from forkproxy.master.cli_session import Deferred, Refused, Session
from forkproxy.registry import Level, command


@command("set maxconn server", level=Level.ADMIN, synopsis="set maxconn server <bk>/<srv> <value>")
def set_maxconn_server(session: Session, words: list[str]) -> Deferred:
    """Change a server's maxconn setting, for all workers together."""
    return change(session, lookup.server(session, words, 3), words[4] if len(words) > 4 else "")


def change(session: Session, entry: Entry, text: str) -> Deferred:
    """Give a server the limit that ``text`` says. Raises Refused."""
    if not text:
        raise Refused("Require <maxconn>.")
    try:
        limit = parse_maxconn(text)
    except ValueError as exc:
        raise Refused(str(exc)) from None
    session.master.changes.server(entry, maxconn=limit)
    return session.ask("set server maxconn", lambda _replies: "", server=entry.key, maxconn=limit)


@command("set maxconn global", level=Level.ADMIN, synopsis="set maxconn global <value>")
def set_maxconn_global(session: Session, words: list[str]) -> str:
    """Change the maxconn setting of the whole service, up to the file's; 0 restores that."""
    maxconn = session.master.plan.global_.maxconn
    if len(words) < 4:
        raise Refused("Expects an integer value.")
    if not words[3].isdecimal() or (maxconn and int(words[3]) > maxconn):
        raise Refused("Value out of range.")
    session.master.changes.settings(limit=int(words[3]))
    return ""
