"""Times and sizes (manual 2.5, 2.6): integers with an optional unit; a bare number is in the keyword's own unit. Pure functions."""

from __future__ import annotations

_US = {"us": 1, "ms": 1000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
#: HAProxy keeps durations as signed 32-bit milliseconds; longer ones are refused there and here.
MAX_TIME_MS = 2**31 - 1


class UnitError(ValueError):
    """A time or size that cannot be read; ``kind`` is "character", "overflow" or "size", ``text`` the argument."""

    def __init__(self, kind: str, message: str, text: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.text = text

    def about(self, keyword: str) -> str:
        """The complaint as HAProxy words it for ``keyword``."""
        if self.kind == "overflow":
            return f"timer overflow in argument '{self.text}' to '{keyword}' (maximum value is {MAX_TIME_MS} ms or ~24.8 days)"
        return f"{self} in '{keyword}'"


def _digits(text: str) -> tuple[int, str]:
    end = 0
    while end < len(text) and text[end] in "0123456789":
        end += 1
    if end == 0:
        raise UnitError("character", f"unexpected character '{text[:1]}'", text)
    return int(text[:end]), text[end:]


def parse_time(text: str, default_unit: str = "ms", *, minimum_us: int = 1000, limit_ms: int = MAX_TIME_MS) -> float:
    """Seconds in ``text``; a bare number counts ``default_unit`` ("us", "ms", "s", "m", "h", "d").

    What is less than ``minimum_us`` without being zero counts that much: HAProxy rounds up.
    Raises UnitError (a ValueError): an unknown unit, or more than ``limit_ms``.
    """
    value, unit = _digits(text)
    factor = _US.get(unit or default_unit)
    if factor is None:
        # the first character that no unit can go on with
        bad = next((c for i, c in enumerate(unit) if not any(u.startswith(unit[: i + 1]) for u in _US)), unit[-1])
        raise UnitError("character", f"unexpected character '{bad}'", text)
    micro = value * factor
    if micro > limit_ms * 1000:
        raise UnitError("overflow", f"timer overflow (maximum value is {MAX_TIME_MS} ms or ~24.8 days)", text)
    if 0 < micro < minimum_us:
        micro = minimum_us
    return micro / 1_000_000


def parse_size(text: str, *, maximum: int = 2**32 - 1) -> int:
    """Bytes in ``text`` (suffix k, m, g of any case, powers of 1024). Raises UnitError beyond ``maximum``."""
    value, unit = _digits(text)
    factor = _SIZES.get(unit.lower())
    if factor is None:
        raise UnitError("character", f"unexpected character '{unit[:1] if unit[:1].lower() not in _SIZES else unit[1:2]}'", text)
    size = value * factor
    if size > maximum:
        raise UnitError("size", f"size overflow (maximum value is {maximum})", text)
    return size
