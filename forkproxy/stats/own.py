"""forkproxy's own families (``forkproxy_*``), as families of prometheus_client, and their text.

HAProxy's families do not come this way (stats/exposition.py says why), nor do histograms of thousands of servers. The library is imported
by the first scrape: it takes 50 to 100 ms that nobody else pays for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from forkproxy import COMPAT_VERSION, __version__
from forkproxy.stats.families import COUNTER, GAUGE

if TYPE_CHECKING:
    from prometheus_client import Metric

    from forkproxy.stats.info import Facts

Labels = dict[str, str]


def family(name: str, type_: str, help_: str) -> Metric:
    """An empty family; a counter's ``name`` ends in ``_total``."""
    from prometheus_client import Metric

    return Metric(name.removesuffix("_total") if type_ == COUNTER else name, help_, type_)


def sample_name(of: Metric) -> str:
    """The name that its samples have, the one that people ask for."""
    return f"{of.name}_total" if of.type == COUNTER else of.name


def add(to: Metric, value: float, who: Labels | None = None) -> None:
    """One more sample."""
    to.add_sample(sample_name(to), who or {}, value)


def of_service(facts: Facts) -> list[Metric]:
    """The families of the program."""
    build = family("forkproxy_build_info", GAUGE, "Version of forkproxy and of the language that it speaks.")
    add(build, 1, {"version": __version__, "compat": COMPAT_VERSION})
    reloads = family("forkproxy_reloads_total", COUNTER, "Reloads by result.")
    add(reloads, facts.reloads, {"result": "success"})
    add(reloads, facts.failed_reloads, {"result": "failure"})
    return [build, reloads]


class _Given:
    """What prometheus_client renders: families that are there already."""

    __slots__ = ("collect",)

    def __init__(self, families: list[Metric]) -> None:
        self.collect: Callable[[], list[Metric]] = lambda: families


def render(families: list[Metric], openmetrics: bool) -> str:
    """Their text, without the end mark of OpenMetrics."""
    import prometheus_client
    import prometheus_client.openmetrics.exposition as exposition

    generate: Callable[[_Given], bytes] = exposition.generate_latest if openmetrics else prometheus_client.generate_latest
    return generate(_Given(families)).decode().removesuffix("# EOF\n")
