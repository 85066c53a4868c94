"""Transcripts of TCP sessions: what is forwarded, what is held back, which timer ends what, retries, queues; and nothing is left behind."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from forkproxy.net.loop import ERR, HUP, RDHUP, READ
from forkproxy.proxy import flow, relay
from forkproxy.proxy.outbox import BUSY, PATIENCE
from forkproxy.rules.verdict import REJECT, WAIT
from forkproxy.state import layout as L
from tests.session.stage import Stage, Wire


@pytest.fixture
def mp(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


def joined(stage: Stage) -> tuple[Wire, Wire]:
    """A client and its server, connected."""
    c = stage.client()
    up = stage.dialled[-1]
    stage.stands(up)
    return c, up


def test_bytes_pass_both_ways_and_both_ends(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp)
    c, s = joined(stage)
    stage.says(c, b"question")
    assert s.got == b"question"
    stage.says(s, b"answer")
    assert c.got == b"answer"
    stage.says(c, b"")
    assert s.ended and not c.closed
    stage.says(s, b"last words")
    assert c.got == b"answerlast words"
    stage.says(s, b"")
    assert c.closed and s.closed
    assert stage.log == [("--", 0, False, "s0", 8, 16)]


def test_what_the_client_says_early_is_kept(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp)
    c = stage.client()
    stage.says(c, b"early")
    stage.says(c, b" bird")
    stage.stands(stage.dialled[0])
    assert stage.dialled[0].got == b"early bird"


def test_no_more_than_one_buffer_is_kept_early(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp)
    c = stage.client()
    for _ in range(4):
        stage.says(c, b"x" * 8192)
    assert not stage.reads(c)
    stage.stands(stage.dialled[0])
    while c.said and stage.reads(c):
        stage.event(c, 1)
    assert len(stage.dialled[0].got) == 4 * 8192


def test_a_slow_reader_stops_the_writer(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp)
    c, s = joined(stage)
    c.room = 10
    stage.says(s, b"0123456789abcdef")
    assert c.got == b"0123456789" and not stage.reads(s)
    stage.says(s, b"more")
    stage.takes(c, 3)
    assert c.got == b"0123456789abc" and not stage.reads(s)
    stage.takes(c)
    assert c.got == b"0123456789abcdef" and stage.reads(s)
    stage.says(s, b"")
    assert c.got == b"0123456789abcdefmore" and c.ended


def test_an_end_behind_held_bytes_waits_for_them(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp)
    c, s = joined(stage)
    s.room = 0
    stage.says(c, b"data")
    c.said.append(b"")
    assert not s.ended
    stage.takes(s)
    while stage.reads(c):
        stage.event(c, 1)
    assert s.got == b"data" and s.ended


def test_a_hang_up_of_a_paused_side_is_told_once(mp: pytest.MonkeyPatch) -> None:
    """Both directions of the client's connection are closed while the server does not take the rest: the kernel would tell for ever."""
    stage = Stage(mp, client_s=10.0, server_s=10.0)
    c, s = joined(stage)
    stage.says(s, b"")
    s.room = 0
    stage.says(c, b"data")
    asked = stage.watcher(c).mask
    stage.event(c, HUP)
    assert stage.watcher(c).mask != asked, "edge triggered from now on"
    deadline = stage.watcher(c).deadline
    stage.clock.advance(1)
    stage.event(c, HUP)
    assert stage.watcher(c).deadline == deadline, "a hang-up is no activity"
    stage.takes(s)
    stage.says(c, b"tail")
    stage.says(c, b"")
    assert s.got == b"datatail" and c.closed
    assert stage.log[0][0] == "--"


def test_a_reset_of_a_paused_side_ends_the_session(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp)
    c, s = joined(stage)
    s.room = 0
    stage.says(c, b"data")
    c.error = 104
    stage.event(c, ERR | HUP)
    assert c.closed and s.closed
    assert stage.log[0][0] == "CD"


@pytest.mark.parametrize(("who", "flags"), [("client", "CD"), ("server", "SD")])
def test_resets(mp: pytest.MonkeyPatch, who: str, flags: str) -> None:
    stage = Stage(mp)
    c, s = joined(stage)
    stage.says(c, b"x")
    stage.resets(c if who == "client" else s)
    assert c.closed and s.closed
    assert stage.log[0][0] == flags
    counter = L.offset("cli_aborts" if who == "client" else "srv_aborts")
    assert [stage.fe.count.row[counter], stage.be.count.row[counter], stage.be.servers[0].count.row[counter]] == [1, 1, 1]


# -- timers


