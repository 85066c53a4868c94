"""The command line (management manual, chapter 3): options in, exit status out. Imports what an option needs, and nothing before."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from forkproxy import COMPAT_VERSION, __date__, __version__
from forkproxy.config.options import Options
from forkproxy.values import replace

if TYPE_CHECKING:
    from forkproxy.config.diagnostics import Diagnostics
    from forkproxy.plan import Plan

USAGE = """\
Usage : forkproxy [-f <cfgfile|cfgdir>]* [ -vdVD ] [ -n <maxconn> ] [ -N <maxpconn> ]
        [ -p <pidfile> ] [ -m <max megs> ] [ -C <dir> ] [-- <cfgfile>*]
        -v displays version ; -vv shows features ; -vq the version alone ; -vqb its branch
        -d runs everything in one process in the foreground ; -db only disables background mode
        -c only checks the configuration ; -cc <cond> evaluates a condition and exits
        -V verbose mode: shows notes, reverts -q ; -q shows no messages
        -D goes to the background ; -W and -Ws set HAPROXY_MWORKER (there always is a master)
        -C changes to <dir> before loading files
        -n sets the total number of connections ; -N the default number per proxy
        -m limits the memory of each process (in MB)
        -L sets the local peer name (default: the host name)
        -p writes the pid to this file
        -dS, -dF, -dZ never splice ; -dR disables SO_REUSEPORT
        -dr ignores names of servers that cannot be resolved ; -dV disables verification of servers
        -dW fails if anything is warned of ; -dD shows notes and .diag messages
        -dL lists loaded libraries ; -dC[key] dumps the configuration as words
        -dK{class[,...]} dumps registered keywords (use 'help' for list)
        --dump-keywords dumps them with their documentation, in Markdown
        -sf/-st [pid ]* finishes/terminates old pids
        -x <unix_socket> gets listening sockets from a unix socket
        -S <bind>[,<bind options>...] new master CLI
        -4 -dA -dG -dI -dM -dT -dc -de -dk -dp -dt -dv are accepted without effect
"""

#: options that take the next word (or what is glued to them)
_WITH_VALUE = frozenset("CnmNLfpSx")


class UsageError(Exception):
    """The arguments make no sense."""


def banner() -> str:
    """The first line of ``-v``: tools look for ``version X.Y``; who this really is stands in parentheses."""
    return f"HAProxy version {COMPAT_VERSION} (forkproxy {__version__}) {__date__} - pre-forked workers in Python"


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
        if word == "--dump-keywords":
            given["dump_keywords"] = ("reference",)
        elif flag in ("sf", "st"):
            start = i
            while i < len(words) and not words[i].startswith("-"):
                i += 1
            pids = [p for text in words[start:i] for p in text.split()]
            given[f"{flag}_pids"] = tuple(_number(flag, p) for p in pids)
        elif flag == "cc":
            if i >= len(words):
                raise UsageError("-cc expects a condition")
            given["condition"] = words[i]
            i += 1
        elif flag[0] in _WITH_VALUE:
            value = flag[1:]
            if not value:
                if i >= len(words):
                    raise UsageError(f"-{flag} expects an argument")
                value = words[i]
                i += 1
            _valued(given, files, sockets, flag[0], value)
        elif flag[0] == "v":
            version = flag if flag in ("v", "vv", "vq", "vqs", "vqb") else "v"
        elif flag.startswith("dt"):
            if len(flag) == 2 and i < len(words) and not words[i].startswith("-"):
                i += 1  # names of trace sources: forkproxy has none
        elif not _switch(given, flag):
            raise UsageError(f"unknown option '{word}'")
    given["files"] = tuple(files)
    given["master_sockets"] = tuple(sockets)
    return replace(Options(), **given), version


def _valued(given: dict[str, Any], files: list[str], sockets: list[str], flag: str, value: str) -> None:
    match flag:
        case "f":
            files.append(value)
        case "S":
            sockets.append(value)
        case "C":
            given["change_dir"] = value
        case "n":
            given["maxconn"] = _number(flag, value)
        case "m":
            given["memory_limit_mb"] = _number(flag, value)
        case "N":
            given["proxy_maxconn"] = _number(flag, value)
        case "L":
            given["localpeer"] = value
        case "p":
            given["pidfile"] = value
        case "x":
            given["x_socket"] = value


_SWITCHES: dict[str, tuple[str, ...]] = {
    "c": ("check",),
    "d": ("debug",),
    "db": ("foreground",),
    "D": ("daemon",),
    "W": ("master_worker",),
    "Ws": ("master_worker", "notify"),
    "V": ("verbose",),
    "q": ("quiet",),
    "dD": ("diag",),
    "dF": ("no_splice",),
    "dL": ("list_libraries",),
    "dR": ("no_reuseport",),
    "dS": ("no_splice",),
    "dV": ("no_server_verify",),
    "dW": ("zero_warning",),
    "dZ": ("no_splice",),
    "dr": ("ignore_resolution",),
    # nothing here to switch off: resolvers, pollers, getaddrinfo, forks, kTLS, CPU affinity
    "4": (), "de": (), "dG": (), "dI": (), "dT": (), "dc": (), "dk": (), "dp": (), "dv": (),
}  # fmt: skip


def _switch(given: dict[str, Any], flag: str) -> bool:
    """Take an option without a separate value; False when it is unknown."""
    names = _SWITCHES.get(flag)
    if names is not None:
        given.update(dict.fromkeys(names, True))
        if flag == "V":
            given["quiet"] = False
    elif flag.startswith("dK"):
        given["dump_keywords"] = tuple(c for c in flag[2:].split(",") if c) or ("help",)
    elif flag.startswith("dC"):
        given["dump_config"] = flag[2:]
    elif not flag.startswith(("dM", "dA")):
        return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 good, 1 errors, 2 no listener (``-c``) or a condition that is wrong (``-cc``)."""
    try:
        options, version = parse(sys.argv[1:] if argv is None else argv)
    except UsageError as exc:
        return _usage(str(exc))
    if version:
        return _show_version(version)
    if options.condition is not None:
        return _evaluate(options.condition)
    if options.change_dir:
        try:
            os.chdir(options.change_dir)
        except OSError as exc:
            _alert(f"Could not change to directory {options.change_dir} : {exc.strerror}")
            return 1
    if not options.files:
        if options.dump_keywords:
            return _dump_keywords(options.dump_keywords)
        return _usage("no configuration file")
    return _start(options)


