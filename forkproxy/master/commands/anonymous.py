"""``set anon``, ``show anon`` (management manual 9.3): answers without names and addresses."""

from __future__ import annotations

import secrets

from forkproxy.master.anonymous import MOST, Anonymizer
from forkproxy.master.cli_session import Refused, Session
from forkproxy.registry import Level, command

_USAGE = """\
'set anon' only supports :
   - 'on' [key] to enable the anonymized mode
   - 'off' to disable the anonymized mode"""


def _key(word: str) -> int:
    if not word.isdecimal() or int(word) > MOST:
        raise Refused(f"The key must be an integer between 0 and {MOST}.")
    return int(word)


@command("set anon on", level=Level.USER, synopsis="set anon on [<key>]")
def set_anon_on(session: Session, words: list[str]) -> str:
    """Have names and addresses in this session's answers replaced by hashes."""
    key = _key(words[3]) if len(words) > 3 else session.plan.global_.options.get("anonkey", 0)
    session.hidden = Anonymizer(key or secrets.randbelow(MOST) + 1, lambda: session.plan)
    return ""


@command("set anon off", level=Level.USER, synopsis="set anon off")
def set_anon_off(session: Session, words: list[str]) -> str:
    """Show names and addresses in this session's answers again."""
    session.hidden = None
    return ""


@command("set anon", level=Level.USER)
def set_anon(session: Session, words: list[str]) -> str:
    """Catches what "set anon" does not have."""
    raise Refused(_USAGE)


@command("set anon global-key", level=Level.ADMIN, synopsis="set anon global-key <value>")
def set_anon_global_key(session: Session, words: list[str]) -> str:
    """Change the key that sessions hide names with; 0: each has its own."""
    if len(words) < 4:
        raise Refused("A key is expected.")
    options = session.plan.global_.options
    session.master.changes.settings(options={**options, "anonkey": _key(words[3])})
    return ""


@command("show anon", level=Level.USER, synopsis="show anon")
def show_anon(session: Session, words: list[str]) -> str:
    """Display the state of the anonymized mode and, to who may know it, the key."""
    if session.hidden is None:
        return "Anonymized mode disabled\n"
    return "Anonymized mode enabled\n" + (f"Key : {session.hidden.key}\n" if session.level >= Level.OPERATOR else "")
