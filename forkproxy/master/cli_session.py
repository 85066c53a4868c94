"""One session of the runtime CLI: lines in, answers out, one command after the other.

The text part of it, without sockets: ``feed`` takes bytes, ``answers`` gives slices. Two kinds of sockets speak through it (management
manual 9.3, 9.4): a ``stats socket`` answers one line and closes unless ``prompt`` was said; the master's (``-S``) stays open, starts in
the context of the master, and takes ``@1``, ``@!pid``, ``@master`` and ``@`` before or instead of a command. All commands run in the
master, which sees the shared state of every worker; the context only decides which commands there are.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from forkproxy.master.cli_text import Payload, find, help_text, payload_of, split, uptime, words_of
from forkproxy.registry import Level

if TYPE_CHECKING:
    from forkproxy.master.anonymous import Anonymizer
    from forkproxy.master.generation import Worker
    from forkproxy.master.master import Master
    from forkproxy.master.orders import Reply
    from forkproxy.plan import Plan

#: A line may be so long (``tune.bufsize`` of HAProxy), and so many commands may wait.
LINE_BYTES = 16384
WAITING = 100

#: What stands among the lines: the end of all that the client says.
_END = "\x04\n"
#: Syslog's levels that messages have.
ERR, WARNING, NOTICE = 3, 4, 5
_LEVELS = {ERR: "err", WARNING: "warning", NOTICE: "notice"}
#: What ``set severity-output`` takes.
SEVERITIES = ("none", "number", "string")
_FLAGS = (("experimental", "x"), ("expert", "e"), ("mcli-debug", "d"))


class Deferred:
    """What a command returns whose answer comes later: the session waits until ``finish`` is called with it (text, or slices of it).

    ``say`` gives a part of the answer before; it returns whether the client took what was said before. ``interrupt`` is for answers
    without an end: it is called when the client says anything more (which is discarded), or goes."""

    __slots__ = ("finish", "interrupt", "say")

    def __init__(self) -> None:
        self.finish: Callable[[str | Iterable[str]], None] = lambda _answer: None
        self.say: Callable[[str], bool] = lambda _text: True
        self.interrupt: Callable[[], None] | None = None


#: What a command may return.
Answer = str | Iterable[str] | Deferred


class Session:
    """``master`` is what commands act on; ``level`` what they may; ``closing`` is set when the session ends after what is still to be
    said; ``wake`` is called when a deferred answer has come. ``sock`` is the connection, for commands that pass descriptors."""

    __slots__ = (
        "_awaited", "_commands", "_input", "_lines", "_out", "_payload", "_stays", "bind", "closing", "context", "hidden", "inside",
        "interactive", "level", "master", "mastercli", "modes", "only", "payload", "prompt", "severity", "sock", "timed", "timeout_s",
        "wake", "where",
    )  # fmt: skip

    def __init__(self, master: Master, bind: Any, *, mastercli: bool, sock: Any = None) -> None:
        self.master = master
        self.bind = bind
        self.sock = sock
        self.mastercli = mastercli
        self.level = {"user": Level.USER, "operator": Level.OPERATOR, "admin": Level.ADMIN}[bind.level]
        self.context = "master" if mastercli else "worker"  # or the pid of a worker
        self.where = self.context  # "master" or "worker": what the present command is about
        self.only: int | None = None  # the pid of the one worker that the present command is about
        self._stays: int | None = None  # the same of all commands without a prefix
        self.inside = False  # "@@" entered a worker: "quit" comes back
        self.payload: str | None = None  # what followed the present command's line, when that ended with "<<"
        self.interactive = mastercli  # whether the session goes on after a line
        self.prompt = False
        self.timed = False
        self.hidden: Anonymizer | None = None  # hides names in answers
        self.modes: set[str] = set()  # "expert", "experimental", "mcli-debug"
        self.severity: str = bind.options.get("severity-output", "none")
        self.timeout_s: float | None = None  # instead of "stats timeout"
        self.closing = False
        self.wake: Callable[[], None] = lambda: None
        self._input = b""
        self._lines: deque[str] = deque()  # not read yet
        self._commands: deque[tuple[str, str | None]] = deque()  # of the line that was read last, with their payloads
        self._payload: Payload | None = None
        self._out: deque[Iterator[str]] = deque()
        self._awaited: Deferred | None = None  # the answer that comes later

    # -- in

    def feed(self, data: bytes) -> None:
        """Bytes of the client."""
        if self.interrupt():
            return
        self._input += data
        *lines, self._input = self._input.split(b"\n")
        if len(self._input) > LINE_BYTES:
            self.closing = True
            return
        self._lines.extend(line.rstrip(b"\r").decode(errors="surrogateescape") for line in lines)

    def interrupt(self) -> bool:
        """End an answer without an end; whether there was one."""
        if self._awaited is None or self._awaited.interrupt is None:
            return False
        self._awaited.interrupt()
        return True

    def end(self) -> None:
        """The client has said everything: a last line needs no line feed."""
        self.interrupt()
        if self._input:
            self.feed(b"\n")
        self._lines.append(_END)

    def _read(self, line: str) -> None:
        """The next line: its commands, or a part of a payload."""
        if line == _END:
            self.closing = True
            return
        text = None
        if self._payload is not None:
            if not self._payload.ends(line):
                if self._payload.add(line) > self.master.plan.global_.cli_payload_bytes:
                    self.closing = True
                elif self.prompt:
                    self._out.append(iter(("+ ",)))
                return
            commands, text = self._payload.commands, self._payload.text()
            self._payload = None
        else:
            line, found, ending = payload_of(line)
            commands = self._inward(split(line))
            if found:
                self._payload = Payload(commands, ending)
                if self.prompt:
                    self._out.append(iter(("+ ",)))
                return
        if commands:
            self._commands.extend((command, None) for command in commands[:-1])
            self._commands.append((commands[-1], text))
        elif self.interactive:
            self._say("", end=not self.mastercli)
        elif not self._more():
            self._say(self.help_text("", unknown=True))
            self.closing = True

    def _inward(self, commands: list[str]) -> list[str]:
        """A prefix of two "@" holds for the whole line."""
        if self.mastercli and commands and commands[0].startswith("@@"):
            prefix = commands[0].split()[0]
            return [commands[0], *(f"{prefix} {command}" for command in commands[1:])]
        return commands

    @property
    def pressed(self) -> bool:
        """Whether the client has said more than the present command."""
        return bool(self._lines or self._commands)

    def _more(self) -> bool:
        """Whether another line has come."""
        return bool(self._lines) and self._lines[0] != _END

    # -- out

    @property
    def idle(self) -> bool:
        """Whether nothing is left to run or to say."""
        return not (self._lines or self._commands or self._out or self._awaited)

    @property
    def crowded(self) -> bool:
        """Whether so many commands wait that no more should be read now."""
        return len(self._lines) > WAITING

    def next_slice(self) -> str | None:
        """The next piece of the answer; None: nothing now (more input is needed, a deferred answer is awaited, or it is over)."""
        while True:
            if self._out:
                try:
                    piece = next(self._out[0], None)
                except Refused as exc:
                    self._out[0] = iter((f"{self.message(str(exc), ERR)}\n", self.prompt_text()))
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
            if self._awaited or self.closing:
                return None
            if self._commands:
                command, self.payload = self._commands.popleft()
                self._run(words_of(command))
                # Lines that came together are answered together, and then it is over.
                if not (self._commands or self._more() or self.interactive or self._awaited):
                    self.closing = True
            elif self._lines:
                self._read(self._lines.popleft())
            else:
                return None

    def _say(self, answer: str | Iterable[str], *, end: bool = True) -> None:
        """An answer, the empty line that ends it, and the prompt where there is one."""

        def pieces() -> Iterator[str]:
            last = "\n"
            for piece in (answer,) if isinstance(answer, str) else answer:
                if piece:
                    last = piece
                    yield piece if self.hidden is None else self.hidden.hide(piece)
            if end:
                yield "\n" if last.endswith("\n") else "\n\n"
            yield self.prompt_text()

        self._out.append(pieces())

    def done(self) -> str | None:
        """What a command about the session itself answers: an empty line, or on the master's socket nothing at all."""
        if not self.mastercli:
            return ""
        self._say("", end=False)
        return None

    def message(self, text: str, level: int) -> str:
        """One line that says how a command went, as ``set severity-output`` wants it; ``level`` is syslog's."""
        prefix = {"number": f"[{level}]: ", "string": f"[{_LEVELS[level]}]: "}.get(self.severity, "")
        return f"{prefix}{text}\n"

    def prompt_text(self) -> str:
        """``> ``, or the context's name on the master's socket."""
        if not self.prompt:
            return ""
        time = f"[{uptime(self.started())}]" if self.timed else ""
        if not self.mastercli or self.inside:
            return f"{time}> "
        if self.context == "master":
            name = f"master{'[ReloadFailed]' if self.master.reloader.last_failed else ''}"
        else:
            name = self.context
        flags = "".join(letter for mode, letter in _FLAGS if mode in self.modes)
        return f"{time and time + ' '}{name}{f'({flags})' if flags else ''}> "

    def started(self) -> float:
        """When the process that the session is about was started (monotonic)."""
        for worker in self.master.supervisor.workers():
            if str(worker.pid) == self.context:
                return worker.started
        return self.master.started

    def _run(self, words: list[str]) -> None:
        context, self.only = self.context, self._stays
        word = words[0]
        if self.mastercli and word.startswith("@"):
            found = self._context(word)
            if found is None:
                self._say(f"Can't find the target PID matching the prefix '{word}'\n", end=False)
                self.closing = not self.prompt
                return
            context = found
            self.only = int(found) if word.lstrip("@").startswith("!") and found != "master" else None
            words = words[1:]
            if not words:
                self.enter(context, self.only, inside=word.startswith("@@") and context != "master")
                return
        self._command(words, "master" if context == "master" else "worker")

    def enter(self, context: str, only: int | None = None, *, inside: bool = False) -> None:
        """Stay in a context from now on; ``inside``: as in a session of the worker's own, until ``quit``."""
        self.context, self._stays, self.inside = context, only, inside
        if self.prompt:
            self._say("", end=False)

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
        if where == "master" and "mcli-debug" in self.modes and find(words, where) is None:
            where = "worker"
        self.where = where
        command = find(words, where)
        if command is None:
            self._say(self.help_text(" ".join(words), unknown=True, where=where))
            return
        if command.level > self.level:
            self._say("Permission denied\n")
            return
        if command.mode and command.mode not in self.modes:
            self._say(self.message(f"This command is restricted to {command.mode} mode only.", ERR))
            return
        try:
            answer = command.handler(self, words)
        except Refused as exc:
            answer = self.message(str(exc), ERR)
        except Exception:
            traceback.print_exc()
            answer = "internal error\n"
        if isinstance(answer, Deferred):
            self._awaited = answer
            answer.finish = self._finished
            answer.say = self._say_part
        elif answer is not None:
            self._say(answer)

    def _finished(self, answer: str | Iterable[str]) -> None:
        self._awaited = None
        if not (self._commands or self._more() or self.interactive):
            self.closing = True
        self._say(answer)
        self.wake()

    def _say_part(self, text: str) -> bool:
        taken = not self._out
        if text:
            self._out.append(iter((text if self.hidden is None else self.hidden.hide(text),)))
            self.wake()
        return taken

    def ask(self, what: str, render: Callable[[list[Reply]], str | Iterable[str]], **fields: Any) -> Deferred:
        """Have the workers carry out the order ``what``; ``render(replies)`` makes the answer (or raises Refused).

        All workers are asked, also those that finish what they have; after a prefix ``@!pid`` only that one."""
        deferred = Deferred()

        def done(replies: list[Reply]) -> None:
            try:
                answer = render(replies)
            except Refused as exc:
                answer = self.message(str(exc), ERR)
            except Exception:
                traceback.print_exc()
                answer = "internal error\n"
            deferred.finish(answer)

        self.master.supervisor.orders.give(self.targets(), what, done, **fields)
        return deferred

    @property
    def plan(self) -> Plan:
        """What the workers that serve now have, and the next ones will begin with."""
        current = self.master.supervisor.current
        return self.master.plan if current is None else current.plan

    def targets(self) -> list[Worker]:
        """The workers that the command is about."""
        workers = self.master.supervisor.workers()
        return workers if self.only is None else [w for w in workers if w.pid == self.only]

    def help_text(self, prefix: str = "", *, unknown: bool = False, where: str = "") -> str:
        """The commands at this level that begin with ``prefix``; ``unknown``: as the answer to a command that does not exist."""
        where = where or ("master" if self.context == "master" else "worker")
        return help_text(self.level, where, prefix, unknown=unknown, mastercli=self.mastercli)


class Refused(Exception):
    """A command cannot be carried out; the text is the answer."""
