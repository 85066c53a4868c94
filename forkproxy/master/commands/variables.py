"""``get var`` and ``set var``: process-wide variables (management manual 9.3)."""

from __future__ import annotations

from typing import Any

from forkproxy.master import variables as road
from forkproxy.master.cli_session import ERR, Deferred, Refused, Session
from forkproxy.master.orders import Reply
from forkproxy.registry import Level, command
from forkproxy.rules import variables
from forkproxy.rules.types import Addr
from forkproxy.rules.words import to_text


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
    except ValueError as exc:
        raise Refused(str(exc)) from None
    one = [worker for worker in generation.workers.values() if worker.state == "serving"][:1]
    answer = Deferred()
    orders = session.master.supervisor.orders

    def valued(replies: list[Reply]) -> None:
        value = replies[0].value if replies else None
        if not replies or replies[0].error:
            answer.finish(session.message(replies[0].error if replies else "no worker answers", ERR))
        elif value is None:
            answer.finish("")
        elif isinstance(value, str) and len(value) > variables.LARGEST:
            answer.finish(session.message(f"'set var': the value is too long, at most {variables.LARGEST} bytes fit.", ERR))
        else:
            road.spread(session.master.supervisor, generation, [[name, value, 0]], lambda: answer.finish(""))

    orders.give(one, "evaluate", valued, words=words[4 if len(words) > 4 else 3 :], as_format=kind == "fmt")
    return answer
