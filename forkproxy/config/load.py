"""The one entrance of config: files and command line in, a plan and diagnostics out.

Reentrant: the master calls it again for every reload. What a configuration does to the process while it is read (environment,
working directory) is undone before it returns; the environment that the file asked for is in ``plan.global_.options["environment"]``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from forkproxy import COMPAT_VERSION
from forkproxy.config import conditions, lexer, reader
from forkproxy.config.diagnostics import Diagnostics, Severity, did_you_mean
from forkproxy.config.drafts import GlobalDraft, ProxyDraft
from forkproxy.config.line import Line
from forkproxy.config.options import Options
from forkproxy.config.sections import Fatal, Reading
from forkproxy.errors import ConfigError
from forkproxy.plan import Plan
from forkproxy.progress import each
from forkproxy.registry import gather
from forkproxy.values import frozen, replace

_CONDITIONALS = frozenset({".if", ".elif", ".else", ".endif"})
_MESSAGES = {".notice": Severity.NOTICE, ".warning": Severity.WARNING, ".alert": Severity.ALERT, ".diag": Severity.DIAG}


@frozen
class Result:
    """``plan`` is None when there was an alert. ``files`` are the files that were read; ``dump`` the lines as words, one list
    per line, when the command line asked for them (-dC); ``quiet`` says that ``-q`` or the files ask for silence."""

    plan: Plan | None
    diagnostics: Diagnostics
    files: tuple[str, ...] = ()
    dump: tuple[tuple[str, tuple[str, ...]], ...] = ()
    quiet: bool = False


def register() -> None:
    """Import every module of ``config.keywords``, so that the registry is complete."""
    gather("forkproxy.config.keywords")


def load(files: Iterable[str], options: Options) -> Result:
    """Read ``files`` (directories expanded) and build the plan. Never raises for what the operator wrote: see the diagnostics."""
    register()
    from forkproxy.config.keywords.global_ import follow_default_path

    diag = Diagnostics()
    with _restored():
        try:
            paths = reader.expand(list(files))
            texts = [(path, reader.read(path)) for path in paths]
        except ConfigError as exc:
            diag.error(exc)
            return Result(None, diag, quiet=_quiet(options, {}))
        before = dict(os.environ)
        _predefine(options, paths, any("_LOG_FMT" in text for _path, text in texts))
        reading = Reading(diag, options)
        dump: list[tuple[str, tuple[str, ...]]] = []
        fatal = False
        for path, text in texts:
            alerts = diag.count(Severity.ALERT)
            try:
                follow_default_path(reading.global_draft, path)
                _File(path, reading, dump if options.dump_config is not None else None).run(text)
            except Fatal:
                fatal = True
            except OSError as exc:  # of the change of directory alone: everything else that opens files answers with ConfigError
                diag.alert(f"'default-path' : cannot change to '{exc.filename}' : {exc.strerror}", file=path)
            if diag.count(Severity.ALERT) > alerts:
                diag.alert(f"Error(s) found in configuration file : {path}")
            if fatal:
                return Result(None, diag, tuple(paths), tuple(dump), _quiet(options, reading.global_draft.settings))
        known = {m.file for m in diag.messages if m.severity is Severity.ALERT}
        plan = _build(reading, diag, options, paths, before)
        if diag.failed:
            plan = None
            for path in dict.fromkeys(m.file for m in diag.messages if m.severity is Severity.ALERT and m.line):
                if path not in known:
                    diag.alert(f"Error(s) found in configuration file : {path}")
            diag.alert("Fatal errors found in configuration.")
    return Result(plan, diag, tuple(paths), tuple(dump), _quiet(options, reading.global_draft.settings))


def _quiet(options: Options, settings: Mapping[str, object]) -> bool:
    """Are messages to be kept back? ``-V`` has the last word (management manual 3, ``-q`` and ``-V``)."""
    return (options.quiet or bool(settings.get("quiet"))) and not options.verbose


def _build(reading: Reading, diag: Diagnostics, options: Options, paths: list[str], before: dict[str, str]) -> Plan | None:
    from forkproxy.config import build, log_target
    from forkproxy.config.keywords import global_, http_errors, ring, userlist

    global_.finish(reading.global_draft, reading.proxies, diag, options)
    bufsize = reading.global_draft.settings["bufsize_bytes"]
    _announce(reading.global_draft)
    reading.global_draft.options["environment"] = _changes(before)
    for name, made in list(reading.objects.items()):
        if isinstance(made, userlist.UserList):
            reading.objects[name] = made.finish()
        elif isinstance(made, http_errors.HttpErrors):
            made.check(bufsize)
        elif isinstance(made, ring.RingDraft):
            reading.objects[name] = made.finish(bufsize)
    draft = reading.global_draft
    named = bool(draft.settings.get("log_send_hostname"))
    later = [_heir(defaults) for defaults in reading.defaults.values()]
    targets: list[list[Any]] = [draft.log_targets, *(proxy.log_targets for proxy in (*reading.proxies, *later))]
    log_target.settle_all(targets, named, reading.objects, bufsize, diag)
    plan = build.build(reading.global_draft, reading.proxies, later, reading.objects, diag, options)
    return None if plan is None else replace(plan, files=tuple(paths))


def _heir(defaults: ProxyDraft) -> ProxyDraft:
    """A backend of which nothing is said but that it inherits."""
    draft = ProxyDraft("backend", defaults.name, defaults.line)
    draft.inherit(defaults)
    return draft


@contextmanager
def _restored() -> Iterator[None]:
    """Give environment and working directory back as they were."""
    environment = dict(os.environ)
    directory = os.getcwd()
    try:
        yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        for name, value in environment.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        if os.getcwd() != directory:
            os.chdir(directory)


def _changes(before: dict[str, str]) -> dict[str, str | None]:
    """What the files did to the environment: name to new value, None where a variable was removed."""
    changes: dict[str, str | None] = {n: v for n, v in os.environ.items() if before.get(n) != v}
    changes.update((n, None) for n in before.keys() - os.environ.keys())
    return changes


def local_peer(options: Options) -> str:
    """The name of this peer: ``-L``, else what the environment says, else the host's name."""
    return options.localpeer or os.environ.get("HAPROXY_LOCALPEER", "") or socket.gethostname()


