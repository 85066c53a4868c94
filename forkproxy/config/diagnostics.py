"""What the operator is told: alerts, warnings, notices and notes, in the order they came, printed in HAProxy's form.

Alert: it does not start. Warning: only what HAProxy warns of too (``-dW`` and ``zero-warning`` make these fatal). Notice: what a
``.notice`` line asks for. Note: forkproxy's own advice and accepted tuning keywords, shown with ``-V`` or ``-dD``. Knows no keyword.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache
from heapq import nlargest
from itertools import pairwise

from forkproxy.errors import ConfigError
from forkproxy.values import frozen

#: A source line longer than this is shown as a window around its mark.
SHOWN_COLUMNS = 160
#: A text longer than this, which a word of such a length makes, is shown without its middle.
SHOWN_TEXT = 2000
#: No name is longer: what follows in a word cannot bring it nearer to one.
_LONGEST_WORD = 100


class Severity(IntEnum):
    """How loud a message is. A complaint is as loud as an alert, and yet it starts: HAProxy's "Continuing"."""

    NOTE = 0
    DIAG = 1
    NOTICE = 2
    WARNING = 3
    COMPLAINT = 4
    ALERT = 5


_LABELS = {
    Severity.NOTE: "NOTICE",
    Severity.DIAG: "DIAG",
    Severity.NOTICE: "NOTICE",
    Severity.WARNING: "WARNING",
    Severity.COMPLAINT: "ALERT",
    Severity.ALERT: "ALERT",
}


@frozen
class Message:
    """One thing to tell; ``line`` 0 means that it belongs to no line, ``column`` 0 that no word is to be marked."""

    severity: Severity
    text: str
    file: str = ""
    line: int = 0
    column: int = 0
    source: str = ""

    def place(self) -> str:
        """``config : parsing [file:line] : `` or what is left of it."""
        if self.line:
            return f"config : parsing [{self.file}:{self.line}] : "
        return f"config : [{self.file}] : " if self.file else "config : "

    def render(self, pid: int) -> str:
        """The message as printed: bracketed level padded to ten columns, pid, place, text, then source line and mark."""
        label = f"[{_LABELS[self.severity]}]"
        text = self.text.replace("\n", "\n   | ")
        if len(text) > SHOWN_TEXT:
            text = f"{text[: SHOWN_TEXT // 2]} [...] {text[-SHOWN_TEXT // 2 :]}"
        out = f"{label:<10} ({pid}) : {self.place()}{text}"
        if self.column and self.source.strip():
            out += "\n" + mark(self.source, self.column)
        return out


def mark(source: str, column: int) -> str:
    """``source`` without its indentation, and under it a caret at the 1-based ``column``; long lines are cut around it."""
    stripped = source.lstrip()
    at = max(0, column - 1 - (len(source) - len(stripped)))
    shown = "".join(c if c.isprintable() else " " for c in stripped.rstrip())
    if len(shown) > SHOWN_COLUMNS:
        start = min(max(0, at - SHOWN_COLUMNS // 2), len(shown) - SHOWN_COLUMNS)
        shown, at = shown[start : start + SHOWN_COLUMNS], max(0, at - start)
    return f"  {shown}\n  {' ' * at}^"


class Diagnostics:
    """Collects messages over one load; owned by that load, so that reloading starts from nothing."""

    __slots__ = ("messages",)

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def add(
        self, severity: Severity, text: str, *, file: str = "", line: int = 0, column: int = 0, source: str = ""
    ) -> None:
        """Remember one message."""
        self.messages.append(Message(severity, text, file, line, column, source))

    def alert(self, text: str, *, file: str = "", line: int = 0, column: int = 0, source: str = "") -> None:
        """Remember an error: the configuration will be refused, reading goes on."""
        self.add(Severity.ALERT, text, file=file, line=line, column=column, source=source)

    def warning(self, text: str, *, file: str = "", line: int = 0, column: int = 0, source: str = "") -> None:
        """Remember something that HAProxy warns of too."""
        self.add(Severity.WARNING, text, file=file, line=line, column=column, source=source)

    def note(self, text: str, *, file: str = "", line: int = 0, column: int = 0, source: str = "") -> None:
        """Remember forkproxy's own advice; never fatal."""
        self.add(Severity.NOTE, text, file=file, line=line, column=column, source=source)

    def error(self, exc: ConfigError) -> None:
        """Remember a ConfigError as an alert."""
        text = f"{exc.message}; {exc.hint}" if exc.hint else exc.message
        self.alert(text, file=exc.file, line=exc.line, column=exc.column, source=exc.source)

    def count(self, severity: Severity) -> int:
        """How many messages of exactly this severity there are."""
        return sum(1 for m in self.messages if m.severity is severity)

    @property
    def failed(self) -> bool:
        """True when at least one alert was raised."""
        return any(m.severity is Severity.ALERT for m in self.messages)

    @property
    def warned(self) -> bool:
        """True when at least one warning was raised."""
        return any(m.severity is Severity.WARNING for m in self.messages)

    def lines(self, *, least: Severity = Severity.NOTICE, pid: int | None = None) -> list[str]:
        """The messages from severity ``least`` on, each rendered, in order."""
        pid = os.getpid() if pid is None else pid
        return [m.render(pid) for m in self.messages if m.severity >= least]


@lru_cache(maxsize=8192)
def _letters(word: str) -> frozenset[str]:
    """The letters of ``word`` and its pairs of letters."""
    return frozenset(word) | frozenset(map("".join, pairwise(word)))


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """``did you mean 'x' maybe ?`` for the candidate closest to ``word``, or "" when none is close.

    difflib takes 10 µs per candidate, and a file of another program has thousands of lines to ask for: only the dozen
    candidates that share most letters with the word are looked at closely.
    """
    word = word[:_LONGEST_WORD]
    mine = _letters(word)
    close = nlargest(12, candidates, key=lambda name: (len(mine & (its := _letters(name))) / (len(mine) + len(its) or 1), name))
    import difflib  # only those who err pay for it

    best = difflib.get_close_matches(word, close, n=1, cutoff=0.65)
    return f"did you mean '{best[0]}' maybe ?" if best and best[0] != word else ""
