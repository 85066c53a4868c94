"""The hash functions that ``hash-type`` names (manual 4.2); all but ``none`` are the converters' own."""

from __future__ import annotations

from collections.abc import Callable

from forkproxy.rules.hashing import avalanche, crc32, djb2, sdbm, wt6

__all__ = ["FUNCTIONS", "avalanche", "crc32", "djb2", "number", "sdbm", "wt6"]

_M = 0xFFFFFFFF


def number(key: bytes) -> int:
    """``none``: the key's leading decimal digits (an optional sign before them) as a number, held within 64 bits, modulo 2**32."""
    end = start = 1 if key[:1] in (b"-", b"+") else 0
    while end < len(key) and 48 <= key[end] <= 57:
        end += 1
    if end == start:
        return 0
    if end - start > 40:  # Python refuses to read very long numbers; zeros may lead
        digits = key[start:end].lstrip(b"0")[:40] or b"0"
        key, end = (b"-" if key[:1] == b"-" else b"") + digits, len(digits) + 1
    return max(-(1 << 63), min(int(key[:end]), (1 << 63) - 1)) & _M


#: Names of ``hash-type``'s functions.
FUNCTIONS: dict[str, Callable[[bytes], int]] = {"sdbm": sdbm, "djb2": djb2, "wt6": wt6, "crc32": crc32, "none": number}
