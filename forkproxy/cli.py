"""The command line (management manual, chapter 3): options in, exit status out. Imports what an option needs, and nothing before."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, NoReturn

from forkproxy import COMPAT_VERSION, __date__, __version__
from forkproxy.arguments import UsageError, parse, usage

if TYPE_CHECKING:
    from forkproxy.config.diagnostics import Diagnostics
    from forkproxy.config.options import Options
    from forkproxy.plan import Plan

def banner() -> str:
    """The first line of ``-v``: tools look for ``version X.Y``; who this really is stands in parentheses."""
    return f"HAProxy version {COMPAT_VERSION} (forkproxy {__version__}) {__date__} - pre-forked workers in Python"


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
    print(usage(), end="", file=sys.stderr)
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
    from forkproxy import progress
    from forkproxy.config.load import load

    if "LISTEN_FDS" in os.environ:
        from forkproxy.net.notify import name_listen_fds

        name_listen_fds()
    with nullcontext() if options.quiet else progress.on(sys.stderr):
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