def test_activity_on_either_side_keeps_both_alive(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp, client_s=10.0, server_s=10.0)
    c, _ = joined(stage)
    for _ in range(5):
        stage.passes(9)
        stage.says(c, b"x")
    assert not c.closed
    stage.passes(11)
    assert c.closed and stage.log[0][0] == "cD"


def test_timers_count_from_the_last_byte(mp: pytest.MonkeyPatch) -> None:
    """Small exchanges only note when they were: the timer that was set before puts itself off, and ends when it should."""
    stage = Stage(mp, client_s=10.0, server_s=30.0)
    c, s = joined(stage)
    stage.passes(9)
    stage.says(s, b"x")
    up: Any = stage.watcher(s)
    assert up.deadline < relay.due(up) == stage.clock.now + 30.0  # what show sess tells
    stage.passes(9.9)  # the first deadline went by
    assert not s.ended
    stage.passes(0.2)
    assert s.ended and not c.closed
    stage.passes(19.8)
    assert not c.closed
    stage.passes(0.2)
    assert c.closed and stage.log[0][0] == "cD"


def test_who_went_as_well_is_not_told_that_the_other_one_did(mp: pytest.MonkeyPatch) -> None:
    """Both ends in a turn and the next one: the session is over, without a half-close."""
    stage = Stage(mp)
    c, s = joined(stage)
    stage.loop.events = 100
    s.said.append(b"bye")
    up: Any = stage.watcher(s)
    client: Any = stage.watcher(c)
    up.ready(up, READ | RDHUP)
    assert c.got == b"bye" and up.eof and not c.ended
    stage.settle()
    c.said.append(b"")
    client.ready(client, READ)
    assert c.closed and s.closed and not c.ended and not s.ended
    stage.settle()
    assert stage.log == [("--", 0, False, "s0", 0, 3)]


@pytest.mark.parametrize(("events", "turns"), [(0, 1), (BUSY - 1, 1), (BUSY, 1 + PATIENCE), (100, 1 + PATIENCE)])
def test_who_stays_is_told_soon(mp: pytest.MonkeyPatch, events: int, turns: int) -> None:
    stage = Stage(mp)
    c, s = joined(stage)
    stage.loop.events = events
    s.said.append(b"")
    up: Any = stage.watcher(s)
    up.ready(up, READ)
    for _ in range(turns):
        assert not c.ended
        assert stage.loop._soon, "the loop does not sleep over that"
        stage.settle()
    assert c.ended and not c.closed and not stage.loop._soon


def test_an_end_that_came_with_more_than_a_buffer_is_not_the_end(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp)
    c, s = joined(stage)
    up: Any = stage.watcher(s)
    s.said.append(b"x" * (stage.rt.bufsize + 1))
    up.ready(up, READ | RDHUP)
    assert not up.eof
    up.ready(up, READ | RDHUP)
    assert up.eof and len(c.got) == stage.rt.bufsize + 1
    stage.settle()
    assert c.ended and not c.closed and up.mask == 0


def test_an_end_behind_what_a_slow_client_does_not_take_waits(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp)
    c, s = joined(stage)
    c.room = 1
    s.said.append(b"abc")
    up: Any = stage.watcher(s)
    up.ready(up, READ | RDHUP)
    stage.settle()
    assert up.eof and c.got == b"a" and not c.ended
    stage.takes(c)
    stage.settle()
    assert c.got == b"abc" and c.ended


def test_the_first_bytes_of_a_crowd_tell_whether_the_server_stands(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp)
    c, _ = stage.clients(b"hello", None)
    s = stage.dialled[0]
    assert s.got == b"hello" and stage.watcher(s).mask == READ | RDHUP
    stage.says(s, b"hi")
    stage.says(s, b"")
    stage.says(c, b"")
    assert c.got == b"hi" and stage.log == [("--", 0, False, "s0", 5, 2)]


@pytest.mark.parametrize("first", [b"", ConnectionResetError(104, "reset")])
def test_a_crowd_may_have_gone_already(mp: pytest.MonkeyPatch, first: bytes | OSError) -> None:
    stage = Stage(mp)
    c, other = stage.clients(first, None)
    if first == b"":
        stage.says(c, b"")
    assert c.closed and not other.closed and stage.rt.connections == 1 and len(stage.log) == 1


def test_a_fault_of_one_connection_is_not_the_listeners(mp: pytest.MonkeyPatch) -> None:
    def broken(_txn: Any) -> None:
        raise ZeroDivisionError

    stage = Stage(mp, front={"tcp_request_content": (broken,)})
    mp.setattr(stage.rt, "_others_fault", lambda w, exc: None)
    c = stage.client()
    assert c.closed and stage.log[0][0][0] == "I" and stage.rt.connections == 0


