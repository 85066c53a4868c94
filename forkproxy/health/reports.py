"""The words for logs: what operators' scripts match when a check fails or a server changes. Pure; same texts as HAProxy's."""

from __future__ import annotations

from forkproxy.health.conversation import Result
from forkproxy.health.machine import Machine, State
from forkproxy.values import frozen

#: syslog levels (RFC 5424 table 2)
EMERG, ALERT, NOTICE = 0, 1, 5


def reason(result: Result, duration_ms: int | None) -> str:
    """``, reason: Layer7 wrong status, code: 503, info: "Bad thing", check duration: 3ms``."""
    text = f", reason: {result.status.text}"
    if result.status.has_code:
        text += f", code: {result.code}"
    if result.text:
        quoted = result.text.replace("\\", "\\\\").replace('"', '\\"')
        text += f', info: "{printable(quoted)}"'
    return text if duration_ms is None else text + f", check duration: {duration_ms}ms"


def printable(text: str) -> str:
    """Control characters would let a server write log lines of its own."""
    return "".join(c if c.isprintable() else f"#{ord(c):02X}" for c in text)


def check_line(name: str, backup: bool, machine: Machine, duration_ms: int | None, who: str = "Health") -> str:
    """One line per change of status or health, with ``option log-health-checks``; ``who`` is "Health" or "Agent"."""
    result = machine.result
    verb = "succeeded" if result.status.passed else "failed"
    if result.status.name == "L7OKC":
        verb = "conditionally succeeded"
    up = machine.health >= machine.rise
    state = f"{machine.health - machine.rise + 1}/{machine.fall} UP" if up else f"{machine.health}/{machine.rise} DOWN"
    return f"{who} check for {'backup ' if backup else ''}server {name} {verb}{reason(result, duration_ms)}, status: {state}."


@frozen
class Load:
    """A server's streams at the moment of a change: at work, moved from or to its queue, left in it."""

    sessions: int = 0
    requeued: int = 0
    queued: int = 0


IDLE = Load()


def change_line(
    name: str, backup: bool, state: State, why: str, active: int, backups: int, load: Load = IDLE, via: str = ""
) -> str:
    """A server changed its operational state. ``why`` from :func:`reason` or empty; the counts are those of its backend after the
    change."""
    verb = {State.STOPPED: "DOWN", State.STOPPING: "stopping"}.get(state, "UP")
    what = f"is {verb}{f' via {via}' if via else ''}{why}"
    return admin_line(name, backup, what, active, backups, state is State.STOPPED, load)


def admin_line(name: str, backup: bool, what: str, active: int, backups: int, left: bool, load: Load = IDLE) -> str:
    """The operator changed a server: ``what`` is a phrase as "enters drain state" or "is going DOWN for maintenance"."""
    text = f"{'Backup ' if backup else ''}Server {name} {what}. "
    text += f"{active} active and {backups} backup servers {'left' if left else 'online'}."
    if not active and backups:
        text += " Running on backup."
    if left:
        return f"{text} {load.sessions} sessions active, {load.requeued} requeued, {load.queued} remaining in queue."
    return f"{text} {load.requeued} sessions requeued, {load.queued} total in queue."


def no_server_line(backend: str) -> str:
    """Emergency: nobody is left."""
    return f"backend {backend} has no server available!"