def _predefine(options: Options, paths: list[str], formats: bool) -> None:
    """Set the variables that every configuration may use (manual 2.3)."""
    env = os.environ
    env["HAPROXY_STARTUP_VERSION"] = env["HAPROXY_VERSION"] = COMPAT_VERSION
    env["HAPROXY_BRANCH"] = COMPAT_VERSION.rpartition(".")[0]
    env["HAPROXY_CFGFILES"] = ";".join(paths)
    env["HAPROXY_LOCALPEER"] = local_peer(options)
    env.pop("HAPROXY_MWORKER", None)
    if options.master_worker:
        env["HAPROXY_MWORKER"] = "1"
    if formats:
        from forkproxy.rules import logformat

        for name, attribute in (("HTTP", "HTTPLOG"), ("HTTP_CLF", "CLF"), ("HTTPS", "HTTPSLOG"), ("TCP", "TCPLOG"), ("TCP_CLF", "TCPCLF")):
            text = getattr(logformat, attribute, None)
            if text is not None:
                env[f"HAPROXY_{name}_LOG_FMT"] = text.decode() if isinstance(text, bytes) else str(text)


def _announce(draft: GlobalDraft) -> None:
    """Set the variables that tell where the runtime CLI listens: known after the last line, there for rules and processes (manual 2.3)."""
    for name, addresses in (
        ("HAPROXY_CLI", [a for bind in draft.stats_sockets for a in bind.addresses]),
        ("HAPROXY_MASTER_CLI", [bind.address for bind in draft.settings["master_sockets"]]),
    ):
        os.environ.pop(name, None)
        if addresses:
            os.environ[name] = ";".join(f"{a.family}@{a.host}:{a.port}" if a.port else f"{a.family}@{a.host}" for a in addresses)


