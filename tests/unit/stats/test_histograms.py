"""Distributions of times: which bucket, what of it survives a worker, and what the exporter says."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from forkproxy.proxy import histograms
from forkproxy.state import layout as L
from forkproxy.state.names import backend_key
from forkproxy.stats.query import parse_query
from forkproxy.values import replace

from .fixtures import World, plan, world


@pytest.fixture
def metered() -> Iterator[World]:
    wanted = plan()
    made = world(replace(wanted, global_=replace(wanted.global_, metered=True)))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("seconds", "number"), [(0.0, 0), (0.00049, 0), (0.0005, 1), (0.00099, 1), (0.001, 2), (1.0, 11), (16.0, 15), (16.4, 16), (1e6, 16)]
)
def test_buckets(seconds: float, number: int) -> None:
    assert histograms.bucket(seconds) == number
    assert (number == 0 or L.HISTOGRAM_S[number - 1] <= seconds) and (number == 16 or seconds < L.HISTOGRAM_S[number])


def stream(queue: float, connect: float, response: float, total: float) -> Any:
    return SimpleNamespace(
        t_first=100.0, t_request=100.0, t_queue=100.0 + queue, t_connect=100.0 + queue + connect,
        t_response=100.0 + queue + connect + response, t_end=100.0 + total,
    )  # fmt: skip


def test_what_the_exporter_says(metered: World) -> None:
    local = SimpleNamespace(t_queue=0.0)
    rows = metered.rows
    for slot, streams in ((0, [stream(0.0, 0.001, 0.1, 0.2), local]), (1, [stream(0.5, 0.001, 3.0, 20.0)])):
        cells = rows.cells(slot)
        base = rows.base("b/s1")
        histograms.add(streams, (None, cells[base : base + L.ROW_CELLS]))
    rows.retire(1)
    for accept, parse in ((None, parse_text), (b"application/openmetrics-text", parse_openmetrics)):
        text = "".join(metered.context.render(parse_query("", accept)))
        found = {family.name: family for family in parse(text) if family.name.startswith("forkproxy_server_") and "_time_" in family.name}
        assert sorted(found) == [f"forkproxy_server_{what}_time_seconds" for what in ("connect", "queue", "response", "total")]
        name = "forkproxy_server_total_time_seconds"
        samples = {(s.name.removeprefix(name), s.labels.get("le")): s.value for s in found[name].samples}
        buckets = [samples["_bucket", bound] for bound in ("0.128", "0.256", "16.384", "+Inf")]
        assert (buckets, samples["_count", None]) == ([0, 1, 1, 2], 2)
        assert samples["_sum", None] == pytest.approx(20.2)
        labels = {s.labels["server"] for s in found[name].samples}
        assert labels == {"s1"}  # nobody else had a stream


def test_filters(metered: World) -> None:
    cells = metered.rows.cells(0)
    for key in ("b/s1", "b/s4", backend_key("b")):
        base = metered.rows.base(key)
        histograms.add([stream(0.0, 0.0, 0.1, 0.2)], (cells[base : base + L.ROW_CELLS],))

    def counts(query: str) -> set[str]:
        text = "".join(metered.context.render(parse_query(query)))
        return {line.split(" ")[0] for line in text.splitlines() if line.startswith("forkproxy_") and "_time_seconds_count" in line}

    assert 'forkproxy_server_total_time_seconds_count{proxy="b",server="s4"}' in counts("")
    assert len(counts("scope=server&no-maint&metrics=forkproxy_server_total_time_seconds")) == 1
    assert counts("scope=backend&metrics=forkproxy_backend_queue_time_seconds") == {'forkproxy_backend_queue_time_seconds_count{proxy="b"}'}


def test_nothing_where_nobody_asks() -> None:
    small = world()
    base = small.rows.base("b/s1")
    histograms.add([stream(0.0, 0.0, 0.1, 0.2)], (small.rows.cells(0)[base : base + L.ROW_CELLS],))
    assert "_time_seconds_bucket" not in "".join(small.context.render(parse_query("")))
