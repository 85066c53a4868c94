"""``show dev`` (management manual 9.3): where and as what the service runs, for who looks into a problem of it."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterator

from forkproxy import __version__
from forkproxy.master.cli_session import Session
from forkproxy.net import loop
from forkproxy.registry import Level, command

#: Where the kernel tells who made the machine.
_DMI = "/sys/class/dmi/id/"


@command("show dev", level=Level.OPERATOR, synopsis="show dev")
def show_dev(session: Session, words: list[str]) -> str:
    """Show information about the machine, the program and its limits."""
    return "".join(_lines(session))


def _lines(session: Session) -> Iterator[str]:
    system = os.uname()
    node = system.nodename if session.hidden is None else session.hidden.hash(system.nodename)
    yield "Platform info\n"
    yield from _indented({
        "machine vendor": _first(_DMI + "sys_vendor"),
        "machine family": _first(_DMI + "product_name"),
        "cpu model": _found("/proc/cpuinfo", "model name"),
        "virtual machine": "yes" if "hypervisor" in _found("/proc/cpuinfo", "flags").split() else "",
        "container": "yes" if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv") else "",
        "cpus": str(len(os.sched_getaffinity(0))),
        "memory": _found("/proc/meminfo", "MemTotal"),
        "OS name": system.sysname,
        "OS release": system.release,
        "OS version": system.version,
        "OS architecture": system.machine,
        "node name": node,
    })  # fmt: skip
    yield "Program info\n"
    yield from _indented({
        "forkproxy": f"{__version__}{'' if loop.__file__.endswith('.py') else ' (compiled)'}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libc": " ".join(platform.libc_ver()),
    })  # fmt: skip
    yield "Process info\n"
    limits = [(name, resource.getrlimit(which)) for name, which in _LIMITS]
    workers = session.master.supervisor.workers()
    yield from _indented({
        "pid": str(session.master.pid),
        "workers": " ".join(str(worker.pid) for worker in workers),
        "uid": str(os.getuid()),
        "gid": str(os.getgid()),
        **{f"{name} ({kind})": str(value) for name, pair in limits for kind, value in zip(("soft", "hard"), pair, strict=True)
           if value != resource.RLIM_INFINITY},
    })  # fmt: skip


_LIMITS = (("fd limit", resource.RLIMIT_NOFILE), ("address space limit", resource.RLIMIT_AS), ("process limit", resource.RLIMIT_NPROC))


def _indented(facts: dict[str, str]) -> Iterator[str]:
    """A line for each; what is not known is left out."""
    for name, value in facts.items():
        if value:
            yield f"  {name}: {value}\n"


def _first(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""


def _found(path: str, name: str) -> str:
    """The value of the first line ``name : value``."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return next((line.partition(":")[2].strip() for line in file if line.partition(":")[0].strip() == name), "")
    except OSError:
        return ""
