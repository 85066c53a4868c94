"""Arguments of fetches and converters: the parser of what stands in parentheses, and the kinds of arguments.

An argument kind is a small object with a ``label`` (as ``-dK`` prints it) and ``parse(text, ctx)``, which raises ValueError
with the reason. :func:`split_args` follows the second level of quoting of the manual (2.2).
"""

from __future__ import annotations

import socket
from typing import Any

from forkproxy.rules.context import RuleContext
from forkproxy.rules.types import Addr, parse_addr
from forkproxy.rules.words import to_bytes
from forkproxy.values import frozen

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", " ": " ", "\\": "\\", "'": "'", '"': '"'}


def split_args(text: str, start: int) -> tuple[list[str], int]:
    """The arguments that begin at ``start`` (just after the parenthesis) and the offset after the closing one.

    Quotes group, a backslash escapes a quote, a blank or itself and makes ``\\n \\r \\t``; other backslashes stay.
    Raises ValueError when the parenthesis is not closed.
    """
    args: list[str] = []
    word: list[str] = []
    i, n, quote, quoted = start, len(text), "", False
    while i < n:
        c = text[i]
        if quote:
            if c == quote:
                quote = ""
            elif c == "\\" and quote == '"' and i + 1 < n and text[i + 1] in _ESCAPES:
                i += 1
                word.append(_ESCAPES[text[i]])
            else:
                word.append(c)
        elif c in "'\"":
            quote, quoted = c, True
        elif c == "\\" and i + 1 < n and text[i + 1] in _ESCAPES:
            i += 1
            word.append(_ESCAPES[text[i]])
        elif c == ",":
            args.append("".join(word))
            word = []
        elif c == ")":
            if args or word or quoted:
                args.append("".join(word))
            return args, i + 1
        else:
            word.append(c)
        i += 1
    raise ValueError("unmatched quote" if quote else "expected ')'")


@frozen
class Arg:
    """One argument. ``optional`` ones may be left out (also left empty), then the factory gets ``default``."""

    label: str = "string"
    optional: bool = False
    default: Any = None

    def parse(self, text: str, ctx: RuleContext) -> Any:
        return to_bytes(text)

    def absent(self, ctx: RuleContext) -> Any:
        """The value of an optional one that was left out."""
        return self.default


@frozen
class Str(Arg):
    """Any text, as bytes."""


@frozen
class Int(Arg):
    """A signed 64-bit integer, optionally limited."""

    label: str = "integer"
    lo: int = -(1 << 63)
    hi: int = (1 << 63) - 1

    def parse(self, text: str, ctx: RuleContext) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"'{text}' is not an integer") from None
        if not self.lo <= value <= self.hi:
            raise ValueError(f"{value} is out of range ({self.lo}..{self.hi})")
        return value


@frozen
class OneOf(Arg):
    """One of a few words, given to the factory as text."""

    words: tuple[str, ...] = ()

    def parse(self, text: str, ctx: RuleContext) -> str:
        if not text and self.default is not None:
            return str(self.default)
        if text not in self.words:
            raise ValueError(f"'{text}' is not one of {', '.join(repr(w) for w in self.words)}")
        return text


@frozen
class Name(Arg):
    """The name of a proxy or server that must exist (``label`` says which), given as text. Left out, it is the rule's own proxy, and
    the factory gets ""."""

    def parse(self, text: str, ctx: RuleContext) -> str:
        ctx.find(self.label, text)
        return text

    def absent(self, ctx: RuleContext) -> str:
        return self.parse("", ctx)


@frozen
class Var(Arg):
    """The name of a variable with its scope, or a number where ``number`` is set; with ``blank`` nothing at all (None)."""

    number: bool = False
    blank: bool = False

    def parse(self, text: str, ctx: RuleContext) -> Any:
        from forkproxy.rules.variables import check_name

        if self.blank and not text:
            return None
        if self.number:
            try:
                return int(text)
            except ValueError:
                pass
        return check_name(text)


@frozen
class IPv4(Arg):
    """An IPv4 address."""

    label: str = "IPv4 address"

    def parse(self, text: str, ctx: RuleContext) -> Addr:
        addr = parse_addr(to_bytes(text))
        if addr is None or not addr.is_v4:
            raise ValueError(f"'{text}' is not an IPv4 address")
        return addr


@frozen
class IPv6(Arg):
    """An IPv6 address."""

    label: str = "IPv6 address"

    def parse(self, text: str, ctx: RuleContext) -> Addr:
        addr = parse_addr(to_bytes(text))
        if addr is None or not addr.is_v6:
            raise ValueError(f"'{text}' is not an IPv6 address")
        return addr


@frozen
class Mask(Arg):
    """A netmask as a number of bits or in address notation; given as an integer. ``bits`` is 32 or 128."""

    label: str = "IPv4 mask"
    bits: int = 32

    def parse(self, text: str, ctx: RuleContext) -> int:
        if text.isdigit():
            count = int(text)
            if count > self.bits:
                raise ValueError(f"a mask has at most {self.bits} bits")
            return ((1 << count) - 1) << (self.bits - count)
        try:
            family = socket.AF_INET if self.bits == 32 else socket.AF_INET6
            return int.from_bytes(socket.inet_pton(family, text), "big")
        except OSError:
            raise ValueError(f"'{text}' is not a netmask") from None


@frozen
class Context(Arg):
    """No argument of the file: gives the factory the :class:`RuleContext` (stands last in ``args``)."""

    label: str = ""
    optional: bool = True
