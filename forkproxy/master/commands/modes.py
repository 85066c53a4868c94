"""Modes of a session that unlock commands or change its output, ``echo`` and ``set timeout cli`` (management manual 9.3)."""

from __future__ import annotations

from forkproxy.config.units import UnitError, parse_time
from forkproxy.master.cli_session import SEVERITIES, Refused, Session
from forkproxy.registry import Level, command

BOTH = ("master", "worker")


def _mode(session: Session, words: list[str], name: str) -> str | None:
    if len(words) > 1:
        (session.modes.add if words[1] == "on" else session.modes.discard)(name)
        return session.done()
    return f"{name}-mode is {'ON' if name in session.modes else 'OFF'}\n"


@command("expert-mode", level=Level.ADMIN, where=BOTH, synopsis="expert-mode [on|off]")
def expert_mode(session: Session, words: list[str]) -> str | None:
    """Enable or disable the commands that are for experts."""
    return _mode(session, words, "expert")


@command("experimental-mode", level=Level.ADMIN, where=BOTH, synopsis="experimental-mode [on|off]")
def experimental_mode(session: Session, words: list[str]) -> str | None:
    """Enable or disable the commands that are experimental."""
    return _mode(session, words, "experimental")


@command("mcli-debug-mode", level=Level.ADMIN, where=("master",), synopsis="mcli-debug-mode [on|off]")
def mcli_debug_mode(session: Session, words: list[str]) -> str | None:
    """Enable or disable workers' commands without a prefix in the context of the master."""
    return _mode(session, words, "mcli-debug")


@command("set severity-output", level=Level.USER, synopsis="set severity-output [none|number|string]")
def set_severity_output(session: Session, words: list[str]) -> str:
    """Set presence of severity level in feedback information."""
    if len(words) < 3 or words[2] not in SEVERITIES:
        raise Refused("one of 'none', 'number', 'string' is a required argument")
    session.severity = words[2]
    return ""


@command("echo", level=Level.USER, where=BOTH, synopsis="echo <text>")
def echo(session: Session, words: list[str]) -> str:
    """Print text to the output."""
    return " ".join(words[1:]) + "\n"


@command("set timeout", level=Level.USER, synopsis="set timeout cli <delay>")
def set_timeout(session: Session, words: list[str]) -> str:
    """Change the timeout of this session, in seconds."""
    if words[2:3] != ["cli"]:
        raise Refused("'set timeout' only supports 'cli'.")
    if len(words) < 4:
        raise Refused("Expects an integer value.")
    try:
        delay_s = parse_time(words[3], "s", minimum_us=0)
    except UnitError:
        raise Refused("Invalid timeout value.") from None
    if not 1 <= delay_s < 1 << 31:
        raise Refused("Invalid timeout value.")
    session.timeout_s = delay_s
    return ""
