"""``show stat`` (management manual 9.3, 9.1, 9.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from forkproxy.master.cli_session import Refused, Session
from forkproxy.registry import Level, command
from forkproxy.stats import csv
from forkproxy.stats.columns import NUMBER, Kind, Row
from forkproxy.stats.model import visible, without_legends

#: The bits of <type> by kind of row.
_BITS = {Kind.FRONTEND: 1, Kind.BACKEND: 2, Kind.SERVER: 4}
_IID, _SID, _TYPE, _NAME = (NUMBER[name] for name in ("iid", "sid", "type", "pxname"))


@command("show stat", level=Level.USER, synopsis="show stat [desc|json|no-maint|typed|up]*")
def show_stat(session: Session, words: list[str]) -> Iterable[str]:
    """Report counters for each proxy and server."""
    context = session.master.desk.context
    if context is None:
        raise Refused("not started yet")
    args = words[2:]
    if args[:1] == ["domain"]:
        if args[1:2] != ["proxy"]:
            raise Refused("Invalid statistics domain.")
        args = args[2:]
    flags = {word for word in args if word in ("desc", "json", "no-maint", "typed", "up")}
    chosen = [word for word in args if word not in flags]
    rows = context.model.all() if session.bind.level != "user" else without_legends(context.model.all())
    if len(chosen) >= 3:
        rows = _select(rows, chosen[0], chosen[1], chosen[2])
    rows = visible(rows, up="up" in flags, no_maint="no-maint" in flags)
    if "json" in flags:
        return csv.to_json(rows)
    if "typed" in flags:
        return csv.to_typed(rows, desc="desc" in flags)
    return csv.to_csv(rows)


def _select(rows: Iterable[Row], proxy: str, kinds: str, sid: str) -> Iterator[Row]:
    try:
        mask, server = int(kinds), int(sid)
        iid = int(proxy) if proxy.lstrip("-").isdecimal() else None
    except ValueError:
        raise Refused("Invalid arguments, expected <iid|proxy> <type> <sid>.") from None
    rows = list(rows)
    if iid is None and not any(row[_NAME] == proxy for row in rows):
        raise Refused("No such proxy.")

    def wanted(row: Row) -> bool:
        bit = _BITS.get(Kind(int(row[_TYPE] or 0)), 8)
        mine = row[_NAME] == proxy if iid is None else iid in (-1, row[_IID])
        return mine and (mask == -1 or bool(mask & bit)) and (server == -1 or row[_SID] == server)

    return iter([row for row in rows if wanted(row)])
