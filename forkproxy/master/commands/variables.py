"""``get var`` and ``set var``: process-wide variables (management manual 9.3)."""

from __future__ import annotations

from typing import Any

from forkproxy.config.keywords.global_vars import evaluate
from forkproxy.errors import ConfigError
from forkproxy.master import variables as road
from forkproxy.master.cli_session import Deferred, Refused, Session
from forkproxy.registry import Level, command
from forkproxy.rules import variables
from forkproxy.rules.types import Addr
from forkproxy.rules.words import Words, to_text


def _described(value: Any) -> str:
    """Type and value as haproxy shows them; text and bytes are one type here."""
    if isinstance(value, Addr):
        return f"type={'ipv4' if value.is_v4 else 'ipv6'} value=<{value.text}>"
    if isinstance(value, bytes):
        return f"type=str value=<{to_text(value)}>"
    return f"type={'bool' if isinstance(value, bool) else 'sint'} value=<{int(value)}>"


@command("get var", level=Level.OPERATOR, synopsis="get var <name>")
def get_var(session: Session, words: list[str]) -> str:
    """Retrieve contents of a process-wide variable."""
    if len(words) < 3:
        raise Refused("Missing process-wide variable identifier.")
    value = session.plan.objects["variables"].get(words[2])
    if value is None:
        raise Refused("Variable not found.")
    return f"{words[2]}: {_described(value)}\n"


@command("set var", level=Level.OPERATOR, mode="experimental", synopsis="set var <name> [expr|fmt] <expression>")
def set_var(session: Session, words: list[str]) -> str | Deferred:
    """Set a process-wide variable from an expression or a log format, in all workers; in experimental mode."""
    if len(words) < 3:
        raise Refused("Missing process-wide variable identifier.")
    if len(words) < 4:
        raise Refused("Missing either 'expr', 'fmt' or expression.")
    name, kind = words[2], words[3] if len(words) > 4 else "expr"
    if not name.startswith("proc."):
        raise Refused(f"'set var': cannot set variable '{name}', only scope 'proc' is permitted here.")
    if kind not in ("expr", "fmt"):
        raise Refused(f"'set var': arg type must be either 'expr' or 'fmt' but got '{words[3]}'.")
    generation = session.master.supervisor.current
    if generation is None:
        raise Refused("No configuration is in force yet.")
    try:
        variables.check_name(name)
        value = evaluate(Words(words, start=4 if len(words) > 4 else 3), generation.plan.objects["variables"], kind == "fmt", "'set var'")
    except ConfigError as exc:
        raise Refused(exc.message) from None
    except ValueError as exc:
        raise Refused(str(exc)) from None
    if value is None:
        return ""
    if isinstance(value, bytes) and len(value) > variables.LARGEST:
        raise Refused(f"'set var': the value is too long, at most {variables.LARGEST} bytes fit.")
    answer = Deferred()
    road.spread(session.master.supervisor, generation, [[name, variables.pack(value), 0]], lambda: answer.finish(""))
    return answer
