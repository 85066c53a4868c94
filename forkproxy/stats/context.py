"""The context of statistics: everything that showing them needs, made once per process and plan by the master or a worker.

The master's endpoint and CLI and a worker's ``use-service prometheus-exporter`` show the same through the same code; they differ in
``facts``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from forkproxy.plan import Plan
from forkproxy.rules.patternfiles import PatternFiles
from forkproxy.state.counters import Rows
from forkproxy.state.layout import RESPONSE_HISTOGRAM, ROW_CELLS, TOTAL_HISTOGRAM
from forkproxy.state.names import PROCESS, backend_key, frontend_key
from forkproxy.state.servers import ServerTable
from forkproxy.stats import histograms, info, own
from forkproxy.stats.columns import NUMBER, WIDTH, Kind, Row
from forkproxy.stats.exposition import Plain, Sample, Snapshot, labels, render
from forkproxy.stats.families import GAUGE
from forkproxy.stats.info import Facts
from forkproxy.stats.model import Model
from forkproxy.stats.query import Query
from forkproxy.stats.workers import Workers

_NAME, _SERVER, _TYPE, _MODE = NUMBER["pxname"], NUMBER["svname"], NUMBER["type"], NUMBER["mode"]


class Context:
    """``facts()`` is asked at every scrape; ``restarts()`` only where somebody counts them (the master)."""

    __slots__ = ("_facts", "_restarts", "_rows", "_workers", "model")

    def __init__(
        self,
        plan: Plan,
        rows: Rows,
        servers: ServerTable,
        facts: Callable[[], Facts],
        restarts: Callable[[], int] | None = None,
    ) -> None:
        self._rows = rows
        self._facts = facts
        self._restarts = restarts
        self._workers = Workers(rows)
        self.model = Model(plan, rows, servers)

    def info(self) -> list[info.Field]:
        """The fields of "show info"."""
        return info.fields(self._facts(), self._rows.totals(PROCESS), self._rows.clock.wall)

    def snapshot(self) -> Snapshot:
        """What a scrape shows; rows are made while they are rendered."""
        model = self.model
        return Snapshot(
            process=[*info.families(self.info()), *_of_patterns(model.plan)],
            tables=_of_tables(model.plan),
            rows={kind: model.of_kind(kind) for kind in Kind},
            own=own.of_service(self._facts()) + self._workers.families(self._restarts() if self._restarts else None),
            aggregates=model.aggregates,
            descriptions=self.descriptions(),
            histograms=self._histograms if model.plan.global_.metered else None,
        )

    def timed(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows with what stands behind the dash of CSV: the times of most answers (in TCP mode: of most sessions)."""
        for row in rows:
            name, kind = str(row[_NAME]), Kind(int(row[_TYPE] or 0))
            key = {Kind.FRONTEND: frontend_key(name), Kind.BACKEND: backend_key(name), Kind.SERVER: f"{name}/{row[_SERVER]}"}.get(kind, "")
            cells = self._rows.totals(key) if key in self._rows.names else [0] * ROW_CELLS
            first = TOTAL_HISTOGRAM if row[_MODE] == "tcp" else RESPONSE_HISTOGRAM
            times = (histograms.quantile(cells, first, share) for share, _ in histograms.SHARES)
            yield [*row[:WIDTH], "-", *(None if time is None or not key else f"{time:g}" for time in times)]

    def descriptions(self) -> dict[str, str]:
        """What the file says of proxies, by name."""
        plan = self.model.plan
        return {proxy.name: proxy.description for proxy in (*plan.backends.values(), *plan.frontends) if proxy.description}

    def notes(self) -> dict[str, str]:
        """What people should know of proxies, by name: descriptions, and which backends the operator keeps out of rules."""
        said = self.descriptions()
        for backend in self.model.plan.backends.values():
            if backend.unpublished:
                said[backend.name] = f"{said.get(backend.name, '')} (unpublished)".strip()
        return said

    def _histograms(self, kind: Kind, no_maint: bool) -> Iterator[histograms.Rowed]:
        model = self.model
        away: frozenset[str] = frozenset()
        if no_maint and kind is Kind.SERVER:
            away = frozenset(s.key for b in model.plan.backends.values() for s in b.servers if model.in_maintenance(s))
        return histograms.rows(model.plan, self._rows, kind, labels, away)

    def render(self, query: Query) -> Iterator[str]:
        """The exposition in slices, for the endpoint."""
        yield from render(self.snapshot(), query)


def _of_patterns(plan: Plan) -> Iterator[Plain]:
    """What went into lists of patterns and came out of them since the configuration was read."""
    files: PatternFiles = plan.objects.get("patterns") or PatternFiles()
    added, freed = files.moved()
    for word, help_, count in (("added", "put into", added), ("freed", "taken out of", freed)):
        yield Plain(f"haproxy_process_patterns_{word}_total", GAUGE, f"Patterns that were {help_} ACLs and maps.", (Sample(count),))


def _of_tables(plan: Plan) -> Iterator[Plain]:
    """How full stick tables are."""
    tables = [(labels(name=name, type=ref.spec.type), ref) for name, ref in plan.tables.items() if ref.bound]
    if tables:
        size = tuple(Sample(ref.spec.size, text) for text, ref in tables)
        yield Plain("haproxy_sticktable_size", GAUGE, "Entries that a stick table can hold.", size)
        used = tuple(Sample(ref.table.used(), text) for text, ref in tables)
        yield Plain("haproxy_sticktable_used", GAUGE, "Entries in a stick table, those included that expired just now.", used)
