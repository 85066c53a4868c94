"""What commands of the runtime CLI do inside a worker, as transcripts: the order is given between two events of its clients and servers."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from forkproxy.balance import SCALE
from forkproxy.plan import Address, Balance, Server
from forkproxy.proxy.captures import locate
from forkproxy.registry import ORDERS, gather
from forkproxy.rules.patternfiles import PatternFiles
from forkproxy.state import layout, rates
from forkproxy.state.doors import FULL, OPEN
from forkproxy.state.servers import RUNNING
from forkproxy.values import replace
from tests.session.stage import Stage, Wire

gather("forkproxy.proxy.orders")

HTTP = {"mode": "http"}
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return theatre(monkeypatch)


def theatre(mp: pytest.MonkeyPatch, **more: Any) -> Stage:
    return Stage(mp, servers=2, front=dict(HTTP), back=dict(HTTP), client_s=10.0, server_s=5.0, connect_s=1.0, queue_s=2.0, **more)


def give(stage: Stage, what: str, **fields: Any) -> Any:
    answer = ORDERS[what](stage.rt, **fields)
    if isinstance(answer, Iterable) and not isinstance(answer, (str, list, dict)):
        answer = "".join(answer)
    stage.settle()
    return answer


def asked(stage: Stage, raw: bytes = GET) -> tuple[Wire, Wire]:
    """A client with a request that is with a server."""
    c = stage.client()
    stage.says(c, raw)
    up = stage.dialled[-1]
    stage.stands(up)
    return c, up


def test_streams_are_shown_as_far_as_they_fit(stage: Stage) -> None:
    stage.client()
    c, up = asked(stage)
    stage.passes(3.0)
    line = give(stage, "show sess")
    assert line.startswith("0x1") and line.count("\n") == 1  # the idle client has no stream
    assert " proto=tcpv4 src=192.0.2.1:40000 fe=f be=b srv=s0 ts=00 " in line and " age=3s " in line
    assert f"scf=[8,0h,fd={c.fd}] scb=[8,0h,fd={up.fd}] exp=2s rc=0" in line
    for fits in ({"frontend": "f"}, {"backend": "b"}, {"server": "b/s0"}, {"older": 2.5}):
        assert give(stage, "show sess", **fits) == line, fits
    for other in ({"frontend": "x"}, {"backend": "x"}, {"server": "b/s1"}, {"older": 3.5}):
        assert give(stage, "show sess", **other) == "", other
    assert give(stage, "show sess", uri=True).endswith(" uri=/x\n")
    whole = give(stage, "show sess", whole=True)
    assert whole.startswith(line.partition(":")[0]) and "\n  server=s0 (id=1)" in whole and "\n  txn=GET /x status=0\n" in whole
    number = int(line.partition(":")[0], 16)
    assert give(stage, "show one sess", number=number) == whole
    assert give(stage, "show one sess", number=number + 1) == ""


def test_a_stream_that_is_shut_down_is_answered_and_logged(stage: Stage) -> None:
    c, up = asked(stage)
    number = int(give(stage, "show sess").partition(":")[0], 16)
    assert give(stage, "shutdown session", number=number + 1) is False
    assert not c.closed
    assert give(stage, "shutdown session", number=number) is True
    assert c.got.startswith(b"HTTP/1.1 502 ") and up.closed
    assert stage.log[-1][0].startswith("K")


def test_all_streams_of_one_server_are_shut_down(stage: Stage) -> None:
    first, up = asked(stage)
    second, other = asked(stage)
    assert stage.ports == [1000, 1001]
    give(stage, "shutdown sessions server", server="b/s0")
    assert (first.got[:13], second.got, up.closed, other.closed) == (b"HTTP/1.1 502 ", b"", True, False)
    with pytest.raises(LookupError, match="No such server"):
        give(stage, "shutdown sessions server", server="b/x")


def test_a_higher_limit_of_a_server_moves_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch, server={"maxconn": 1})
    for _ in range(2):
        asked(stage)
    waiting = stage.client()
    stage.says(waiting, GET)
    assert len(stage.dialled) == 2
    stage.limit("b/s1", 2)
    give(stage, "set server maxconn", server="b/s1", maxconn=2)
    stage.rings()
    assert stage.ports == [1000, 1001, 1001]
    third = stage.client()
    stage.says(third, GET)
    assert len(stage.dialled) == 3  # both are full again
    stage.limit("b/s0", 0)
    give(stage, "set server maxconn", server="b/s0", maxconn=0)
    stage.rings()
    assert stage.ports[3:] == [1000]
    assert stage.be.plan.servers[0].maxconn == 0 and stage.be.plan.servers[1].maxconn == 2


def test_another_address_is_for_new_connections(stage: Stage) -> None:
    c, up = asked(stage)
    stage.says(up, OK)
    assert c.got.endswith(b"ok") and not up.closed
    busy, other = asked(stage)
    assert stage.ports == [1000, 1001]
    for server in ("b/s0", "b/s1"):
        give(stage, "set server address", server=server, address=["ipv4", "127.0.0.9", 2000, False], cookie="")
    assert up.closed and not other.closed and not busy.closed  # idle, and in the middle of something
    asked(stage)
    assert stage.ports[2:] == [2000]


def test_a_frontend_that_gets_a_limit_counts_what_it_has(stage: Stage) -> None:
    clients = [stage.client() for _ in range(2)]
    stage.limit("f/<frontend>", 2)
    give(stage, "set frontend maxconn", frontend="f", maxconn=2)
    door = stage.at.door
    assert clients and door.enter(stage.clock.now) == FULL
    stage.limit("f/<frontend>", 0)
    assert door.enter(stage.clock.now) == OPEN
    door.leave()
    stage.limit("", 2)
    assert door.enter(stage.clock.now) == FULL


def test_leastconn_remembers_what_is_under_way_when_servers_change(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, servers=2, front=dict(HTTP), back={**HTTP, "balance": Balance("leastconn")}, server_s=5.0, connect_s=1.0)
    for _ in range(3):
        asked(stage)
    assert stage.ports == [1000, 1001, 1000]
    give(stage, "set server maxconn", server="b/s0", maxconn=10)
    asked(stage)
    assert stage.ports[3:] == [1001]


def test_a_backend_that_is_not_published_is_passed_over(stage: Stage) -> None:
    for hidden, status in ((True, b" 503 "), (False, b"")):
        give(stage, "publish backend", backend="b", unpublished=hidden)
        stage.says(c := stage.client(), GET)
        assert status in c.got and bool(stage.dialled) is not hidden


def test_a_held_frontend_accepts_again_unless_all_pause(stage: Stage) -> None:
    told: list[str] = []
    listener: Any = SimpleNamespace(watch=lambda: told.append("watch"), unwatch=lambda: told.append("unwatch"))
    stage.fe.listeners.append(listener)
    give(stage, "hold frontend", frontend="f", held="PAUSED")
    assert told == ["unwatch"] and stage.fe.plan.held == "PAUSED"
    give(stage, "hold frontend", frontend="f", held="")
    assert told == ["unwatch", "watch"]
    stage.rt.paused = True
    give(stage, "hold frontend", frontend="f", held="")
    assert told == ["unwatch", "watch"]


def test_counters_are_cleared_and_gauges_are_not(stage: Stage) -> None:
    _c, up = asked(stage)
    stage.says(up, OK)
    asked(stage)  # this one stays, and counts at both ends of the way but the frontend's
    fe, be = stage.fe.count.row, stage.be.count.row
    assert (fe[layout.REQ_TOT], fe[layout.SESS_MAX], be[layout.SESS_MAX], be[layout.SESS_TOT]) == (1, 2, 1, 2)
    give(stage, "clear counters", everything=False)
    assert (fe[layout.REQ_TOT], be[layout.SESS_TOT], be[layout.SESS_CUR], be[layout.SESS_MAX]) == (1, 2, 1, 1)
    give(stage, "clear counters", everything=True)
    assert (fe[layout.REQ_TOT], be[layout.SESS_TOT], be[layout.SESS_CUR], fe[layout.SESS_CUR]) == (0, 0, 1, 2)


def test_a_server_comes_and_goes(stage: Stage) -> None:
    from forkproxy.proxy.portable import pack

    server = Server(name="n", address=Address("ipv4", "127.0.0.1", 3000), backend="b", id=3, weight=1, maxconn=7, cookie=b"\xe9")
    names = stage.rt.state.rows.names
    stage.rt.state.names = names
    row = names.allocate(server.key)
    stage.rt.area.place(row, names.row("b/<backend>"))
    stage.limit(server.key, 7)
    give(stage, "add server", server=pack(server), row=row)
    assert stage.be.servers[2].plan == server and not stage.be.usable(2)
    assert give(stage, "server busy", server="b/n") == 0
    stage.rt.state.servers.set(server.key, srv_op=RUNNING, weight=SCALE, uweight=1)
    stage.rt.refresh()
    for _ in range(3):
        asked(stage)
    assert sorted(stage.ports) == [1000, 1001, 3000]
    (its_rate,) = rates.pairs(row * layout.ROW_CELLS, "S")
    assert its_rate in stage.rt._rates
    assert give(stage, "server busy", server="b/n") == 1
    stage.says(stage.dialled[stage.ports.index(3000)], OK)
    assert give(stage, "server busy", server="b/n") == 0
    assert [gate.owner.name for gate in stage.be.limit().gates] == ["n"]
    give(stage, "del server", server="b/n")
    assert not stage.be.limit().gates
    assert stage.dialled[stage.ports.index(3000)].closed and its_rate not in stage.rt._rates
    for _ in range(4):
        asked(stage)
    assert stage.ports.count(3000) == 1 and [s.index for s in stage.be.servers] == [0, 1]
    give(stage, "del server", server="b/s0")
    assert [s.index for s in stage.be.servers] == [0] and stage.be.by_name.keys() == {"s1"}
    asked(stage)
    assert stage.ports[-1] == 1001
    assert give(stage, "server busy", server="b/n") == 0


def test_bad_messages_are_kept_the_last_of_each_side(stage: Stage) -> None:
    for path in (b"/a\x01", b"/bb\x01"):
        stage.says(stage.client(), b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    _c, up = asked(stage)
    bad = b"HTTP/1.1 200 OK\r\nBad Header: x\r\n\r\n"
    stage.says(up, bad)
    kept = {one["request"]: one for one in give(stage, "show errors")}
    assert (kept[True]["fe"], kept[True]["be"], kept[True]["at"], kept[True]["src"]) == ("f", "", 7, "192.0.2.1")
    assert (kept[False]["be"], kept[False]["srv"], kept[False]["at"]) == ("b", "s0", bad.index(b" Header"))
    assert base64.b64decode(kept[False]["data"]) == bad


@pytest.mark.parametrize(
    ("head", "request_", "at"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True, -1),
        (b"\r\nG(T / HTTP/1.1\r\n\r\n", True, 3),
        (b"GET /\x7f HTTP/1.1\r\n\r\n", True, 5),
        (b"GET / HTTP/1.x\r\n\r\n", True, 6),
        (b"GET / HTTP/1.1\r\na b: c\r\n\r\n", True, 17),
        (b"GET / HTTP/1.1\r\na: b\0c\r\n\r\n", True, 20),
        (b"GET / HTTP/1.1\r\na: b\rc\r\n\r\n", True, 20),
        (b"GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n", True, -1),
        (b"HTTP/1.1 20x OK\r\n\r\n", False, 9),
        (b"HTTP/1.1 200\r\nx: y\r\n\r\n", False, -1),
        (b"junk", False, 0),
    ],
)
def test_the_byte_at_fault(head: bytes, request_: bool, at: int) -> None:
    assert locate(head, request_) == at


def test_what_a_worker_knows_of_itself(stage: Stage) -> None:
    c, up = asked(stage)
    lines = give(stage, "show fd").splitlines()
    assert any(f" {c.fd} : " in line and "fe=f src=192.0.2.1:40000 busy" in line for line in lines)
    assert any(f" {up.fd} : " in line and "sv=b/s0 busy uses=1" in line for line in lines)
    assert len(give(stage, "show fd", kinds="s").splitlines()) == 1
    assert give(stage, "show fd", only=c.fd).count("\n") == 1
    activity = give(stage, "show activity")
    assert (activity["streams"], activity["connections"], activity["accepted"]) == (1, 1, 1)
    odd = type("Odd", (), {"__module__": property(str), "held": []})()  # as classes of extension modules have it
    assert give(stage, "show pools")["Stream"][0] >= 1 and odd.held == [] and give(stage, "show pools")["buffers"][0] == 1
    assert give(stage, "show tasks") == {"Runtime._second": 1}


@pytest.mark.interpreted
def test_time_and_memory_are_measured_while_somebody_wants_it(stage: Stage) -> None:
    for kind in ("tasks", "memory"):
        assert give(stage, "show profiling", kind=kind) == []
    for kind in ("tasks", "memory"):
        give(stage, "set profiling", kind=kind, on=True)
    try:
        for _ in range(3):
            asked(stage)
        lines = {name: (blocks, size) for name, blocks, size in give(stage, "show profiling", kind="memory")}
        assert any(name.startswith("proxy/") and blocks > 0 and size > 0 for name, (blocks, size) in lines.items())
    finally:
        for kind in ("tasks", "memory"):
            give(stage, "set profiling", kind=kind, on=False)
    asked(stage)
    rows = {name: (calls, own_s, all_s) for name, calls, own_s, all_s in give(stage, "show profiling", kind="tasks")}
    calls, own_s, all_s = rows["proxy/client.py:await_head"]
    assert calls == 3 and 0.0 < own_s < all_s, "what was measured stays, nothing is added"
    assert give(stage, "show profiling", kind="memory") == []
    give(stage, "set profiling", kind="tasks", on=True)
    give(stage, "set profiling", kind="tasks", on=False)
    assert "proxy/client.py:await_head" not in [row[0] for row in give(stage, "show profiling", kind="tasks")], "from nothing"


def test_expressions_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch)
    stage.rt.plan = replace(stage.rt.plan, objects={"patterns": PatternFiles()})
    assert give(stage, "evaluate", words=["srv_is_up(b/s1)"], as_format=False) is True
    assert give(stage, "evaluate", words=["nbsrv(b),add(1)"], as_format=False) == 3
    assert give(stage, "evaluate", words=["%[nbsrv(b)]-x"], as_format=True) == "2-x"
    assert give(stage, "evaluate", words=["var(proc.nobody_set_it)"], as_format=False) is None
    for wrong, why in (
        ("nbsrv(nope)", "unable to find backend 'nope'"), ("srv_conn(b/nope)", "unable to find server"), ("fe_conn(b)", "frontend"),
        ("src", "may not be used in 'CLI'"), ("str(a),map(/file)", "cannot be loaded at run time"), ("wait_end", "needs a stream"),
        ("str(a) str(b)", "unexpected argument 'str"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            give(stage, "evaluate", words=wrong.split(), as_format=False)
