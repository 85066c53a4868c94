"""Commands about the session itself (management manual 9.3)."""

from __future__ import annotations

from forkproxy.master.cli_session import Refused, Session
from forkproxy.registry import Level, command

BOTH = ("master", "worker")
PROMPT_HELP = """\
Usage: prompt [help|n|i|p|timed]*
  n      leave after the last command of a line
  i      stay for more commands, without a prompt
  p      stay, with a prompt
  timed  stay, with a prompt that shows the uptime, or no more
"""


@command("help", level=Level.USER, where=BOTH, synopsis="help [<command>]")
def help_(session: Session, words: list[str]) -> str:
    """List matching or all commands."""
    return session.help_text(" ".join(words[1:]))


@command("prompt", level=Level.USER, where=BOTH, synopsis="prompt [help|n|i|p|timed]*")
def prompt(session: Session, words: list[str]) -> str | None:
    """Toggle interactive mode with prompt."""
    modes = words[1:]
    if "help" in modes:
        return PROMPT_HELP
    unknown = next((mode for mode in modes if mode not in ("n", "i", "p", "timed")), "")
    if unknown:
        raise Refused(f"unknown option '{unknown}'\n{PROMPT_HELP}".rstrip())
    if not modes:
        session.prompt = not session.prompt
        session.interactive = session.prompt or session.mastercli
    for mode in modes:
        if mode == "timed":
            session.timed = not session.timed
        session.prompt = mode in ("p", "timed")
        session.interactive = mode != "n" or session.mastercli
    return session.done()


@command("quit", level=Level.USER, where=BOTH, synopsis="quit")
def quit_(session: Session, words: list[str]) -> None:
    """Disconnect, or leave the worker that "@@" entered."""
    if session.inside:
        session.enter("master")
    else:
        session.closing = True


@command("operator", level=Level.OPERATOR, where=BOTH, synopsis="operator")
def operator(session: Session, words: list[str]) -> str | None:
    """Lower the level of the current CLI session to operator."""
    session.modes.clear()
    session.level = min(session.level, Level.OPERATOR)
    return session.done()


@command("user", level=Level.USER, where=BOTH, synopsis="user")
def user(session: Session, words: list[str]) -> str | None:
    """Lower the level of the current CLI session to user."""
    session.modes.clear()
    session.level = Level.USER
    return session.done()


@command("show cli level", level=Level.USER, where=BOTH, synopsis="show cli level")
def show_cli_level(session: Session, words: list[str]) -> str:
    """Display the level of the current CLI session."""
    return f"{session.level.name.lower()}\n"


@command("show cli sockets", level=Level.USER, where=BOTH, synopsis="show cli sockets")
def show_cli_sockets(session: Session, words: list[str]) -> str:
    """Dump list of cli sockets."""
    settings = session.master.plan.global_
    binds = settings.master_sockets if session.where == "master" else settings.stats_sockets
    return "# socket lvl processes\n" + "".join(f"{bind.address} {bind.level} all\n" for bind in binds)
