"""Rows and their formats; which columns an object fills was compared with HAProxy's output."""

from __future__ import annotations

import csv
import io
import json

import pytest

from forkproxy.health.conversation import Result
from forkproxy.health.machine import State
from forkproxy.health.status import Status
from forkproxy.state import layout
from forkproxy.state.names import backend_key, frontend_key
from forkproxy.state.servers import CHECK_TEXT, IN_FLIGHT, SUSPENDED
from forkproxy.stats import csv as formats
from forkproxy.stats import info
from forkproxy.stats.columns import COLUMNS, NUMBER, Row
from forkproxy.stats.query import Query

from .fixtures import CHECK, World, plan, server, world


@pytest.fixture
def small() -> World:
    return world()


def rows(made: World) -> dict[str, dict[str, object]]:
    """By "pxname/svname": the columns that have a value."""
    return {
        f"{row[0]}/{row[1]}": {column.name: value for column, value in zip(COLUMNS, row, strict=False) if value is not None}
        for row in made.context.model.all()
    }


def test_columns_stand_where_tools_look_for_them() -> None:
    # management manual 9.1
    wanted = {
        "pxname": 0, "svname": 1, "scur": 4, "status": 17, "weight": 18, "type": 32, "check_status": 36, "hrsp_5xx": 43,
        "lastsess": 55, "qtime": 58, "agent_status": 62, "addr": 73, "algo": 76, "eint": 94, "uweight": 99, "srid": 103,
        "proto": 112, "priv_idle_cur": 113,
    }  # fmt: skip
    assert {name: NUMBER[name] for name in wanted} == wanted


def test_order_is_that_of_the_file(small: World) -> None:
    assert list(rows(small)) == [
        "f/FRONTEND", "tcpf/FRONTEND", "b/s1", "b/s2", "b/s3", "b/s4", "b/s5", "b/BACKEND", "t/t1", "t/BACKEND", "none/BACKEND",
    ]  # fmt: skip


def test_frontend(small: World) -> None:
    found = rows(small)
    row = found["f/FRONTEND"]
    assert {"status": "OPEN", "slim": 100, "iid": 2, "sid": 0, "type": 0, "mode": "http", "pid": 1, "rate_lim": 0}.items() <= row.items()
    assert {"qcur", "weight", "act", "lastchg", "check_status", "algo", "addr", "lbtot"}.isdisjoint(row)
    tcp = found["tcpf/FRONTEND"]
    assert (tcp["req_tot"], tcp["slim"]) == (0, 1000)
    assert {"hrsp_2xx", "intercepted", "cache_hits"}.isdisjoint(tcp) and tcp["comp_in"] == 0


def test_backends(small: World) -> None:
    found = rows(small)
    wanted = {"status": "UP", "act": 3, "bck": 1, "weight": 9, "uweight": 9, "type": 1, "algo": "roundrobin"}
    assert wanted.items() <= found["b/BACKEND"].items()
    empty = found["none/BACKEND"]
    assert (empty["status"], empty["act"], "downtime" in empty) == ("UP", 0, False)
    assert "req_tot" not in found["t/BACKEND"] and "hrsp_2xx" not in found["t/BACKEND"]


def test_servers(small: World) -> None:
    found = rows(small)
    assert [found[f"b/s{i}"]["status"] for i in range(1, 6)] == ["UP 1/3", "UP 1/3", "no check", "MAINT", "UP 1/3"]
    wanted = {
        "weight": 7, "uweight": 7, "act": 1, "bck": 0, "check_status": "INI", "check_desc": "Initializing",
        "check_rise": 2, "check_fall": 3, "check_health": 2,
        "addr": "127.0.0.1:8001", "cookie": "c1", "slim": 50, "chkfail": 0, "lastsess": -1, "sid": 1, "type": 2,
    }  # fmt: skip
    assert wanted.items() <= found["b/s1"].items()
    assert {"qlimit", "throttle", "tracked", "src_ilim", "check_code"}.isdisjoint(found["b/s1"])
    assert {"chkfail", "check_status", "check_health", "downtime", "cookie", "slim"}.isdisjoint(found["b/s3"])
    assert (found["b/s3"]["act"], found["b/s3"]["bck"]) == (0, 1)
    assert found["b/s5"]["tracked"] == "b/s1"


