"""Transcripts of streams that track entries of stick tables: what is counted when, which entry gets it, when it is let go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from forkproxy.plan import Step, Stick
from forkproxy.proxy.moving import Moving
from forkproxy.rules import tables
from forkproxy.rules.context import RuleContext
from forkproxy.rules.expr import compile_sample
from forkproxy.rules.ruleset import parse_rule
from forkproxy.rules.words import Words
from forkproxy.state.ledger import Ledger
from forkproxy.state.stickspec import Store, TableRef, TableSpec
from forkproxy.state.sticktable import Table
from forkproxy.values import replace
from tests.session.stage import Stage, Wire

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NAMES = ("conn_cnt", "conn_cur", "sess_cnt", "http_req_cnt", "http_err_cnt", "http_fail_cnt", "bytes_in_cnt", "bytes_out_cnt")


class Tracked:
    """A stage with tables ``conn`` (by source) and ``path``, and rules by the name of their plan's field; ``rows`` reads a table."""

    def __init__(
        self, monkeypatch: Any, *, options: frozenset[str] = frozenset(), back: dict[str, Any] | None = None,
        verdicts: dict[int, tuple[str, ...]] = tables.VERDICTS, **rules: list[str],
    ) -> None:  # fmt: skip
        specs = {"conn": ("ip", 4), "path": ("string", 8)}
        stores = (Store("server_id"), *(Store(n) for n in NAMES[:6]), Store("server_key"), *(Store(n) for n in NAMES[6:]), Store("gpc0"))
        self.refs = {n: TableRef(TableSpec(name=n, type=t, key_bytes=b, size=5, stores=stores)) for n, (t, b) in specs.items()}
        for number, ref in enumerate(self.refs.values(), 1):
            ref.bind(Table(ref.spec, number))
            ref.table.ledger = Ledger(64)
        self.context = RuleContext(name="f", tables=self.refs, verdicts=verdicts)
        front = {name: self.steps(name, texts) for name, texts in rules.items()}
        self.stage = Stage(
            monkeypatch, servers=2, front={"mode": "http", "options": options, **front}, back={"mode": "http", **(back or {})},
            tables=self.refs, settings={"verdicts": verdicts}, client_s=10.0, server_s=5.0, connect_s=1.0, http_request_s=3.0,
        )  # fmt: skip

    def steps(self, name: str, texts: list[str]) -> tuple[Step, ...]:
        kind = {
            "tcp_request_connection": "tcp-req-conn", "tcp_request_session": "tcp-req-sess", "http_request": "http-req",
            "http_response": "http-res",
        }[name]  # fmt: skip
        return tuple(parse_rule(kind, Words.of(text), self.context).step for text in texts)

    def row(self, table: str, key: bytes) -> dict[str, int]:
        """What an entry has that is not 0."""
        found = self.refs[table].table
        at = [found.columns[name].offset for name in NAMES]
        values = found.look(found.pad(key), self.now, lambda cells, base, now: [cells[base + offset] for offset in at])
        return {name: value for name, value in zip(NAMES, values or (), strict=False) if value}

    @property
    def now(self) -> int:
        return int(self.stage.clock.now * 1000)

    def served(self, answer: bytes = OK, raw: bytes = GET) -> tuple[Wire, Wire]:
        """A client whose request was answered."""
        c = self.stage.client()
        self.stage.says(c, raw)
        up = self.stage.dialled[-1]
        self.stage.stands(up)
        self.stage.says(up, answer)
        return c, up


SRC = b"\xc0\x00\x02\x01"
Make = Callable[..., Tracked]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    return lambda **rules: Tracked(monkeypatch, **rules)


def test_a_request_counts_when_it_is_tracked_and_lets_go_at_its_end(make: Make) -> None:
    t = make(http_request=["track-sc0 src table conn"])
    c = t.stage.client()
    assert t.row("conn", SRC) == {}
    t.stage.says(c, GET)
    assert t.row("conn", SRC) == {"conn_cnt": 1, "conn_cur": 1, "http_req_cnt": 1}
    t.stage.stands(t.stage.dialled[0])
    t.stage.says(t.stage.dialled[0], OK)
    assert t.row("conn", SRC) == {"conn_cnt": 1, "http_req_cnt": 1, "bytes_in_cnt": len(GET), "bytes_out_cnt": len(c.got)}
    assert not list(t.refs["conn"].table.ledger.held())


