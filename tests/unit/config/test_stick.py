"""Stick tables in the language: lines to specifications, refusals, rules that refer to tables."""

from __future__ import annotations

import pytest

from forkproxy.state.stickspec import Store, TableSpec
from tests.unit.config.reading import alerts, good, warnings
from tests.unit.rules.support import make_txn

FRONT = "frontend f\n bind 127.0.0.1:18080\n mode http\n"
BACK = "backend b\n mode http\n server s1 127.0.0.1:1\n server s2 127.0.0.1:2\n"


def table(line: str) -> TableSpec:
    return good(f"{FRONT} stick-table {line}\n").tables["f"].spec


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("type ip size 1k", TableSpec(name="f", type="ip", key_bytes=4, size=1024)),
        ("type ipv4 size 1k", TableSpec(name="f", type="ip", key_bytes=4, size=1024)),
        ("size 3 type ipv6 expire 30s nopurge", TableSpec(name="f", type="ipv6", key_bytes=16, size=3, expire_ms=30_000, nopurge=True)),
        ("type integer size 3 srvkey addr", TableSpec(name="f", type="integer", key_bytes=4, size=3, srvkey="addr")),
        ("type string size 3", TableSpec(name="f", type="string", key_bytes=31, size=3)),
        ("type string len 80 size 3", TableSpec(name="f", type="string", key_bytes=80, size=3)),
        ("type binary len 6 size 3", TableSpec(name="f", type="binary", key_bytes=6, size=3)),
    ],
)
def test_tables(line: str, expected: TableSpec) -> None:
    assert table(line) == expected


def test_what_is_stored_stands_in_one_order() -> None:
    stores = table("type ip size 3 store http_req_rate(10s),gpc0 store gpt(2),gpc_rate(3,500),conn_cur").stores
    assert stores == (
        Store("gpc0"), Store("conn_cur"), Store("http_req_rate", 1, 10_000), Store("gpt", 2), Store("gpc_rate", 3, 500),
    )  # fmt: skip