def test_after_checks(small: World) -> None:
    board = small.board
    board.result(board.entries["b/s1"], Result(Status.L7OK, 200), 12)
    board.result(board.entries["b/s2"], Result(Status.L7STS, 503, "Bad thing"), 3)
    small.clock.advance(5)
    found = rows(small)
    s1, s2 = found["b/s1"], found["b/s2"]
    assert (s1["status"], s1["check_status"], s1["check_code"], s1["check_duration"], s1["last_chk"]) == ("UP", "L7OK", 200, 12, "")
    assert (s2["status"], s2["check_status"], s2["check_code"], s2["last_chk"]) == ("DOWN", "L7STS", 503, "Bad thing")
    assert (s2["downtime"], s2["lastchg"], s2["chkdown"], s2["chkfail"]) == (5, 5, 1, 1)
    assert found["b/s5"]["status"] == "UP"
    board.result(board.entries["b/s1"], Result(Status.L7RSP), 1)
    assert rows(small)["b/s5"]["status"] == "UP 2/3"


def test_backend_down() -> None:
    made = world(plan((server("s1", 1, check=CHECK),)))
    made.board.result(made.board.entries["b/s1"], Result(Status.L4CON), 0)
    made.clock.advance(7)
    row = rows(made)["b/BACKEND"]
    assert (row["status"], row["act"], row["weight"], row["chkdown"], row["downtime"]) == ("DOWN", 0, 0, 1, 7)


def test_running_on_backup_counts_the_backup() -> None:
    made = world(plan((server("s1", 1, check=CHECK, weight=5), server("s2", 2, backup=True, weight=9))))
    assert rows(made)["b/BACKEND"]["weight"] == 5
    made.board.result(made.board.entries["b/s1"], Result(Status.L4CON), 0)
    row = rows(made)["b/BACKEND"]
    assert (row["status"], row["weight"], row["act"], row["bck"]) == ("UP", 9, 0, 1)


def test_drained_by_weight_and_slow_start() -> None:
    made = world(plan((server("s1", 1), server("s2", 2, check=CHECK, slowstart_s=10.0))))
    made.board.set_weight("b/s1", 0)
    for status in (Status.L4CON, Status.L4OK, Status.L4OK):
        made.board.result(made.board.entries["b/s2"], Result(status), 0)
    assert made.servers.get("b/s2").op == State.STARTING
    found = rows(made)
    assert found["b/s1"]["status"] == "no check"
    assert made.context.model.summary(made.plan.backends["b"]).states == {"DRAIN": 1, "UP": 1}
    assert 'haproxy_server_status{proxy="b",server="s1",state="DRAIN"} 1' in "".join(made.context.render(Query()))
    assert (found["b/s2"]["throttle"], found["b/s2"]["weight"]) == (1, 1)


def test_counters_of_all_workers(small: World) -> None:
    for slot in (0, 1):
        cells = small.rows.cells(slot)
        cells[small.rows.base(frontend_key("f")) + layout.SESS_CUR] = 3
        cells[small.rows.base(backend_key("b")) + layout.LAST_SESS] = int(small.clock.wall) - 4
    found = rows(small)
    assert (found["f/FRONTEND"]["scur"], found["f/FRONTEND"]["smax"]) == (6, 6)
    assert found["b/BACKEND"]["lastsess"] == 4
    small.rows.retire(0)
    assert rows(small)["f/FRONTEND"]["scur"] == 3


def test_a_row_that_is_not_known_yet_shows_zeros() -> None:
    made = world()
    later = world(plan((server("new", 1),)))
    later.context.model._rows = made.rows  # this process has not heard of "b/new"
    later.context.model._servers = made.servers
    assert rows(later)["b/new"]["status"] == "DOWN"


def test_checks_in_flight_and_suspended(small: World) -> None:
    small.servers.say("b/s1", CHECK_TEXT, "refused")
    small.servers.set("b/s1", check_status=int(Status.L4CON), check_look=IN_FLIGHT)
    row = rows(small)["b/s1"]
    assert (row["check_status"], row["last_chk"], row["status"]) == ("* L4CON", "refused", "UP 1/3")
    small.servers.set("b/s1", check_look=SUSPENDED)
    row = rows(small)["b/s1"]
    assert row["status"] == "no check" and not {"check_status", "last_chk", "chkfail"} & row.keys()


