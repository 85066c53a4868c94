"""Transcripts of HTTP exchanges: what rules' marks do to timers, queues and answers; and that reference counting alone frees everything."""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from forkproxy.plan import Address, Balance, Foreign
from forkproxy.proxy import view
from forkproxy.proxy.client import Client
from forkproxy.proxy.neighbours import Neighbours
from forkproxy.proxy.orders.limits import set_server_maxconn
from forkproxy.proxy.stream import Stream
from forkproxy.proxy.upstream import Upstream
from forkproxy.registry import Needs
from forkproxy.rules.types import addr_of
from forkproxy.rules.verdict import WAIT, Reply
from forkproxy.state.layout import BYTES_IN, BYTES_OUT, CONN_CUR, REQ_ERRORS, SESS_CUR, SESS_MAX, SESS_TOT
from forkproxy.state.names import backend_key, frontend_key, listener_key
from forkproxy.state.servers import STOPPED
from forkproxy.values import replace
from tests.session.stage import Stage, Wire

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def http(mp: pytest.MonkeyPatch, *rules: Callable[[Any], Any], back: dict[str, Any] | None = None, **more: Any) -> Stage:
    """A stage in HTTP mode whose frontend has ``rules``."""
    timeouts: dict[str, Any] = {"client_s": 10.0, "server_s": 5.0, "connect_s": 2.0}
    timeouts.update((name, more.pop(name)) for name in list(more) if name.endswith("_s"))
    front = {"mode": "http", "http_request": rules or None}
    return Stage(mp, front=front, back={"mode": "http", **(back or {})}, **more, **timeouts)


def marking(**marks: Any) -> Callable[[Any], None]:
    """A rule that leaves marks (``__`` stands for a dot)."""

    def rule(txn: Any) -> None:
        txn.marks = {**(txn.marks or {}), **{name.replace("__", "."): value for name, value in marks.items()}}

    return rule


def test_a_rule_sets_the_servers_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch, marking(timeout__server=1.0))
    c = stage.client()
    stage.says(c, GET)
    stage.stands(stage.dialled[0])
    stage.passes(1.1)
    assert c.got.startswith(b"HTTP/1.1 504 ") and stage.log[0][0] == "sH"


def test_a_rule_sets_the_clients_address(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch, marking(src=addr_of("198.51.100.7"), src_port=99), back={"forwardfor": (b"X-Forwarded-For", None, False)})
    c = stage.client()
    stage.says(c, GET)
    stage.stands(stage.dialled[0])
    assert b"X-Forwarded-For: 198.51.100.7\r\n" in stage.dialled[0].got


def test_early_hints_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch, marking(early_hints=[(b"link", b"</a>")]))
    c = stage.client()
    stage.says(c, GET)
    assert c.got == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"


def test_the_queue_serves_priorities_first(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = iter((0, 0, 5, -5, 0))

    def ranked(txn: Any) -> None:
        txn.marks = {"priority_class": next(levels)}

    stage = http(monkeypatch, ranked, server={"maxconn": 1})
    clients = [stage.client() for _ in range(5)]
    for i, c in enumerate(clients):
        stage.says(c, b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % i)
        stage.passes(0.001)
    order = []
    for i in range(5):
        server = stage.dialled[-1]
        if not server.got:
            stage.stands(server)
        order.append(server.got.rpartition(b"GET /")[2][:1])
        stage.says(server, OK)
        assert len(order) == i + 1
    assert order == [b"0", b"3", b"1", b"4", b"2"]


def test_a_limit_that_grows_serves_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch)
    for limit, dialled in ((1, 1), (2, 2), (0, 4)):
        stage.limit("b/s0", limit)
        set_server_maxconn(stage.rt, "b/s0", limit)
        if limit == 1:
            for _ in range(4):
                stage.says(stage.client(), CLOSE)
        stage.rings()
        assert len(stage.dialled) == dialled


def test_a_full_queue_is_told_to_who_can_go_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    balance = {"balance": Balance("uri")}
    stage = http(monkeypatch, back=balance, server={"maxconn": 1, "maxqueue": 1})
    clients = [stage.client() for _ in range(3)]
    for c in clients:
        stage.says(c, CLOSE)
    assert clients[2].got.startswith(b"HTTP/1.1 503") and [entry[0] for entry in stage.log] == ["SQ"]
    assert not clients[0].got and not clients[1].got


