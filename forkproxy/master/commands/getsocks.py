"""``_getsocks``: hand the listening sockets to a process that was started with ``-x`` (configuration manual 5.1 "expose-fd listeners")."""

from __future__ import annotations

from forkproxy.master import oldsocks
from forkproxy.master.cli_session import Session
from forkproxy.registry import Level, command


@command("_getsocks", level=Level.ADMIN)
def getsocks(session: Session, words: list[str]) -> None:
    """Pass the listening sockets over this connection, which ends with it."""
    session.closing = True
    if session.bind.expose_fd_listeners and session.master.supervisor.current is not None:
        oldsocks.give(session.sock, session.master.supervisor.current.rack)
