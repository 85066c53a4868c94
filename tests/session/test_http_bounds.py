"""Transcripts of HTTP exchanges at their bounds: timers, full buffers, connections that must not be used again, ends that come late."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from forkproxy.plan import Balance, Timeouts
from forkproxy.proxy.stream import Stream
from forkproxy.rules.context import RuleContext
from forkproxy.rules.ruleset import parse_rule
from forkproxy.rules.words import Words
from forkproxy.state import layout as L
from forkproxy.state.servers import STOPPED
from tests.build import COMPILED
from tests.session.stage import Stage, Wire

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"


def theatre(mp: pytest.MonkeyPatch, *options: str, front: dict[str, Any] | None = None, **times: float) -> Stage:
    timeouts: dict[str, Any] = {"client_s": 10.0, "server_s": 50.0, "connect_s": 1.0, **times}
    fields: dict[str, Any] = {"mode": "http", "options": frozenset(options), **(front or {})}
    return Stage(mp, front=fields, back={"mode": "http"}, **timeouts)


def asked(stage: Stage, raw: bytes = GET) -> tuple[Wire, Wire]:
    """A client with a request that is with the server."""
    c = stage.client()
    stage.says(c, raw)
    up = stage.dialled[-1]
    stage.stands(up)
    return c, up


def served(stage: Stage, raw: bytes = GET, answer: bytes = OK) -> tuple[Wire, Wire]:
    """A client and a server's connection that have one exchange behind them."""
    c, up = asked(stage, raw)
    stage.says(up, answer)
    c.got = up.got = b""
    return c, up


def test_an_idle_client_is_closed_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch, http_request_s=3.0, http_keep_alive_s=8.0)
    c, _ = served(stage)
    stage.passes(8.1)
    assert c.closed and c.got == b"" and len(stage.log) == 1


def test_the_time_for_a_later_head_counts_from_its_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch, http_request_s=3.0, http_keep_alive_s=8.0)
    c, _ = served(stage)
    stage.passes(7.0)
    stage.says(c, b"GET / HT")
    stage.passes(2.9)
    assert not c.closed and c.got == b""
    stage.passes(0.2)
    assert c.got.startswith(b"HTTP/1.1 408 ") and stage.log[-1][0] == "cR"


def test_nothing_is_logged_of_a_client_that_said_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch, "dontlognull", http_request_s=3.0)
    c = stage.client()
    stage.passes(3.1)
    assert c.got.startswith(b"HTTP/1.1 408 ") and stage.log == []


def test_no_more_than_a_buffer_is_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch)
    c, up = asked(stage)
    stage.says(c, GET * 2000)
    left = sum(len(said) for said in c.said if isinstance(said, bytes))
    assert left > len(GET) * 2000 - 2 * stage.rt.bufsize and not stage.reads(c)
    stage.says(up, OK)
    assert up.got == GET * 2, "the next one goes when the one before it is answered"


def test_an_upload_that_stalls_has_twice_the_clients_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch)
    c, _ = asked(stage, HEAD)
    stage.says(c, b"01234")
    stage.passes(19.0)
    assert c.got == b""
    stage.passes(1.1)
    assert c.got.startswith(b"HTTP/1.1 400 ") and stage.log[-1][0] == "cH"


def test_who_expects_leave_gets_it_where_a_body_is_wanted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch, "http-buffer-request")
    c = stage.client()
    stage.says(c, HEAD.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    assert c.got == b"HTTP/1.1 100 Continue\r\n\r\n" and not stage.dialled
    stage.says(c, b"0123456789")
    stage.stands(stage.dialled[0])
    assert stage.dialled[0].got.endswith(b"0123456789")


def test_a_rule_that_takes_the_upgrade_away_takes_the_connections_word_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch, front={"http_request": (lambda s: s.req.remove(b"upgrade") and None,)})
    _, up = asked(stage, GET.replace(b"\r\n\r\n", b"\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"))
    assert up.got == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_response_rule_closes_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch, front={"http_response": (lambda s: s.res.set(b"Connection", b"close"),)})
    c, up = asked(stage)
    stage.says(up, OK)
    assert c.got.lower().count(b"connection: close\r\n") == 1 and (c.closed or c.ended)


def test_a_status_with_a_body_where_there_is_none_tells_the_client_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    step = parse_rule("http-res", Words.of("set-status 200"), RuleContext(name="f")).step
    c, up = asked(stage := theatre(monkeypatch, front={"http_response": (step,)}))
    stage.says(up, b"HTTP/1.1 204 No Content\r\n\r\n")
    assert c.got == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" and (c.closed or c.ended)


