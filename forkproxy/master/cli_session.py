"""One session of the runtime CLI: lines in, answers out, one command after the other.

The text part of it, without sockets: ``feed`` takes bytes, ``answers`` gives slices. Two kinds of sockets speak through it (management
manual 9.3, 9.4): a ``stats socket`` answers one line and closes unless ``prompt`` was said; the master's (``-S``) stays open, starts in
the context of the master, and takes ``@1``, ``@!pid``, ``@master`` and ``@`` before or instead of a command. All commands run in the
master, which sees the shared state of every worker; the context only decides which commands there are.
"""

from __future__ import annotations

import difflib
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from forkproxy.registry import COMMANDS, Command, Level

if TYPE_CHECKING:
    from forkproxy.master.generation import Worker
    from forkproxy.master.master import Master
    from forkproxy.master.orders import Reply

#: A line may be so long (``tune.bufsize`` of HAProxy).
LINE_BYTES = 16384


class Deferred:
    """What a command returns whose answer comes later: the session waits until ``finish`` is called with it (text, or slices of it)."""

    __slots__ = ("finish",)

    def __init__(self) -> None:
        self.finish: Callable[[str | Iterable[str]], None] = lambda _answer: None


#: What a command may return.
Answer = str | Iterable[str] | Deferred


class Session:
    """``master`` is what commands act on; ``level`` what they may; ``closing`` is set when the session ends after what is still to be
    said; ``wake`` is called when a deferred answer has come. ``sock`` is the connection, for commands that pass descriptors."""

    __slots__ = (
        "_input", "_lines", "_out", "_waiting", "bind", "closing", "context", "level", "master", "mastercli", "only", "prompt", "sock",
        "wake",
    )  # fmt: skip

    def __init__(self, master: Master, bind: Any, *, mastercli: bool, sock: Any = None) -> None:
        self.master = master
        self.bind = bind
        self.sock = sock
        self.mastercli = mastercli
        self.level = {"user": Level.USER, "operator": Level.OPERATOR, "admin": Level.ADMIN}[bind.level]
        self.context = "master" if mastercli else "worker"  # or the pid of a worker
        self.only: int | None = None  # the pid of the one worker that the present command is about
        self.prompt = False
        self.closing = False
        self.wake: Callable[[], None] = lambda: None
        self._input = b""
        self._lines: deque[str] = deque()
        self._out: deque[Iterator[str]] = deque()
        self._waiting = False

    # -- in

    def feed(self, data: bytes) -> None:
        """Bytes of the client."""
        self._input += data
        *lines, self._input = self._input.split(b"\n")
        if len(self._input) > LINE_BYTES:
            self.closing = True
            return
        for line in lines:
            self._take(line)

    def end(self) -> None:
        """The client has said everything: a last line needs no line feed."""
        if self._input:
            self._take(self._input)
            self._input = b""
        self._lines.append("\x04")

    def _take(self, raw: bytes) -> None:
        line = raw.rstrip(b"\r").decode(errors="surrogateescape")
        commands = split(line)
        if not commands:
            self._lines.append("")
            return
        self._lines.extend(commands)
        if not self.mastercli:
            self._lines.append("\x00")  # the end of a line of a stats socket

    # -- out

    @property
    def idle(self) -> bool:
        """Whether nothing is left to run or to say."""
        return not (self._lines or self._out or self._waiting)

    def next_slice(self) -> str | None:
        """The next piece of the answer; None: nothing now (more input is needed, a deferred answer is awaited, or it is over)."""
        while True:
            if self._out:
                try:
                    piece = next(self._out[0], None)
                except Refused as exc:
                    self._out[0] = iter((f"{exc}\n\n", self.prompt_text()))
                    continue
                except Exception:  # our own fault costs this answer, not the session
                    traceback.print_exc()
                    self._out[0] = iter(("internal error\n\n", self.prompt_text()))
                    continue
                if piece is None:
                    self._out.popleft()
                elif piece:
                    return piece
                continue
            if self._waiting or self.closing or not self._lines:
                return None
            self._run(self._lines.popleft())

    def _say(self, answer: str | Iterable[str], *, end: bool = True) -> None:
        """An answer, the empty line that ends it, and the prompt where there is one."""

        def pieces() -> Iterator[str]:
            last = "\n"
            for piece in (answer,) if isinstance(answer, str) else answer:
                if piece:
                    last = piece
                    yield piece
            if end:
                yield "\n" if last.endswith("\n") else "\n\n"
            yield self.prompt_text()

        self._out.append(pieces())

    def prompt_text(self) -> str:
        """``> ``, or the context's name on the master's socket."""
        if not self.prompt:
            return ""
        if not self.mastercli:
            return "> "
        if self.context == "master":
            return f"master{'[ReloadFailed]' if self.master.reloader.last_failed else ''}> "
        return f"{self.context}> "

    def _run(self, line: str) -> None:
        if line == "\x04":
            self.closing = True
            return
        if line == "\x00":
            self.closing = not self.prompt
            return
        words = words_of(line)
        if not words:
            if self.prompt:
                self._say("", end=not self.mastercli)
            elif not self.mastercli:
                self._say(self.help_text("", unknown=True))
                self.closing = True
            return
        context = self.context
        if self.mastercli and words[0].startswith("@"):
            found = self._context(words[0])
            if found is None:
                self._say(f"Can't find the target PID matching the prefix '{words[0]}'\n", end=False)
                self.closing = not self.prompt
                return
            words = words[1:]
            if not words:
                self.context = found
                if self.prompt:
                    self._say("", end=False)
                return
            context = found
        self._command(words, "master" if context == "master" else "worker")

    def _context(self, word: str) -> str | None:
        """The context that a prefix names: "master", the pid of a worker, or None."""
        name = word[1:].removeprefix("@")
        if name in ("", "master"):
            return "master"
        current = self.master.supervisor.current
        if name.startswith("!"):
            pid = name[1:]
            if pid == str(self.master.pid):
                return "master"
            return pid if any(str(w.pid) == pid for w in self.master.supervisor.workers()) else None
        if name.isdecimal() and current is not None and int(name) in current.workers:
            return str(current.workers[int(name)].pid)
        return None

    def _command(self, words: list[str], where: str) -> None:
        command = find(words, where)
        if command is None:
            self._say(self.help_text(" ".join(words), unknown=True, where=where))
            return
        if command.level > self.level:
            self._say("Permission denied\n")
            return
        try:
            answer = command.handler(self, words)
        except Refused as exc:
            answer = f"{exc}\n"
        except Exception:
            traceback.print_exc()
            answer = "internal error\n"
        if isinstance(answer, Deferred):
            self._waiting = True
            answer.finish = self._finished
        elif answer is not None:
            self._say(answer)

    def _finished(self, answer: str | Iterable[str]) -> None:
        self._waiting = False
        self._say(answer)
        self.wake()

    def ask(self, what: str, render: Callable[[list[Reply]], str | Iterable[str]], **fields: Any) -> Deferred:
        """Have the workers carry out the order ``what``; ``render(replies)`` makes the answer (or raises Refused).

        All workers are asked, also those that finish what they have; after a prefix ``@!pid`` only that one."""
        deferred = Deferred()

        def done(replies: list[Reply]) -> None:
            try:
                answer = render(replies)
            except Refused as exc:
                answer = f"{exc}\n"
            except Exception:
                traceback.print_exc()
                answer = "internal error\n"
            deferred.finish(answer)

        self.master.supervisor.orders.give(self.targets(), what, done, **fields)
        return deferred

    def targets(self) -> list[Worker]:
        """The workers that the command is about."""
        workers = self.master.supervisor.workers()
        return workers if self.only is None else [w for w in workers if w.pid == self.only]

    # -- help

    def help_text(self, prefix: str = "", *, unknown: bool = False, where: str = "") -> str:
        """The commands at this level that begin with ``prefix``; ``unknown``: as the answer to a command that does not exist."""
        where = where or ("master" if self.context == "master" else "worker")
        mine = [c for c in COMMANDS.values() if where in c.where and c.level <= self.level and c.synopsis]
        title = "The following commands are valid at this level:\n"
        chosen = [c for c in mine if c.name.startswith(prefix)] or mine
        if unknown:
            title = "Unknown command. Please enter one of the following commands only:\n"
            close = difflib.get_close_matches(prefix, [c.name for c in mine], n=6, cutoff=0.5) if prefix else []
            if close:
                title = "Unknown command, but maybe one of the following ones is a better match:\n"
                chosen = [COMMANDS[name] for name in close]
            else:
                chosen = mine
        lines = [title]
        if self.mastercli and chosen is mine:
            lines.append(f"  {'@!<pid>':<40}: send a command to the <pid> process\n")
            lines.append(f"  {'@<relative pid>':<40}: send a command to the <relative pid> process\n")
            lines.append(f"  {'@master':<40}: send a command to the master process\n")
        lines += [f"  {c.synopsis:<40}: {summary(c)}\n" for c in sorted(chosen, key=lambda c: c.name)]
        return "".join(lines)


class Refused(Exception):
    """A command cannot be carried out; the text is the answer."""


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
