"""``show proc`` of the master CLI (management manual 9.4.1)."""

from __future__ import annotations

import time

from forkproxy import COMPAT_VERSION
from forkproxy.master.cli_session import Session
from forkproxy.master.generation import Worker
from forkproxy.registry import Level, command


@command("show proc", level=Level.OPERATOR, where=("master",), synopsis="show proc")
def show_proc(session: Session, words: list[str]) -> str:
    """Show processes status."""
    master = session.master
    reloads = f"{master.reloader.succeeded} [failed: {master.reloader.failed}]"
    lines = [f"{'#<PID>':<15} {'<type>':<15} {'<reloads>':<15} {'<uptime>':<15} {'<version>':<15}\n"]
    lines.append(_line(master.pid, "master", reloads, master.started))
    current = master.supervisor.current
    workers = master.supervisor.workers()
    lines.append("# workers\n")
    lines += [_worker(w) for w in workers if w.generation is current]
    old = [w for w in workers if w.generation is not current]
    if old:
        lines.append("# old workers\n")
        lines += [_worker(w) for w in old]
    return "".join(lines)


def _worker(worker: Worker) -> str:
    return _line(worker.pid, "worker", str(worker.reloads), worker.started)


def _line(pid: int, kind: str, reloads: str, started: float) -> str:
    return f"{pid:<15} {kind:<15} {reloads:<15} {uptime(started):<15} {COMPAT_VERSION:<15}\n"


def uptime(started: float) -> str:
    """``0d00h02m07s`` since a monotonic reading."""
    seconds = int(time.monotonic() - started)
    return f"{seconds // 86400}d{seconds // 3600 % 24:02}h{seconds // 60 % 60:02}m{seconds % 60:02}s"
