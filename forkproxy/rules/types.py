"""Values of samples, and the implicit casts between their types (manual 7.3).

Casts are looked up when the file is read and chained into the closures; at run time nothing asks for a type, except
after a fetch whose type only the value knows (variables).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from forkproxy.registry import Type

#: ``cast(value) -> value | None``
Cast = Callable[[Any], Any]

_V4_MAPPED = b"\0" * 10 + b"\xff\xff"
INT64_MAX = (1 << 63) - 1
INT64_MIN = -(1 << 63)


class Addr:
    """An IPv4, IPv6 or other (unix) address. Immutable; keeps the form it was made from and parses when asked.

    ``text`` is the usual notation, ``packed`` 4 or 16 bytes in network order (empty for unix sockets).
    """

    __slots__ = ("_packed", "_text")

    def __init__(self, text: str = "", packed: bytes | None = None) -> None:
        self._text = text
        self._packed = packed

    @property
    def text(self) -> str:
        if not self._text and self._packed:
            self._text = socket.inet_ntop(socket.AF_INET if len(self._packed) == 4 else socket.AF_INET6, self._packed)
        return self._text

    @property
    def packed(self) -> bytes:
        if self._packed is None:
            text = self._text
            try:
                if ":" in text:
                    self._packed = socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
                else:
                    self._packed = socket.inet_pton(socket.AF_INET, text)
            except (OSError, ValueError):
                self._packed = b""
        return self._packed

    @property
    def is_v4(self) -> bool:
        return len(self.packed) == 4

    @property
    def is_v6(self) -> bool:
        return len(self.packed) == 16

    def __bytes__(self) -> bytes:
        return self.text.encode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Addr) and self.packed == other.packed

    def __hash__(self) -> int:
        return hash(self.packed)

    def __repr__(self) -> str:
        return f"Addr({self.text!r})"

    def as_v4(self) -> Addr | None:
        """The IPv4 address in it: itself, or the one in ::ffff:V4, ::V4 or 2002:V4:: (manual 7.1.6); else None."""
        raw = self.packed
        if len(raw) == 4:
            return self
        if len(raw) == 16:
            if raw[:12] == _V4_MAPPED or raw[:12] == b"\0" * 12:
                return Addr(packed=raw[12:])
            if raw[:2] == b"\x20\x02" and raw[6:] == b"\0" * 10:
                return Addr(packed=raw[2:6])
        return None

    def as_v6(self) -> Addr | None:
        """Itself, or ::ffff:V4 for an IPv4 address; None for a unix socket."""
        raw = self.packed
        if len(raw) == 4:
            return Addr(packed=_V4_MAPPED + raw)
        return self if raw else None


@lru_cache(8192)
def addr_of(text: str) -> Addr:
    """The address written as ``text``, shared: the addresses of busy clients are parsed once."""
    return Addr(text)


def parse_addr(data: bytes) -> Addr | None:
    """An IPv4 or IPv6 address in full notation, or None."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        return None
    addr = Addr(text)
    return addr if addr.packed else None


_INT = re.compile(rb"[+-]?\d+")


def read_int(data: bytes) -> int:
    """The integer at the start of ``data``, clamped to 64 bits; 0 where there is none (as HAProxy reads them)."""
    try:
        if len(data) < 18:
            return int(data) if data.isdigit() else _slow_int(data)
    except ValueError:
        pass
    return _slow_int(data)


def _slow_int(data: bytes) -> int:
    found = _INT.match(data)
    if found is None:
        return 0
    return max(INT64_MIN, min(INT64_MAX, int(found[0])))


def wrap64(value: int) -> int:
    """``value`` as a signed 64-bit register would hold it."""
    value &= 0xFFFFFFFFFFFFFFFF
    return value - (1 << 64) if value >> 63 else value


def clamp64(value: int) -> int:
    """``value`` limited to the range of a signed 64-bit integer (additions and products saturate)."""
    return INT64_MIN if value < INT64_MIN else INT64_MAX if value > INT64_MAX else value


# -- casts ---------------------------------------------------------------------------------------------------------------


def _str_to_int(value: bytes) -> int | None:
    return read_int(value) if value else None


def _str_to_bool(value: bytes) -> bool | None:
    return read_int(value) != 0 if value else None


