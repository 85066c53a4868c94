"""Long work shows itself: while a start takes more than a second, one line on the operator's terminal says what is read and how far.

A loop that may be long goes over ``each(items, …)``, which gives the same items. Where nobody looks on (no terminal, ``-q``, a reload, a
worker) that is ``items`` itself, and costs nothing. Knows a terminal and the clock, nothing of what the work is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO, TypeVar

from forkproxy.clock import Clock

T = TypeVar("T")

#: How long work may take before it shows itself, and then from one picture to the next; seconds.
PATIENCE_S = 1.0
EVERY_S = 0.2
#: A loop over more items than this reads the clock only for every 256th of them.
_MANY = 100_000


class _Display:
    """One line of a terminal, written over again and again. ``out`` stays the caller's."""

    __slots__ = ("_clock", "_due", "_out", "_shown")

    def __init__(self, out: TextIO, clock: Clock) -> None:
        self._out = out
        self._clock = clock
        self._due = clock.read() + PATIENCE_S
        self._shown = 0

    def due(self) -> bool:
        """Whether it is time for another picture."""
        now = self._clock.read()
        if now < self._due:
            return False
        self._due = now + EVERY_S
        return True

    def show(self, text: str) -> None:
        """Put ``text`` in the place of what stands there, cut to the width of the terminal."""
        try:
            width = os.get_terminal_size(self._out.fileno()).columns or 80
        except (OSError, ValueError):
            width = 80
        text = text[: width - 1]
        self._write("\r" + text + " " * (self._shown - len(text)))
        self._shown = len(text)

    def erase(self) -> None:
        """Leave an empty line, with the cursor at its beginning."""
        if self._shown:
            self._write("\r" + " " * self._shown + "\r")
            self._shown = 0

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):
            pass  # a terminal that was closed must not end the start


#: Whose terminal it is: one per process, as terminals are.
_display: _Display | None = None


@contextmanager
def on(out: TextIO | None, clock: Clock | None = None) -> Iterator[None]:
    """Work inside shows itself on ``out`` if that is a terminal; the line is gone when it ends, whichever way."""
    global _display
    if out is None or not out.isatty():  # None: standard error was closed when the program began
        yield
        return
    _display = mine = _Display(out, clock or Clock())
    try:
        yield
    finally:
        mine.erase()
        _display = None


def each(items: Sequence[T], doing: str, unit: str) -> Iterable[T]:
    """``items``, one after the other; now and then it shows ``doing`` ("reading f.map"), and how many of so many units are done."""
    return items if _display is None else _shown(_display, items, doing, unit)


def _shown(display: _Display, items: Sequence[T], doing: str, unit: str) -> Iterator[T]:
    total = len(items)
    step = 256 if total > _MANY else 1
    for done, item in enumerate(items):
        if not done % step and display.due():
            display.show(f"forkproxy: {doing}: {100 * done // total}% of {total:,} {unit}")
        yield item
