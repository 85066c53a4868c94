"""The stats-file (management manual 9.5): counters as text, with which a service begins that was started anew.

Sections for frontends (``#fe``), backends, servers and listeners, each a CSV table whose first column is the object's ``guid``. A second
one, ``name``, is ours: an object without a guid is found by its name, as over a reload. Gauges, rates and means are left out: they speak of
the moment. Both ways run in the master; what is loaded becomes part of what workers that are gone have counted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping

from forkproxy.plan import Plan
from forkproxy.state.counters import Rows
from forkproxy.state.layout import Counter, Kind, of_kind
from forkproxy.state.names import backend_key, frontend_key, listener_key
from forkproxy.stats.csv import quote

_SECTIONS = {"fe": "F", "be": "B", "li": "L", "srv": "S"}
#: A number must fit a cell.
_MOST = 1 << 62


def _columns(letter: str) -> dict[str, Counter]:
    return {counter.csv or counter.name: counter for counter in of_kind(Kind.COUNTER, Kind.MAX) if letter in counter.scopes}


def _objects(plan: Plan) -> dict[str, list[str]]:
    """The rows of each section."""
    found: dict[str, list[str]] = {section: [] for section in _SECTIONS}
    for frontend in plan.frontends:
        found["fe"].append(frontend_key(frontend.name))
        found["li"] += [listener_key(frontend.name, bind.label) for bind in frontend.binds]
    for backend in plan.backends.values():
        found["be"].append(backend_key(backend.name))
        found["srv"] += [server.key for server in backend.servers]
    return found


def dump(plan: Plan, rows: Rows) -> Iterator[str]:
    """The lines of a file, each with its line feed."""
    guids: Mapping[str, str] = plan.objects.get("guids", {})
    for section, keys in _objects(plan).items():
        columns = _columns(_SECTIONS[section])
        yield f"#{section} guid,name,{','.join(columns)}\n"
        for key in keys:
            totals = rows.totals(key)
            numbers = ",".join([str(totals[counter.offset]) for counter in columns.values()])
            yield f"{quote(guids.get(key, ''))},{quote(key)},{numbers}\n"


def preload(lines: Iterable[str], plan: Plan, rows: Rows) -> list[str]:
    """Add the counters of a file to what has been counted; returns what is wrong with it, line by line. Objects and columns that we do
    not have are passed over."""
    guids: Mapping[str, str] = plan.objects.get("guids", {})
    objects = {section: {**{key: key for key in keys}, **{guids[key]: key for key in keys if key in guids}}
               for section, keys in _objects(plan).items()}  # fmt: skip
    wrong: list[str] = []
    section, head, columns = "", [""], _columns("")
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            section, _, titles = line[1:].strip().partition(" ")
            head, columns = titles.split(","), _columns(_SECTIONS.get(section, ""))
            if section in _SECTIONS and head[0] != "guid":
                wrong.append(f"line {number}: the first column of '#{section}' is not 'guid'")
                section = ""
        elif line.strip() and section in _SECTIONS:
            try:
                values = dict(zip(head, next(csv.reader([line])), strict=False))
            except csv.Error as exc:
                wrong.append(f"line {number}: {exc}")
                continue
            known = objects[section]
            key = known.get(values["guid"]) or known.get(values.get("name", ""))
            if key is None:
                continue
            try:
                _add(rows, key, [(columns[name], int(text)) for name, text in values.items() if name in columns and text])
            except ValueError:
                wrong.append(f"line {number}: not a number")
    return wrong


def _add(rows: Rows, key: str, numbers: list[tuple[Counter, int]]) -> None:
    """Raises ValueError for what no counter holds."""
    if any(not 0 <= number < _MOST for _counter, number in numbers):
        raise ValueError
    cells, base = rows.cells(rows.segment.retired), rows.base(key)
    for counter, number in numbers:
        at = base + counter.offset
        cells[at] = cells[at] + number if counter.kind is Kind.COUNTER else max(cells[at], number)
