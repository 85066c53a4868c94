"""``enable`` and ``disable`` of health checks and of agents (management manual 9.3)."""

from __future__ import annotations

from forkproxy.master import lookup
from forkproxy.master.cli_session import Refused, Session
from forkproxy.registry import Level, command


@command("enable health", level=Level.ADMIN, synopsis="enable health <bk>/<srv>")
def enable_health(session: Session, words: list[str]) -> str:
    """Enable health checks that were disabled."""
    entry = lookup.server(session, words, 2)
    if entry.server.check is None:
        raise Refused("Health check was not configured on this server, cannot enable.")
    session.master.health.resume(entry.key)
    return ""


@command("disable health", level=Level.ADMIN, synopsis="disable health <bk>/<srv>")
def disable_health(session: Session, words: list[str]) -> str:
    """Disable health checks of a server, which counts as up then."""
    entry = lookup.server(session, words, 2)
    if entry.server.check is not None:
        session.master.health.suspend(entry.key)
    return ""


@command("enable agent", level=Level.ADMIN, synopsis="enable agent <bk>/<srv>")
def enable_agent(session: Session, words: list[str]) -> str:
    """Enable agent checks that were disabled."""
    entry = lookup.server(session, words, 2)
    if entry.server.agent is None:
        raise Refused("Agent was not configured on this server, cannot enable.")
    session.master.health.resume(entry.key, agent=True)
    return ""


@command("disable agent", level=Level.ADMIN, synopsis="disable agent <bk>/<srv>")
def disable_agent(session: Session, words: list[str]) -> str:
    """Disable agent checks of a server, on which the agent's last word holds then."""
    entry = lookup.server(session, words, 2)
    if entry.server.agent is not None:
        session.master.health.suspend(entry.key, agent=True)
    return ""
