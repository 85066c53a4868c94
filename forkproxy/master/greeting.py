"""What a start tells whoever looks on (``-V``, or a terminal): the addresses where the service can be reached. Reads the plan."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from forkproxy import __version__
from forkproxy.config.options import Options
from forkproxy.plan import Bind, Plan

#: Addresses of one proxy that are named; a range of ports may have thousands.
MOST = 16


def wanted(options: Options) -> bool:
    """Whether somebody looks on: asked for with ``-V``, or a terminal without ``-q``."""
    if options.verbose:
        return True
    try:
        return not options.quiet and sys.stderr.isatty()
    except (AttributeError, ValueError):  # closed
        return False


def lines(plan: Plan, workers: int, boot_ms: int) -> Iterator[str]:
    """One line for the service, and one for each thing that listens, in the order of the file."""
    plural = "worker" if workers == 1 else "workers"
    yield f"forkproxy {__version__} serves: pid {os.getpid()}, {workers} {plural}, started in {boot_ms / 1000:.1f} s"
    for frontend in plan.frontends:
        if frontend.binds and not frontend.disabled:
            kind = "listen" if frontend.name in plan.backends else "frontend"
            yield f"  {kind} {frontend.name} ({frontend.mode}): {_addresses(frontend.binds)}"
    settings = plan.global_
    for what, binds in (
        ("runtime CLI", settings.stats_sockets),
        ("master's CLI", settings.master_sockets),
        ("/metrics and /health", settings.stats_endpoint),
    ):
        if binds:
            yield f"  {what}: {_addresses(binds)}"


def _addresses(binds: tuple[Bind, ...]) -> str:
    shown = list(dict.fromkeys(str(bind.address) for bind in binds))
    return ", ".join(shown[:MOST]) + (f" and {len(shown) - MOST} more" if len(shown) > MOST else "")