def _int_to_str(value: int) -> bytes:
    return b"%d" % value


def _int_to_addr(value: int) -> Addr:
    return Addr(packed=(value & 0xFFFFFFFF).to_bytes(4, "big"))


def _int_to_v6(value: int) -> Addr | None:
    return _int_to_addr(value).as_v6()


def _int_to_bin(value: int) -> bytes:
    return (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")


def _addr_to_str(value: Addr) -> bytes:
    return value.text.encode()


def _addr_to_bin(value: Addr) -> bytes | None:
    return value.packed or None


def _addr_to_int(value: Addr) -> int | None:
    v4 = value.as_v4()
    return int.from_bytes(v4.packed, "big") if v4 is not None else None


def _str_to_v4(value: bytes) -> Addr | None:
    addr = parse_addr(value)
    return addr.as_v4() if addr is not None else None


def _str_to_v6(value: bytes) -> Addr | None:
    addr = parse_addr(value)
    return addr.as_v6() if addr is not None else None


def bin_to_str(value: bytes) -> bytes:
    """The text in a block of bytes: everything before the first NUL."""
    return value.partition(b"\0")[0] if b"\0" in value else value


def _any_to(out: Type) -> Cast:
    """The cast from a type that only the value knows (variables, json_query)."""

    def cast(value: Any) -> Any:
        step = find_cast(type_of(value), out)
        return value if step is None else step(value) if step is not NEVER else None

    return cast


def type_of(value: Any) -> Type:
    """The type that a value has at run time."""
    if isinstance(value, bytes):
        return Type.STR
    if isinstance(value, bool):
        return Type.BOOL
    if isinstance(value, int):
        return Type.SINT
    return Type.ADDR


def NEVER(value: Any) -> None:
    """The cast between types that have nothing in common; what finds it refuses the expression."""
    return None


_T = Type
_ADDRS = (_T.ADDR, _T.IPV4, _T.IPV6)
_CASTS: dict[tuple[Type, Type], Cast | None] = {
    (_T.BOOL, _T.SINT): int,
    (_T.BOOL, _T.STR): _int_to_str,
    (_T.SINT, _T.BOOL): bool,
    (_T.SINT, _T.ADDR): _int_to_addr,
    (_T.SINT, _T.IPV4): _int_to_addr,
    (_T.SINT, _T.IPV6): _int_to_v6,
    (_T.SINT, _T.STR): _int_to_str,
    (_T.SINT, _T.BIN): _int_to_bin,
    (_T.ADDR, _T.SINT): _addr_to_int,
    (_T.ADDR, _T.IPV4): Addr.as_v4,
    (_T.ADDR, _T.IPV6): Addr.as_v6,
    (_T.IPV4, _T.ADDR): None,
    (_T.IPV4, _T.IPV6): Addr.as_v6,
    (_T.IPV4, _T.BOOL): _addr_to_int,
    (_T.IPV4, _T.SINT): _addr_to_int,
    (_T.IPV6, _T.ADDR): None,
    (_T.IPV6, _T.IPV4): Addr.as_v4,
    **{(t, _T.STR): _addr_to_str for t in _ADDRS},
    **{(t, _T.BIN): _addr_to_bin for t in _ADDRS},
    (_T.STR, _T.BOOL): _str_to_bool,
    (_T.STR, _T.SINT): _str_to_int,
    (_T.STR, _T.ADDR): parse_addr,
    (_T.STR, _T.IPV4): _str_to_v4,
    (_T.STR, _T.IPV6): _str_to_v6,
    (_T.STR, _T.BIN): None,
    (_T.STR, _T.METH): None,
    (_T.BIN, _T.STR): bin_to_str,
    (_T.BIN, _T.METH): bin_to_str,
    (_T.METH, _T.STR): None,
    (_T.METH, _T.BIN): None,
}


def find_cast(have: Type, want: Type) -> Cast | None:
    """The cast from ``have`` to ``want``: None where the value can stay as it is, :func:`NEVER` where there is no cast."""
    if have == want or want in (Type.ANY, Type.SAME):
        return None
    if have == Type.ANY:
        return _any_to(want)
    return _CASTS.get((have, want), NEVER)
