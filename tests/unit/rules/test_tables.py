"""Fetches, converters and actions on stick tables, over a transaction that tracks by hand."""

from __future__ import annotations

from typing import Any, cast

import pytest

from forkproxy.clock import ManualClock
from forkproxy.http.message import ResponseHead
from forkproxy.rules.context import RuleContext
from forkproxy.rules.expr import compile_sample
from forkproxy.rules.ruleset import parse_rule
from forkproxy.rules.tables import key_maker, show_key
from forkproxy.rules.types import Addr
from forkproxy.state.ledger import Ledger
from forkproxy.state.stickspec import DATA_TYPES, Shape, Store, TableRef, TableSpec
from forkproxy.state.sticktable import Table
from tests.unit.rules.support import make_txn, words

SINGLE = tuple(
    Store(name, 1, 1000 if kind.shape is Shape.RATE else 0) for name, kind in DATA_TYPES.items() if not kind.array and name != "server_key"
)
ARRAYS = (Store("gpt", 3), Store("gpc", 4), Store("gpc_rate", 2, 1000))
_numbers = iter(range(1, 1000))


def ref(name: str, kind: str = "ip", key_bytes: int = 4, stores: tuple[Store, ...] = SINGLE, expire_ms: int = 9000) -> TableRef:
    made = TableRef(TableSpec(name=name, type=kind, key_bytes=key_bytes, size=20, expire_ms=expire_ms, stores=stores))
    made.bind(Table(made.spec, next(_numbers)))
    made.table.ledger = Ledger(64)
    return made


class World:
    """Tables ``own`` (single data types), ``arrays`` and ``text`` (strings), and a transaction from 127.0.0.1."""

    def __init__(self) -> None:
        self.tables = {
            "own": ref("own"),
            "arrays": ref("arrays", stores=ARRAYS),
            "text": ref("text", "string", 5, ARRAYS),
            "none": ref("none", stores=()),
        }
        self.context = RuleContext(name="own", tables=self.tables)
        self.txn = make_txn()
        self.txn.tracked = None
        assert isinstance(self.txn.clock, ManualClock)

    def run(self, *rules: str, kind: str = "http-req") -> None:
        for rule in rules:
            assert parse_rule(kind, words(rule), self.context).step(self.txn) is None

    def get(self, text: str) -> Any:
        return compile_sample(text, self.context).fetch(self.txn)


@pytest.fixture
def world() -> World:
    return World()


def test_nothing_is_tracked(world: World) -> None:
    for text in ("sc0_conn_cnt", "sc_conn_cnt(2)", "sc_conn_cnt(7)", "sc0_inc_gpc0", "sc_key(0)", "sc0_get_gpc0(arrays)"):
        assert world.get(text) is None, text
    assert world.get("sc0_tracked") is False and world.get("sc_tracked(9)") is False
    world.run("sc-inc-gpc0(0)", "sc-set-gpt0(0) 3")


def test_what_a_tracked_request_has(world: World) -> None:
    world.run("track-sc0 src")
    read = {name: world.get(f"sc0_{name}") for name in ("conn_cnt", "conn_cur", "conn_rate", "http_req_cnt", "http_req_rate", "sess_cnt")}
    assert read == {"conn_cnt": 1, "conn_cur": 1, "conn_rate": 1, "http_req_cnt": 1, "http_req_rate": 1, "sess_cnt": 0}
    assert world.get("sc0_tracked") is True and world.get("sc0_tracked(own)") is True and world.get("sc0_tracked(text)") is False
    assert world.get("sc_key(0)") == Addr("127.0.0.1") and world.get("sc0_trackers") == 1
    assert world.get("sc_conn_cnt(0)") == world.get("src_conn_cnt") == world.get("src,table_conn_cnt") == 1
    world.run("track-sc0 src table text")  # the number is taken
    assert world.get("sc0_tracked(own)") is True and world.get("table_cnt(text)") == 0


@pytest.mark.parametrize(("rules", "expected"), [("own", 3), ("arrays", 3)])
def test_counters_by_rules_and_by_expressions(world: World, rules: str, expected: int) -> None:
    world.run(f"track-sc1 src table {rules}", "sc-inc-gpc0(1)", "sc-inc-gpc1(1)", "sc-inc-gpc(1,1)")
    assert world.get("sc1_inc_gpc0") == 2
    assert [world.get(f"sc1_{name}") for name in ("get_gpc0", "get_gpc1", "gpc0_rate", "gpc1_rate")] == [2, 2, 2, 2]
    assert world.get(f"src_inc_gpc0({rules})") == expected
    assert world.get("sc1_clr_gpc0") == expected and world.get("sc1_get_gpc0") == 0
    assert world.get("sc1_gpc0_rate") == 3, "a counter that is cleared leaves its rate alone"


