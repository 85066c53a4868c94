"""One logical line of a configuration: its words, where they stand, and how to complain about one of them. Knows no keyword."""

from __future__ import annotations

from typing import NoReturn

from forkproxy.config.diagnostics import Diagnostics, Severity
from forkproxy.errors import ConfigError
from forkproxy.plan import Place


class Line:
    """The words of one line with their 1-based columns in ``source``.

    ``section`` is the kind of the section ("frontend"), ``section_name`` its name. The dispatcher sets ``keyword`` (the words that
    were matched, joined by one space), ``kwlen`` (how many words that are: arguments start at index ``kwlen``), and ``negated`` or
    ``default`` when a leading "no" or "default" was dropped from ``words``.
    """

    __slots__ = (
        "columns", "default", "diag", "file", "keyword", "kwlen", "negated", "number", "section", "section_name", "source", "words",
    )  # fmt: skip

    def __init__(
        self,
        words: list[str],
        columns: list[int] | None = None,
        *,
        file: str = "",
        number: int = 0,
        section: str = "",
        section_name: str = "",
        source: str = "",
        diag: Diagnostics | None = None,
    ) -> None:
        self.words = words
        self.columns = columns if columns is not None else [0] * len(words)
        self.file = file
        self.number = number
        self.section = section
        self.section_name = section_name
        self.source = source
        self.diag = diag if diag is not None else Diagnostics()
        self.keyword = words[0] if words else ""
        self.kwlen = 1
        self.negated = False
        self.default = False

    @property
    def args(self) -> list[str]:
        """The words after the keyword."""
        return self.words[self.kwlen :]

    @property
    def place(self) -> Place:
        """File and line for the plan."""
        return Place(file=self.file, line=self.number)

    def column(self, index: int) -> int:
        """The 1-based column of word ``index``; past the last word: the column after the text; 0 when unknown."""
        if 0 <= index < len(self.columns):
            return self.columns[index]
        return len(self.source.rstrip()) + 1 if self.source else 0

    def fail(self, message: str, index: int = 0, hint: str = "") -> NoReturn:
        """Refuse this line because of word ``index``. Raises ConfigError; reading goes on with the next line."""
        raise ConfigError(
            message, file=self.file, line=self.number, column=self.column(index), source=self.source, hint=hint
        )

    def alert(self, message: str, index: int = 0) -> None:
        """Report an error of word ``index`` and go on with this line."""
        self.diag.alert(message, file=self.file, line=self.number, column=self.column(index), source=self.source)

    def complain(self, message: str, index: int = 0) -> None:
        """Say as loudly as an alert what is wrong and does not prevent the start."""
        self.diag.add(
            Severity.COMPLAINT, message, file=self.file, line=self.number, column=self.column(index), source=self.source
        )

    def warn(self, message: str, index: int = 0) -> None:
        """Warn about word ``index`` (only of what HAProxy warns of too)."""
        self.diag.warning(message, file=self.file, line=self.number, column=self.column(index), source=self.source)

    def note(self, message: str, index: int = 0) -> None:
        """Give forkproxy's own advice on word ``index``."""
        self.diag.note(message, file=self.file, line=self.number, column=self.column(index), source=self.source)