def test_first_bytes_that_could_not_be_sent_wait_for_the_connection(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp)
    stage.room = 0
    stage.clients(b"hello", None)
    s = stage.dialled[0]
    assert s.got == b""
    s.room = 100
    stage.stands(s)
    assert s.got == b"hello"


def test_an_idle_client_is_ended_and_the_server_may_answer(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp, client_s=10.0, server_s=100.0)
    c, s = joined(stage)
    stage.passes(11)
    assert s.ended and not c.closed
    stage.says(s, b"goodbye")
    stage.says(s, b"")
    assert c.got == b"goodbye" and c.closed
    assert stage.log == [("cD", 0, False, "s0", 0, 7)]
    assert stage.fe.count.row[L.offset("cli_aborts")] == 1


def test_a_reader_that_stalls_is_given_up(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp, client_s=10.0, server_s=100.0)
    c, s = joined(stage)
    c.room = 0
    stage.says(s, b"data")
    stage.passes(11)
    assert c.closed and s.closed and stage.log[0][0] == "cD"


def test_tunnel_and_fin_timeouts(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp, client_s=10.0, server_s=10.0, tunnel_s=50.0, client_fin_s=3.0)
    c, s = joined(stage)
    stage.passes(40)
    assert not c.closed and not s.ended
    stage.says(s, b"")
    assert c.ended
    stage.passes(4)
    assert c.closed and stage.log[0][0] == "cD"


@pytest.mark.parametrize("side", ["front", "back"])
def test_independent_streams(mp: pytest.MonkeyPatch, side: str) -> None:
    options: dict[str, Any] = {side: {"options": frozenset({"independent-streams"})}}
    stage = Stage(mp, client_s=10.0, server_s=10.0, **options)
    c, s = joined(stage)
    talker, silent = (s, c) if side == "front" else (c, s)
    for _ in range(2):
        stage.passes(6)
        stage.says(talker, b"news")
    assert talker.ended, "the other one said nothing for 12 s"
    assert silent.got == b"newsnews"


# -- getting a server


def test_retries_wait_and_go_to_the_same_server(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp, connect_s=5.0, back={"retries": 2})
    stage.refuse = {1000}
    c = stage.client()
    assert stage.ports == [1000]
    stage.passes(0.9)
    assert stage.ports == [1000]
    stage.passes(0.2)
    assert stage.ports == [1000] * 2
    stage.passes(1.1)
    assert stage.ports == [1000] * 3 and c.closed
    assert stage.log == [("SC", 2, False, "s0", 0, 0)]
    assert stage.be.count.row[L.RETRIES] == 2


def test_the_turn_around_is_never_longer_than_timeout_connect(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp, connect_s=0.2, back={"retries": 1})
    stage.refuse = {1000}
    stage.client()
    stage.passes(0.25)
    assert stage.ports == [1000, 1000]


def test_connect_timeout_is_retried_at_once(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp, connect_s=2.0, back={"retries": 1})
    c = stage.client()
    stage.passes(2.1)
    assert stage.ports == [1000, 1000]
    stage.passes(2.1)
    assert c.closed and stage.log == [("sC", 1, False, "s0", 0, 0)]


@pytest.mark.parametrize(
    ("redispatch", "algorithm", "ports"),
    [
        (0, "leastconn", [1000, 1000, 1000, 1000]),
        (-1, "leastconn", [1000, 1000, 1000, 1001]),
        (1, "leastconn", [1000, 1001]),
        (2, "leastconn", [1000, 1000, 1001]),
        (-1, "roundrobin", [1000, 1001]),
        (1, "first", [1000, 1001]),
    ],
)
def test_redispatch(mp: pytest.MonkeyPatch, redispatch: int, algorithm: str, ports: list[int]) -> None:
    from forkproxy.plan import Balance

    stage = Stage(mp, servers=2, connect_s=5.0, back={"retries": 3, "redispatch": redispatch, "balance": Balance(algorithm=algorithm)})
    stage.refuse = {1000}
    c = stage.client()
    for _ in range(4):
        stage.passes(1.1)
    assert stage.ports == ports
    assert c.closed == (redispatch == 0)
    assert stage.be.count.row[L.REDISPATCHES] == (redispatch != 0)
    assert [srv.served for srv in stage.be.servers] == ([0, 0] if redispatch == 0 else [0, 1])


def test_a_client_that_leaves_before_the_server_stands(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp)
    c = stage.client()
    stage.says(c, b"")
    assert c.closed and stage.dialled[0].closed
    assert stage.log[0][0] == "CC"


