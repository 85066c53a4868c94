"""Resource limits that follow from the configuration (manual 3.1 "ulimit-n", "maxconn"; management manual chapter 5).

One connection of a client needs at most two descriptors. Limits are per process, and each worker may in the worst case get all
connections, so every process gets room for the whole ``maxconn``.
"""

from __future__ import annotations

import resource

from forkproxy.plan import Global, Plan

#: Descriptors beyond connections and listeners: logs, control channels, epoll, shared memory, pipes of splice.
RESERVE = 128


def wanted_descriptors(settings: Global, listeners: int, checks: int) -> int:
    """How many descriptors a process may need; 0 when nothing says so (no ``maxconn``, no ``ulimit-n``)."""
    if settings.ulimit_n:
        return settings.ulimit_n
    if not settings.maxconn:
        return 0
    return 2 * settings.maxconn + 2 * settings.maxpipes + listeners + checks + RESERVE


def provide(plan: Plan) -> tuple[bool, str]:
    """Raise the limit to what ``plan`` needs: (is a failure fatal?, what to tell the operator, "" when all is well)."""
    settings = plan.global_
    checks = sum(1 for b in plan.backends.values() for s in b.servers if s.check is not None)
    listeners = sum(len(f.binds) for f in plan.frontends) * settings.nbproc
    complaint = raise_descriptors(wanted_descriptors(settings, listeners, checks))
    return bool(settings.options.get("strict_limits", True)), complaint


def raise_descriptors(wanted: int) -> str:
    """Raise the limit to ``wanted``; returns what to tell the operator when that is not possible, "" when all is well."""
    if not wanted:
        return ""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft >= wanted:
        return ""
    top = max(hard, wanted) if hard != resource.RLIM_INFINITY else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, top))
        return ""
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return f"[forkproxy.main()] Cannot raise FD limit to {wanted}, limit is {hard}."


def limit_memory(megabytes: int) -> None:
    """``-m``: bound the address space of each process."""
    if megabytes:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
