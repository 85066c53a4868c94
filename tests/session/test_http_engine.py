"""Transcripts of HTTP exchanges that do not go as planned: servers that leave, clients that leave, requests that are sent again."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from forkproxy.net import loop
from forkproxy.rules.verdict import Reply
from forkproxy.values import replace
from tests.session.stage import Stage, Wire

HTTP = {"mode": "http"}
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
NTLM = b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n"
ABORT = frozenset({"abortonclose"})


@pytest.fixture
def mp(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


def theatre(mp: pytest.MonkeyPatch, *, servers: int = 1, options: frozenset[str] = frozenset(), **back: object) -> Stage:
    return Stage(
        mp, servers=servers, front=dict(HTTP), back={**HTTP, "options": options, **back}, client_s=10.0, server_s=5.0, connect_s=1.0
    )


def asked(stage: Stage, raw: bytes = GET) -> tuple[Wire, Wire]:
    """A client with a request that is with the server."""
    c = stage.client()
    stage.says(c, raw)
    up = stage.dialled[-1]
    stage.stands(up)
    return c, up


def served_once(stage: Stage) -> tuple[Wire, Wire]:
    """A client and a server's connection that have one exchange behind them."""
    c, up = asked(stage)
    stage.says(up, OK)
    assert c.got.endswith(b"ok") and not up.closed
    c.got = up.got = b""
    return c, up


def test_a_reused_connection_that_dies_is_replaced_without_a_word(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp)
    c, up = served_once(stage)
    stage.says(c, GET)
    assert up.got == GET
    stage.says(up, b"")
    again = stage.dialled[-1]
    assert again is not up
    stage.stands(again)
    assert again.got == GET
    stage.says(again, OK)
    assert c.got.endswith(b"ok") and not c.closed
    assert stage.log[-1][:3] == ("--", 0, False), "no retry that counts"


def test_what_is_not_safe_is_not_sent_again(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp)
    c, up = served_once(stage)
    stage.says(c, GET.replace(b"GET", b"POST"))
    stage.says(up, b"")
    assert len(stage.dialled) == 1
    assert c.got == b"" and c.closed, "the client may repeat it by itself"
    assert stage.log[-1][0] == "SH"


def test_a_reused_connection_that_dies_in_its_answer_is_a_502(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp)
    c, up = served_once(stage)
    stage.says(c, GET)
    stage.says(up, b"HTTP/1.1 200 O")
    stage.says(up, b"")
    assert len(stage.dialled) == 1 and c.got.startswith(b"HTTP/1.1 502 ")