NEVER_AGAIN = {
    "it says so": [OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")],
    "HTTP/1.0": [OK.replace(b"HTTP/1.1", b"HTTP/1.0")],
    "surplus behind the body": [OK + b"!"],
    "surplus behind a body in pieces": [OK[:-1], b"k!"],
    "surplus behind chunks": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nok\r\n0\r\n\r\n!"],
}


@pytest.mark.parametrize("answers", NEVER_AGAIN.values(), ids=NEVER_AGAIN)
def test_connections_that_are_not_used_again(monkeypatch: pytest.MonkeyPatch, answers: list[bytes]) -> None:
    stage = theatre(monkeypatch)
    c, up = asked(stage)
    for data in answers:
        stage.says(up, data)
    assert b"ok" in c.got and b"!" not in c.got and up.closed
    stage.says(c, GET)
    assert len(stage.dialled) == 2


def test_a_server_that_answers_before_it_took_the_request_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch)
    stage.room = 20
    c, up = asked(stage, HEAD + b"0123456789")
    stage.says(up, OK)
    assert c.got.endswith(b"ok") and up.closed and not c.closed


def test_an_answer_that_does_not_get_through_changes_no_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch)
    c, up = asked(stage)
    c.error = errno.EPIPE
    stage.says(up, b"")
    assert c.closed and [line[0] for line in stage.log] == ["SH"]
    assert stage.be.count.row[L.RESP_ERRORS] == 1


def test_a_worker_that_leaves_tells_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch)
    c, up = asked(stage)
    idle, _ = served(stage)
    stage.rt.drain(8.0)
    stage.says(up, OK)
    assert b"connection: close\r\n" in c.got.lower() and (c.closed or c.ended)
    assert not idle.closed, "its next request may be under way"
    stage.says(idle, GET)
    assert b"connection: close\r\n" not in idle.got.lower()
    stage.stands(stage.dialled[-1])
    stage.says(stage.dialled[-1], OK)
    assert b"connection: close\r\n" in idle.got.lower()


def test_a_client_whose_answer_had_begun_is_let_go_when_it_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not told that its connection ends: it is closed at a time of its own, after one more request if it has one."""
    stage = theatre(monkeypatch)
    c, up = asked(stage)
    stage.says(up, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok")
    stage.rt.drain(8.0)
    stage.says(up, b"ay")
    assert c.got.endswith(b"okay") and not c.closed
    stage.passes(8.1)
    assert c.closed and len(stage.log) == 1


def test_how_long_a_tunnel_may_idle_is_the_backends_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in HAProxy (observed): what a frontend inherited from its defaults does not count."""
    own = {"mode": "http", "timeouts": Timeouts(client_s=6.0, tunnel_s=2.0)}
    stage = Stage(monkeypatch, front=own, back={"mode": "http"}, client_s=6.0, server_s=6.0)
    c, up = asked(stage, b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
    stage.says(up, b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
    stage.passes(5.9)
    assert not c.closed
    stage.passes(0.2)
    assert c.closed and up.closed


def test_an_upload_to_a_tunnel_counts_both(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = theatre(monkeypatch)
    head = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    c, up = asked(stage, head)
    stage.says(up, b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
    stage.says(c, b"ping")
    stage.says(up, b"pong")
    stage.says(c, b"")
    stage.says(up, b"")
    assert stage.log[-1][4] == len(head) + 4 and c.got.endswith(b"pong") and up.got.endswith(b"ping")


def test_a_retry_goes_elsewhere_when_its_server_was_taken_away_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    back = {"mode": "http", "retries": 3, "redispatch": -1, "balance": Balance(algorithm="first")}
    stage = Stage(monkeypatch, servers=2, front={"mode": "http"}, back=back, client_s=10.0, server_s=5.0, connect_s=1.0)
    stage.refuse = {1000}
    c = stage.client()
    stage.says(c, GET)
    assert stage.ports == [1000]
    stage.rt.state.servers.set("b/s0", srv_op=STOPPED)
    stage.rt.refresh()
    stage.passes(1.1)
    assert stage.ports[:2] == [1000, 1001]


def test_a_stream_compiled_is_no_larger_than_what_the_interpreters_own_allocator_gives() -> None:
    with_collectors_header = Stream.__basicsize__ + 16
    assert with_collectors_header <= (512 if COMPILED else 560)
