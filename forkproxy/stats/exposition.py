"""Metrics as text: Prometheus 0.0.4 and OpenMetrics 1.0.0 from rows and samples, a slice at a time.

forkproxy's own families are prometheus_client's and rendered by it. HAProxy's are written by hand: the library would rename two of its
counters (which do not end in ``_total``) and costs five times as much per sample, where a scrape of 1,000 servers is some 100,000 lines.
For the same reason :func:`render` is a generator: whoever sends it takes a slice, sends it, and lets the loop turn. Sets of states are one
cached block of text per object and state.
Source: prometheus.io "exposition formats", OpenMetrics 1.0.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from forkproxy.health.status import EXPORTED
from forkproxy.stats import histograms, own
from forkproxy.stats.columns import NUMBER, Kind, Row
from forkproxy.stats.families import COUNTER, FAMILIES, LISTENER_STATES, PROXY_STATES, SERVER_STATES, Family, state_of
from forkproxy.stats.query import Query
from forkproxy.values import field, frozen, record

if TYPE_CHECKING:
    from prometheus_client import Metric

_PXNAME, _SVNAME, _STATUS, _UWEIGHT = NUMBER["pxname"], NUMBER["svname"], NUMBER["status"], NUMBER["uweight"]
_CHECK_STATUS, _CHECK_CODE = NUMBER["check_status"], NUMBER["check_code"]
_CHECKS = tuple(status.name for status in EXPORTED)
_SCOPE = {Kind.FRONTEND: "frontend", Kind.BACKEND: "backend", Kind.SERVER: "server", Kind.LISTENER: "listener"}
#: How many rows one slice holds.
_SLICE = 250
#: While rows are made, the loop may turn after so many: one costs 0.1 ms.
_PAUSE = 10


@frozen
class Sample:
    """One value of a family that is not a column: ``labels`` is the text between the braces, already escaped, or empty."""

    value: float | int
    labels: str = ""


@frozen
class Plain:
    """A family of few samples: of the process, or of stick tables."""

    name: str
    type: str
    help: str
    samples: tuple[Sample, ...]


@record
class Snapshot:
    """What one scrape shows. ``rows`` are made one after the other when they are asked for.

    ``aggregates(backend)`` gives the counts for the families of states: {"agg_server_status": {"UP": 3, …},
    "agg_check_status": {…}}.
    """

    process: Iterable[Plain]
    #: families of stick tables
    tables: Iterable[Plain]
    rows: Mapping[Kind, Iterable[Row]]
    #: forkproxy's own families: of the program and of its workers
    own: Iterable[Metric] = ()
    aggregates: Callable[[str], Mapping[str, Mapping[str, int]]] = lambda backend: {}
    #: descriptions of proxies that have one
    descriptions: Mapping[str, str] = field(default_factory=dict)
    #: ``histograms(kind, no_maint)``: labels and cells of objects; None where no distributions are kept
    histograms: Callable[[Kind, bool], Iterable[histograms.Rowed]] | None = None


def escape(value: str) -> str:
    """A label's value (both formats)."""
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return value


def labels(**pairs: str) -> str:
    """``a="b",c="d"``, escaped."""
    return ",".join(f'{name}="{escape(value)}"' for name, value in pairs.items())


def _header(name: str, type_: str, help_: str, openmetrics: bool) -> str:
    if openmetrics and type_ == COUNTER:
        if name.endswith("_total"):
            name = name[: -len("_total")]
        else:
            type_ = "unknown"  # OpenMetrics has no counter whose sample does not end in _total
    help_ = help_.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {help_}\n# TYPE {name} {type_}\n"


def _number(value: float | int) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def render_plain(family: Plain, openmetrics: bool) -> str:
    """One family of the process."""
    lines = [_header(family.name, family.type, family.help, openmetrics)]
    for sample in family.samples:
        braces = f"{{{sample.labels}}}" if sample.labels else ""
        lines.append(f"{family.name}{braces} {_number(sample.value)}\n")
    return "".join(lines)


class Blocks:
    """Cached text of sets of states: one block per (family, object, state that is). Bounded: emptied when it outgrows ``limit`` blocks."""

    __slots__ = ("_blocks", "_limit")

    def __init__(self, limit: int = 20_000) -> None:
        self._blocks: dict[tuple[str, str, str], str] = {}
        self._limit = limit

    def get(self, family: str, labels_: str, states: tuple[str, ...], current: str) -> str:
        """The lines of one object, "1" for ``current``."""
        key = (family, labels_, current)
        block = self._blocks.get(key)
        if block is None:
            if len(self._blocks) >= self._limit:
                self._blocks.clear()
            block = "".join(f'{family}{{{labels_},state="{state}"}} {int(state == current)}\n' for state in states)
            self._blocks[key] = block
        return block


_BLOCKS = Blocks()


