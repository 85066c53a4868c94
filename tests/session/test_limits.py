"""Transcripts of limits: who is let in, who waits, and what each way out of a queue or a connection gives back. The shared cells are
real."""

from __future__ import annotations

from typing import Any

import pytest

from forkproxy.net.loop import READ, Loop
from forkproxy.proxy import finish
from forkproxy.proxy.listener import Listener
from forkproxy.proxy.listener import ready as accept_from
from forkproxy.rules.verdict import REJECT
from forkproxy.state.doors import FULL, OPEN
from forkproxy.state.limits import LIMIT, SESS_LIMIT, TOTAL, WAITING
from forkproxy.state.segment import LIMIT_CELLS
from forkproxy.state.servers import STOPPED
from tests.session.stage import Stage, Wire

CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
KEEP = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def http(mp: pytest.MonkeyPatch, front: dict[str, Any] | None = None, **more: Any) -> Stage:
    times: dict[str, Any] = {"client_s": 10.0, "server_s": 5.0, "connect_s": 2.0, "queue_s": 3.0}
    return Stage(mp, front={"mode": "http", **(front or {})}, back={"mode": "http", **more.pop("back", {})}, **more, **times)


def cell(stage: Stage, key: str, which: int) -> int:
    row: int = stage.rt.state.rows.names.row(key)
    return stage.rt.area.cells[row * LIMIT_CELLS + which]


def asks(stage: Stage, count: int) -> list[Wire]:
    clients = [stage.client() for _ in range(count)]
    for c in clients:
        stage.says(c, CLOSE)
    return clients


def test_every_way_out_gives_back_what_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch, server={"maxconn": 2, "minconn": 1}, back={"fullconn": 2})
    served, aborted, late, gone = asks(stage, 2), asks(stage, 1), asks(stage, 1), asks(stage, 1)
    assert [cell(stage, "b/s0", which) for which in (TOTAL, WAITING)] == [2, 0]
    assert [cell(stage, "b/<backend>", which) for which in (TOTAL, WAITING)] == [5, 3]
    assert cell(stage, "", TOTAL) == 5
    stage.resets(gone[0])
    assert cell(stage, "b/<backend>", WAITING) == 2 and cell(stage, "", TOTAL) == 4
    for wire in stage.dialled[:1]:
        stage.stands(wire)
        stage.says(wire, OK)
    assert served[0].got.endswith(b"ok") and len(stage.dialled) == 3, "the next one has its slot"
    stage.resets(aborted[0])
    assert len(stage.dialled) == 4
    stage.stands(stage.dialled[3])
    stage.says(stage.dialled[3], OK)
    assert late[0].got.endswith(b"ok")
    stage.fails(stage.dialled[1])
    stage.passes(60.0)
    stage.passes(60.0)
    assert served[1].got.startswith(b"HTTP/1.1 50")
    for key in ("b/s0", "b/<backend>", ""):
        assert [cell(stage, key, which) for which in (TOTAL, WAITING)] == [0, 0], key


def test_time_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch, server={"maxconn": 1})
    clients = asks(stage, 2)
    stage.passes(3.1)
    assert clients[1].got.startswith(b"HTTP/1.1 503") and stage.log[0][0] == "sQ"
    assert cell(stage, "b/<backend>", WAITING) == 0 and cell(stage, "b/s0", TOTAL) == 1


def test_who_was_given_a_slot_and_goes_gives_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch, server={"maxconn": 1})
    asks(stage, 3)
    server = stage.dialled[0]
    stage.stands(server)
    second = min((c.stream for c in stage.rt.clients if c.stream is not None and c.stream.waiting), key=lambda s: s.id)
    watched = stage.watcher(server)
    server.said.append(OK)
    watched.ready(watched, READ)  # and in the same turn, before anything else:
    finish.client_gone(second)
    stage.settle()
    stage.settle()
    assert len(stage.dialled) == 2 and cell(stage, "b/s0", TOTAL) == 1 and cell(stage, "b/<backend>", WAITING) == 0


def test_a_server_that_is_down_takes_nobody_from_the_backends_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch, server={"maxconn": 1})
    clients = asks(stage, 2)
    stage.rt.state.servers.set("b/s0", srv_op=STOPPED)
    stage.rt.refresh()
    stage.stands(stage.dialled[0])
    stage.says(stage.dialled[0], OK)
    assert clients[0].got.endswith(b"ok") and len(stage.dialled) == 1


def test_a_slow_start_holds_the_limit_down(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch, server={"maxconn": 4, "slowstart_s": 10.0})
    stage.rt.state.servers.set("b/s0", throttle=50)
    stage.rt.refresh()
    asks(stage, 4)
    assert len(stage.dialled) == 2
    stage.rt.state.servers.set("b/s0", throttle=0)
    stage.rt.refresh()
    stage.passes(1.1)
    assert len(stage.dialled) == 4, "who waits looks once a second, should nobody wake him"


def test_who_is_refused_is_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch, {"tcp_request_connection": (lambda txn: REJECT,)})
    stage.rt.area.set(stage.rt.state.rows.names.row("f/<frontend>"), SESS_LIMIT, 2)
    for _ in range(3):
        assert stage.client().closed
    stage.settle()
    door = stage.at.door
    now = stage.clock.now
    assert [door.enter(now), door.enter(now), door.enter(now) > 0] == [OPEN, OPEN, True]
    assert cell(stage, "", TOTAL) == 2


def test_a_connection_that_moves_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch)
    stage.rt.area.set(0, LIMIT, 1)
    c = stage.client()
    stage.says(c, KEEP)
    stage.stands(stage.dialled[0])
    stage.says(stage.dialled[0], OK)
    stage.rt.heirs(lambda sock, note: True, ())
    stage.rt.drain(None)
    stage.settle()
    door = stage.at.door
    assert c.closed and door.enter(stage.clock.now) == FULL, "it is on its way to another worker"
    stage.fe.resumed(stage.at)  # which lets it in whatever the limit says
    assert cell(stage, "", TOTAL) == 2
    stage.passes(1.0)
    assert cell(stage, "", TOTAL) == 1


@pytest.mark.interpreted
def test_a_refused_listener_has_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch)
    stage.rt.area.set(stage.rt.state.rows.names.row("f/<frontend>"), SESS_LIMIT, 1)
    assert stage.at.door.enter(stage.clock.now) == OPEN
    later: list[float] = []
    call_later = Loop.call_later

    def counted(loop: Loop, delay_s: float, *args: Any) -> Any:
        later.append(delay_s)
        return call_later(loop, delay_s, *args)

    monkeypatch.setattr(Loop, "call_later", counted)
    sockets: list[Any] = [Wire("listener") for _ in range(2)]
    listeners = [Listener(stage.rt, stage.at, sock, True) for sock in sockets]
    for one in listeners:
        accept_from(one, READ)
    for _ in range(5):
        stage.rings()
    assert later == [1.0, 1.0] and not any(one.on for one in listeners)
    for sock in sockets:
        sock.close()
