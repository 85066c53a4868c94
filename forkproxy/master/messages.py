"""What the master tells: lines in HAProxy's form on stderr, and the same text to the log targets of the ``global`` section.

The last lines are kept for ``reload`` and ``show startup-logs``. Knows nothing of what is told.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable

#: Syslog levels (RFC 5424, table 2).
EMERG, ALERT, CRIT, ERR, WARNING, NOTICE, INFO, DEBUG = range(8)
_LABELS = ("ALERT", "ALERT", "ALERT", "ALERT", "WARNING", "NOTICE", "NOTICE", "NOTICE")


class Messages:
    """The master's voice. ``quiet`` (-q, -D) silences stderr, never the log. ``log(level, text)`` is set once log targets exist."""

    __slots__ = ("history", "log", "quiet")

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.log: Callable[[int, bytes], object] | None = None
        self.history: deque[str] = deque(maxlen=500)

    def say(self, level: int, text: str, *, log: bool = True) -> str:
        """Tell one message; returns the line that was shown. ``log`` False: it is about a server, and its backend's log has it."""
        line = f"{f'[{_LABELS[level]}]':<10} ({os.getpid()}) : {text}"
        self.show(line, keep=log)
        if log and self.log is not None:
            self.log(level, text.encode(errors="replace"))
        return line

    def show(self, line: str, *, keep: bool = True) -> None:
        """A line that is complete already, such as what reading a configuration gives: shown and kept, not logged."""
        if keep:
            self.history.append(line)
        if not self.quiet:
            try:
                print(line, file=sys.stderr, flush=True)
            except (OSError, ValueError):
                pass  # a closed terminal must not end the service

    def alert(self, text: str) -> str:
        """Something failed."""
        return self.say(ALERT, text)

    def warning(self, text: str) -> str:
        """Something the operator should look at."""
        return self.say(WARNING, text)

    def notice(self, text: str) -> str:
        """Something happened as it should."""
        return self.say(NOTICE, text)
