"""The last minutes of the proxies, for the charts of the statistics page: the sums of all workers are looked at every few seconds, and what
passed since is kept.

The master does it where the configuration has a page; a worker inherits its charts by the fork and goes on with them by itself. A reload
takes them along by name. Bounded in time and in proxies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from forkproxy.plan import Plan
from forkproxy.state.counters import Rows
from forkproxy.state.layout import BYTES_IN, BYTES_OUT, HRSP_5XX, REQ_TOT, SESS_CUR, SESS_TOT
from forkproxy.state.names import backend_key, frontend_key

#: How many looks are kept: five minutes.
KEPT = 60
#: Proxies beyond so many have no charts.
MOST = 200

#: What a point of a chart is: (requests or sessions per second, bytes in, bytes out per second, sessions now, answers 5xx per second).
Point = tuple[float, float, float, float, float]


class History:
    """Charts by ``F/name`` and ``B/name``; :meth:`look` is called every ``STEP_S``."""

    #: seconds between two looks
    STEP_S = 5.0

    __slots__ = ("_last", "_now", "_points", "_rows")

    def __init__(self, plan: Plan, rows: Rows) -> None:
        self._rows = rows
        self._now = rows.clock.now
        keys = [(f"F/{f.name}", frontend_key(f.name), f.mode == "http") for f in plan.frontends]
        keys += [(f"B/{name}", backend_key(name), b.mode == "http") for name, b in plan.backends.items()]
        self._points: dict[str, tuple[str, bool, deque[Point]]] = {
            shown: (key, http, deque(maxlen=KEPT)) for shown, key, http in keys[:MOST]
        }
        self._last: dict[str, tuple[int, int, int, int]] = {}

    @classmethod
    def of(cls, plan: Plan, rows: Rows, before: History | None = None) -> History | None:
        """For ``plan``, going on with what is known from the configuration ``before``; None where no proxy has a page."""
        if all(proxy.statistics is None for proxy in (*plan.frontends, *plan.backends.values())):
            return None
        made = cls(plan, rows)
        if before is not None:
            made._now = before._now
            for shown, (_, _, points) in made._points.items():
                if shown in before._last:
                    made._last[shown] = before._last[shown]
                    points.extend(before._points[shown][2])
        return made

    def due(self) -> bool:
        """Whether it is time for another look."""
        return self._rows.clock.now - self._now >= self.STEP_S

    def look(self) -> None:
        """Add one point to every chart."""
        now = self._rows.clock.now
        passed, self._now = now - self._now, now
        for shown, (key, http, points) in self._points.items():
            try:
                totals = self._rows.totals(key)
            except KeyError:  # not known here yet
                continue
            sums = (totals[REQ_TOT if http else SESS_TOT], totals[BYTES_IN], totals[BYTES_OUT], totals[HRSP_5XX])
            before = self._last.get(shown)
            self._last[shown] = sums
            if before is not None and passed > 0.0:
                rate, coming, going, failed = (max(0, a - b) / passed for a, b in zip(sums, before, strict=True))
                points.append((rate, coming, going, float(totals[SESS_CUR]), failed))

    def charts(self, names: Iterable[str]) -> Iterator[tuple[str, list[Point]]]:
        """(``F/name``, its points, oldest first) of those among ``names`` that are known."""
        for name in names:
            found = self._points.get(name)
            if found is not None:
                yield name, list(found[2])
