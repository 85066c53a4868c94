"""``wait`` (management manual 9.3): a pause in a list of commands, or until a server or a backend may be removed."""

from __future__ import annotations

from collections.abc import Callable

from forkproxy.config.units import UnitError, parse_time
from forkproxy.master import lookup
from forkproxy.master.cli_session import ERR, Deferred, Refused, Session
from forkproxy.master.commands import add_server, backends
from forkproxy.master.orders import Reply
from forkproxy.registry import Level, command

HELP = """\
Usage: wait {-h|<duration>} [condition [args...]]
  - '-h' displays this help
  - <duration> is the maximum wait time, optionally suffixed by the unit among
    'us', 'ms', 's', 'm', 'h', and 'd'. ; the default unit is milliseconds.
  - <condition> indicates what to wait for, no longer than the delay:
       - srv-removable <bk>/<srv> : waits for this server to be removable
       - be-removable <bk>        : waits for this backend to be removable
"""
#: How often a condition is looked at.
_EVERY_S = 0.05


@command("wait", level=Level.USER, synopsis="wait {-h|<delay_ms>} [cond [args...]]")
def wait(session: Session, words: list[str]) -> str | Deferred:
    """Wait the specified delay or condition (-h to see list)."""
    if len(words) < 2 or "-h" in words[1:3]:
        return HELP
    try:
        delay_s = parse_time(words[1], "ms", minimum_us=0)
    except UnitError:
        raise Refused("Invalid duration.") from None
    loop = session.master.loop
    deferred = Deferred()
    if len(words) == 2:
        loop.call_later(delay_s, lambda: deferred.finish(""))
        return deferred
    if words[2] not in ("srv-removable", "be-removable"):
        raise Refused(f"Unknown condition '{words[2]}'.")
    look_at = _server(session, words) if words[2] == "srv-removable" else _backend(session, words)
    until = loop.clock.now + delay_s

    def look() -> None:
        why, order, fields = look_at()
        if why is None:
            deferred.finish("Done.\n")
        elif why:
            deferred.finish(session.message(why, ERR))
        else:
            session.master.supervisor.orders.give(session.master.supervisor.workers(), order, seen, **fields)

    def seen(replies: list[Reply]) -> None:
        if not any(reply.value for reply in replies):
            deferred.finish("Done.\n")
        elif loop.clock.now >= until:
            deferred.finish(session.message("Wait delay expired.", ERR))
        else:
            loop.call_later(_EVERY_S, look)

    loop.call_soon(look)
    return deferred


#: what waiting does not help against (None: it is gone already), and the order that tells whether somebody is still there
_Look = Callable[[], tuple[str | None, str, dict[str, str]]]


def _server(session: Session, words: list[str]) -> _Look:
    key = lookup.server(session, words, 3).key

    def look() -> tuple[str | None, str, dict[str, str]]:
        entry = session.master.health.board.entries.get(key)
        return None if entry is None else add_server.obstacle(session, entry), "server busy", {"server": key}

    return look


def _backend(session: Session, words: list[str]) -> _Look:
    name = lookup.backend_at(session, words, 3).name

    def look() -> tuple[str | None, str, dict[str, str]]:
        there = name in session.master.plan.backends
        return backends.obstacle(session, name) if there else None, "backend busy", {"backend": name}

    return look
