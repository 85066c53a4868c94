"""Resource limits that follow from the configuration (manual 3.1 "ulimit-n", "maxconn"; management manual chapter 5).

How many descriptors a process needs is worked out when the file is read (``config``): limits are per process, and each worker may in
the worst case get all connections, so every process gets room for the whole ``maxconn``.
"""

from __future__ import annotations

import resource

from forkproxy.plan import Plan


def provide(plan: Plan) -> tuple[bool, str]:
    """Raise the limit to what ``plan`` needs: (is a failure fatal?, what to tell the operator, "" when all is well)."""
    complaint = raise_descriptors(plan.global_.ulimit_n)
    return bool(plan.global_.options.get("strict_limits", True)), complaint


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


def unprivileged(plan: Plan) -> str:
    """The complaint about a file that wants what only root may do, and not to be root; "" when it does not."""
    servers = [server for backend in plan.backends.values() for server in backend.servers]
    wanted = plan.global_.uid and any(server.foreign is not None or server.namespace for server in servers)
    return "[forkproxy.main()] Some configuration options require full privileges, so global.uid cannot be changed." if wanted else ""