def _lines(
    family: Family, kind: Kind, rows: list[tuple[str, Row]], snapshot: Snapshot, blocks: Blocks, openmetrics: bool
) -> str:
    name, column = family.name, family.column
    if family.states == "status":
        if kind is Kind.SERVER:
            return "".join([blocks.get(name, text, SERVER_STATES, state_of(str(row[column]), row[_UWEIGHT])) for text, row in rows])
        if kind is Kind.LISTENER:
            return "".join([blocks.get(name, text, LISTENER_STATES, str(row[column])) for text, row in rows])
        return "".join([blocks.get(name, text, PROXY_STATES, state_of(str(row[column]))) for text, row in rows])
    if family.states == "check":
        checked = [(text, str(row[column]).removeprefix("* ")) for text, row in rows if row[column] is not None]
        return "".join([blocks.get(name, text, _CHECKS, status) for text, status in checked])
    if family.states == "agg":
        return "".join([_aggregate(family, text, str(row[_PXNAME]), snapshot) for text, row in rows])
    if column == _CHECK_CODE:  # the column is empty where a check has no code, the sample is 0
        return "".join([f"{name}{{{text}}} {row[column] or 0}\n" for text, row in rows if row[_CHECK_STATUS] is not None])
    if family.milli:
        return "".join([f"{name}{{{text}}} {value / 1000:.6f}\n" for text, row in rows if isinstance(value := row[column], int)])
    more = f',{family.label[0]}="{family.label[1]}"' if family.label else ""
    if family.nan and not (openmetrics and family.type == COUNTER):  # a counter of OpenMetrics cannot be NaN
        return "".join([f"{name}{{{text}{more}}} {'NaN' if (value := row[column]) is None else value}\n" for text, row in rows])
    return "".join([f"{name}{{{text}{more}}} {value}\n" for text, row in rows if (value := row[column]) is not None])


def _aggregate(family: Family, text: str, backend: str, snapshot: Snapshot) -> str:
    checks = family.name.endswith("agg_check_status")
    counts = snapshot.aggregates(backend).get("agg_check_status" if checks else "agg_server_status", {})
    return "".join(f'{family.name}{{{text},state="{state}"}} {counts.get(state, 0)}\n' for state in (_CHECKS if checks else SERVER_STATES))


def render(snapshot: Snapshot, query: Query, blocks: Blocks = _BLOCKS) -> Iterator[str]:
    """The whole exposition in slices; some may be empty (a pause for the loop, nothing to send)."""
    openmetrics = query.openmetrics
    if "global" in query.scopes:
        yield "".join([render_plain(family, openmetrics) for family in snapshot.process if query.wants(family.name)])
    for kind, scope in _SCOPE.items():
        if scope in query.scopes:
            yield from _render_kind(kind, snapshot, query, blocks)
            if snapshot.histograms is not None and kind is not Kind.LISTENER:
                yield from _render_histograms(kind, snapshot.histograms, query)
    if "sticktable" in query.scopes:
        yield "".join([render_plain(family, openmetrics) for family in snapshot.tables if query.wants(family.name)])
    if "worker" in query.scopes:
        yield own.render([family for family in snapshot.own if query.wants(own.sample_name(family))], openmetrics)
    if openmetrics:
        yield "# EOF\n"


def _render_histograms(kind: Kind, rows: Callable[[Kind, bool], Iterable[histograms.Rowed]], query: Query) -> Iterator[str]:
    families = [(name, at, help_) for what, at, help_ in histograms.KINDS if query.wants(name := histograms.name(kind, what))]
    if not families:
        return
    slices: list[list[histograms.Rowed]] = [[]]
    for row in rows(kind, query.no_maint):
        slices[-1].append(row)
        if len(slices[-1]) >= _SLICE // 10:
            slices.append([])
            yield ""
    for name, at, help_ in families:
        header = _header(name, "histogram", help_, query.openmetrics)
        for part in slices:
            body = "".join([histograms.lines(name, at, text, cells) for text, cells in part])
            if body:
                yield header + body
                header = ""


def _render_kind(kind: Kind, snapshot: Snapshot, query: Query, blocks: Blocks) -> Iterator[str]:
    families = [family for family in FAMILIES[kind] if query.wants(family.name)]
    if not families:
        return
    slices: list[list[tuple[str, Row]]] = [[]]
    for row in snapshot.rows.get(kind, ()):
        if query.no_maint and kind is Kind.SERVER and str(row[_STATUS]).startswith("MAINT"):
            continue
        text = f'proxy="{escape(str(row[_PXNAME]))}"'
        described = snapshot.descriptions.get(str(row[_PXNAME])) if query.descriptions and kind is not Kind.SERVER else None
        if kind is Kind.SERVER:
            text += f',server="{escape(str(row[_SVNAME]))}"'
        elif kind is Kind.LISTENER:
            text += f',listener="{escape(str(row[_SVNAME]))}"'
        if described:
            text += f',desc="{escape(described)}"'
        slices[-1].append((text, row))
        if len(slices[-1]) >= _SLICE:
            slices.append([])
        if len(slices[-1]) % _PAUSE == 0:
            yield ""
    last = ""
    for family in families:
        header = _header(family.name, family.type, family.help, query.openmetrics) if family.name != last else ""
        for rows in slices:
            body = _lines(family, kind, rows, snapshot, blocks, query.openmetrics)
            if body:
                last = family.name
                yield header + body
                header = ""
