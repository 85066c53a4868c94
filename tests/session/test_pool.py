"""Idle connections to servers: which of them a request gets, and that those which go are gone."""

from __future__ import annotations

import pytest

from forkproxy.proxy import pool
from forkproxy.state.layout import IDLE_CUR, IDLE_SAFE, IDLE_UNSAFE, USED_CUR
from tests.session.stage import Stage, Wire

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def proven(mp: pytest.MonkeyPatch, number: int, policy: str = "safe") -> tuple[Stage, list[Wire], list[Wire]]:
    """So many clients, and as many idle connections that carried two requests each; the last of them came last."""
    stage = Stage(mp, front={"mode": "http"}, back={"mode": "http", "http_reuse": policy})
    clients = [stage.client() for _ in range(number)]
    for _ in range(2):
        stage.turn(*((c, GET) for c in clients))
        assert len(stage.dialled) == number, "the second requests take what is idle"
        for up in stage.dialled:
            stage.says(up, OK)
    forget(stage, clients)
    return stage, clients, stage.dialled


def forget(stage: Stage, clients: list[Wire]) -> None:
    for wire in (*stage.dialled, *clients):
        wire.got = b""


def asks(stage: Stage, client: Wire) -> Wire:
    """Who gets its request."""
    forget(stage, [])
    stage.says(client, GET)
    (up,) = (wire for wire in stage.dialled if wire.got)
    return up


def counted(stage: Stage) -> tuple[int, ...]:
    """Idle ones, those of them that are fresh, those that are proven, and who is served."""
    srv = stage.be.servers[0]
    srv.second()
    return tuple(srv.count.row[cell] for cell in (IDLE_CUR, IDLE_UNSAFE, IDLE_SAFE, USED_CUR))


def test_the_last_one_that_came_is_taken_first(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, clients, ups = proven(monkeypatch, 3)
    assert counted(stage) == (3, 0, 3, 0)
    assert [asks(stage, c) for c in clients] == ups[::-1]
    assert counted(stage) == (0, 0, 0, 3)
    for up in (ups[1], ups[2], ups[0]):
        stage.says(up, OK)
    assert asks(stage, clients[0]) is ups[0]
    stage.says(ups[0], OK)
    assert [asks(stage, c) for c in clients] == [ups[0], ups[2], ups[1]]
    assert len(stage.dialled) == 3


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_one_that_the_server_closed_is_given_to_nobody(monkeypatch: pytest.MonkeyPatch, gone: int) -> None:
    stage, clients, ups = proven(monkeypatch, 3)
    stage.says(ups[gone], b"")
    assert ups[gone].closed and counted(stage) == (2, 0, 2, 0)
    rest = [up for up in ups[::-1] if up is not ups[gone]]
    assert [asks(stage, c) for c in clients[:2]] == rest
    asks(stage, clients[2])
    assert len(stage.dialled) == 4


def test_all_go_with_their_server(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, clients, ups = proven(monkeypatch, 3)
    pool.clear(stage.be.servers[0])
    assert all(up.closed for up in ups) and counted(stage) == (0, 0, 0, 0)
    asks(stage, clients[0])
    assert len(stage.dialled) == 4


@pytest.mark.parametrize(("policy", "takes"), [("safe", False), ("aggressive", True), ("always", True)])
def test_a_first_request_takes_a_proven_one_where_it_may(monkeypatch: pytest.MonkeyPatch, policy: str, takes: bool) -> None:
    stage, _clients, ups = proven(monkeypatch, 2, policy)
    assert (asks(stage, stage.client()) is ups[1]) == takes
