"""Many clients that begin at once: connected before any of them asks, and nobody waits for long, or without need."""

from __future__ import annotations

import pytest

from forkproxy.proxy.crowd import COMING, CROWD, GATHER_S, LEAVING, LOOK_S, REST_S, USUAL
from tests.session.stage import OPEN, Stage, Wire

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def heard(wires: list[Wire]) -> int:
    """How many were sent something."""
    return sum(1 for wire in wires if wire.got)


def newcomers(stage: Stage, number: int) -> list[Wire]:
    """So many clients come and ask in one turn."""
    clients = [stage.client() for _ in range(number)]
    stage.turn(*((c, GET) for c in clients))
    return clients


def http(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage in HTTP mode that nobody has been on."""
    return Stage(monkeypatch, front={"mode": "http"}, back={"mode": "http"}, connect_s=LOOK_S / 2)


def test_a_crowd_is_connected_before_any_of_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch)
    clients = newcomers(stage, CROWD)
    assert len(stage.dialled) == CROWD and heard(stage.dialled) == 0
    clients += newcomers(stage, 1)
    stage.passes(LOOK_S / 2)  # longer than "timeout connect", which is not theirs: they do not wait for the network
    assert len(stage.dialled) == CROWD + 1 and heard(stage.dialled) == 0
    stage.passes(LOOK_S / 2)
    assert heard(stage.dialled) == CROWD + 1 and stage.log == []
    stage.turn(*((up, OK) for up in stage.dialled))
    assert [c.got for c in clients] == [OK] * (CROWD + 1)


def test_a_crowd_that_is_still_coming_is_waited_for_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch)
    began = stage.clock.now
    newcomers(stage, CROWD)
    while heard(stage.dialled) == 0:
        newcomers(stage, COMING)
        stage.passes(LOOK_S)
    assert GATHER_S - 1e-9 <= stage.clock.now - began < GATHER_S + 2 * LOOK_S
    newcomers(stage, 1)  # the end of the crowd, though it is small: who came first is served first
    gone = heard(stage.dialled)
    assert 0 < gone < len(stage.dialled) and not stage.dialled[-1].got  # a turn has its limit
    while gone < len(stage.dialled):
        stage.settle()
        assert gone < heard(stage.dialled) <= gone + LEAVING
        gone = heard(stage.dialled)


def test_a_crowd_that_comes_again_at_once_is_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch)
    newcomers(stage, CROWD)
    stage.passes(LOOK_S)
    stage.passes(REST_S / 2)
    newcomers(stage, CROWD)
    assert heard(stage.dialled) == 2 * CROWD
    stage.passes(REST_S / 2)
    newcomers(stage, CROWD)
    assert heard(stage.dialled) == 2 * CROWD
    stage.passes(LOOK_S)
    assert heard(stage.dialled) == 3 * CROWD


def test_a_crowd_in_tcp_mode_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, connect_s=2.0)
    stage.clients(*[b"hello"] * CROWD)
    assert [up.got for up in stage.dialled] == [b"hello"] * CROWD


def test_who_leaves_a_crowd_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch)
    clients = newcomers(stage, CROWD)
    stage.resets(clients[3])
    assert stage.dialled[3].closed and stage.be.servers[0].served == CROWD - 1
    stage.passes(LOOK_S)
    assert heard(stage.dialled) == CROWD - 1 and [line[0] for line in stage.log] == ["CC"]


def test_a_crowd_leaves_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch)
    newcomers(stage, CROWD)
    OPEN.remove(stage.rt._bell.fd)
    stage.rt.close()
    assert heard(stage.dialled) == CROWD


def test_who_always_comes_in_such_numbers_is_no_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch)
    newcomers(stage, CROWD)
    stage.passes(LOOK_S)
    few = CROWD - 1
    for _ in range(round(REST_S * USUAL) // few + 2):
        wires = newcomers(stage, few)
        stage.passes(few / USUAL / 1.01)
        for wire in wires:
            stage.resets(wire)
    assert stage.clock.now > REST_S and heard(stage.dialled) == len(stage.dialled)
    newcomers(stage, CROWD)
    assert heard(stage.dialled) == len(stage.dialled)
    stage.passes(1.0)
    newcomers(stage, CROWD)
    assert heard(stage.dialled) == len(stage.dialled) - CROWD
