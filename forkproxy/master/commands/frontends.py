"""``disable``, ``enable`` and ``shutdown frontend``, ``set maxconn frontend`` (management manual 9.3)."""

from __future__ import annotations

from collections.abc import Callable

from forkproxy.master import lookup
from forkproxy.master.cli_session import Deferred, Refused, Session
from forkproxy.master.orders import Reply
from forkproxy.plan import Frontend
from forkproxy.registry import Level, command


@command("disable frontend", level=Level.ADMIN, synopsis="disable frontend <frontend>")
def disable_frontend(session: Session, words: list[str]) -> Deferred:
    """Temporarily disable specific frontend."""
    frontend = lookup.frontend(session, words, 2)
    if frontend.held == "STOP":
        raise Refused("Frontend was previously shut down, cannot disable.")
    if frontend.held:
        raise Refused("All sockets are already disabled.")

    def quiet(_replies: list[Reply]) -> str:
        session.master.changes.pause(frontend.name)
        return ""

    return _hold(session, frontend, "PAUSED", quiet)


@command("enable frontend", level=Level.ADMIN, synopsis="enable frontend <frontend>")
def enable_frontend(session: Session, words: list[str]) -> Deferred:
    """Re-enable specific frontend."""
    frontend = lookup.frontend(session, words, 2)
    if frontend.held == "STOP":
        raise Refused("Frontend was previously shut down, cannot enable.")
    if not frontend.held:
        raise Refused("All sockets are already enabled.")
    session.master.changes.resume(frontend.name)
    return _hold(session, frontend, "", lambda _replies: "")


@command("shutdown frontend", level=Level.ADMIN, synopsis="shutdown frontend <frontend>")
def shutdown_frontend(session: Session, words: list[str]) -> Deferred:
    """Stop a specific frontend."""
    frontend = lookup.frontend(session, words, 2)
    if frontend.held == "STOP":
        raise Refused("Frontend was already shut down.")
    session.master.changes.close(frontend.name)  # workers hear of it before the order, so that nobody listens when we answer
    return _hold(session, frontend, "STOP", lambda _replies: "")


def _hold(session: Session, frontend: Frontend, held: str, then: Callable[[list[Reply]], str]) -> Deferred:
    session.master.changes.frontend(frontend, held=held)
    return session.ask("hold frontend", then, frontend=frontend.name, held=held)


@command("set maxconn frontend", level=Level.ADMIN, synopsis="set maxconn frontend <frontend> <value>")
def set_maxconn_frontend(session: Session, words: list[str]) -> Deferred:
    """Change a frontend's maxconn setting, for all workers together."""
    frontend = lookup.frontend(session, words, 3)
    if len(words) < 5:
        raise Refused("Integer value expected.")
    if not words[4].isdecimal():
        raise Refused("Value out of range." if words[4].startswith("-") else "Integer value expected.")
    maxconn = int(words[4])
    session.master.changes.frontend(frontend, maxconn=maxconn)
    return session.ask("set frontend maxconn", lambda _replies: "", frontend=frontend.name, maxconn=maxconn)