def test_a_connection_counts_its_requests_until_it_ends(make: Make) -> None:
    t = make(tcp_request_connection=["track-sc0 src table conn"])
    c, _ = t.served()
    t.stage.says(c, GET)
    t.stage.stands(t.stage.dialled[1])
    t.stage.says(t.stage.dialled[1], OK)
    assert t.row("conn", SRC) == {
        "conn_cnt": 1, "conn_cur": 1, "sess_cnt": 1, "http_req_cnt": 2, "bytes_in_cnt": 2 * len(GET), "bytes_out_cnt": len(c.got)
    }  # fmt: skip
    t.stage.says(c, b"")
    assert "conn_cur" not in t.row("conn", SRC) and not list(t.refs["conn"].table.ledger.held())


def test_what_the_stream_tracks_gets_what_the_connection_would(make: Make) -> None:
    t = make(tcp_request_session=["track-sc0 src table conn", "track-sc1 src table conn"], http_request=["track-sc0 path table path"])
    t.served(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    assert t.row("path", b"/a")["http_err_cnt"] == 1 and t.row("path", b"/a")["bytes_in_cnt"] == len(GET)
    row = t.row("conn", SRC)  # held twice: as number 1 it gets everything, as number 0 nothing of the stream
    assert (row["conn_cur"], row["http_err_cnt"], row["bytes_in_cnt"], row["http_req_cnt"]) == (2, 1, len(GET), 2)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n", {"http_err_cnt": 1}),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", {"http_fail_cnt": 1}),
        (b"HTTP/1.1 501 No\r\nContent-Length: 0\r\n\r\n", {}),
        (b"HTTP/1.1 505 No\r\nContent-Length: 0\r\n\r\n", {}),
        (b"NONSENSE\r\n\r\n", {"http_fail_cnt": 1}),
        (b"", {"http_fail_cnt": 1}),
    ],
)
def test_whose_fault_an_answer_is(make: Make, answer: bytes, expected: dict[str, int]) -> None:
    t = make(http_request=["track-sc0 src table conn"])
    t.served(answer)
    assert {name: n for name, n in t.row("conn", SRC).items() if name in ("http_err_cnt", "http_fail_cnt")} == expected


@pytest.mark.parametrize(
    ("rule", "errors"),
    [
        ("deny", 1),
        ("tarpit", 1),
        ("auth", 1),
        ("reject", 0),
        ("return status 401", 0),
        ("redirect location /", 0),
    ],
)
def test_which_refusals_are_errors(make: Make, rule: str, errors: int) -> None:
    t = make(http_request=["track-sc0 src table conn", rule])
    t.stage.says(t.stage.client(), GET)
    t.stage.passes(20.0)
    assert t.row("conn", SRC).get("http_err_cnt", 0) == errors


@pytest.mark.parametrize(
    ("raw", "end", "expected"),
    [
        (b"BAD\r\n\r\n", False, (1, 1)),
        (b"GET / HT", True, (1, 1)),
        (b"GET / HT", False, (1, 1)),
        (b"", False, (1, 0)),
    ],
)
def test_what_never_became_a_request(make: Make, raw: bytes, end: bool, expected: tuple[int, int]) -> None:
    t = make(tcp_request_connection=["track-sc0 src table conn"])
    c = t.stage.client()
    if raw:
        t.stage.says(c, raw)
    if end:
        t.stage.says(c, b"")
    t.stage.passes(5.0)
    t.stage.passes(5.0)  # a connection is kept half open for a moment after an error
    row = t.row("conn", SRC)
    assert (row.get("http_req_cnt", 0), row.get("http_err_cnt", 0), row.get("conn_cur", 0)) == (*expected, 0)


def test_long_streams_count_bytes_while_they_run(make: Make) -> None:
    t = make(
        tcp_request_connection=["track-sc0 src table conn"], http_request=["track-sc1 path table path"], options=frozenset({"contstats"})
    )
    c, up = t.served(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 60)
    for _ in range(2):  # once a second, what is new
        t.stage.rt._second()
        assert t.row("path", b"/a")["bytes_out_cnt"] == len(c.got) == t.row("conn", SRC)["bytes_out_cnt"]
        assert t.row("path", b"/a")["bytes_in_cnt"] == len(GET)
        if up.got:
            t.stage.says(up, b"x" * 40)
    assert t.row("path", b"/a")["bytes_out_cnt"] == len(c.got)


