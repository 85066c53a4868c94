"""``show events`` (management manual 9.3): what the rings of the configuration hold. Following them (``-w``) is not offered."""

from __future__ import annotations

import os

from forkproxy.master.cli_session import Deferred, Refused, Session
from forkproxy.master.orders import Reply
from forkproxy.plan import Ring
from forkproxy.proxy.logs import kept
from forkproxy.registry import Level, command


@command("show events", level=Level.OPERATOR, synopsis="show events [<sink>] [-n] [-0]")
def show_events(session: Session, words: list[str]) -> Deferred | str:
    """Show the lines in a ring, or which rings there are: the master's first, then each worker's."""
    rings: dict[str, Ring] = {ring.name: ring for ring in session.master.plan.objects.values() if isinstance(ring, Ring)}
    if len(words) == 2:
        lines = [f"    {name:<10} : type=buffer, {ring.description or name}\n" for name, ring in rings.items()]
        return "Supported events sinks are listed below. Add -0(zero), -n(new).\n" + "".join(lines)
    name, options = words[2], words[3:]
    if name not in rings:
        raise Refused("No such event sink")
    for word in options:
        if "w" in word:
            raise Refused("'-w' is known to HAProxy, not supported by forkproxy yet")
        if word not in ("-n", "-0"):
            raise Refused("unknown option")
    text = os.fsdecode(b"".join(kept(session.master.logs.sinks, name)))

    def render(replies: list[Reply]) -> str:
        whole = "" if "-n" in options else text + "".join(reply.value or "" for reply in replies)
        return whole.replace("\n", "\0") if "-0" in options else whole

    return session.ask("show events", render, ring=name)
