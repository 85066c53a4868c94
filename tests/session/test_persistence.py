"""Persistence where a server comes and goes: draining and maintenance, redispatch, forced persistence, cookies of remote desktops."""

from __future__ import annotations

from typing import Any

import pytest

from forkproxy.plan import Cookie
from forkproxy.proxy.persistence import read_time, write_time
from forkproxy.state.servers import STOPPED
from tests.session.stage import Stage, Wire
from tests.unit.wire.test_rdp import rdp_request

INSERT = Cookie(name=b"S", mode="insert", indirect=True)
DRAIN, MAINT = 0x08, 0x01


def theatre(mp: pytest.MonkeyPatch, *, options: frozenset[str] = frozenset(), **back: Any) -> Stage:
    more: dict[str, Any] = {"mode": "http", "cookie": INSERT, "options": options, **back}
    return Stage(mp, servers=3, front={"mode": "http"}, back=more, client_s=10.0, server_s=5.0, connect_s=1.0, queue_s=9.0)


def ask(stage: Stage, cookie: bytes = b"") -> Wire:
    client = stage.client()
    stage.says(client, b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"Cookie: S=" + cookie + b"\r\n" if cookie else b"") + b"\r\n")
    return client


def answered(stage: Stage, client: Wire) -> bytes:
    """The cookie that the client is given; b"" none."""
    stage.stands(stage.dialled[-1])
    stage.says(stage.dialled[-1], b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    head = client.got.partition(b"\r\n\r\n")[0]
    return next((line[12:] for line in head.split(b"\r\n") if line.startswith(b"set-cookie: ")), b"")


def test_clients_come_back_to_their_server(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch)
    for _ in range(3):
        client = ask(stage, b"c1")
        assert stage.ports[-1] == 1001 and b"ookie" not in stage.dialled[-1].got
        assert answered(stage, client) == b""
    assert answered(stage, ask(stage)) == b"S=c0; path=/"


@pytest.mark.parametrize(
    ("admin", "op", "port", "cookie"), [(DRAIN, None, 1001, b""), (MAINT, None, 1000, b"S=c0; path=/"), (0, STOPPED, 1000, b"S=c0; path=/")]
)
def test_only_its_own_clients_come_to_a_server_that_drains(
    monkeypatch: pytest.MonkeyPatch, admin: int, op: int | None, port: int, cookie: bytes
) -> None:
    stage = theatre(monkeypatch)
    stage.rt.state.servers.set("b/s1", srv_admin=admin, **({} if op is None else {"srv_op": op}))
    stage.rt.refresh()
    client = ask(stage, b"c1")
    assert stage.ports == [port] and answered(stage, client) == cookie
    for _ in range(3):
        ask(stage)
    assert 1001 not in stage.ports[1:]


def test_who_waits_for_a_draining_server_gets_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(
        monkeypatch, servers=2, front={"mode": "http"}, back={"mode": "http", "cookie": INSERT}, server={"maxconn": 1}, client_s=9.0
    )
    first = ask(stage, b"c1")
    stage.rt.state.servers.set("b/s1", srv_admin=DRAIN)
    stage.rt.refresh()
    second = ask(stage, b"c1")
    assert stage.ports == [1001]
    assert answered(stage, first) == b""
    assert stage.ports in ([1001, 1001], [1001]) and b"S=c1" not in second.got
    stage.says(stage.dialled[-1], b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert second.got.startswith(b"HTTP/1.1 200 ")


def test_a_server_that_cannot_be_reached_loses_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch, redispatch=1)
    stage.refuse = {1001}
    client = ask(stage, b"c1")
    stage.passes(1.1)
    assert stage.ports[0] == 1001 and stage.ports[-1] != 1001
    assert answered(stage, client) == b"S=c%d; path=/" % (stage.ports[-1] - 1000)


def test_forced_persistence_goes_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch, redispatch=1, retries=1, persist_rules=((lambda txn: True, True),))
    stage.rt.state.servers.set("b/s1", srv_op=STOPPED)
    stage.rt.refresh()
    stage.refuse = {1001}
    client = ask(stage, b"c1")
    stage.passes(1.1)
    assert stage.ports == [1001, 1001] and client.got.startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(
    ("cookie", "port"),
    [
        (b"msts=16777343.59651.0000", 1001),  # 127.0.0.1 and 1001 as a little-endian machine writes them
        (b"msts=16777343.59907.0000", 1002),
        (b"msts=16777343.1001.0000", 1000),
        (b"msts=16777343.59651", 1000),
        (b"other=16777343.59651.0000", 1000),
        (b"msts=99999999999.59651.0000", 1000),
    ],
)
def test_remote_desktops(monkeypatch: pytest.MonkeyPatch, cookie: bytes, port: int) -> None:
    def hold(txn: Any) -> Any:
        from forkproxy.rules.verdict import WAIT

        return None if txn.body else WAIT

    stage = Stage(monkeypatch, servers=3, front={"tcp_request_content": (hold,), "inspect_delay_s": 1.0}, back={"rdp_cookie": b"msts"})
    stage.says(stage.client(), rdp_request(cookie))
    assert stage.ports == [port]


def test_times_in_cookies() -> None:
    assert write_time(1_700_000_002.9) == write_time(1_700_000_000) == b"ZVPxA"
    assert read_time(b"ZVPxA") == read_time(b"ZVPxA|rest") == 1_700_000_000
    assert read_time(b"ZVPx") == read_time(b"ZVPx!") == 0
