"""``set profiling`` and ``show profiling`` (management manual 9.3): where the time and the memory of workers go.

Functions and lines are those of Python's profilers (``proxy/profiling.py``). Made for people who look for a cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from forkproxy.master.cli_session import Deferred, Refused, Session
from forkproxy.master.orders import Reply
from forkproxy.registry import Level, command

_WORDS = ("all", "status", "tasks", "memory", "byaddr", "bytime")


@command("set profiling", level=Level.ADMIN, synopsis="set profiling {tasks|memory} {on|off}")
def set_profiling(session: Session, words: list[str]) -> Deferred:
    """Have workers measure the time of each function ("tasks") or what each line allocates ("memory"), which slows them down.

    "tasks on" begins from nothing."""
    kind, state = (*words[2:4], "", "")[:2]
    if kind not in ("tasks", "memory"):
        raise Refused("Expects either 'tasks' or 'memory'.")
    if state in ("auto", "lock", "no-lock", "no-memory") or (kind, state) == ("tasks", "memory"):
        raise Refused(f"'{state}' is known to HAProxy, not supported by forkproxy: expects 'on' or 'off'.")
    if state not in ("on", "off"):
        raise Refused("Expects 'on' or 'off'.")
    now = session.master.plan.global_.profiling
    session.master.changes.settings(profiling=now | {kind} if state == "on" else now - {kind})
    return session.ask("set profiling", _switched, kind=kind, on=state == "on")


def _switched(replies: list[Reply]) -> str:
    wrong = next((reply.error for reply in replies if reply.error), "")
    if wrong:  # another profiler is at work there
        raise Refused(wrong)
    return ""


@command("show profiling", level=Level.ADMIN, synopsis="show profiling [<what>|<#lines>|byaddr|bytime]*")
def show_profiling(session: Session, words: list[str]) -> str | Deferred:
    """Show profiling state (all,status,tasks,memory), and what was measured in all workers together."""
    rest = words[2:]
    wrong = next((word for word in rest if word not in _WORDS and not word.isdecimal()), "")
    if wrong in ("byctx", "aggr"):
        raise Refused(f"'{wrong}' is known to HAProxy, not supported by forkproxy.")
    if wrong:
        raise Refused("Expects either 'all', 'status', 'tasks', 'memory', 'byaddr', 'bytime' or a max number of output lines.")
    what = next((word for word in rest if word in _WORDS[:4]), "all")
    limit = next((int(word) for word in rest if word.isdecimal()), 0) or None
    order = "byaddr" if "byaddr" in rest else "bytime" if "bytime" in rest else ""
    on = session.master.plan.global_.profiling
    status = "".join(
        f"{title:<36}: {'on' if kind in on else 'off':<13} # set profiling {kind} {{on|off}}\n"
        for kind, title in (("tasks", "Per-task CPU profiling"), ("memory", "Memory usage profiling"))
    )
    if what == "status":
        return status
    head = status if what == "all" else ""
    deferred = Deferred()

    def tasks(replies: list[Reply]) -> None:
        text = head + "".join(_tasks(replies, order, limit)) if what != "memory" else head
        if what == "tasks" or (what == "all" and "memory" not in on):
            deferred.finish(text)
        else:
            ask("memory", lambda more: deferred.finish(text + "".join(_memory(more, order, limit))))

    def ask(kind: str, done: Callable[[list[Reply]], None]) -> None:
        session.master.supervisor.orders.give(session.targets(), "show profiling", done, kind=kind)

    ask("tasks", tasks)
    return deferred


def _sums(replies: list[Reply]) -> dict[str, list[float]]:
    """The numbers of each name over all workers."""
    sums: dict[str, list[float]] = {}
    for reply in replies:
        for name, *numbers in reply.value or ():
            known = sums.get(name)
            sums[name] = numbers if known is None else [a + b for a, b in zip(known, numbers, strict=True)]
    return sums


def _chosen(sums: dict[str, list[float]], order: str, limit: int | None, by: int, by_time: int) -> list[tuple[str, list[float]]]:
    rows = sorted(sums.items())
    if order != "byaddr":
        rows.sort(key=lambda row: -row[1][by_time if order == "bytime" else by])
    return rows[:limit]


def _tasks(replies: list[Reply], order: str, limit: int | None) -> Iterator[str]:
    yield "Tasks activity:\n"
    yield f"  {'function':<44} {'calls':>9} {'cpu_tot':>9} {'cpu_avg':>9} {'all_tot':>9} {'all_avg':>9}\n"
    for name, (calls, own_s, all_s) in _chosen(_sums(replies), order, limit, 0, 1):
        times = " ".join(f"{_short(seconds):>9}" for seconds in (own_s, own_s / calls, all_s, all_s / calls))
        yield f"  {name:<44} {int(calls):>9} {times}\n"


def _memory(replies: list[Reply], order: str, limit: int | None) -> Iterator[str]:
    yield "Alloc/Free statistics by call place:\n"
    yield f"  {'line':<44} {'blocks':>9} {'bytes':>11} {'avg':>9}\n"
    for name, (blocks, size) in _chosen(_sums(replies), order, limit, 1, 1):
        yield f"  {name:<44} {int(blocks):>9} {int(size):>11} {int(size / max(1, blocks)):>9}\n"


def _short(seconds: float) -> str:
    """A time in four digits, as HAProxy shows it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:#.4g}".rstrip(".") + unit
    return f"{seconds * 1e9:.1f}ns"
