"""Commands about the session itself (management manual 9.3)."""

from __future__ import annotations

from forkproxy.master.cli_session import Session
from forkproxy.registry import Level, command

BOTH = ("master", "worker")


@command("help", level=Level.USER, where=BOTH, synopsis="help [<command>]")
def help_(session: Session, words: list[str]) -> str:
    """List matching or all commands."""
    return session.help_text(" ".join(words[1:]))


@command("prompt", level=Level.USER, where=BOTH, synopsis="prompt [i|n]")
def prompt(session: Session, words: list[str]) -> str | None:
    """Toggle interactive mode with prompt."""
    mode = words[1] if len(words) > 1 else ""
    session.prompt = {"i": True, "p": True, "n": False}.get(mode, not session.prompt)
    if session.mastercli:
        session._say("", end=False)
        return None
    return ""


@command("quit", level=Level.USER, where=BOTH, synopsis="quit")
def quit_(session: Session, words: list[str]) -> None:
    """Disconnect."""
    session.closing = True


@command("operator", level=Level.OPERATOR, where=BOTH, synopsis="operator")
def operator(session: Session, words: list[str]) -> str:
    """Lower the level of the current CLI session to operator."""
    session.level = min(session.level, Level.OPERATOR)
    return ""


@command("user", level=Level.USER, where=BOTH, synopsis="user")
def user(session: Session, words: list[str]) -> str:
    """Lower the level of the current CLI session to user."""
    session.level = Level.USER
    return ""


@command("show cli level", level=Level.USER, where=BOTH, synopsis="show cli level")
def show_cli_level(session: Session, words: list[str]) -> str:
    """Display the level of the current CLI session."""
    return f"{session.level.name.lower()}\n"


@command("show cli sockets", level=Level.OPERATOR, where=BOTH, synopsis="show cli sockets")
def show_cli_sockets(session: Session, words: list[str]) -> str:
    """Dump list of cli sockets."""
    settings = session.master.plan.global_
    binds = settings.master_sockets if session.mastercli and session.context == "master" else settings.stats_sockets
    return "# socket lvl processes\n" + "".join(f"{bind.address} {bind.level} all\n" for bind in binds)
