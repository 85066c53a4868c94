"""The exporter's text, read back by prometheus_client's parsers, and compared with the names of HAProxy's families."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from forkproxy.health.conversation import Result
from forkproxy.health.status import Status
from forkproxy.rules.patternfiles import PatternFiles
from forkproxy.state import layout
from forkproxy.state.names import backend_key, frontend_key
from forkproxy.state.stickspec import TableRef, TableSpec
from forkproxy.state.sticktable import Table
from forkproxy.stats import service
from forkproxy.stats.columns import Row
from forkproxy.stats.exposition import Blocks, escape, labels, render
from forkproxy.stats.query import Query, parse_query
from forkproxy.values import replace

from .fixtures import CHECK, World, plan, server, world


@pytest.fixture
def full() -> World:
    made = world()
    made.board.result(made.board.entries["b/s1"], Result(Status.L7OK, 200), 3)
    made.board.result(made.board.entries["b/s2"], Result(Status.L4CON, 0, "Connection refused"), 0)
    for slot in (0, 1):
        cells = made.rows.cells(slot)
        for key in (frontend_key("f"), backend_key("b"), "b/s1"):
            base = made.rows.base(key)
            cells[base + layout.SESS_TOT] += 5
            cells[base + layout.REQ_TOT] += 10
            cells[base + layout.HRSP_2XX] += 9
            cells[base + layout.HRSP_4XX] += 1
            cells[base + layout.BYTES_IN] += 1000
        base = made.rows.base("b/s1")
        cells[base + layout.QTIME_MAX] = 1500 + slot
        cells[layout.REQ_TOT] += 10
        cells[layout.LAG_US] = 2500
    return made


def text(made: World, query: str = "", accept: bytes | None = None) -> str:
    return "".join(made.context.render(parse_query(query, accept)))


def samples(body: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in parse_text(body) for sample in family.samples
    }


def one(body: str, family: str, /, **wanted: str) -> float:
    return samples(body)[family, tuple(sorted(wanted.items()))]


def test_values(full: World) -> None:
    body = text(full)
    assert one(body, "haproxy_frontend_sessions_total", proxy="f") == 10
    assert one(body, "haproxy_server_http_responses_total", proxy="b", server="s1", code="2xx") == 18
    assert one(body, "haproxy_server_max_queue_time_seconds", proxy="b", server="s1") == 1.501
    assert one(body, "haproxy_server_check_duration_seconds", proxy="b", server="s1") == 0.003
    assert one(body, "haproxy_server_check_code", proxy="b", server="s1") == 200
    assert one(body, "haproxy_server_check_code", proxy="b", server="s2") == 0
    assert one(body, "haproxy_server_status", proxy="b", server="s2", state="DOWN") == 1
    assert one(body, "haproxy_server_status", proxy="b", server="s2", state="UP") == 0
    assert one(body, "haproxy_server_status", proxy="b", server="s4", state="MAINT") == 1
    assert one(body, "haproxy_server_check_status", proxy="b", server="s2", state="L4CON") == 1
    assert one(body, "haproxy_server_limit_sessions", proxy="b", server="s1") == 50
    assert one(body, "haproxy_server_weight", proxy="b", server="s1") == 7
    assert one(body, "haproxy_backend_active_servers", proxy="b") == 2
    assert one(body, "haproxy_backend_backup_servers", proxy="b") == 1
    assert one(body, "haproxy_backend_weight", proxy="b") == 8
    assert one(body, "haproxy_backend_agg_server_status", proxy="b", state="UP") == 3
    assert one(body, "haproxy_backend_agg_check_status", proxy="b", state="L4CON") == 1
    assert one(body, "haproxy_backend_status", proxy="b", state="UP") == 1
    assert one(body, "haproxy_process_requests_total") == 20
    assert one(body, "haproxy_process_uptime_seconds") == 3661
    assert one(body, "forkproxy_worker_loop_lag_seconds", worker="0", pid="100000000") == 0.0025


def with_everything() -> World:
    """A world in which every kind of object is there: addresses that are counted, a server that was checked, a stick table."""
    wanted = plan()
    first = replace(wanted.frontends[0], options=frozenset({"socket-stats"}))
    table = TableRef(TableSpec("t", "ip", 4, 100))
    table.bind(Table(table.spec, 1))
    made = world(replace(wanted, frontends=(first, *wanted.frontends[1:]), tables={"t": table}))
    made.board.result(made.board.entries["b/s1"], Result(Status.L7OK, 200), 3)
    return made


def types(body: str) -> dict[str, str]:
    """Of families that HAProxy has, too."""
    found: dict[str, str] = {}
    for line in body.splitlines():
        if line.startswith("# TYPE haproxy_"):
            _, _, name, type_ = line.split(" ")
            assert name not in found, f"{name} comes twice"
            found[name] = type_
    return found


def test_the_decision_record_lists_what_is_shown_and_what_is_missing() -> None:
    shown, _, missing = RECORD.read_text().partition("\n## Shown\n")[2].partition("\n## Missing")
    assert types(text(with_everything())) == listed(shown), "docs/decisions/0002-metrics.md is to be brought up to date"
    assert len(listed(shown)) > 170 and listed(missing) and not listed(shown).keys() & listed(missing).keys()


RECORD = Path(__file__).parents[3] / "docs" / "decisions" / "0002-metrics.md"


def listed(part: str) -> dict[str, str]:
    """The families and types in a part of the record."""
    return dict(re.findall(r"(?m)^(haproxy_\w+) (gauge|counter)$", part))


def test_stick_tables_and_patterns() -> None:
    made = with_everything()
    table = made.plan.tables["t"].table
    for number in range(3):
        table.change(table.pad(b"%04d" % number), 1, lambda cells, base, now: None)
    files = PatternFiles()
    acl = files.inline(-1, "acl 'a'")
    for word in (b"a", b"b", b"b", b"c"):
        acl.add(None, word, None)
    acl.remove(b"b", 0)
    acl.prepare()
    acl.add(acl.newest, b"d", None)
    acl.commit(acl.newest)
    acl.add(None, b"e", None)
    acl.clear(None)
    made.plan.objects["patterns"] = files  # type: ignore[index]
    body = text(made)
    assert one(body, "haproxy_sticktable_size", name="t", type="ip") == 100
    assert one(body, "haproxy_sticktable_used", name="t", type="ip") == 3
    assert types(text(made, "scope=sticktable")) == {"haproxy_sticktable_size": "gauge", "haproxy_sticktable_used": "gauge"}
    assert [one(body, f"haproxy_process_patterns_{word}_total") for word in ("added", "freed")] == [6, 6]
    acl.put(b"f", b"")
    assert files.moved() == (7, 6)


def test_http_families_only_for_http_proxies(full: World) -> None:
    names = {name for name, pairs in samples(text(full, "scope=frontend")) if ("proxy", "tcpf") in pairs}
    assert "haproxy_frontend_sessions_total" in names
    assert not [name for name in names if "_http_re" in name and "rate" not in name and name != "haproxy_frontend_http_requests_total"]


def test_openmetrics_parses(full: World) -> None:
    body = text(full, accept=b"application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in parse_openmetrics(body)}
    assert body.endswith("# EOF\n")
    assert families["haproxy_frontend_sessions"].type == "counter"
    assert families["haproxy_process_total_warnings"].type == "unknown"
    assert families["haproxy_process_total_warnings"].samples[0].name == "haproxy_process_total_warnings"


def test_both_formats_say_the_same(full: World) -> None:
    plain = samples(text(full))
    other = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_openmetrics(text(full, accept=b"application/openmetrics-text"))
        for sample in family.samples
    }
    # the parser of the text format gives every counter this suffix; on the wire the name is as listed (see the test of types)
    warnings = plain.pop(("haproxy_process_total_warnings_total", ()))
    plain["haproxy_process_total_warnings", ()] = warnings
    assert {key for key, value in plain.items() if value == value} == {key for key, value in other.items() if value == value}


def test_filters(full: World) -> None:
    assert {name.split("_")[1] for name, _ in samples(text(full, "scope=server"))} == {"server"}
    assert {name for name, _ in samples(text(full, "metrics=haproxy_server_status"))} == {"haproxy_server_status"}
    assert not [1 for _, pairs in samples(text(full, "scope=server&no-maint")) if ("server", "s4") in pairs]
    assert text(full, "scope=") == ""


def test_names_that_need_escapes() -> None:
    made = world(plan((server('a"b\\c', 1, check=CHECK),)))
    assert one(text(made), "haproxy_server_active", proxy="b", server='a"b\\c') == 1
    assert escape("a\nb") == "a\\nb"
    assert labels(a='"') == 'a="\\""'


def test_blocks_are_bounded() -> None:
    blocks = Blocks(limit=2)
    for i in range(5):
        assert blocks.get("f", f'x="{i}"', ("A", "B"), "B") == f'f{{x="{i}",state="A"}} 0\nf{{x="{i}",state="B"}} 1\n'
    assert len(blocks._blocks) <= 2


def test_a_thousand_servers_come_in_short_slices() -> None:
    """Counted, not timed: between two slices ten rows are made (1 ms), or 5,000 lines are written at most (10 ms)."""
    snapshot = world(plan(tuple(server(f"s{i}", i, check=CHECK) for i in range(1000))), size=1200).context.snapshot()
    made = 0

    def counted(rows: Iterable[Row]) -> Iterator[Row]:
        nonlocal made
        for row in rows:
            made += 1
            yield row

    snapshot.rows = {kind: counted(rows) for kind, rows in snapshot.rows.items()}
    before = most_rows = most_lines = size = 0
    for part in render(snapshot, parse_query("")):
        most_rows = max(most_rows, made - before)
        most_lines = max(most_lines, part.count("\n"))
        before = made
        size += len(part)
    assert made > 1000 and size > 5_000_000
    assert most_rows <= 10 and most_lines <= 5000


class _Head:
    def __init__(self, target: bytes, method: bytes = b"GET", accept: bytes | None = None) -> None:
        self.target, self.method, self._accept = target, method, accept

    def get(self, name: bytes) -> bytes | None:
        return self._accept if name == b"accept" else None


class _Txn:
    def __init__(self, *args: object) -> None:
        self.req = _Head(*args)  # type: ignore[arg-type]


def test_service(full: World) -> None:
    service._bound.make = service._bound.context = None
    asked = service.bind(lambda: full.context)

    def handler(txn: _Txn) -> service.Answer:
        answer = asked(txn)
        assert answer is not None, "there is little to show"
        return answer

    service._bound.make, make = None, service._bound.make
    assert handler(_Txn(b"/metrics"))[0] == 503
    service._bound.make = make
    status, fields, body = handler(_Txn(b"/metrics?scope=frontend"))
    assert status == 200 and (b"content-type", b"text/plain; version=0.0.4; charset=utf-8") in fields
    assert one(body.decode(), "haproxy_frontend_sessions_total", proxy="f") == 10
    assert handler(_Txn(b"/metrics", b"HEAD"))[0] == 200
    assert service.factory(None) is asked
    assert handler(_Txn(b"/metrics", b"POST"))[0] == 405
    assert handler(_Txn(b"/metrics?scope=y"))[0] == 400
    assert handler(_Txn(b"/metrics", b"GET", b"application/openmetrics-text"))[2].endswith(b"# EOF\n")
    service._bound.make = service._bound.context = None


def test_listeners_where_they_are_counted() -> None:
    wanted = plan()
    first = replace(wanted.frontends[0], options=frozenset({"socket-stats"}))
    made = world(replace(wanted, frontends=(first, *wanted.frontends[1:])))
    body = "".join(made.context.render(Query(scopes=frozenset({"listener"}))))
    assert one(body, "haproxy_listener_status", proxy="f", listener="sock-1", state="OPEN") == 1
    assert one(body, "haproxy_listener_status", proxy="f", listener="sock-1", state="FULL") == 0
    assert one(body, "haproxy_listener_limit_sessions", proxy="f", listener="sock-1") == 0, "what the bind line says"
    assert one(body, "haproxy_listener_sessions_total", proxy="f", listener="sock-1") == 0
    assert "proxy=\"tcpf\"" not in body


def test_descriptions_are_labels_where_asked_for() -> None:
    wanted = plan()
    first = replace(wanted.frontends[0], description='the "first"')
    context = world(replace(wanted, frontends=(first, *wanted.frontends[1:]))).context
    line = r'haproxy_frontend_sessions_total{proxy="f",desc="the \"first\""} 0'
    assert line in "".join(context.render(parse_query("desc-labels&something=else"))).splitlines()
    assert "desc=" not in "".join(context.render(parse_query("")))
