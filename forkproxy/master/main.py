"""From a plan to a running service: what ``cli`` calls last. Returns the exit status of the program."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from forkproxy.config import load as loading
from forkproxy.config.options import Options
from forkproxy.errors import ConfigError
from forkproxy.master import daemon, limits
from forkproxy.master.master import Master
from forkproxy.master.messages import ALERT, WARNING, Messages
from forkproxy.master.reload import Load
from forkproxy.master.spawn import Forker, Inline, cannot_watch, open_descriptors
from forkproxy.net.loop import Loop
from forkproxy.plan import Plan
from forkproxy.proxy import runtime
from forkproxy.worker import environment
from forkproxy.worker.heritage import RuntimeFactory


def run(plan: Plan, options: Options, *, runtime_factory: RuntimeFactory | None = None, load: Load | None = None) -> int:
    """Serve ``plan`` until told to end; ``options`` say how (foreground, daemon, one process, what to replace).

    The exit status: 0 after an orderly end, 1 when the service cannot start, 130 for INT in master
    mode; without it TERM and INT end the process by the signal. ``runtime_factory`` and
    ``load`` stand in for the data plane and the reading of files in tests.
    """
    inherited = open_descriptors()
    factory = runtime_factory or runtime.make
    messages = Messages(quiet=options.quiet or plan.global_.quiet)
    strict, complaint = limits.provide(plan)
    if complaint:
        messages.say(ALERT if strict else WARNING, complaint)
        if strict:
            return 1
    if complaint := limits.unprivileged(plan):
        messages.say(ALERT, complaint)
        return 1
    if not options.debug and (complaint := cannot_watch()):
        messages.say(ALERT, complaint)
        return 1
    limits.limit_memory(options.memory_limit_mb)
    if (options.daemon or plan.global_.daemon) and not (options.foreground or options.debug):
        status = daemon.detach()
        if status is not None:
            return status
    spawner = Inline(factory) if options.debug else Forker(factory, inherited)
    try:
        loop = Loop(maxevents=plan.global_.maxpollevents)  # with -d it is the worker's, too
        master = Master(plan, options, loop=loop, spawner=spawner, load=load or loader(options), messages=messages)
    except (ConfigError, OSError) as exc:
        messages.alert(f"[forkproxy.main()] No memory to share between the processes: {exc}.")
        return 1
    status = master.run()
    if not master.master_mode and status > 128:
        _die_by(status - 128)
    return status


def _die_by(signum: int) -> None:
    """End by the signal itself, as a single HAProxy process does: a shell shows 128 + signum, a supervisor the signal."""
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def loader(options: Options) -> Load:
    """Reads the files of the command line again."""

    def load(tell: Callable[[str], None]) -> Plan | None:
        with environment.original():
            result = loading.load(options.files, options)
        for line in result.diagnostics.lines():
            tell(line)
        if result.plan is not None and not result.plan.listens:
            tell(f"{'[ALERT]':<10} ({os.getpid()}) : [forkproxy.main()] No enabled listener found (check for 'bind' directives) ! Exiting.")
            return None
        if result.plan is not None and (complaint := limits.unprivileged(result.plan)):
            tell(f"{'[ALERT]':<10} ({os.getpid()}) : {complaint}")
            return None
        return result.plan

    return load
