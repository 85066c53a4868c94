"""Weights and limits as operators and agents write them (management manual 9.3 "set weight", "set maxconn server")."""

from __future__ import annotations

_MAX_WEIGHT = 256
_MAX_CONN = (1 << 31) - 1


def parse_weight(text: str, initial: int) -> int:
    """The weight that ``text`` says: absolute, or as "75%" of ``initial``. Raises ValueError."""
    if not text:
        raise ValueError("Require <weight> or <weight%>.")
    digits = text.removesuffix("%")
    number = digits.removeprefix("-")
    if not (number[:1].isascii() and number[:1].isdecimal()):
        raise ValueError("Empty weight string empty or preceded by garbage")
    if not (number.isascii() and number.isdecimal()):
        raise ValueError("Trailing garbage in weight string")
    value = int(digits)
    if text.endswith("%"):
        if value < 0:
            raise ValueError("Relative weight must be positive.")
        return min(_MAX_WEIGHT, initial * value // 100)
    if not 0 <= value <= _MAX_WEIGHT:
        raise ValueError("Absolute weight can only be between 0 and 256 inclusive.")
    return value


def parse_maxconn(text: str) -> int:
    """The limit that ``text`` says. Raises ValueError."""
    if not (text[:1].isascii() and text[:1].isdecimal()):
        raise ValueError("maxconn string empty or preceded by garbage")
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("Trailing garbage in maxconn string")
    return min(int(text), _MAX_CONN)
