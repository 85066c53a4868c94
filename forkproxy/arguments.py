"""The options of the command line (management manual, chapter 3) as ONE table, and the parser that follows it.

The usage text, the man page and the completions of shells (``manual``) come out of the same table, so that none of them can lag behind.
Knows ``config.options`` and nothing of what an option does.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from forkproxy.config.options import Options
from forkproxy.values import frozen, replace


class UsageError(Exception):
    """The arguments make no sense."""


class Takes(Enum):
    """What follows an option."""

    NOTHING = 0
    #: the rest of the same word, or else the next word
    VALUE = 1
    #: the next word only
    WORD = 2
    #: the rest of the same word, which may be empty
    REST = 3
    #: every word up to the next option
    PIDS = 4
    #: the next word unless it is an option
    MAYBE = 5


class Kind(Enum):
    """What a value is: what a shell completes it with, and how it is checked."""

    FREE = 0
    FILE = 1
    DIRECTORY = 2
    NUMBER = 3
    PID = 4
    #: a class of keywords, of ``listing.CLASSES``
    KEYWORDS = 5


@frozen
class Option:
    """One option. ``flag`` without the dash, ``value`` the name of what follows, ``field`` that of :class:`Options` ("": several or none).

    ``doc`` is one line for usage and shells, ``more`` what only the man page says. ``multiple``: each further one adds to the first."""

    flag: str
    doc: str
    field: str = ""
    takes: Takes = Takes.NOTHING
    value: str = ""
    kind: Kind = Kind.FREE
    more: str = ""
    multiple: bool = False

    @property
    def typed(self) -> str:
        """The option with what follows it, as it is typed."""
        glue = "" if self.takes is Takes.REST or not self.value else " "
        return f"-{self.flag}{glue}{self.value}{'...' if self.takes is Takes.PIDS else ''}"


_V, _NUMBER = Takes.VALUE, Kind.NUMBER
_NONE = "accepted, without effect"

OPTIONS: tuple[Option, ...] = (
    Option("f", "reads this file, or every *.cfg file of this directory", "files", _V, "<file|dir>", Kind.FILE, multiple=True,
           more="May be given several times: the files are read in that order, as if they were one. "
           "``--`` before the last words does the same."),
    Option("c", "only checks the configuration", "check",
           more="Exits with 0 when it is good, 1 when it is not, 2 when nothing in it listens."),
    Option("cc", "evaluates a condition as of .if, and exits", "condition", Takes.WORD, "<condition>",
           more="Exits with 0 when it is true, 1 when it is false, 2 when it cannot be understood."),
    Option("V", "shows notes and what it listens on; reverts -q", "verbose"),
    Option("q", "shows no messages", "quiet"),
    Option("v", "shows the version",
           more="The version that the first line names is that of the language; the program's own follows in parentheses."),
    Option("vv", "shows version, features and defaults"),
    Option("vq", "shows the bare version number", more="``-vqs`` is the same."),
    Option("vqb", "shows the bare version number of the branch"),
    Option("D", "goes to the background", "daemon"),
    Option("W", "master and workers, in the foreground", "master_worker",
           more="There always is a master; with this option it reloads by signal even with ``-d`` or ``-db``, and HAPROXY_MWORKER is set."),
    Option("Ws", "as -W, for systemd", "notify", more="For units with Type=notify."),
    Option("d", "everything in one process, in the foreground, for debuggers", "debug"),
    Option("db", "stays in the foreground", "foreground"),
    Option("p", "writes the master's pid to this file", "pidfile", _V, "<file>", Kind.FILE),
    Option("C", "changes to this directory before files are read", "change_dir", _V, "<dir>", Kind.DIRECTORY),
    Option("n", "the number of connections of the whole service", "maxconn", _V, "<number>", _NUMBER),
    Option("N", "the number of connections of a frontend that does not say", "proxy_maxconn", _V, "<number>", _NUMBER),
    Option("m", "limits the memory of each process, in MB", "memory_limit_mb", _V, "<megabytes>", _NUMBER),
    Option("L", "the name of the local peer; by default the host's", "localpeer", _V, "<name>"),
    Option("sf", "takes over from these processes, which finish what they have", "sf_pids", Takes.PIDS, "<pid>", Kind.PID,
           more="Listening sockets pass from the old master to the new one, so that no connection is refused. An empty list is good: "
           "``-sf $(cat /run/forkproxy.pid)`` works for the first start, too."),
    Option("st", "as -sf, and they end at once", "st_pids", Takes.PIDS, "<pid>", Kind.PID),
    Option("x", "gets the listening sockets of a running HAProxy or forkproxy from its CLI", "x_socket", _V, "<socket>", Kind.FILE,
           more="That socket needs ``expose-fd listeners``."),
    Option("S", "opens the master's CLI here", "master_sockets", _V, "<bind>[,<option>...]", Kind.FILE, multiple=True),
    Option("dW", "fails if anything is warned of", "zero_warning"),
    Option("dD", "shows notes and .diag messages", "diag"),
    Option("dK", "dumps the registered keywords of these classes", "dump_keywords", Takes.REST, "<class>[,<class>...]", Kind.KEYWORDS,
           more="``-dK`` alone lists the classes. The layout is that of HAProxy, so that a program can compare the two."),
    Option("-dump-keywords", "dumps all keywords with their documentation, in Markdown"),
    Option("dC", "dumps the configuration as words", "dump_config", Takes.REST, "[<key>]"),
    Option("dL", "lists the shared libraries in use", "list_libraries"),
    Option("dS", "never splices", "no_splice"),
    Option("dF", "never splices", "no_splice"),
    Option("dZ", "never splices", "no_splice"),
    Option("dR", "does without SO_REUSEPORT", "no_reuseport"),
    Option("dr", "ignores names of servers that cannot be resolved", "ignore_resolution"),
    Option("dV", "disables the verification of servers' certificates", "no_server_verify"),
    Option("dt", _NONE, takes=Takes.MAYBE, value="[<name>...]"),
    Option("dM", _NONE, takes=Takes.REST, value="[<flags>]"),
    Option("dA", _NONE, takes=Takes.REST, value="[<file>]"),
    *(Option(flag, _NONE) for flag in ("4", "dG", "dI", "dT", "dc", "de", "dk", "dp", "dv")),
)  # fmt: skip

_BY_FLAG = {option.flag: option for option in OPTIONS}
#: one letter, and what follows may be glued to it
_VALUED = {option.flag: option for option in OPTIONS if option.takes is Takes.VALUE}
_GLUED = tuple(option for option in OPTIONS if option.takes is Takes.REST)


def usage() -> str:
    """The text that wrong arguments get: a line for each option, those without effect in one."""
    lines = ["Usage : forkproxy [-f <cfgfile|cfgdir>]* [ -vdVD ] [ -n <maxconn> ] [ -N <maxpconn> ]"]
    lines.append("        [ -p <pidfile> ] [ -m <max megs> ] [ -C <dir> ] [-- <cfgfile>*]")
    lines += [f"        {option.typed} : {option.doc}" for option in OPTIONS if option.doc != _NONE]
    lines.append(f"        {' '.join('-' + option.flag for option in without_effect())} : {_NONE}")
    return "\n".join(lines) + "\n"


def without_effect() -> list[Option]:
    """Options that are accepted because HAProxy has them; what they switch off (resolvers, pollers, kTLS …) is not there."""
    return [option for option in OPTIONS if option.doc == _NONE]


def _number(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"-{option} expects a number, not '{text}'")
    return int(text)


def parse(argv: Sequence[str]) -> tuple[Options, str]:
    """The options in ``argv`` (without the program's name), and the version that was asked for: "", "v", "vv", "vq" or "vqb".

    Raises UsageError.
    """
    given: dict[str, Any] = {}
    files: list[str] = []
    sockets: list[str] = []
    version = ""
    words = list(argv)
    i = 0
    while i < len(words):
        word = words[i]
        i += 1
        flag = word[1:]
        if word == "--":
            files += words[i:]
            break
        if not flag or word[0] != "-":
            raise UsageError(f"unknown argument '{word}'")
        option = _BY_FLAG.get(flag)
        if option is not None and option.takes is Takes.PIDS:
            start = i
            while i < len(words) and not words[i].startswith("-"):
                i += 1
            given[option.field] = tuple(_number(flag, p) for text in words[start:i] for p in text.split())
        elif option is not None and option.takes is Takes.WORD:
            if i >= len(words):
                raise UsageError(f"-{flag} expects a condition")
            given[option.field] = words[i]
            i += 1
        elif flag[0] in _VALUED:
            value = flag[1:]
            if not value:
                if i >= len(words):
                    raise UsageError(f"-{flag} expects an argument")
                value = words[i]
                i += 1
            _valued(given, files, sockets, _VALUED[flag[0]], value)
        elif flag[0] == "v":
            version = flag if flag in ("v", "vv", "vq", "vqs", "vqb") else "v"
        elif flag.startswith("dt"):
            if len(flag) == 2 and i < len(words) and not words[i].startswith("-"):
                i += 1  # names of trace sources: forkproxy has none
        elif not _switch(given, flag, option):
            raise UsageError(f"unknown option '{word}'")
    given["files"] = tuple(files)
    given["master_sockets"] = tuple(sockets)
    return replace(Options(), **given), version


def _valued(given: dict[str, Any], files: list[str], sockets: list[str], option: Option, value: str) -> None:
    if option.multiple:
        (files if option.field == "files" else sockets).append(value)
    else:
        given[option.field] = _number(option.flag, value) if option.kind is Kind.NUMBER else value


def _switch(given: dict[str, Any], flag: str, option: Option | None) -> bool:
    """Take an option without a separate value; False when it is unknown."""
    if option is None or option.takes is Takes.REST:
        option = next((option for option in _GLUED if flag.startswith(option.flag)), None)
        if option is None:
            return False
        rest = flag[len(option.flag) :]
        if option.field == "dump_keywords":
            given["dump_keywords"] = tuple(c for c in rest.split(",") if c) or ("help",)
        elif option.field:
            given[option.field] = rest
        return True
    if option.field:
        given[option.field] = True
    if flag == "V":
        given["quiet"] = False
    elif flag == "Ws":
        given["master_worker"] = True
    elif flag == "-dump-keywords":
        given["dump_keywords"] = ("reference",)
    return True
