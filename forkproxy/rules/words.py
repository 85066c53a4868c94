"""A cursor over the words of one configuration line. Everything in ``rules`` that reads text reads it through this.

Knows nothing of sections or keywords: only words, where each stands, and how to complain about one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from forkproxy.errors import ConfigError


def to_bytes(text: str) -> bytes:
    """The bytes that ``text`` was read from (undecodable bytes of the file are kept by surrogates)."""
    return text.encode("utf-8", "surrogateescape")


def to_text(data: bytes) -> str:
    """The inverse of :func:`to_bytes`."""
    return data.decode("utf-8", "surrogateescape")


class Words:
    """Words of one logical line and a position in them.

    ``columns`` are the 1-based columns of the words in ``source`` (may be empty: unknown). ``pos`` is the index of the
    next word.
    """

    __slots__ = ("columns", "file", "line", "pos", "source", "words")

    def __init__(
        self,
        words: Sequence[str],
        columns: Sequence[int] = (),
        *,
        file: str = "",
        line: int = 0,
        source: str = "",
        start: int = 0,
    ) -> None:
        self.words = list(words)
        self.columns = list(columns)
        self.file = file
        self.line = line
        self.source = source
        self.pos = start

    @classmethod
    def of(cls, text: str) -> Words:
        """A cursor over ``text`` split at blanks: for words that come from no file (built-in rules, tests)."""
        return cls(text.split(), source=text)

    def __bool__(self) -> bool:
        """True while words are left."""
        return self.pos < len(self.words)

    def peek(self, ahead: int = 0) -> str | None:
        """The next word (or one further on) without consuming it; None past the end."""
        index = self.pos + ahead
        return self.words[index] if index < len(self.words) else None

    def next(self, what: str = "an argument") -> str:
        """The next word, consumed. Raises ConfigError "expects <what>" at the end of the line."""
        if self.pos >= len(self.words):
            self.fail(f"expects {what}", len(self.words) - 1)
        self.pos += 1
        return self.words[self.pos - 1]

    def accept(self, *options: str) -> str | None:
        """The next word, consumed, if it is one of ``options``; else None."""
        if self.pos < len(self.words) and self.words[self.pos] in options:
            self.pos += 1
            return self.words[self.pos - 1]
        return None

    def rest(self) -> list[str]:
        """All words that are left, consumed."""
        left = self.words[self.pos :]
        self.pos = len(self.words)
        return left

    def end(self, where: str = "") -> None:
        """Nothing may be left; ``where`` names the thing that ends here."""
        if self.pos < len(self.words):
            suffix = f" after {where}" if where else ""
            self.fail(f"unexpected argument '{self.words[self.pos]}'{suffix}", self.pos)

    def fail(self, message: str, index: int | None = None, hint: str = "") -> NoReturn:
        """Raise ConfigError that points at word ``index`` (None: the word consumed last)."""
        where = self.pos - 1 if index is None else index
        column = self.columns[where] if 0 <= where < len(self.columns) else 0
        raise ConfigError(message, file=self.file, line=self.line, column=column, source=self.source, hint=hint)
