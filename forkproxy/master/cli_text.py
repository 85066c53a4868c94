"""Text of the runtime CLI, without a session: a line and its commands, a command and its words, payloads, help.

Knows the registry of commands, nothing of who says something.
"""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Iterable

from forkproxy.registry import COMMANDS, PREFIXES, Command, Level

_PAYLOAD = re.compile(r"(?:^|\s)<<(\S{0,64})$")


class Payload:
    """Lines that follow ``commands``, up to one that is ``ending`` ("": empty)."""

    __slots__ = ("commands", "ending", "lines", "size")

    def __init__(self, commands: list[str], ending: str) -> None:
        self.commands = commands
        self.ending = ending
        self.lines: list[str] = []
        self.size = 0

    def ends(self, line: str) -> bool:
        """Whether this line is the last one."""
        return line == self.ending

    def add(self, line: str) -> int:
        """One more line; returns how much there is."""
        self.lines.append(line)
        self.size += len(line) + 1
        return self.size

    def text(self) -> str:
        """All of it, with a line feed after every line."""
        return "".join(f"{line}\n" for line in self.lines)


def payload_of(line: str) -> tuple[str, bool, str]:
    """(the commands of a line, whether a payload follows, the line that ends it)."""
    found = _PAYLOAD.search(line)
    return (line, False, "") if found is None else (line[: found.start()], True, found[1])


def uptime(started: float) -> str:
    """``d:hh:mm:ss`` since a monotonic reading."""
    seconds = int(time.monotonic() - started)
    return f"{seconds // 86400}:{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


#: Stand at the end of every list that is not whole.
_ALWAYS = ("help", "prompt", "quit")


def help_text(level: Level, where: str, prefix: str, *, unknown: bool, mastercli: bool) -> str:
    """The commands at ``level`` in a context that are meant by ``prefix`` ("": all); ``unknown``: as the answer to a command that does not
    exist."""
    mine = {c.name: c for c in COMMANDS.values() if where in c.where and c.level <= level and c.synopsis}
    chosen = _meant(prefix, mine)
    title = "The following commands are valid at this level:\n"
    if unknown:
        title = "Unknown command, but maybe one of the following ones is a better match:\n"
        if not chosen:
            title = "Unknown command. Please enter one of the following commands only:\n"
    lines = [title]
    if mastercli and not chosen:
        lines += [f"  {name:<40}: {what}\n" for name, what in PREFIXES.items()]
    names = [name for name in sorted(chosen or mine) if name not in _ALWAYS]
    lines += [f"  {mine[name].synopsis:<40}: {summary(mine[name])}\n" for name in (*names, *_ALWAYS) if name in mine]
    return "".join(lines)


def _meant(prefix: str, names: Iterable[str]) -> list[str]:
    """Which of ``names`` begin with as many words of ``prefix`` as possible; else those that look like it."""
    words = prefix.split()
    for count in range(len(words), 0, -1):
        begin = " ".join(words[:count])
        found = [name for name in names if name.startswith(begin) or (count == len(words) > 1 and begin.startswith(f"{name} "))]
        if found and count < len(words):
            return difflib.get_close_matches(prefix, found, n=6, cutoff=0.6) or found
        if found:
            return found
    return difflib.get_close_matches(prefix, names, n=6, cutoff=0.5) if prefix else []


def summary(command: Command) -> str:
    """The first line of its documentation as ``help`` shows it."""
    line = command.doc.partition("\n")[0].rstrip(".")
    return line[:1].lower() + line[1:]


def find(words: list[str], where: str) -> Command | None:
    """The command with the longest name that ``words`` begin with."""
    for count in range(min(len(words), 4), 0, -1):
        command = COMMANDS.get(" ".join(words[:count]))
        if command is not None and where in command.where:
            return command
    return None


def split(line: str) -> list[str]:
    """The commands of a line: separated by ``;`` unless a backslash stands before it."""
    parts, part, escaped = [], "", False
    for char in line:
        if escaped:
            part += "\\" + char if char != ";" else ";"
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == ";":
            parts.append(part)
            part = ""
        else:
            part += char
    parts.append(part + ("\\" if escaped else ""))
    return [p.strip() for p in parts if p.strip()]


def words_of(command: str) -> list[str]:
    """The words of a command: separated by blanks; a backslash takes the meaning from what follows it."""
    words: list[str] = []
    word, started, escaped = "", False, False
    for char in command:
        if escaped:
            word, escaped = word + char, False
        elif char == "\\":
            escaped = started = True
        elif char in " \t":
            if started:
                words.append(word)
            word, started = "", False
        else:
            word, started = word + char, True
    if started:
        words.append(word)
    return words
