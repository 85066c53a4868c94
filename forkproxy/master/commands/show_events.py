"""``show events`` (management manual 9.3): what the rings of the configuration hold, and what comes into them."""

from __future__ import annotations

from forkproxy.master.cli_session import Deferred, Refused, Session
from forkproxy.master.orders import Reply
from forkproxy.plan import Ring
from forkproxy.proxy.logs import kept
from forkproxy.registry import Level, command

#: How often who waits for events hears of them.
_EVERY_S = 0.2


@command("show events", level=Level.USER, synopsis="show events [<sink>] [-w] [-n] [-0]")
def show_events(session: Session, words: list[str]) -> Deferred | str:
    """Show the lines in a ring, or which rings there are: the master's first, then each worker's; -w goes on with new ones."""
    rings: dict[str, Ring] = {ring.name: ring for ring in session.master.plan.objects.values() if isinstance(ring, Ring)}
    if len(words) == 2:
        lines = [f"    {name:<10} : type=buffer, {ring.description or name}\n" for name, ring in rings.items()]
        return "Supported events sinks are listed below. Add -0(zero), -w(wait), -n(new). Any key to stop.\n" + "".join(lines)
    if words[2] not in rings:
        raise Refused("No such event sink")
    flags = ""
    for word in words[3:]:
        if not word.startswith("-") or not word[1:] or word[1:].strip("wn0"):
            raise Refused("unknown option")
        flags += word[1:]
    return _Look(session, words[2], flags).answer


class _Look:
    """One look into a ring: once, or again and again. ``seen``: how many lines of each worker's ring were shown, by pid (0: the
    master's)."""

    __slots__ = ("answer", "flags", "over", "ring", "seen", "session")

    def __init__(self, session: Session, ring: str, flags: str) -> None:
        self.session = session
        self.ring = ring
        self.flags = flags
        self.seen: dict[int, int] = {}
        self.over = False
        self.answer = Deferred()
        if "w" in flags:
            self.answer.interrupt = self._end
        self._ask(hide="n" in flags)

    def _ask(self, hide: bool = False) -> None:
        """Ask everybody; with ``hide`` only to know where new lines begin."""
        if self.over:
            return

        def heard(replies: list[Reply]) -> None:
            text = "" if self.session.only is not None else self._own()
            for reply in replies:
                total, _, lines = (reply.value or "0\n").partition("\n")
                self.seen[reply.worker.pid] = int(total)
                text += lines
            self._show("" if hide else text.replace("\n", "\0") if "0" in self.flags else text)

        orders = self.session.master.supervisor.orders
        orders.give(self.session.targets(), "show events", heard, ring=self.ring, since=self.seen)

    def _own(self) -> str:
        self.seen[0], text = kept(self.session.master.logs.sinks, self.ring, self.seen.get(0, 0))
        return text

    def _show(self, text: str) -> None:
        if self.over:
            return
        if "w" not in self.flags or self.session.pressed:
            self.over = True
            self.answer.finish(text)
            return
        self.answer.say(text)
        self.session.master.loop.call_later(_EVERY_S, self._again)

    def _again(self) -> None:
        if not self.over and self.answer.say(""):
            self._ask()
        elif not self.over:  # the client is slower than the events: rings forget what it does not take
            self.session.master.loop.call_later(_EVERY_S, self._again)

    def _end(self) -> None:
        self.over = True
        self.answer.finish("")
