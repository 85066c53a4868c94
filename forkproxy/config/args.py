"""Argument parsers for ``@keyword(args=(…))``: each reads the words that it needs and complains in HAProxy's manner.

:func:`apply` runs a whole spec over a line. The parsers are values without state; they know lines and units, no section.
"""

from __future__ import annotations

from typing import Any, Protocol

from forkproxy.config.line import Line
from forkproxy.config.units import UnitError, parse_size, parse_time


class Arg(Protocol):
    """``read(line, index) -> (value, next index)``; raises ConfigError through ``line.fail``."""

    def read(self, line: Line, index: int) -> tuple[Any, int]:
        """Read the argument that starts at word ``index``."""
        ...

    @property
    def synopsis(self) -> str:
        """The argument as the reference shows it."""
        ...


def _present(line: Line, index: int, what: str) -> str:
    if index >= len(line.words):
        line.fail(f"'{line.keyword}' expects {what} as argument.", index)
    return line.words[index]


class Word:
    """One word. ``what`` names it in the complaint ("a directory")."""

    __slots__ = ("what",)

    def __init__(self, what: str = "a value") -> None:
        self.what = what

    def read(self, line: Line, index: int) -> tuple[str, int]:
        word = _present(line, index, self.what)
        if not word:
            line.fail(f"'{line.keyword}' expects {self.what} as argument.", index)
        return word, index + 1

    @property
    def synopsis(self) -> str:
        return f"<{self.what.removeprefix('a ').removeprefix('an ')}>"


class Int:
    """A decimal integer between ``lo`` and ``hi``, both included (None: no bound)."""

    __slots__ = ("hi", "lo")

    def __init__(self, lo: int | None = None, hi: int | None = None) -> None:
        self.lo = lo
        self.hi = hi

    def read(self, line: Line, index: int) -> tuple[int, int]:
        if index >= len(line.words) or not line.words[index]:
            line.fail(f"'{line.keyword}' expects an integer argument.", index)
        word = line.words[index]
        digits = word[1:] if word[0] in "+-" else word
        if not (digits.isascii() and digits.isdigit()):
            line.fail(f"'{line.keyword}' expects an integer argument (got '{word}').", index)
        value = int(word)
        if self.lo is not None and value < self.lo and self.hi is None:
            line.fail(f"'{line.keyword}' value must be at least {self.lo} (was {value}).", index)
        if (self.lo is not None and value < self.lo) or (self.hi is not None and value > self.hi):
            line.fail(f"'{line.keyword}' value must be between {self.lo} and {self.hi} (was {value}).", index)
        return value, index + 1

    @property
    def synopsis(self) -> str:
        return "<number>"


class Time:
    """A duration in seconds (float); a bare number is in ``unit``."""

    __slots__ = ("unit",)

    def __init__(self, unit: str = "ms") -> None:
        self.unit = unit

    def read(self, line: Line, index: int) -> tuple[float, int]:
        names = {"us": "microseconds", "ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
        if index >= len(line.words) or not line.words[index]:
            line.fail(f"'{line.keyword}' expects an integer value (in {names[self.unit]})", index)
        try:
            return parse_time(line.words[index], self.unit, minimum_us=1 if self.unit == "us" else 1000), index + 1
        except UnitError as exc:
            line.fail(exc.about(line.keyword), index)

    @property
    def synopsis(self) -> str:
        return "<time>"


class Size:
    """A number of bytes, up to ``maximum``."""

    __slots__ = ("lo", "maximum")

    def __init__(self, lo: int = 0, maximum: int = 2**32 - 1) -> None:
        self.lo = lo
        self.maximum = maximum

    def read(self, line: Line, index: int) -> tuple[int, int]:
        word = _present(line, index, "a size")
        try:
            value = parse_size(word, maximum=self.maximum)
        except UnitError as exc:
            line.fail(f"'{line.keyword}' : {exc} in '{word}'", index)
        if value < self.lo:
            line.fail(f"'{line.keyword}' value must be at least {self.lo} (was {value}).", index)
        return value, index + 1

    @property
    def synopsis(self) -> str:
        return "<size>"


class OneOf:
    """One word out of a fixed list."""

    __slots__ = ("words",)

    def __init__(self, *words: str) -> None:
        self.words = words

    def read(self, line: Line, index: int) -> tuple[str, int]:
        listed = [f"'{w}'" for w in self.words]
        text = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} or {listed[-1]}"
        word = _present(line, index, text)
        if word not in self.words:
            line.fail(f"'{line.keyword}' expects {text} (got '{word}').", index)
        return word, index + 1

    @property
    def synopsis(self) -> str:
        return "{ " + " | ".join(self.words) + " }"


class Rest:
    """Everything that is left; the value is the index of its first word (the handler reads ``line.words`` from there)."""

    __slots__ = ("least",)

    def __init__(self, least: int = 0) -> None:
        self.least = least

    def read(self, line: Line, index: int) -> tuple[int, int]:
        if len(line.words) - index < self.least:
            line.fail(f"'{line.keyword}' expects at least {self.least} argument{'s' if self.least > 1 else ''}.", len(line.words))
        return index, len(line.words)

    @property
    def synopsis(self) -> str:
        return "<arguments>*" if not self.least else "<arguments>+"


class Condition:
    """An optional ``if``/``unless`` with all that follows; the value is the index of that word, or None when there is none."""

    __slots__ = ()

    def read(self, line: Line, index: int) -> tuple[int | None, int]:
        if index >= len(line.words):
            return None, index
        if line.words[index] not in ("if", "unless"):
            line.fail(f"'{line.keyword}' expects either 'if' or 'unless' followed by a condition, but found '{line.words[index]}'.", index)
        return index, len(line.words)

    @property
    def synopsis(self) -> str:
        return "[ { if | unless } <condition> ]"


class Sample(Word):
    """A sample expression of one word, as text: ``rules.expr`` compiles it."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("a sample expression")


class Opt:
    """``inner`` if a word is left, else ``default``."""

    __slots__ = ("default", "inner")

    def __init__(self, inner: Arg, default: Any = None) -> None:
        self.inner = inner
        self.default = default

    def read(self, line: Line, index: int) -> tuple[Any, int]:
        if index >= len(line.words):
            return self.default, index
        return self.inner.read(line, index)

    @property
    def synopsis(self) -> str:
        return f"[ {self.inner.synopsis} ]"


def apply(spec: tuple[Arg, ...], line: Line) -> tuple[Any, ...]:
    """The values of ``spec`` read from the words after the keyword. Raises ConfigError on a missing, wrong or surplus word."""
    index = line.kwlen
    values = []
    for arg in spec:
        value, index = arg.read(line, index)
        values.append(value)
    if index < len(line.words):
        line.fail(f"'{line.keyword}' cannot handle unexpected argument '{line.words[index]}'.", index)
    return tuple(values)