def test_leastconn_fills_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, own, backends in (("leastconn", [1, 1], 1), ("roundrobin", [0, 0], 3)):
        stage = http(monkeypatch, back={"balance": Balance(name)}, servers=2, server={"maxconn": 1, "maxqueue": 1})
        for _ in range(5):
            stage.says(stage.client(), CLOSE)
        queues = stage.be.queues
        assert queues is not None
        assert [srv.waiting() for srv in stage.be.servers] == own and queues.waiting(queues.any) == backends, name


def test_who_waits_for_a_server_that_goes_down(monkeypatch: pytest.MonkeyPatch) -> None:
    for redispatch, dialled in ((0, 1), (1, 2)):
        back = {"balance": Balance("uri"), "redispatch": redispatch}
        stage = http(monkeypatch, back=back, servers=2, server={"maxconn": 1})
        for _ in range(3):
            stage.says(stage.client(), CLOSE)
        first = stage.ports[0]
        stage.rt.state.servers.set(f"b/s{first - 1000}", srv_op=STOPPED)
        stage.rt.refresh()
        stage.settle()
        assert len(stage.dialled) == dialled
        other = stage.be.servers[1 - (first - 1000)]
        assert other.served == redispatch and other.waiting() == redispatch
        stage.stands(stage.dialled[0])
        stage.says(stage.dialled[0], OK)
        assert stage.ports[-1] == (first if not redispatch else 2001 - first), "without redispatch a server serves its queue to the end"


def test_leastconn_counts_the_other_workers_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch, servers=2, back={"balance": Balance(algorithm="leastconn")})
    assert stage.rt.neighbours is None  # the only worker has nobody to ask
    segment, rows = stage.rt.state.segment, stage.rt.state.rows
    segment.claim(1, 1)  # a process that is not this one
    segment.slot(1)[rows.base("b/s0") + SESS_CUR] = 40
    stage.rt.neighbours = Neighbours(stage.rt, [stage.be])
    for _ in range(6):
        stage.says(stage.client(), CLOSE)
    assert stage.ports == [1000, 1001, 1001, 1001, 1001, 1001]
    segment.slot(1)[rows.base("b/s0") + SESS_CUR] = 0
    stage.says(stage.client(), CLOSE)
    stage.passes(0.001)
    assert stage.ports[-1] == 1001  # not looked at again yet
    stage.passes(0.02)
    stage.says(stage.client(), CLOSE)
    for _ in range(3):
        stage.says(stage.client(), CLOSE)
    assert stage.ports[-3:] == [1000] * 3


def test_what_a_log_says_of_a_moment_is_what_all_workers_have_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch)
    segment, rows = stage.rt.state.segment, stage.rt.state.rows
    segment.claim(0, 1)
    segment.claim(1, 1)  # a process that is not this one
    cells = segment.slot(1)
    cells[CONN_CUR] = 100
    for key, count in ((frontend_key("f"), 40), (backend_key("b"), 30), ("b/s0", 20)):
        cells[rows.base(key) + SESS_CUR] = count
    txn = SimpleNamespace(conn_counts=(4, 3, 2, 1), fe=stage.fe, be=stage.be, srv=stage.be.servers[0])
    assert view.WorkerView(stage.rt).connections(txn) == (104, 43, 32, 21)


@pytest.mark.parametrize(("server", "idle"), [
    ({"foreign": Foreign("header", header=b"x-f")}, 0), ({"foreign": Foreign("client")}, 1),
    ({"strict_maxconn": True, "maxconn": 2}, 0), ({"strict_maxconn": True}, 1), ({"pool_max_conn": 0}, 0), ({}, 1),
])  # fmt: skip
def test_connections_that_must_not_be_kept(monkeypatch: pytest.MonkeyPatch, server: dict[str, Any], idle: int) -> None:
    stage = http(monkeypatch, server=server)
    stage.says(stage.client(), GET)
    stage.stands(stage.dialled[0])
    stage.says(stage.dialled[0], OK)
    assert stage.dialled[0].closed is not bool(idle)


def test_addresses_are_counted_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, front={"mode": "http", "options": frozenset({"socket-stats"})}, back={"mode": "http"})
    key = listener_key("f", str(stage.bind.address))
    c = stage.client()
    stage.says(c, CLOSE)
    stage.stands(stage.dialled[0])
    stage.says(stage.dialled[0], OK)
    stage.client()
    wrong = stage.client()
    stage.says(wrong, b"BAD\r\n\r\n")
    row = stage.rt.state.rows.cells(0)[stage.rt.state.rows.base(key) :]
    assert [row[at] for at in (SESS_CUR, SESS_MAX, SESS_TOT, REQ_ERRORS)] == [stage.fe.connections, 2, 3, 1]
    assert row[BYTES_IN] > 0 and row[BYTES_OUT] >= len(OK)


