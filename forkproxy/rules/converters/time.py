"""Converters of dates (manual 7.3.1): seconds, milliseconds or microseconds since the epoch to text, and back."""

from __future__ import annotations

import re
import time as _time
from collections.abc import Callable
from typing import Any

from forkproxy.registry import Type, converter
from forkproxy.rules.args import Int, OneOf, Str
from forkproxy.rules.expr import Pure
from forkproxy.rules.words import to_bytes, to_text

_FRACTION = re.compile(r"%(\d?)N")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _formatter(scale: int, local: bool) -> Callable[[bytes, int], Pure]:
    def factory(form: bytes, offset: int) -> Pure:
        """The date in strftime's format, with an optional offset; ``%N`` is the fraction (``%3N`` milliseconds)."""
        text = to_text(form)
        split = _time.localtime if local else _time.gmtime

        def convert(value: int) -> bytes | None:
            value += offset
            micro = value % scale * (1_000_000 // scale)
            try:
                when = split(value // scale)
            except (OverflowError, OSError, ValueError):
                return None
            shown = _FRACTION.sub(lambda found: f"{micro:06d}000"[: int(found[1] or 9)], text) if scale > 1 else text
            return to_bytes(_time.strftime(shown, when)) if shown else b""

        return Pure(convert)

    return factory


for _prefix, _scale in (("", 1), ("ms_", 1000), ("us_", 1_000_000)):
    for _zone, _local in (("ltime", True), ("utime", False)):
        converter(f"{_prefix}{_zone}", args=(Str(), Int(optional=True, default=0)), into=Type.SINT, out=Type.STR)(
            _formatter(_scale, _local)
        )


@converter("http_date", args=(Int(optional=True, default=0), OneOf("string", optional=True, default="s", words=("s", "ms", "us"))),
           into=Type.SINT, out=Type.STR)  # fmt: skip
def http_date(offset: int, unit: str) -> Pure:
    """The date as HTTP writes it (RFC 9110 5.6.7), with an optional offset; the unit is that of value and offset."""
    scale, digits = {"s": (1, 0), "ms": (1000, 3), "us": (1_000_000, 6)}[unit]

    def convert(value: int) -> bytes | None:
        try:
            when = _time.gmtime((value + offset) // scale)
        except (OverflowError, OSError, ValueError):
            return None
        fraction = f".{(value + offset) % scale:0{digits}d}" if digits else ""
        return (
            f"{_DAYS[when.tm_wday]}, {when.tm_mday:02d} {_MONTHS[when.tm_mon - 1]} {when.tm_year:04d} "
            f"{when.tm_hour:02d}:{when.tm_min:02d}:{when.tm_sec:02d}{fraction} GMT"
        ).encode()

    return Pure(convert)


@converter("date", into=Type.STR, out=Type.SINT)
def date() -> Pure:
    """The seconds since the epoch of a date as HTTP writes it."""
    import calendar  # 5 ms that only its users pay for
    from email.utils import parsedate

    def convert(value: bytes) -> int | None:
        found: Any = parsedate(to_text(value))
        return calendar.timegm(found) if found is not None else None

    return Pure(convert)