class _File:
    """One pass over the lines of one file: words, conditional blocks, messages; the rest goes to ``reading``."""

    __slots__ = ("blocks", "context", "dump", "number", "path", "reading")

    def __init__(self, path: str, reading: Reading, dump: list[tuple[str, tuple[str, ...]]] | None) -> None:
        self.path = path
        self.reading = reading
        self.dump = dump
        self.number = 0
        self.blocks = conditions.Blocks()
        switches = {"POLL", "EPOLL", "SPLICE", "GETADDRINFO", "REUSEPORT", "FAST-FORWARD"}
        options = reading.options
        if options.no_splice:
            switches.discard("SPLICE")
        if options.no_reuseport:
            switches.discard("REUSEPORT")
        if options.no_server_verify:
            switches.add("SERVER-SSL-VERIFY-NONE")
        self.context = conditions.Context(os.environ, frozenset(switches))

    def run(self, text: str) -> None:
        """Feed every line; raises Fatal when the rest cannot be understood."""
        diag = self.reading.diag
        try:
            sources = reader.lines(self.path, text)
        except ConfigError as exc:
            diag.error(exc)
            sources = text.split("\n")
        for number, source in enumerate(each(sources, f"reading {self.path}", "lines"), 1):
            self.number = number
            stripped = source.strip()
            if stripped and stripped[0] != "#":
                self._line(source)
        if self.blocks.depth:
            diag.alert("non-terminated '.if' block.", file=self.path, line=self.number, column=1, source=sources[-1])
            raise Fatal
        self.reading.end_of_file()

    def _pseudo(self, name: str) -> str | None:
        """Variables that only exist while a line is read."""
        match name:
            case ".FILE":
                return self.path
            case ".LINE":
                return str(self.number)
            case ".SECTION":
                return self.reading.section_name or self.reading.section
        return None

    def _line(self, source: str) -> None:
        reading = self.reading
        try:
            lexed = lexer.split(source, os.environ, self._pseudo)
        except lexer.LexError as exc:
            # also in parts that are skipped, as in HAProxy: what cannot be cut into words may hide a directive
            reading.diag.alert(f"{exc} at position {exc.column}:", file=self.path, line=self.number, column=exc.column, source=source)
            return
        words = lexed.words
        if not words or not (self.blocks.active or words[0] in _CONDITIONALS):
            return
        line = Line(
            words,
            lexed.columns,
            file=self.path,
            number=self.number,
            section=reading.section,
            section_name=reading.section_name,
            source=source,
            diag=reading.diag,
        )
        if not words[0]:
            line.alert("a line must not begin with an empty word.")
        elif words[0][0] == ".":
            self._directive(line)
        else:
            if "" in words[:-1]:
                self._cut_at_empty(line)
            if self.dump is not None:
                self.dump.append((reading.section, tuple(words)))
            reading.feed(line)

    @staticmethod
    def _cut_at_empty(line: Line) -> None:
        """An empty word ends the arguments; those behind it would silently be lost, so that it is an error as in HAProxy."""
        index = line.words.index("")
        line.alert(
            f"argument number {index} at position {line.column(index)} is empty and marks the end of the argument list; "
            "all subsequent arguments would be ignored.",
            index,
        )
        del line.words[index:], line.columns[index:]

    def _directive(self, line: Line) -> None:
        name = line.words[0]
        if name in _CONDITIONALS:
            try:
                self.blocks.directive(name, lambda: self._condition(line))
                if name in (".else", ".endif") and len(line.words) > 1:
                    line.alert(f"Unexpected argument '{line.words[1]}' for '{name}'.", 1)
            except conditions.BlockError as exc:
                line.alert(str(exc))
                raise Fatal from None
            return
        severity = _MESSAGES.get(name)
        if severity is None:
            hint = did_you_mean(name, [*_CONDITIONALS, *_MESSAGES])
            line.alert(f"unknown directive '{name}'" + (f"; {hint}" if hint else "") + ".")
        elif len(line.words) > 2:
            line.alert(f"Unexpected argument '{line.words[2]}' for '{name}'. Use quotes if the message should contain spaces.", 2)
        else:
            text = line.words[1] if len(line.words) > 1 else ""
            self.reading.diag.add(severity, f"'{text}'.", file=self.path, line=self.number)

    def _condition(self, line: Line) -> bool:
        text = " ".join(line.words[1:])
        try:
            return conditions.evaluate(text, self.context)
        except conditions.ConditionError as exc:
            line.alert(f"{exc} in '{line.words[0]}' at position {exc.offset + 1}:", 1)
            raise Fatal from None
