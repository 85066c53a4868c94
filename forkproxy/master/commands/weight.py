"""``get weight`` and ``set weight`` (management manual 9.3)."""

from __future__ import annotations

from forkproxy.health.board import Entry
from forkproxy.master import lookup
from forkproxy.master.cli_session import Refused, Session
from forkproxy.registry import Level, command


@command("get weight", level=Level.USER, synopsis="get weight <bk>/<srv>")
def get_weight(session: Session, words: list[str]) -> str:
    """Report a server's current weight."""
    entry = lookup.server(session, words, 2)
    return f"{entry.uweight} (initial {entry.server.weight})\n"


@command("set weight", level=Level.ADMIN, synopsis="set weight <bk>/<srv> <weight>[%]")
def set_weight(session: Session, words: list[str]) -> str:
    """Change a server's weight: absolute (0 to 256), or relative to the file's."""
    change(session, lookup.server(session, words, 2), words[3] if len(words) > 3 else "")
    return ""


def change(session: Session, entry: Entry, text: str) -> None:
    """Give a server the weight that ``text`` says. Raises Refused."""
    if not text:
        raise Refused("Require <weight> or <weight%>.")
    weight = _weight(text, entry.server.weight)
    backend = entry.group.backend
    if backend.balance.algorithm == "static-rr" and weight not in (0, entry.server.weight):
        raise Refused("Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.")
    session.master.health.board.set_weight(entry.key, weight)


def _weight(text: str, initial: int) -> int:
    digits = text.removesuffix("%")
    number = digits[1:] if digits[:1] == "-" else digits
    if not number[:1].isdecimal():
        raise Refused("Empty weight string empty or preceded by garbage")
    if not number.isdecimal():
        raise Refused("Trailing garbage in weight string")
    value = int(digits)
    if text.endswith("%"):
        if value < 0:
            raise Refused("Relative weight must be positive.")
        return min(256, initial * value // 100)
    if not 0 <= value <= 256:
        raise Refused("Absolute weight can only be between 0 and 256 inclusive.")
    return value