def test_a_status_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch, back={"retry_on": frozenset({"503"}), "retries": 1})
    c = stage.client()
    stage.says(c, CLOSE)
    for _ in range(2):
        stage.stands(stage.dialled[-1])
        stage.says(stage.dialled[-1], b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
    assert len(stage.dialled) == 2 and c.got.startswith(b"HTTP/1.1 503 No") and stage.log[0][1] == 1


def test_a_dropped_body_never_becomes_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch, lambda txn: txn.req.remove(b"content-length") and None)
    c = stage.client()
    stage.says(c, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n")
    stage.stands(stage.dialled[0])
    assert b"content-length: 0\r\n" in stage.dialled[0].got
    stage.says(c, GET)
    stage.says(stage.dialled[0], OK)
    assert c.got.endswith(b"connection: close\r\n\r\nok") and stage.dialled[0].got.count(b"HTTP/1.1") == 1 and c.ended


def test_the_view_counts_what_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch, servers=2, server={"maxconn": 3, "maxqueue": 2})
    stage.rt.state.segment.claim(0, 1)
    seen = view.WorkerView(stage.rt)
    assert (seen.usable_servers("b"), seen.backend_connections("b"), seen.backend_free("b"), seen.backend_slots("b")) == (2, 0, 6, 10)
    first, second = stage.client(), stage.client()
    for c in (first, second):
        stage.says(c, GET)
    assert (seen.backend_connections("b"), seen.frontend_connections("f"), seen.backend_free("b"), seen.backend_queue("b")) == (2, 2, 4, 0)
    assert sum(seen.server_connections("b", name) or 0 for name in ("s0", "s1")) == 2
    assert seen.server_up("b", "s0") and seen.server_weight("b", "s0", "initial") == 1
    assert seen.server_up("b", "nobody") is None and seen.usable_servers("none") is None and seen.frontend_rate("none") is None
    assert [seen.log_count("f") for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("address", "target"),
    [
        (Address("ipv4", "10.0.0.1", 81), "10.0.0.1:81"),
        (Address("ipv4", "10.0.0.1", 0), "10.0.0.1:80"),
        (Address("ipv4", "10.0.0.1", 1000, port_relative=True), "10.0.0.1:1080"),
        (Address("ipv4", "0.0.0.0", 81), "127.0.0.1:81"),
        (Address("ipv4", "0.0.0.0", 0), "127.0.0.1:80"),
    ],
)
def test_what_a_servers_address_leaves_open_is_as_the_client_meant(monkeypatch: pytest.MonkeyPatch, address: Address, target: str) -> None:
    stage = http(monkeypatch)
    srv = stage.be.servers[0]
    srv.plan = replace(srv.plan, address=address)
    stage.says(stage.client(), GET)
    (c,) = stage.rt.clients
    assert c.stream is not None and str(srv.target(c.stream)) == target


def alive() -> list[object]:
    return [o for o in gc.get_objects() if isinstance(o, Stream | Client | Upstream)]


def whole_life(stage: Stage, request: bytes, *events: bytes) -> None:
    """A client asks; then server and client say in turn, and the client leaves."""
    c = stage.client()
    stage.says(c, request)
    server: Wire | None = stage.dialled[-1] if stage.dialled else None
    if server is not None and not server.closed:
        stage.stands(server)
    for i, data in enumerate(events):
        who = server if i % 2 == 0 else c
        if data and who is not None and not who.closed:
            stage.says(who, data)
    if not c.closed:
        stage.says(c, b"")