def test_after_an_interim_answer_nothing_is_silent(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp)
    c, up = served_once(stage)
    stage.says(c, GET)
    stage.says(up, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    stage.says(up, b"")
    assert len(stage.dialled) == 1
    assert c.got.startswith(b"HTTP/1.1 103 ") and b"HTTP/1.1 502 " in c.got


def test_a_body_that_came_later_is_sent_again_whole(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp, retry_on=frozenset({"empty-response"}))
    c, up = asked(stage, HEAD)
    stage.says(c, b"01234")
    stage.says(up, b"")
    again = stage.dialled[-1]
    assert again is not up
    stage.says(c, b"56789")
    stage.stands(again)
    while c.said and stage.reads(c):
        stage.event(c, 1)
    assert again.got == HEAD + b"0123456789"
    stage.says(again, OK)
    assert c.got.endswith(b"ok") and stage.log[-1][:2] == ("--", 1)


def test_a_body_beyond_a_buffer_is_not_sent_again(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp, retry_on=frozenset({"empty-response"}))
    c, up = asked(stage, HEAD.replace(b"10", b"90000"))
    for _ in range(3):
        stage.says(c, b"x" * 16000)
    stage.says(up, b"")
    assert len(stage.dialled) == 1 and c.got.startswith(b"HTTP/1.1 502 ")


def test_a_timeout_is_worth_another_attempt_where_it_is_said(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp, retry_on=frozenset({"response-timeout"}), retries=1)
    c, up = asked(stage)
    stage.passes(5.1)
    assert up.closed
    stage.stands(stage.dialled[-1])
    stage.passes(5.1)
    assert len(stage.dialled) == 2 and c.got.startswith(b"HTTP/1.1 504 ")
    assert stage.log[-1][:2] == ("sH", 1)


def test_a_status_is_worth_another_server(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp, servers=2, retry_on=frozenset({"503"}), redispatch=1)
    c, up = asked(stage)
    stage.says(up, b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno")
    stage.settle()
    stage.passes(0.01)
    other = stage.dialled[-1]
    assert other is not up and stage.ports[0] != stage.ports[1]
    stage.stands(other)
    stage.says(other, OK)
    assert c.got.count(b"HTTP/1.1 ") == 1 and c.got.endswith(b"ok")
    assert stage.log[-1][1:3] == (1, True)


def test_a_connection_that_authenticated_itself_stays(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp, servers=3, http_reuse="always")
    c, up = asked(stage)
    stage.says(up, NTLM)
    for _ in range(3):
        stage.says(c, GET)
        stage.says(up, OK)
    assert len(stage.dialled) == 1 and up.got == GET * 4
    other, _ = asked(stage)
    assert len(stage.dialled) == 2 and stage.dialled[-1].got == GET, "nobody else's requests use it"
    stage.says(c, b"")
    assert up.closed, "it ends with its client"
    assert not other.closed


def test_a_client_that_leaves_ends_its_request(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp, options=ABORT)
    c, up = asked(stage)
    stage.says(c, b"")
    assert up.closed and c.closed
    assert c.got.startswith(b"HTTP/1.1 400 ") and stage.log[-1][0] == "CH"


def test_a_client_that_leaves_may_wait_where_it_is_said(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp)
    c, up = asked(stage)
    stage.says(c, b"")
    assert not up.closed
    stage.says(up, OK)
    assert c.got.endswith(b"ok") and c.closed and stage.log[-1][0] == "--"


@pytest.mark.parametrize("side", ["front", "back"])
def test_a_tunnel_after_the_first_exchange(mp: pytest.MonkeyPatch, side: str) -> None:
    mode = {"connection_mode": "tunnel"}
    stage = Stage(mp, front={**HTTP, **(mode if side == "front" else {})}, back={**HTTP, **(mode if side == "back" else {})})
    c, up = asked(stage)
    stage.says(up, OK)
    assert c.got == OK
    stage.says(c, b"whatever\xff")
    assert up.got == GET + b"whatever\xff"
    stage.says(up, b"as it is")
    assert c.got == OK + b"as it is" and not stage.log
    stage.says(c, b"")
    stage.says(up, b"")
    assert c.closed and up.closed and len(stage.log) == 1


def test_no_tunnel_where_somebody_closes(mp: pytest.MonkeyPatch) -> None:
    stage = Stage(mp, front={**HTTP, "connection_mode": "http-server-close"}, back={**HTTP, "connection_mode": "tunnel"})
    c, up = asked(stage)
    stage.says(up, OK)
    assert b"connection: close" in up.got and up.closed and not c.closed


def test_what_a_client_asked_before_it_said_goodbye_is_answered(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp)
    c, up = asked(stage, GET * 3 + b"GET /half")
    stage.says(c, b"")
    for _ in range(3):
        assert not c.closed
        stage.says(up, OK)
    assert c.got.count(b"HTTP/1.1 200 ") == 3 and up.got == GET * 3
    assert c.closed, "the half of a request is nobody's"
    assert [line[0] for line in stage.log] == ["--", "--", "--", "CR"]


def test_a_client_that_resets_ends_everything(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp)
    c, up = asked(stage)
    stage.resets(c)
    assert up.closed and c.closed and c.got == b"" and stage.log[-1][0] == "CH"


def test_an_early_answer_keeps_the_client_and_not_the_server(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp)
    c, up = asked(stage, HEAD)
    stage.says(c, b"0123")
    stage.says(up, OK)
    assert c.got.endswith(b"ok") and up.closed and not c.closed
    c.got = b""
    stage.says(c, b"456789" + GET)
    again = stage.dialled[-1]
    stage.stands(again)
    assert again.got == GET, "the rest of the body went nowhere"
    stage.says(again, OK)
    assert c.got.endswith(b"ok")


def test_half_a_body_ends_with_both_connections(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp)
    c, up = asked(stage)
    stage.says(up, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    stage.says(up, b"")
    assert c.got.endswith(b"half") and c.closed and stage.log[-1][0] == "SD"


def test_a_malformed_chunk_ends_with_both_connections(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp)
    c, up = asked(stage)
    stage.says(up, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    stage.says(up, b"xyz\r\n")
    assert c.got.endswith(b"4\r\nhalf\r\n") and c.closed and up.closed


def test_a_malformed_chunk_that_came_with_the_head_is_a_502(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp)
    c, up = asked(stage)
    stage.says(up, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nxyz\r\n")
    assert c.got.startswith(b"HTTP/1.1 502 ") and up.closed


def test_surplus_bytes_of_a_server_reach_nobody(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp)
    c, up = asked(stage)
    stage.says(up, OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nevil!")
    assert c.got.endswith(b"ok") and up.closed and not c.closed
    stage.says(c, GET)
    assert len(stage.dialled) == 2


def test_an_idle_connection_that_speaks_is_closed(mp: pytest.MonkeyPatch) -> None:
    stage = theatre(mp)
    c, up = served_once(stage)
    stage.says(up, b"HTTP/1.1 408 Too late\r\n\r\n")
    assert up.closed and not c.closed
    stage.says(c, GET)
    assert len(stage.dialled) == 2


def test_every_byte_for_itself(mp: pytest.MonkeyPatch) -> None:
    """The digits of the status apart, too, which 3.4.0 does not survive."""
    stage = theatre(mp)
    c = stage.client()
    raw = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    for i in range(len(raw)):
        stage.says(c, raw[i : i + 1])
        if stage.dialled and not stage.dialled[0].got:
            stage.stands(stage.dialled[0])
    assert stage.dialled[0].got == raw
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n"
    for i in range(len(answer)):
        stage.says(stage.dialled[0], answer[i : i + 1])
    assert c.got == answer
    assert not c.closed and not stage.dialled[0].closed


@pytest.mark.parametrize(
    ("number", "flags"), [(errno.EMFILE, "PC"), (errno.ENFILE, "RC"), (errno.EADDRNOTAVAIL, "RC"), (errno.EHOSTUNREACH, "SC")]
)
def test_why_no_connection_can_be_made(mp: pytest.MonkeyPatch, number: int, flags: str) -> None:
    stage = theatre(mp)

    def fails(way: object) -> None:
        raise OSError(number, "no")

    stage.rt.connect = fails  # type: ignore[assignment]
    c = stage.client()
    stage.says(c, GET)
    stage.passes(1.0)
    stage.passes(1.0)
    stage.passes(1.0)
    assert c.got.startswith(b"HTTP/1.1 503 ") and [line[:2] for line in stage.log] == [(flags, 3)]


@pytest.mark.parametrize(("said", "flags"), [(b"", "IH"), (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "ID")])
def test_a_fault_of_ours(mp: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: bytes, flags: str) -> None:
    stage = theatre(mp)
    c, up = asked(stage)
    if said:
        stage.says(up, said)
    side = stage.watcher(up)
    mp.setattr(stage.rt, "_others_fault", loop._complain)
    stage.rt._fault(side, ValueError("of ours"))
    assert c.closed and up.closed and stage.log[-1][0] == flags
    assert "of ours" in capsys.readouterr().err


def test_connections_that_are_a_clients_own_are_kept_side_by_side(mp: pytest.MonkeyPatch) -> None:
    """With ``http-reuse never``, and where servers took their turns: one for each server, so many as max-session-srv-conns says."""
    for most, dials in ((5, 3), (2, 4), (0, 6)):
        stage = Stage(mp, servers=3, front={**HTTP, "capabilities": {"max-session-srv-conns": most}}, back={**HTTP, "http_reuse": "never"},
                      client_s=10.0)  # fmt: skip
        c = stage.client()
        for _ in range(6):
            before = {id(wire): len(wire.got) for wire in stage.dialled}
            stage.says(c, GET)
            up = next(wire for wire in stage.dialled if len(wire.got) > before.get(id(wire), -1))
            if not up.got:
                stage.stands(up)
            stage.says(up, OK)
        assert (c.got.count(b"ok"), len(stage.dialled)) == (6, dials)
        assert sum(not wire.closed for wire in stage.dialled) == min(most, 3)
        stage.says(c, b"")
        assert all(wire.closed for wire in stage.dialled), "they end with their client"


@pytest.mark.parametrize(("answer", "flags"), [(b"", "PH"), (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "PD")])
def test_a_malformed_chunk_of_a_client_that_comes_late(mp: pytest.MonkeyPatch, answer: bytes, flags: str) -> None:
    """What it means depends on how far the server is; nobody is told."""
    stage = theatre(mp)
    c, up = asked(stage, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    if answer:
        stage.says(up, answer)
    before = c.got
    stage.says(c, b"zz\r\n")
    assert c.got == before and c.closed and up.closed and stage.log[-1][0] == flags


def ruled(mp: pytest.MonkeyPatch, verdict: Reply, **more: Any) -> Stage:
    return Stage(mp, front={**HTTP, "http_request": (lambda txn: verdict,), **more}, back=dict(HTTP), client_s=10.0, tarpit_s=5.0)


def test_a_client_that_leaves_the_tarpit(mp: pytest.MonkeyPatch) -> None:
    stage = ruled(mp, Reply("tarpit", status=500, denied=True))
    c = stage.client()
    stage.says(c, GET)
    stage.resets(c)
    assert c.closed and c.got == b"" and stage.log[-1][0] == "CT"
    stage.passes(6.0)
    assert len(stage.log) == 1


@pytest.mark.parametrize("raw", [None, b"HTTP/1.1 403 Mine\r\nContent-Length: 4\r\n\r\nmine"])
def test_what_a_frontend_answers_itself_meets_its_rules(mp: pytest.MonkeyPatch, raw: bytes | None) -> None:
    """http-after-response, although no backend was chosen yet; an error file, too."""
    stage = ruled(mp, Reply("deny", status=403, denied=True, raw=raw), http_after_response=(lambda txn: txn.res.set(b"x-after", b"yes"),))
    c = stage.client()
    stage.says(c, GET)
    assert c.got.startswith(b"HTTP/1.1 403 ") and b"\r\nx-after: yes\r\n" in c.got and stage.log[-1][0] == "PR"
    assert c.got.endswith(b"mine" if raw else b"</html>\n")


def test_timeouts_of_a_backend_are_those_of_its_own_rules(mp: pytest.MonkeyPatch) -> None:
    """``timeout tarpit`` and ``timeout http-request`` where a backend holds a request (as in haproxy)."""
    held = Reply("tarpit", status=500, denied=True)
    stage = Stage(mp, front=dict(HTTP), back={**HTTP, "http_request": (lambda txn: held,)}, tarpit_s=1.0)
    stage.be.plan = replace(stage.be.plan, timeouts=replace(stage.be.plan.timeouts, tarpit_s=3.0))
    c = stage.client()
    stage.says(c, GET)
    stage.passes(1.5)
    assert not c.got
    stage.passes(2.0)
    assert c.got.startswith(b"HTTP/1.1 500 ")
    stage = Stage(mp, front=dict(HTTP), back={**HTTP, "options": frozenset({"http-buffer-request"})}, http_request_s=9.0)
    stage.be.plan = replace(stage.be.plan, timeouts=replace(stage.be.plan.timeouts, http_request_s=1.0))
    c = stage.client()
    stage.says(c, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
    stage.passes(1.5)
    assert c.got.startswith(b"HTTP/1.1 408 ")
