"""``show sess``, ``shutdown session`` and ``shutdown sessions server`` (management manual 9.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forkproxy.master import lookup
from forkproxy.master.cli_session import Deferred, Refused, Session
from forkproxy.master.orders import Reply
from forkproxy.registry import Level, command

HELP = """\
Usage: show sess [<id> | all | help] [<options>*]
Dumps active streams (formerly called 'sessions'). Available options:
   <id>         dump only this stream identifier, in full
   all          dump all streams in full
   show-uri     also show the transaction URI, if known
   older <age>  only display streams older than <age> seconds
   server <b/s> only show streams attached to this backend+server
   backend <b>  only show streams attached to this backend
   frontend <f> only show streams attached to this frontend
   help         show this message
Without any argument, all streams are dumped in a shorter format.
"""


@command("show sess", level=Level.OPERATOR, synopsis="show sess [help|<id>|all|susp|older <age>]*")
def show_sess(session: Session, words: list[str]) -> str | Deferred:
    """Report the list of current streams, or details of one."""
    fields: dict[str, Any] = {}
    rest = words[2:]
    while rest:
        word = rest.pop(0)
        if word == "help":
            return HELP
        if word == "all":
            fields["whole"] = True
        elif word == "show-uri":
            fields["uri"] = True
        elif word == "susp":
            fields["older"] = float("1e12")  # what is suspicious there cannot happen here
        elif word == "older" and rest:
            fields["older"] = _seconds(rest.pop(0))
        elif word in ("frontend", "backend", "server") and rest:
            fields[word] = _named(session, word, rest.pop(0))
        elif (number := _number(word)) is not None:
            return session.ask("show one sess", _one, number=number)
    if fields:
        return session.ask("show sess", _all, **fields)
    return session.ask("show sess", lambda replies: (*_all(replies), _own(session)))


def _named(session: Session, kind: str, word: str) -> str:
    if kind == "server":
        return lookup.server(session, [word], 0).key
    return (lookup.backend(session, word) if kind == "backend" else lookup.frontend(session, [word], 0)).name


def _seconds(text: str) -> float:
    from forkproxy.config.units import UnitError, parse_time

    try:
        return parse_time(text, "s", minimum_us=0)
    except UnitError:
        raise Refused("Expects a minimum age (in seconds by default).") from None


def _number(text: str) -> int | None:
    try:
        return int(text, 16)
    except ValueError:
        return None


def _all(replies: list[Reply]) -> Iterator[str]:
    for reply in replies:
        yield reply.value or ""


def _one(replies: list[Reply]) -> str:
    return next((reply.value for reply in replies if reply.value), "Session not found.\n")


def _own(session: Session) -> str:
    """The session that asks, which HAProxy shows as a stream, too."""
    fd = session.sock.fileno() if session.sock is not None else -1
    return (
        f"{1:#x}: proto=unix_stream src=unix:1 fe={'MASTER' if session.mastercli else 'GLOBAL'} be=<NONE> srv=<none> ts=00 epoch=0 age=0s "
        f"calls=1 rate=0 cpu=0 lat=0 rq[f=0h,i=0,an=00h,rx=,wx=,ax=] rp[f=0h,i=0,an=00h,rx=,wx=,ax=] "
        f"scf=[8,0h,fd={fd}] scb=[8,0h,fd=-1] exp= rc=0 c_exp=\n"
    )


@command("shutdown session", level=Level.ADMIN, synopsis="shutdown session [id]")
def shutdown_session(session: Session, words: list[str]) -> Deferred:
    """Kill a specific session."""
    number = _number(words[2]) if len(words) > 2 else None
    if not number:
        raise Refused("Session pointer expected (use 'show sess').")

    def render(replies: list[Reply]) -> str:
        if not any(reply.value for reply in replies):
            raise Refused("No such session (use 'show sess').")
        return ""

    return session.ask("shutdown session", render, number=number)


@command("shutdown sessions server", level=Level.ADMIN, synopsis="shutdown sessions server <bk>/<srv>")
def shutdown_sessions_server(session: Session, words: list[str]) -> Deferred:
    """Kill sessions on a server."""
    return session.ask("shutdown sessions server", lambda _replies: "", server=lookup.server(session, words, 3).key)
