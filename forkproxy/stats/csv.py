"""The formats of "show stat": CSV, typed and JSON (management manual 9.1, 9.2, 9.3 "show stat"). Rows in, text out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from forkproxy.stats.columns import COLUMNS, NUMBER, WIDTH, Kind, Row, Value
from forkproxy.stats.families import HELP

#: The dash ends the columns whose place is fixed; behind it is what a statistics page adds.
HEADER = "# " + ",".join(column.name for column in COLUMNS) + ",-,\n"

_TYPE, _IID, _SID = NUMBER["type"], NUMBER["iid"], NUMBER["sid"]
ORIGIN = {"M": "Metric", "S": "Status", "K": "Key", "C": "Config", "P": "Product"}
NATURE = {
    "A": "Age", "a": "Avg", "C": "Counter", "D": "Duration", "G": "Gauge", "L": "Limit", "M": "Max", "m": "Min", "N": "Name", "O":
    "Output", "R": "Rate", "T": "Time",
}  # fmt: skip
SCOPE = {"C": "Cluster", "P": "Process", "S": "Service", "s": "System"}


def quote(text: str) -> str:
    """Quoted only where the text would be ambiguous without."""
    if any(c in text for c in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def line(row: Row, more: Iterable[Value] = ()) -> str:
    """One CSV line; ``more`` stands behind the dash."""
    cells = ["" if value is None else quote(value) if isinstance(value, str) else str(value) for value in row[:WIDTH]]
    return ",".join([*cells, "-", *("" if value is None else str(value) for value in more), "\n"])


def to_csv(rows: Iterable[Row], more: tuple[str, ...] = ()) -> Iterator[str]:
    """The CSV output, header first, a line at a time; ``more`` are columns behind the dash, which rows then have there, too."""
    yield HEADER.removesuffix("\n") + "".join(f"{name}," for name in more) + "\n"
    for row in rows:
        yield line(row, row[WIDTH + 1 : WIDTH + 1 + len(more)])


def _ids(row: Row) -> tuple[Kind, int, int]:
    return Kind(int(row[_TYPE] or 0)), int(row[_IID] or 0), int(row[_SID] or 0)


def to_typed(rows: Iterable[Row], *, desc: bool = False) -> Iterator[str]:
    """One line per value: ``F.2.0.0.pxname.1:KNSV:str:name``; an empty line after each object's last value is not part of it.

    ``desc`` appends the column's description in quotes.
    """
    for row in rows:
        kind, iid, sid = _ids(row)
        head = f"{kind.letter}.{iid}.{sid}."
        for number, (column, value) in enumerate(zip(COLUMNS, row[:WIDTH], strict=True)):
            if value is not None:
                text = f"{head}{number}.{column.name}.1:{column.all_tags(kind)}:{column.type}:{value}"
                yield f'{text}:"{describe(column.name)}"\n' if desc else text + "\n"


def json_field(number: int, name: str, tags: str, type_: str, value: Value, extra: dict[str, Any]) -> dict[str, Any]:
    """One value as the JSON outputs have it."""
    return {
        **extra,
        "field": {"pos": number, "name": name},
        "processNum": 1,
        "tags": {"origin": ORIGIN[tags[0]], "nature": NATURE[tags[1]], "scope": SCOPE[tags[2]]},
        "value": {"type": type_, "value": value},
    }


def to_json(rows: Iterable[Row]) -> Iterator[str]:
    """A list of objects, each a list of values, without extra white space, a slice per object."""
    separator = "["
    for row in rows:
        kind, iid, sid = _ids(row)
        extra = {"objType": kind.title, "proxyId": iid, "id": sid}
        values = [
            json_field(number, column.name, column.tags_of(kind), column.type, value, extra)
            for number, (column, value) in enumerate(zip(COLUMNS, row[:WIDTH], strict=True))
            if value is not None
        ]
        yield separator + json.dumps(values, separators=(",", ":"))
        separator = ","
    yield "]\n" if separator == "," else "[]\n"


def describe(name: str) -> str:
    """A column in words: the help of its metric family."""
    return HELP.get(name, "")
