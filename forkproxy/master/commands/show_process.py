"""What only workers know of themselves: ``show fd``, ``show activity``, ``show pools``, ``show tasks``, ``show threads`` (management manual
9.3). Made for people who look for a cause; nothing that lasts should parse it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from forkproxy.master.cli_session import Deferred, Session
from forkproxy.master.orders import Reply
from forkproxy.registry import Level, command


@command("show fd", level=Level.OPERATOR, synopsis="show fd [-lcfbs]* [<fd>]")
def show_fd(session: Session, words: list[str]) -> Deferred:
    """Dump the descriptors that workers watch, all or those of some kinds, or one number."""
    kinds, only = "", -1
    for word in words[2:]:
        if word[:1] == "-":
            kinds += word[1:].replace("c", "fs").replace("b", "s")
        elif word.rpartition("/")[2].isdecimal():
            only = int(word.rpartition("/")[2])

    def render(replies: list[Reply]) -> Iterator[str]:
        for reply in replies:
            if reply.value:
                yield f"# worker {reply.worker.number} (pid {reply.worker.pid})\n"
                yield reply.value

    return session.ask("show fd", render, only=only, kinds=kinds)


@command("show activity", level=Level.USER, synopsis="show activity [-1|0|worker_num]")
def show_activity(session: Session, words: list[str]) -> Deferred:
    """Show per-worker activity stats: sum and, in brackets, each worker's own."""
    which = int(words[2]) if len(words) > 2 and words[2].lstrip("-").isdecimal() else -1

    def render(replies: list[Reply]) -> Iterator[str]:
        shown = [r for r in replies if r.value and which in (-1, 0, r.worker.number)]
        yield f"thread_id: {len(shown)} (1..{len(replies)})\n"
        yield f"date_now: {session.master.loop.clock.wall:.6f}\n"
        for name in shown[0].value if shown else ():
            values = [r.value[name] for r in shown]
            each = f" [ {' '.join(map(str, values))} ]" if which == -1 and len(values) > 1 else ""
            yield f"{name}: {sum(values)}{each}\n"

    return session.ask("show activity", render)


@command("show pools", level=Level.USER, synopsis="show pools [by*] [match <pfx>] [nb]")
def show_pools(session: Session, words: list[str]) -> Deferred:
    """Report information about the memory of workers: objects by type, connection buffers, pipes."""
    rest = words[2:]
    by = next((word for word in rest if word in ("byname", "bysize", "byusage")), "")
    prefix = rest[rest.index("match") + 1] if "match" in rest[:-1] else ""
    limit = next((int(word) for word in rest if word.isdecimal()), 0)

    def render(replies: list[Reply]) -> Iterator[str]:
        counts: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for reply in replies:
            for name, (count, size) in (reply.value or {}).items():
                counts[name] += count
                sizes[name] += size
        names = [name for name in counts if name.startswith(prefix)]
        if by == "byname":
            names.sort()
        elif by == "bysize":
            names.sort(key=lambda name: -(sizes[name] // max(1, counts[name])))
        elif by == "byusage":
            names.sort(key=lambda name: -sizes[name])
        names = names[: limit or None]
        yield f"Dumping memory usage of {len(replies)} workers.\n"
        for name in names:
            each = sizes[name] // max(1, counts[name])
            yield f"  - Pool {name} ({each} bytes) : {counts[name]} allocated ({sizes[name]} bytes), {counts[name]} used\n"
        total = sum(sizes[name] for name in names)
        yield f"Total: {len(names)} pools, {total} bytes allocated, {total} used.\n"

    return session.ask("show pools", render)


@command("show tasks", level=Level.USER, synopsis="show tasks")
def show_tasks(session: Session, words: list[str]) -> Deferred:
    """Show what timers wait for, by the function that they call."""

    def render(replies: list[Reply]) -> Iterator[str]:
        counts: Counter[str] = Counter()
        for reply in replies:
            counts.update(reply.value or {})
        yield f"Running tasks: {counts.total()} ({len(replies)} workers)\n"
        for name, count in counts.most_common():
            yield f"  {name:<40} {count}\n"

    return session.ask("show tasks", render)


@command("show threads", level=Level.USER, synopsis="show threads")
def show_threads(session: Session, words: list[str]) -> Deferred:
    """Show the state of each worker and of the master."""
    master = session.master
    now = master.loop.clock.now

    def render(replies: list[Reply]) -> Iterator[str]:
        yield f"* Master : pid={master.pid} turns={master.loop.turns} busy_ms={int(master.loop.busy_s * 1000)}\n"
        for reply in replies:
            worker, row = reply.worker, reply.value or {}
            facts = " ".join(f"{name}={row[name]}" for name in ("loops", "busy_ms", "lag_us", "connections", "streams") if name in row)
            silent_ms = max(0, int(now * 1000) - worker.pulse[0])
            yield f"  Worker {worker.number} : pid={worker.pid} state={worker.state} pulse_ms_ago={silent_ms} {facts}\n"

    return session.ask("show activity", render)