def test_elements_of_arrays(world: World) -> None:
    world.run("track-sc0 src table arrays", "sc-add-gpc(3,0) 5", "sc-add-gpc(3,0) int(2)", "sc-set-gpt(2,0) 9", "sc-set-gpt0(0) 4")
    assert [world.get(f"sc_get_gpc({i},0)") for i in (0, 3, 4)] == [0, 7, None]
    assert [world.get(f"sc_get_gpt({i},0)") for i in (0, 2, 3)] == [4, 9, None]
    assert world.get("sc_inc_gpc(3,0)") == 8 and world.get("sc_clr_gpc(3,0)") == 8
    assert world.get("sc_gpc_rate(1,0)") == 0 and world.get("sc_gpc_rate(3,0)") is None
    assert (
        world.get("src_inc_gpc(1,arrays)") == 1
        and world.get("src,table_gpc(1,arrays)") == 1
        and world.get("src,table_gpc_rate(1,arrays)") == 1
    )
    world.get("src_inc_gpc0")
    assert world.get("src_inc_gpc(0,own)") is None, "own has gpc0 and gpc1, no array"
    assert world.get("src_get_gpt(2,arrays)") == 9


def test_the_same_key_in_another_table(world: World) -> None:
    world.run("track-sc0 src", "track-sc1 src table arrays")
    assert world.get("sc0_inc_gpc0(arrays)") == 1 == world.get("sc1_get_gpc0")
    assert world.get("sc0_conn_cnt(none)") == 0 and world.get("src_conn_cnt(none)") == 0, "there is no entry"
    world.run("track-sc2 src table none")
    assert world.get("sc0_conn_cnt(none)") is None and world.get("src_conn_cnt(none)") is None, "there is one, without that number"


def test_look_ups_make_nothing_but_changes_do(world: World) -> None:
    assert world.get("src_conn_cnt") == 0 and world.get("str(abc),table_gpc(0,text)") == 0 and world.get("str(abc),in_table(text)") is False
    assert world.get("table_cnt") == 0 and world.get("table_avl") == 20
    assert world.get("str(abcdefgh),table_inc_gpc(0,text)") == 1
    assert world.get("str(abcdexxx),in_table(text)") is True, "keys are as long as the table says"
    assert world.get("src_updt_conn_cnt") == 1 and world.get("src_updt_conn_cnt") == 2
    assert (world.get("table_cnt"), world.get("table_avl"), world.get("table_cnt(text)")) == (1, 19, 1)


def test_times_of_entries(world: World) -> None:
    assert world.get("src,table_idle") is None and world.get("src,table_expire(own,77)") == 77
    world.get("src_inc_gpc0")
    cast(ManualClock, world.txn.clock).advance(2.5)
    assert (world.get("src,table_idle"), world.get("src,table_expire")) == (2500, 6500)


def test_kilobytes(world: World) -> None:
    own = world.tables["own"].table
    at = own.columns["bytes_in_cnt"].offset
    own.change(own.pad(b"\x7f\0\0\1"), 0, lambda cells, base, now: cells.__setitem__(base + at, 5000))
    own.change(own.pad(b"\x7f\0\0\1"), int(world.txn.clock.now * 1000), lambda cells, base, now: cells.__setitem__(base + at, 5000))
    assert world.get("src_kbytes_in") == 4 == world.get("src,table_kbytes_in")


def test_a_connection_holds_what_its_rules_track(world: World) -> None:
    world.run("track-sc0 src", kind="tcp-req-conn")
    assert world.txn.tracked is None and world.txn.origin.tracked is not None
    assert (world.get("sc0_conn_cnt"), world.get("sc0_http_req_cnt")) == (1, 0)
    world.run("track-sc0 path table text")
    assert world.get("sc_key(0)") == b"/a/b" and world.get("sc0_conn_cnt") is None


@pytest.mark.parametrize(
    ("kind", "key_bytes", "value", "key"),
    [
        ("ip", 4, Addr("192.0.2.7"), b"\xc0\0\2\7\0\0\0\0"),
        ("ipv6", 16, Addr("2001:db8::1"), b"\x20\x01\x0d\xb8" + bytes(11) + b"\1"),
        ("integer", 4, 77, b"M" + bytes(7)),
        ("string", 5, b"abc", b"abc" + bytes(5)),
        ("string", 8, b"abcdefgh", b"abcdefgh"),
        ("binary", 3, b"a\0b", b"a\0b" + bytes(5)),
    ],
)
def test_keys(kind: str, key_bytes: int, value: Any, key: bytes) -> None:
    made = ref("t", kind, key_bytes)
    assert key_maker(made)(value) == key == made.table.pad(key)
    assert show_key(kind, key[:key_bytes]) == value


def test_long_and_negative_keys() -> None:
    assert key_maker(ref("t", "string", 3))(b"abcdef") == b"abc" + bytes(5)
    assert key_maker(ref("t", "integer", 4))(-1) == b"\xff\xff\xff\xff" + bytes(4)


@pytest.mark.parametrize(("status", "expected"), [(200, (0, 0)), (404, (1, 0)), (500, (0, 1)), (501, (0, 0))])
def test_a_response_that_is_tracked_counts_as_what_it_is(world: World, status: int, expected: tuple[int, int]) -> None:
    world.txn.res = ResponseHead.create(status, b"x")
    world.run("track-sc0 src", kind="http-res")
    assert (world.get("sc0_http_err_cnt"), world.get("sc0_http_fail_cnt"), world.get("sc0_http_req_cnt")) == (*expected, 1)