LIVES: dict[str, tuple[bytes, ...]] = {
    "an exchange": (GET, OK),
    "two on one connection": (GET, OK, GET, OK),
    "close": (CLOSE, OK),
    "an upload in pieces": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab", b"", b"cd", OK),
    "chunks both ways": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"", b"0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
    "the client leaves in the body": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab",),
    "the client leaves before the answer": (GET,),
    "the server leaves": (GET, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"),
    "a bad request": (b"BAD\r\n\r\n",),
    "a bad answer": (GET, b"nonsense\r\n\r\n"),
    "a tunnel": (
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"there", b"back"),
}  # fmt: skip


@pytest.mark.parametrize("ruled", [False, True])
@pytest.mark.parametrize("name", LIVES)
def test_reference_counting_frees_it_all(monkeypatch: pytest.MonkeyPatch, name: str, ruled: bool) -> None:
    rules = (marking(retries=2, src=addr_of("198.51.100.7")), lambda txn: txn.req.set(b"x", b"y")) if ruled else ()
    stage = http(monkeypatch, *rules)
    gc.collect()
    gc.disable()
    try:
        before = len(alive())
        whole_life(stage, *LIVES[name])
        for server in stage.dialled:
            if not server.closed:
                stage.says(server, b"")
        stage.passes(60.0)
        stage.passes(60.0)
        assert len(alive()) == before
    finally:
        gc.enable()
    assert stage.rt.connections == 0 and stage.be.streams == 0 and all(srv.served == 0 for srv in stage.be.servers)


def test_a_denied_upload_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    deny = Reply("deny", status=403, denied=True, default_error=True)
    stage = http(monkeypatch, lambda txn: WAIT if not txn.body_done else None, lambda txn: deny)
    c = stage.client()
    stage.says(c, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    assert not c.got
    stage.says(c, b"cd")
    assert c.got.startswith(b"HTTP/1.1 403 ")
    stage.says(c, b"")
    assert stage.rt.connections == 0 and not stage.dialled


def test_a_proxy_header_and_the_request_may_come_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = http(monkeypatch)
    stage.at.greeted = True
    whole = b"PROXY TCP4 192.0.2.7 192.0.2.8 5000 80\r\n" + CLOSE
    for cut in range(1, len(whole)):
        c = stage.client()
        stage.says(c, whole[:cut])
        assert not c.closed
        stage.says(c, whole[cut:])
        stage.stands(stage.dialled[-1])
        stage.says(stage.dialled[-1], OK)
        assert c.got.startswith(b"HTTP/1.1 200"), whole[:cut]


def test_no_more_connections_idle_than_were_needed_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that ask once: their requests may not use others' connections, and those must not pile up (http-reuse safe)."""
    stage = http(monkeypatch)
    srv = stage.be.servers[0]

    def round_(at_once: int) -> None:
        clients = [stage.client() for _ in range(at_once)]
        before = len(stage.dialled)
        for c in clients:
            stage.says(c, CLOSE)
        wires = stage.dialled[before:]
        assert len(wires) == at_once
        for wire in wires:
            stage.stands(wire)
        for wire in wires:
            stage.says(wire, OK)
        assert all(c.got.startswith(b"HTTP/1.1 200 ") and c.closed for c in clients)

    for _ in range(20):
        round_(1)
    assert len(srv.fresh) == 1
    for _ in range(5):
        round_(4)
    assert 1 < len(srv.fresh) <= 4
    for _ in range(10):  # what was needed once is forgotten
        srv.second()
    for _ in range(8):
        round_(1)
    assert len(srv.fresh) <= 4
    assert sum(not wire.closed for wire in stage.dialled) == len(srv.fresh)


@pytest.mark.parametrize("mode", ["http", "tcp"])
@pytest.mark.parametrize("wanted", [True, False])
def test_logs_know_the_ends_of_a_connection_that_is_gone(monkeypatch: pytest.MonkeyPatch, mode: str, wanted: bool) -> None:
    """Of one that was kept, one that was closed, one that broke; nobody asks the kernel where no log wants to know."""
    asked: list[Wire] = []

    def peer(wire: Wire) -> tuple[str, int]:
        asked.append(wire)
        return "192.0.2.9", 90

    monkeypatch.setattr(Wire, "getpeername", peer)
    stage = Stage(monkeypatch, front={"mode": mode, "log_needs": Needs.SERVER if wanted else Needs.NONE}, back={"mode": mode})
    told: list[Any] = []

    def render(s: Stream) -> bytes:
        told.append((s.up, s.server_addresses()))
        return b""

    stage.fe.log.render = render
    for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n", b""):
        c = stage.client()
        stage.says(c, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        up = stage.dialled[-1]
        if not answer or len(told) != 1 or mode == "tcp":
            stage.stands(up)
        stage.says(up, answer)
        stage.says(c, b"")
        stage.says(up, b"")
    assert told == [(None, (("127.0.0.1", 80), ("192.0.2.9", 90)) if wanted else None)] * 3
    assert bool(asked) == wanted and len(asked) == len(set(map(id, asked))), "once for a connection"
