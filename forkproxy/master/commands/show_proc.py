"""``show proc`` of the master CLI (management manual 9.4.1)."""

from __future__ import annotations

import time

from forkproxy import COMPAT_VERSION
from forkproxy.master.cli_session import Session
from forkproxy.master.generation import Worker
from forkproxy.registry import Level, command


@command("show proc", level=Level.OPERATOR, where=("master",), synopsis="show proc [debug]")
def show_proc(session: Session, words: list[str]) -> str:
    """Show processes status; with "debug" also their state, slot of the shared memory and control channel."""
    debug = words[2:3] == ["debug"]
    master = session.master
    reloads = f"{master.reloader.succeeded} [failed: {master.reloader.failed}]"
    more = " <debug>" if debug else ""
    lines = [f"{'#<PID>':<15} {'<type>':<15} {'<reloads>':<15} {'<uptime>':<15} {'<version>':<15}{more}\n"]
    lines.append(_line(master.pid, "master", reloads, master.started))
    current = master.supervisor.current
    workers = master.supervisor.workers()
    lines.append("# workers\n")
    lines += [_worker(w, debug) for w in workers if w.generation is current]
    old = [w for w in workers if w.generation is not current]
    if old:
        lines.append("# old workers\n")
        lines += [_worker(w, debug) for w in old]
    return "".join(lines)


def _worker(worker: Worker, debug: bool) -> str:
    line = _line(worker.pid, "worker", str(worker.reloads), worker.started)
    more = f" number={worker.number} state={worker.state} slot={worker.slot} ipc_fd={worker.channel.fd}\n"
    return line.rstrip("\n") + more if debug else line


def _line(pid: int, kind: str, reloads: str, started: float) -> str:
    return f"{pid:<15} {kind:<15} {reloads:<15} {uptime(started):<15} {COMPAT_VERSION:<15}\n"


def uptime(started: float) -> str:
    """``0d00h02m07s`` since a monotonic reading."""
    seconds = int(time.monotonic() - started)
    return f"{seconds // 86400}d{seconds // 3600 % 24:02}h{seconds // 60 % 60:02}m{seconds % 60:02}s"