def test_csv(small: World) -> None:
    small.servers.say("b/s1", CHECK_TEXT, 'a "b", c')
    small.board.entries["b/s1"].machine.result = Result(Status.L4CON)  # type: ignore[union-attr]
    small.servers.set("b/s1", check_status=int(Status.L4CON))
    text = "".join(formats.to_csv(small.context.model.all()))
    lines = text.splitlines()
    assert lines[0].startswith("# pxname,svname,qcur,qmax,scur,") and lines[0].endswith(",proto,priv_idle_cur,-,")
    assert {line.count(",") for line in lines if '"' not in line} == {len(COLUMNS) + 1}
    table = {f"{row['# pxname']}/{row['svname']}": row for row in csv.DictReader(io.StringIO(text))}
    assert table["b/s1"]["last_chk"] == 'a "b", c'
    assert table["f/FRONTEND"]["-"] == "-" and table["b/s3"]["check_status"] == ""


def test_typed(small: World) -> None:
    lines = "".join(formats.to_typed(small.context.model.all())).splitlines()
    for wanted in (
        "F.2.0.0.pxname.1:KNSV:str:f",
        "F.2.0.7.stot.1:MCPP:u64:0",
        "F.2.0.17.status.1:SGPV:str:OPEN",
        "S.4.1.73.addr.1:CGSV:str:127.0.0.1:8001",
    ):
        assert wanted in lines
    described = "".join(formats.to_typed(small.context.model.all(), desc=True)).splitlines()
    assert 'F.2.0.7.stot.1:MCPP:u64:0:"Sessions."' in described


def test_json(small: World) -> None:
    found = json.loads("".join(formats.to_json(small.context.model.all())))
    assert len(found) == 11
    assert found[0][0] == {
        "objType": "Frontend", "proxyId": 2, "id": 0, "field": {"pos": 0, "name": "pxname"}, "processNum": 1,
        "tags": {"origin": "Key", "nature": "Name", "scope": "Service"}, "value": {"type": "str", "value": "f"},
    }  # fmt: skip
    assert "".join(formats.to_json(iter(()))) == "[]\n"


def test_every_column_has_tags_that_json_knows() -> None:
    for column in COLUMNS:
        assert column.tags[0] in formats.ORIGIN and column.tags[1] in formats.NATURE and column.tags[2] in formats.SCOPE
        assert column.type in ("str", "u32", "s32", "u64")


def test_quoting_only_where_needed() -> None:
    assert [formats.quote(text) for text in ("a", "a,b", 'a"b', "a\nb")] == ["a", '"a,b"', '"a""b"', '"a\nb"']
    row: Row = [None] * len(COLUMNS)
    assert formats.line(row) == "," * (len(COLUMNS) - 1) + ",-,\n"


def test_info(small: World) -> None:
    fields = small.context.info()
    text = "".join(info.to_text(fields))
    lines = text.splitlines()
    assert lines[0] == "Name: HAProxy"
    assert "Uptime: 0d 1h01m01s" in lines and "Uptime_sec: 3661" in lines and "node: here" in lines
    version = dict(line.split(": ", 1) for line in lines)["Version"].split(".")
    assert version[0].isdigit() and version[1].isdigit()
    assert [field.pos for field in fields] == sorted({field.pos for field in fields})
    typed = "".join(info.to_typed(fields)).splitlines()
    assert "6.Pid.1:SGPV:u32:42" in typed and "18.CumConns.1:MCPP:u32:0" in typed
    assert json.loads(info.to_json(fields))[0]["value"] == {"type": "str", "value": "HAProxy"}


def test_listeners_only_with_socket_stats(small: World) -> None:
    from forkproxy.stats.model import Model
    from forkproxy.values import replace

    frontend = replace(small.plan.frontends[0], options=frozenset({"socket-stats"}))
    model = Model(replace(small.plan, frontends=(frontend,)), small.rows, small.servers)
    row = next(model.listeners(frontend))
    assert (row[NUMBER["type"]], row[NUMBER["svname"]], row[NUMBER["proto"]], row[NUMBER["addr"]]) == (3, "sock-1", "tcpv4", "*:80")