def test_a_refused_connection_was_a_connection_and_no_session(make: Make) -> None:
    t = make(tcp_request_connection=["track-sc0 src table conn", "reject if { sc0_conn_cnt gt 1 }"])
    first = t.stage.client()
    second = t.stage.client()
    assert second.closed and not first.closed
    assert t.row("conn", SRC) == {"conn_cnt": 2, "conn_cur": 1, "sess_cnt": 1}


def test_only_the_first_rule_with_a_number_tracks(make: Make) -> None:
    t = make(http_request=["track-sc0 path table path", "track-sc0 src table conn", "sc-inc-gpc0(0)"])
    t.served()
    assert t.row("path", b"/a")["conn_cnt"] == 1 and t.row("conn", SRC) == {}


def sticky(t: Tracked, text: str) -> Stick:
    sample = compile_sample(text, t.context)
    make_key = tables.key_maker(t.refs["path"])

    def key(txn: Any) -> bytes | None:
        value = sample.fetch(txn)
        return None if value is None else make_key(value)

    return Stick(table=t.refs["path"], key=key, match=True, store=True)


def sticky_stage(make: Make, monkeypatch: pytest.MonkeyPatch, **back: Any) -> Tracked:
    """A backend with ``stick on hdr(x)``."""
    rule = sticky(make(), "hdr(x)")
    t = Tracked(monkeypatch, back={"stick": (rule,), **back})
    t.refs["path"].bind(rule.table.table)
    return t


STUCK = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: me\r\n\r\n"


def test_a_server_that_refuses_is_left_and_forgotten(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    t = sticky_stage(make, monkeypatch, redispatch=1, retries=1)
    t.served(raw=STUCK)
    first = t.stage.ports[0]
    t.stage.refuse.add(first)
    c = t.stage.client()
    t.stage.says(c, STUCK)
    t.stage.passes(0.0)
    assert t.stage.ports[1] == first and t.stage.ports[2] != first
    t.stage.stands(t.stage.dialled[-1])
    t.stage.says(t.stage.dialled[-1], OK)
    t.served(raw=STUCK)
    assert t.stage.ports[3] != first


def test_what_is_not_to_be_stuck_to_is_not_stored(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    t = sticky_stage(make, monkeypatch)
    for srv in t.stage.be.servers:
        srv.plan = replace(srv.plan, non_stick=True)
    t.served(raw=STUCK)
    assert t.refs["path"].table.used() == 0


def test_a_client_goes_where_its_entry_says_once_a_server_answered(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    t = sticky_stage(make, monkeypatch)
    c = t.stage.client()
    t.stage.says(c, STUCK)
    table = t.refs["path"].table
    assert table.used() == 0, "nothing is stored before the server answered"
    t.stage.stands(t.stage.dialled[0])
    t.stage.says(t.stage.dialled[0], OK)
    first = t.stage.ports[0]
    assert table.used() == 1
    for _ in range(4):
        t.served(raw=STUCK)
    assert set(t.stage.ports) == {first}
    t.stage.rt.state.servers.set(f"b/s{first - 1000}", srv_op=0)
    t.stage.rt.refresh()
    t.served(raw=STUCK)
    assert t.stage.ports[-1] != first, "a server that is down is left"
    t.stage.rt.state.servers.set(f"b/s{first - 1000}", srv_op=2)
    t.stage.rt.refresh()
    t.served(raw=STUCK)
    assert t.stage.ports[-1] != first, "and the entry follows"


def test_a_connection_that_tracks_stays_with_its_worker(make: Make) -> None:
    moved = []
    for rules in ({}, {"tcp_request_connection": ["track-sc0 src table conn"]}):
        t = make(**rules)
        t.served()
        (c,) = t.stage.rt.clients
        moved.append(Moving(t.stage.rt, lambda sock, note: True, frozenset({t.stage.bind.key})).takes(c))
    assert moved == [True, False]


def test_other_codes_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """http-err-codes and http-fail-codes, for what is tracked already and what is tracked when the answer is there."""
    changed = tables.verdicts(frozenset({200, 500}), frozenset({500}))
    t = Tracked(monkeypatch, verdicts=changed, http_request=["track-sc0 src table conn"], http_response=["track-sc1 str(/a) table path"])
    c = t.stage.client()
    for server, status in ((0, b"200"), (1, b"404"), (0, b"500")):
        t.stage.says(c, GET)
        t.stage.says(t.stage.dialled[server], OK.replace(b"200", status))
    for table, key in (("conn", SRC), ("path", b"/a")):
        row = t.row(table, key)
        assert (row["http_err_cnt"], row["http_fail_cnt"]) == (2, 1)