def _usage(reason: str) -> int:
    print(banner(), file=sys.stderr)
    print(f"forkproxy: {reason}\n", file=sys.stderr)
    print(USAGE, end="", file=sys.stderr)
    return 1


def _alert(text: str) -> None:
    print(f"[NOTICE]   ({os.getpid()}) : haproxy version is {COMPAT_VERSION}", file=sys.stderr)
    print(f"[ALERT]    ({os.getpid()}) : {text}", file=sys.stderr)


def _evaluate(condition: str) -> int:
    """``-cc``: 0 true, 1 false, 2 not to be understood."""
    from forkproxy.config import conditions, lexer

    try:
        text = " ".join(lexer.split(condition, os.environ).words)
        return 0 if conditions.evaluate(text, conditions.Context(os.environ)) else 1
    except lexer.LexError as exc:
        _alert(f"config : Syntax Error in condition: {str(exc).capitalize()}.")
    except conditions.ConditionError as exc:
        _alert(f"config : Failed to evaluate condition: {exc}")
    return 2


def _show_version(kind: str) -> int:
    if kind == "vq" or kind == "vqs":
        print(COMPAT_VERSION)
    elif kind == "vqb":
        print(COMPAT_VERSION.rpartition(".")[0])
    else:
        print(banner())
        if kind == "vv":
            from forkproxy.listing import details

            print(details(), end="")
    return 0


def _dump_keywords(classes: Sequence[str]) -> int:
    if "reference" in classes:
        from forkproxy.reference import pages

        sys.stdout.write("\n".join(text for name, text in pages().items() if name != "README.md"))
        return 0
    from forkproxy.config.load import register
    from forkproxy.listing import dump

    register()
    sys.stdout.write(dump(classes))
    return 0


def _start(options: Options) -> int:
    """Load the configuration, say what there is to say, and run it unless it was only to be checked."""
    import forkproxy.stats.service  # noqa: F401  # registers the exporter, which stands behind config in the order of rooms
    from forkproxy.config.load import load

    if "LISTEN_FDS" in os.environ:
        from forkproxy.net.notify import name_listen_fds

        name_listen_fds()
    result = load(options.files, options)
    plan = result.plan
    if not result.quiet:
        _show(result.diagnostics, options)
    if options.dump_keywords:
        _dump_keywords(options.dump_keywords)
    if options.dump_config is not None:
        from forkproxy.listing import configuration

        sys.stdout.write(configuration(result.dump))
    if options.list_libraries:
        from forkproxy.listing import libraries

        sys.stdout.write(libraries())
    if plan is None:
        return 1
    if result.diagnostics.warned and plan.global_.zero_warning:
        if not result.quiet:
            print(f"[ALERT]    ({os.getpid()}) : Some warnings were found and 'zero-warning' is set. Aborting.", file=sys.stderr)
        return 1
    if options.check:
        return _checked(plan, result.diagnostics, options, result.quiet)
    if not has_listener(plan):
        if not result.quiet:
            _alert("[forkproxy.main()] No enabled listener found (check for 'bind' directives) ! Exiting.")
        return 1
    return _run(plan, options)


def _show(diag: Diagnostics, options: Options) -> None:
    """Print the messages to stderr: alerts, warnings and notices always, notes and ``.diag`` only where they were asked for."""
    from forkproxy.config.diagnostics import Severity

    shown = {Severity.ALERT, Severity.COMPLAINT, Severity.WARNING, Severity.NOTICE}
    if options.verbose or options.diag:
        shown.add(Severity.NOTE)
    if options.diag:
        shown.add(Severity.DIAG)
    pid = os.getpid()
    lines = [m.render(pid) for m in diag.messages if m.severity in shown]
    if any(m.severity >= Severity.WARNING for m in diag.messages):
        lines.insert(0, f"[NOTICE]   ({pid}) : haproxy version is {COMPAT_VERSION}")
    if lines:
        print("\n".join(lines), file=sys.stderr)


def has_listener(plan: Plan) -> bool:
    """Is there anything to listen on: an enabled frontend's address, a CLI socket or the metrics endpoint?"""
    return plan.listens


def _checked(plan: Plan, diag: Diagnostics, options: Options, quiet: bool) -> int:
    if not has_listener(plan):
        if not quiet:
            print("Configuration file has no error but will not start (no listener) => exit(2).")
        return 2
    if options.verbose:
        if diag.warned:
            print("Warnings were found.")
        print("Configuration file is valid")
    return 0


def _run(plan: Plan, options: Options) -> int:
    from forkproxy.master.main import run

    return run(plan, options)


def entry() -> NoReturn:
    """What ``python -m`` and ``bin/forkproxy`` call."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