def test_an_end_behind_words_is_no_abort(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp)
    c = stage.client()
    stage.says(c, b"GET\n")
    stage.says(c, b"")
    s = stage.dialled[0]
    stage.stands(s)
    assert s.got == b"GET\n" and s.ended
    stage.says(s, b"done")
    stage.says(s, b"")
    assert c.got == b"done" and stage.log[0][0] == "--"


def test_the_queue_is_bounded_in_time_and_gives_the_slot_on(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp, queue_s=5.0, server={"maxconn": 1})
    first, s = joined(stage)
    second = stage.client()
    stage.passes(3)
    third = stage.client()
    assert len(stage.dialled) == 1
    stage.passes(2.5)
    assert second.closed and not third.closed
    assert stage.log[-1][0] == "sQ"
    stage.says(first, b"")
    stage.says(s, b"")
    assert len(stage.dialled) == 2, "the third got the slot"
    stage.stands(stage.dialled[1])
    stage.says(third, b"x")
    assert stage.dialled[1].got == b"x"
    assert stage.be.servers[0].served == 1


def test_minconn_grows_with_the_load(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp, queue_s=50.0, server={"maxconn": 10, "minconn": 2}, back={"fullconn": 20})
    limits = []
    for _ in range(20):
        stage.client()
        gate, queues = stage.be.servers[0].gate, stage.be.queues
        assert gate is not None and queues is not None
        limits.append(queues.limit(gate))
    assert limits[0] == 2 and limits[-1] == 10 and limits == sorted(limits)


# -- content rules


def test_rules_wait_for_bytes_and_see_all_of_them_anew(mp: pytest.MonkeyPatch) -> None:
    def secret(txn: object) -> object:
        return REJECT if b"bad" in txn.body else None  # type: ignore[attr-defined]

    def four(txn: object) -> object:
        return WAIT if len(txn.body) < 4 else None  # type: ignore[attr-defined]

    stage = Stage(mp, front={"tcp_request_content": (secret, four), "inspect_delay_s": 5.0})
    c = stage.client()
    stage.says(c, b"b")
    assert not stage.dialled
    stage.says(c, b"ad")
    assert c.closed and stage.log[0][0] == "PR" and stage.fe.count.row[L.REQ_DENIED] == 1
    d = stage.client()
    stage.passes(3)
    stage.says(d, b"g")
    stage.passes(1.9)
    stage.says(d, b"o")
    assert not stage.dialled
    stage.passes(0.2)
    stage.stands(stage.dialled[0])
    assert stage.dialled[0].got == b"go", "the delay is over: rules decide with what is there"


def test_answers_are_held_until_their_rules_are_through(mp: pytest.MonkeyPatch) -> None:
    def three(txn: object) -> object:
        return WAIT if len(txn.res_body) < 3 else REJECT if txn.res_body == b"bad" else None  # type: ignore[attr-defined]

    stage = Stage(mp, back={"tcp_response_content": (three,), "capabilities": {"tcp-response-inspect-delay-s": 5.0}})
    c, s = joined(stage)
    stage.says(c, b"ask")
    assert s.got == b"ask"
    stage.says(s, b"go")
    assert c.got == b""
    stage.says(s, b"od")
    stage.says(s, b" day")
    assert c.got == b"good day"
    d, s = joined(stage)
    stage.says(s, b"bad")
    assert d.closed and d.got == b"" and stage.log[-1][0] == "PD"


# -- what is left behind


def test_nothing_is_left_for_the_collector(mp: pytest.MonkeyPatch) -> None:
    """Sessions of every kind of end leave no cycle."""
    stage = Stage(mp, connect_s=1.0, client_s=10.0, server_s=10.0, queue_s=1.0, back={"retries": 1})

    def orderly() -> None:
        c, s = joined(stage)
        stage.says(c, b"x")
        stage.says(s, b"y")
        stage.says(c, b"")
        stage.says(s, b"")

    def reset() -> None:
        c, _ = joined(stage)
        stage.resets(c)

    def late() -> None:
        joined(stage)
        stage.passes(11)
        stage.passes(11)

    def refused() -> None:
        stage.client()
        for _ in range(2):
            if not stage.dialled[-1].closed:
                stage.fails(stage.dialled[-1])
            stage.passes(1.1)

    ways = (orderly, reset, late, refused)
    for way in ways:
        way()
    gc.collect()
    gc.disable()
    try:
        for way in ways:
            for _ in range(10):
                way()
        stage.dialled.clear()
        flows = [o for o in gc.get_objects() if isinstance(o, flow.Flow) and o.src.rt is stage.rt]
        assert not flows
        assert not stage.rt.clients
        assert stage.be.servers[0].served == 0 and stage.be.streams == 0 and stage.rt.connections == 0
    finally:
        gc.enable()
