"""What leaves together: nothing is lost, nothing is sent to who has gone, and one stream's trouble is no other's."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from forkproxy.proxy import upstream
from forkproxy.proxy.crowd import LOOK_S
from forkproxy.proxy.outbox import TOGETHER
from tests.session.stage import OPEN, Stage, Wire

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
RESET = ConnectionResetError(errno.ECONNRESET, "reset")


def crowd(monkeypatch: pytest.MonkeyPatch, number: int, **more: Any) -> tuple[Stage, list[Wire], list[Wire]]:
    """A stage with clients that have had an answer each, and the connections to the server that idle since."""
    stage = Stage(
        monkeypatch, front={"mode": "http"}, back={"mode": "http", "http_reuse": "always", **more}, client_s=10.0, server_s=5.0,
        connect_s=2.0,
    )  # fmt: skip
    clients = [stage.client() for _ in range(number)]
    stage.turn(*((c, GET) for c in clients))
    stage.passes(LOOK_S)
    stage.turn(*((up, OK) for up in stage.dialled))
    assert [c.got for c in clients] == [OK] * number
    for wire in (*clients, *stage.dialled):
        wire.got = b""
    stage.log.clear()
    return stage, clients, list(stage.dialled)


def heard(wires: list[Wire]) -> int:
    """How many were sent something."""
    return sum(1 for wire in wires if wire.got)


def test_messages_of_a_turn_leave_behind_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, clients, ups = crowd(monkeypatch, 3)
    for c in clients:
        c.said.append(GET)
        stage._tell(c, 1)
    assert heard(ups) == 0
    stage.settle()
    assert heard(ups) == 3
    for up in ups:
        up.said.append(OK)
        stage._tell(up, 1)
    assert heard(clients) == 0 and stage.log == []
    stage.settle()
    assert [c.got for c in clients] == [OK] * 3 and len(stage.log) == 3


def test_many_do_not_wait_for_the_end_of_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, clients, ups = crowd(monkeypatch, TOGETHER + 3)
    for c in clients:
        c.said.append(GET)
        stage._tell(c, 1)
    assert heard(ups) == TOGETHER
    stage.settle()
    for up in ups:
        up.said.append(OK)
        stage._tell(up, 1)
    assert heard(clients) == TOGETHER
    stage.settle()
    assert [c.got for c in clients] == [OK] * (TOGETHER + 3)


def test_what_servers_answer_comes_before_what_clients_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each of thousands of clients with a request would need a connection to a server before the first answer is looked at."""
    stage, clients, ups = crowd(monkeypatch, 1)
    assert stage.watcher(clients[0]).behind and not stage.watcher(ups[0]).behind
    tcp = Stage(monkeypatch, connect_s=2.0)
    assert not tcp.watcher(tcp.client()).behind  # a relay's sides are equal, and a turn less is looked for


@pytest.mark.parametrize("data", [b"", RESET])
def test_a_server_that_closes_in_the_same_turn_costs_nothing(monkeypatch: pytest.MonkeyPatch, data: Any) -> None:
    stage, (c,), (up,) = crowd(monkeypatch, 1)
    stage.turn((c, GET), (up, data))
    assert up.closed and up.got == b""
    again = stage.dialled[-1]
    stage.stands(again)
    assert again.got.startswith(b"GET ")
    stage.says(again, OK)
    assert c.got == OK and stage.log[0][:2] == ("--", 0)


def test_a_client_that_goes_meanwhile_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, (gone, stays), ups = crowd(monkeypatch, 2)
    stage.turn((gone, GET), (stays, GET), (gone, RESET))
    assert heard(ups) == 1 and stage.log[0][0] == "CH"
    asked = next(up for up in ups if up.got)
    stage.turn((asked, OK), (stays, RESET))
    assert stays.got == b"" and stays.closed and len(stage.log) == 2
    assert stage.be.streams == 0 and stage.be.servers[0].served == 0


def test_a_connection_that_breaks_when_it_is_used_costs_only_its_stream_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, clients, ups = crowd(monkeypatch, 3)
    ups[1].error = errno.EPIPE
    stage.turn(*((c, GET) for c in clients))
    assert ups[1].closed and heard(ups) == 2
    stage.stands(stage.dialled[-1])
    stage.turn(*((up, OK) for up in stage.dialled if not up.closed))
    assert [c.got for c in clients] == [OK] * 3


def test_an_answer_that_breaks_costs_only_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, clients, ups = crowd(monkeypatch, 3)
    stage.turn(*((c, GET) for c in clients))
    clients[1].error = errno.EPIPE
    clients[2].room = 10
    stage.turn(*((up, OK) for up in ups))
    assert clients[0].got == OK and clients[1].closed and clients[2].got == OK[:10]
    assert [line[0] for line in stage.log] == ["CD", "--"]
    stage.takes(clients[2])
    assert clients[2].got == OK and len(stage.log) == 3


def test_a_fault_of_ours_in_one_of_them_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, clients, ups = crowd(monkeypatch, 3)
    faults: list[Exception] = []
    stage.rt._others_fault = lambda _w, exc: faults.append(exc)
    stage.turn(*((c, GET) for c in clients))

    def send(_data: Any) -> int:
        raise RuntimeError("a fault")

    monkeypatch.setattr(clients[1], "send", send)
    stage.turn(*((up, OK) for up in ups))
    assert [c.got for c in clients] == [OK, b"", OK] and len(faults) == 1 and clients[1].closed


def test_a_request_with_a_body_is_not_overtaken_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, (c,), (up,) = crowd(monkeypatch, 1)
    c.said.append(POST + b"abc")
    stage._tell(c, 1)
    c.said.append(b"defghi")
    stage._tell(c, 1)
    stage.settle()
    assert up.got.endswith(b"\r\n\r\nabcdefghi")
    stage.says(up, OK)
    assert c.got == OK


def test_what_waits_leaves_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, (c,), (up,) = crowd(monkeypatch, 1)
    c.said.append(GET)
    stage._tell(c, 1)
    OPEN.remove(stage.rt._bell.fd)
    stage.rt.close()
    assert up.got.startswith(b"GET ")


@pytest.mark.interpreted
def test_connections_of_a_turn_are_begun_before_anything_is_sent_over_them(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, front={"mode": "http"}, back={"mode": "http"})
    clients = [stage.client() for _ in range(3)]
    seen: list[tuple[str, int]] = []
    begin, try_at_once = upstream.dial, upstream.try_at_once

    def dial(s: Any, srv: Any) -> Any:
        seen.append(("begun", s.client.fd))
        return begin(s, srv)

    def tried(up: Any, s: Any) -> None:
        seen.append(("sent", s.client.fd))
        try_at_once(up, s)

    monkeypatch.setattr(upstream, "dial", dial)
    monkeypatch.setattr(upstream, "try_at_once", tried)
    fds = [c.fd for c in clients]
    stage.turn(*[(c, GET) for c in clients])
    assert seen == [("begun", fd) for fd in fds] + [("sent", fd) for fd in fds]
    assert all(b"GET / " in up.got for up in stage.dialled)


def test_who_went_in_the_same_turn_needs_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"mode": "http", "options": frozenset({"abortonclose"})}
    stage = Stage(monkeypatch, front=options, back=options)
    c, other = stage.client(), stage.client()
    stage.turn((c, GET), (other, GET), (c, b""))
    assert len(stage.dialled) == 1 and stage.be.servers[0].served == 1
    assert other.fd >= 0 and not other.closed and stage.log[0][0][0] == "C"