#: lines after "stick-table", and what HAProxy says of them, too
WRONG = {
    "": "missing size",
    "type ip": "missing size",
    "type ip size 0": "missing size",
    "size 10": "missing type",
    "type foo size 10": "unknown type 'foo'",
    "type ip size x": "unexpected character 'x' in argument of 'size'",
    "type ip size 10 expire x": "unexpected character 'x' in argument of 'expire'",
    "type ip size 10 store foo": "unknown store option 'foo'",
    "type ip size 10 store conn_rate": "missing argument to store option 'conn_rate'",
    "type ip size 10 store conn_rate(x)": "error when processing store option 'conn_rate'",
    "type ip size 10 store gpc0(3)": "unexpected argument to store option 'gpc0'",
    "type ip size 10 store gpc(101)": "array size is out of allowed range (1-100) for store option 'gpc'",
    "type ip size 10 store gpc_rate(2)": "missing argument to store option 'gpc_rate'",
    "type ip size 10 store gpc(2),gpc1": "simultaneous usage of 'gpc'",
    "type ip size 10 srvkey foo": "unknown server key type 'foo'",
    "type ip size 10 foo": "unknown argument 'foo'",
    "type ip len 4 size 10": "unknown argument 'len'",
    "type string len 0 size 10": "is no length of a key",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_tables(line: str) -> None:
    assert WRONG[line] in "\n".join(alerts(f"{FRONT} stick-table {line}\n"))


def test_one_table_per_name() -> None:
    line = " stick-table type ip size 3\n"
    assert "conflicts with table declared in frontend 'f'" in alerts(FRONT + line + line)[0]
    assert "conflicts with table declared in frontend 'f'" in alerts(f"{FRONT}{line}backend f\n mode http\n{line}")[0]
    assert "already enabled" in warnings(f"{FRONT} stick-table type ip size 3 store gpc0,gpc0\n")[0]


#: rules in a frontend without a table, and what is wrong with them
UNKNOWN = {
    "http-request track-sc0 src": "unable to find table 'f' referenced by track-sc0",
    "http-request track-sc0 src table nope": "unable to find table 'nope' referenced by track-sc0",
    "http-request track-sc3 src table t": "3 track-sc number exceeding 2",
    "http-request track-scx src table t": "Wrong track-sc number 'x'",
    "http-request track-sc0 method table t": "uses a type incompatible with the 'track-sc0' rule",
    "http-request deny if { src_conn_cnt gt 3 }": "unable to find table 'f'",
    "http-request deny if { src_conn_cnt(nope) gt 3 }": "unable to find table 'nope'",
    "http-request deny if { sc0_conn_cnt(nope) gt 3 }": "unable to find table 'nope'",
    "http-request deny if { src,table_conn_cnt(nope) gt 3 }": "unable to find table 'nope'",
    "http-request sc-inc-gpc0(9)": "The max allowed ID is 2",
    "http-request sc-inc-gpc(0)": "expects 'sc-inc-gpc(<idx>,<sc-id>)'",
    "http-request sc-set-gpt(100,0) 1": "invalid index 100",
    "http-request sc-set-gpt0(0) foo": "unknown fetch method 'foo'",
}


@pytest.mark.parametrize("rule", UNKNOWN)
def test_rules_about_what_is_not_there(rule: str) -> None:
    said = alerts(f"{FRONT} {rule}\nbackend t\n mode http\n stick-table type ip size 3\n")
    assert UNKNOWN[rule] in "\n".join(said)


def test_the_number_of_entries_that_may_be_tracked_is_tuned() -> None:
    text = f"global\n tune.stick-counters 5\n{FRONT} stick-table type ip size 3\n http-request track-sc4 src\n"
    assert good(text).frontends[0].http_request is not None


def test_stick_rules() -> None:
    plan = good(f"{FRONT} default_backend b\n{BACK} stick on src\n stick match hdr(x) table t if {{ path / }}\n"
                " stick store-request url table t\n stick store-response res.hdr(x) table t\n stick-table type ip size 3\n"
                "backend t\n mode http\n stick-table type string size 3\n")  # fmt: skip
    rules = plan.backends["b"].stick
    assert [(r.table.spec.name, r.match, r.store, r.response, r.condition is not None) for r in rules] == [
        ("b", True, True, False, False), ("t", True, False, False, True), ("t", False, True, False, False), ("t", False, True, True, False),
    ]  # fmt: skip
    for ref in plan.tables.values():
        assert [store.name for store in ref.spec.stores] == ["server_id", "server_key"]


def test_wrong_stick_rules() -> None:
    for rule, complaint in (
        ("stick", "expects 'on', 'match', or 'store'"),
        ("stick foo", "expects 'on', 'match', or 'store'"),
        ("stick on", "expects a fetch method"),
        ("stick on src", "unable to find stick-table 'b'"),
        ("stick on src table nope", "unable to find stick-table 'nope'"),
        ("stick on src table t foo", "unknown keyword 'foo'"),
        ("stick on method table t", "type of fetch not usable"),
        ("stick store-request res.hdr(x) table t", "may not be used in 'stick'"),
    ):
        said = alerts(f"{BACK} {rule}\nbackend t\n mode http\n stick-table type ip size 3\n")
        assert complaint in "\n".join(said), rule
    assert "ignored because frontend 'f' has no backend capability" in warnings(f"{FRONT} stick on src\n")[0]


def test_what_a_server_says_first_is_not_looked_at_in_tcp_mode() -> None:
    table = " stick-table type binary len 32 size 3\n"
    said = alerts(f"backend b\n mode tcp\n{table} stick store-response res.payload_lv(43,1)\n server s 127.0.0.1:1\n")
    assert "not looked at for this yet" in said[0]
    rules = (
        good(f"backend b\n mode tcp\n{table} stick on req.payload_lv(43,1) if {{ req.len gt 3 }}\n server s 127.0.0.1:1\n")
        .backends["b"]
        .stick
    )
    txn = make_txn(b"")
    txn.body_done = False
    assert rules[0].condition is not None
    assert rules[0].condition(txn) is False and rules[0].key(txn) is None
