"""``set rate-limit`` (management manual 9.3)."""

from __future__ import annotations

from forkproxy.master.cli_session import Refused, Session
from forkproxy.registry import Level, command

_USAGE = """\
'set rate-limit' only supports :
   - 'connections global' to set the service's maximum connection rate
   - 'sessions global' to set the service's maximum session rate"""
_FIELDS = {"connections": "maxconnrate", "sessions": "maxsessrate"}


@command("set rate-limit", level=Level.ADMIN, synopsis="set rate-limit <setting> <value>")
def set_rate_limit(session: Session, words: list[str]) -> str:
    """Change a rate limiting value of the whole service; 0 is no limit."""
    field = _FIELDS.get(words[2] if len(words) > 2 else "")
    if field is None or words[3:4] != ["global"]:
        raise Refused(_USAGE)
    if len(words) < 5:
        raise Refused("Expects an integer value.")
    if words[4].removeprefix("-").isdecimal() and not 0 <= int(words[4]) < 1 << 31:
        raise Refused("Value out of range.")
    session.master.changes.settings(**{field: int(words[4]) if words[4].isdecimal() else 0})
    return ""
