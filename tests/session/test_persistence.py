"""Persistence where a server comes and goes: draining and maintenance, redispatch, forced persistence, cookies of remote desktops."""

from __future__ import annotations

from typing import Any

import pytest

from forkproxy.plan import Cookie
from forkproxy.proxy.accesslog import Target
from forkproxy.proxy.persistence import read_time, write_time
from forkproxy.state.layout import LBTOT, SESS_TOT
from forkproxy.state.names import backend_key
from forkproxy.state.servers import RUNNING, STOPPED
from forkproxy.values import replace
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
    totals = [stage.rt.state.rows.totals(key) for key in ("b/s0", "b/s1", backend_key("b"))]
    assert [(total[SESS_TOT], total[LBTOT]) for total in totals] == [(1, 1), (3, 0), (4, 1)], "the algorithm was asked once"


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


@pytest.mark.parametrize(("admin", "op", "ended"), [(DRAIN, None, False), (MAINT, None, True), (0, STOPPED, True)])
def test_streams_end_when_their_server_is_marked_down_but_not_when_it_drains(
    monkeypatch: pytest.MonkeyPatch, admin: int, op: int | None, ended: bool
) -> None:
    more: dict[str, Any] = {"server": {"on_marked_down": "shutdown-sessions"}, "client_s": 10.0, "server_s": 5.0, "connect_s": 1.0}
    stage = Stage(monkeypatch, servers=2, front={"mode": "http"}, back={"mode": "http", "cookie": INSERT}, **more)
    mine, other = ask(stage, b"c1"), ask(stage, b"c0")
    for wire in stage.dialled:
        stage.stands(wire)
    stage.rt.state.servers.set("b/s1", srv_admin=admin, **({} if op is None else {"srv_op": op}))
    stage.rt.refresh()
    assert (mine.closed or mine.got.startswith(b"HTTP/1.1 5")) == ended
    assert not other.closed and not other.got


@pytest.mark.parametrize("word", ["shutdown-backup-sessions", ""])
def test_streams_on_backups_end_when_a_better_server_comes_up(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    stage = Stage(monkeypatch, servers=2, server={"on_marked_up": word}, client_s=9.0, connect_s=1.0)
    good, backup = stage.be.servers
    backup.plan = replace(backup.plan, backup=True)
    stage.be.settle([good, backup])
    stage.rt.state.servers.set("b/s0", srv_op=STOPPED)
    stage.rt.refresh()
    client = stage.client()
    assert stage.ports == [1001]
    stage.stands(stage.dialled[-1])
    stage.rt.state.servers.set("b/s0", srv_op=RUNNING)
    stage.rt.refresh()
    assert client.closed == bool(word)
    assert [line[0] for line in stage.log] == (["U-"] if word else [])


def test_requests_tell_each_server_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch, cookie=None, name_header=b"x-srv", redispatch=1)
    stage.refuse = {1000}
    client = stage.client()
    stage.says(client, b"POST / HTTP/1.1\r\nHost: a\r\nX-SRV: mine\r\nx-srv: mine\r\nContent-Length: 9\r\n\r\nx-srv: y\n")
    stage.passes(1.1)
    assert stage.ports == [1000, 1001]
    stage.stands(stage.dialled[-1])
    assert stage.dialled[-1].got == b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nx-srv: s1\r\n\r\nx-srv: y\n"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Set-Cookie: a=b\r\nETag: x\r\n", 502),
        (b"Set-Cookie: a=b\r\nCache-Control: max-age=9\r\n", 502),
        (b"Set-Cookie: a=b\r\n", 200),
        (b"ETag: x\r\n", 200),
        (b"Set-Cookie: a=b\r\nETag: x\r\nCache-Control: private\r\n", 200),
        (b'Set-Cookie: a=b\r\nETag: x\r\nCache-Control: no-cache="set-cookie, x"\r\n', 200),
        (b"Set-Cookie: a=b\r\nETag: x\r\nPragma: no-cache\r\n", 200),
    ],
)
def test_answers_whose_cookie_a_cache_would_store(monkeypatch: pytest.MonkeyPatch, fields: bytes, status: int) -> None:
    stage = theatre(monkeypatch, cookie=None, options=frozenset({"checkcache"}))
    said: list[bytes] = []
    stage.fe.log.targets = [Target(7, 0, lambda level, wall, line: said.append(b"%d " % level + line))]
    client = ask(stage)
    stage.stands(stage.dialled[-1])
    stage.says(stage.dialled[-1], b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 0\r\n\r\n")
    assert client.got.startswith(b"HTTP/1.1 %d " % status)
    if status == 502:
        assert stage.log[0][0] == "PH"
        assert said[0] == b"1 Blocking cacheable cookie in response from instance b, server s0."


def test_times_in_cookies() -> None:
    assert write_time(1_700_000_002.9) == write_time(1_700_000_000) == b"ZVPxA"
    assert read_time(b"ZVPxA") == read_time(b"ZVPxA|rest") == 1_700_000_000
    assert read_time(b"ZVPx") == read_time(b"ZVPx!") == 0


def test_a_server_in_front_of_its_own_was_deleted_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cookie is that of the server that answers, whatever its place in the list became while it did."""
    stage = theatre(monkeypatch)
    for srv in stage.be.servers:
        srv.settle(replace(srv.plan, cookie=srv.name.encode()))
    stage.be.settle(stage.be.servers)
    clients = [ask(stage) for _ in range(3)]
    first, *others = stage.be.servers
    stage.be.settle(others)
    for client, wire in zip(clients, stage.dialled, strict=True):
        stage.stands(wire)
        stage.says(wire, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert b"set-cookie: S=s%d;" % (int(wire.label.split()[1]) - 1000) in client.got
    assert first not in stage.be.servers
