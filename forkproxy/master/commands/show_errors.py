"""``show errors`` (management manual 9.3): the last messages that broke the protocol, with the byte at fault."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from forkproxy.master.cli_session import Deferred, Refused, Session
from forkproxy.master.orders import Reply
from forkproxy.registry import Level, command
from forkproxy.rules.logalias import local_stamp

#: A line of the dump shows so many characters at most, the numbers before it included.
_WIDTH = 80
_ESCAPES = {9: "\\t", 10: "\\n", 13: "\\r", 27: "\\e", 92: "\\\\"}


@command("show errors", level=Level.OPERATOR, synopsis="show errors [<px>] [request|response]")
def show_errors(session: Session, words: list[str]) -> Deferred:
    """Report last request and/or response errors for each proxy."""
    rest = words[2:]
    kind = rest.pop() if rest and rest[-1] in ("request", "response") else ""
    plan = session.master.plan
    ids = {proxy.name: proxy.id for proxy in (*plan.frontends, *plan.backends.values())}
    name = ""
    if rest and rest[0] != "-1":
        name = next((n for n, number in ids.items() if rest[0] in (n, str(number))), "")
        if not name and not rest[0].isdecimal():
            raise Refused("No such proxy.")
        name = name or " "

    def render(replies: list[Reply]) -> Iterator[str]:
        found = sorted((one for reply in replies for one in reply.value or ()), key=lambda one: one["wall"])
        seen = {(one["request"], one["fe"] if one["request"] else one["be"]): one for one in found}  # the last of each
        yield f"Total events captured on [{local_stamp(session.master.loop.clock.wall)}] : {len(found)}\n"
        for (request, _proxy), one in seen.items():
            if name in ("", one["fe"], one["be"]) and kind in ("", "request" if request else "response"):
                yield from _show(one, ids, session)

    return session.ask("show errors", render)


def _show(one: dict[str, Any], ids: dict[str, int], session: Session) -> Iterator[str]:
    request, be, srv = one["request"], one["be"], one["srv"]
    servers = {s.name: s.id for s in session.master.plan.backends[be].servers} if be in session.master.plan.backends else {}
    backend = f"backend {be or '<NONE>'} (#{ids.get(be, -1)})"
    frontend = f"frontend {one['fe']} (#{ids.get(one['fe'], -1)})"
    server = f"server {srv or '<NONE>'} (#{servers.get(srv, -1)}), event #{one['stream']}, src {one['src']}:{one['port']}"
    data = base64.b64decode(one["data"])
    where = f"error at position {one['at']}" if one["at"] >= 0 else "position unknown"
    yield " \n"
    yield f"[{local_stamp(one['wall'])}] {frontend if request else backend}: invalid {'request' if request else 'response'}\n"
    yield f"  {backend if request else frontend}, {server}\n"
    yield f"  {one['reason']}\n"
    yield f"  len {one['length']}, {where}\n"
    yield " \n"
    yield from dump(data, one["at"])


def dump(data: bytes, at: int = -1) -> Iterator[str]:
    """The bytes of a message with their positions: a line for each of its lines, long ones broken; a star where byte ``at`` is."""
    start = 0
    fresh = True
    while start < len(data):
        text = ""
        end = start
        while end < len(data):
            byte = data[end]
            shown = _ESCAPES.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02X}")
            if len(text) + len(shown) > _WIDTH - 10:
                break
            text += shown
            end += 1
            if byte == 10:
                break
        yield f"  {start:05d}{' ' if fresh else '+'}{'*' if start <= at < end else ' '}{text}\n"
        fresh = data[end - 1] == 10
        start = end
