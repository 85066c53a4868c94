"""Transcripts of TCP sessions that become HTTP, and of rules that see requests in TCP mode."""

from __future__ import annotations

from typing import Any

import pytest

from forkproxy.rules.context import RuleContext
from forkproxy.rules.ruleset import fold_use_backend, parse_rule, parse_use_backend
from forkproxy.rules.words import Words
from tests.session.stage import Stage

GET = b"GET /a HTTP/1.1\r\nHost: one\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TCP = RuleContext(name="f", mode="tcp")


def rule(text: str, kind: str = "tcp-req-cont") -> Any:
    return parse_rule(kind, Words.of(text), TCP).step


def stage(monkeypatch: Any, *rules: Any, back: str = "http", delay: float | None = 1.0, **front: Any) -> tuple[Stage, list[int]]:
    """A stage with a frontend in TCP mode, and how often its rules on content were begun."""
    ran: list[int] = []
    steps = (lambda txn: ran.append(1), *rules)
    own = {"mode": "tcp", "tcp_request_content": steps, "inspect_delay_s": delay, **front}
    return Stage(monkeypatch, front=own, back={"mode": back}, client_s=5.0, server_s=5.0, connect_s=1.0, http_request_s=2.0), ran


def test_by_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = rule("switch-mode http"), rule("reject")
    http = (rule("set-header X-Path %[path]", "http-req"),)
    t, ran = stage(monkeypatch, *rules, http_request=http, http_response=(rule("set-header X-R 1", "http-res"),))
    c = t.client()
    t.says(c, GET[:10])
    assert not t.dialled
    t.says(c, GET[10:])
    (up,) = t.dialled
    t.stands(up)
    assert up.got == GET[:-2] + b"X-Path: /a\r\n\r\n" and len(ran) == 1, "what was looked at raw is not looked at again"
    t.says(up, OK)
    t.says(c, GET)
    assert len(ran) == 2, "rules on content are for every request"
    t.says(up, OK)
    assert c.got.count(b"X-R: 1\r\n") == 2 and len(t.dialled) == 1, "the connection to the server is kept, as in HTTP mode"
    assert [line[0] for line in t.log] == ["--", "--"]


def test_by_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    t, ran = stage(monkeypatch, delay=None)
    c = t.client()
    t.says(c, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    (up,) = t.dialled
    t.stands(up)
    t.says(c, b"cd")
    assert up.got.endswith(b"\r\n\r\nabcd") and len(ran) == 1
    t.says(up, OK)
    t.says(c, b"")
    assert c.got.endswith(b"ok") and c.closed and t.log == [("--", 0, False, "s0", 49 + 2, len(OK))]


@pytest.mark.parametrize(
    ("said", "passes", "answer", "flags"),
    [
        ([b"GET / HTTP/1.1\r\nHost: a\r\nbad field\r\n\r\n"], 0.0, b" 400 ", "PR"),
        ([GET[:10]], 2.1, b" 408 ", "cR"),
        ([], 2.1, b" 408 ", "cR"),
        ([GET[:10], b""], 0.0, b"", "CR"),
        ([b""], 0.0, b"", "CR"),
        ([ConnectionResetError], 0.0, b"", "CR"),
    ],
)
def test_what_never_becomes_a_request(
    monkeypatch: pytest.MonkeyPatch, said: list[Any], passes: float, answer: bytes, flags: str
) -> None:
    for rules in ((rule("switch-mode http"),), ()):
        t, _ = stage(monkeypatch, *rules, delay=None)
        c = t.client()
        for data in said:
            if data is ConnectionResetError:
                t.resets(c)
            else:
                t.says(c, data)
        if passes:
            t.passes(passes)
        assert answer in c.got and bool(answer) == bool(c.got)
        assert [line[0] for line in t.log] == [flags] and not t.dialled


@pytest.mark.parametrize(
    ("text", "pieces", "refused"),
    [
        ("reject if { path /a }", [GET], True),
        ("reject if { path /a }", [GET[:20], GET[20:]], True),
        ("reject if { path /b }", [GET], False),
        ("reject if { req.hdr(host) -i ONE }", [GET], True),
        ("reject if { hdr_end(host) ne } METH_GET", [GET[:-2], b"\r\n"], True),
        ("reject if HTTP", [GET], True),
        ("reject if HTTP", [b"GET /a HTTP/1.1\r\nbad field\r\n\r\n"], False),
        ("reject unless HTTP", [b"\x16\x03\x01\x00"], True),
        ("reject if { path /a }", [b"hello\r\n\r\n"], False),
        ("reject if { req.proto_http } { hdr_cnt(host) eq 1 } { url_len 2 }", [GET], True),
    ],
)
def test_rules_that_see_requests(monkeypatch: pytest.MonkeyPatch, text: str, pieces: list[bytes], refused: bool) -> None:
    t, _ = stage(monkeypatch, rule(text), back="tcp")
    c = t.client()
    for piece in pieces[:-1]:
        t.says(c, piece)
        assert not t.dialled and not c.closed, "they wait for the whole of the head"
    t.says(c, pieces[-1])
    assert c.closed == refused and bool(t.dialled) != refused
    if not refused:
        t.stands(t.dialled[0])
        assert t.dialled[0].got == b"".join(pieces), "nothing of it is touched"
        assert t.watcher(c).stream.req is None, "and nothing of it is kept"


def test_no_more_than_the_time_to_inspect(monkeypatch: pytest.MonkeyPatch) -> None:
    t, _ = stage(monkeypatch, rule("reject if { path /a }"), back="tcp")
    c = t.client()
    t.says(c, GET[:-2])
    t.passes(1.1)
    assert t.dialled and not c.closed


def test_a_backend_by_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """use_backend rules see the request, too, and do not wait for it."""
    choices = [parse_use_backend(Words.of(f"b if {{ hdr(host) {name} }}"), TCP) for name in ("one", "two", "three")]
    for host, dialled in ((b"two", True), (b"four", False)):
        t, _ = stage(monkeypatch, rule("accept if HTTP"), back="tcp", use_backend=fold_use_backend(choices), default_backend="")
        t.says(t.client(), GET.replace(b"one", host))
        assert bool(t.dialled) == dialled


def test_no_tcp_backend_for_http(monkeypatch: pytest.MonkeyPatch) -> None:
    t, _ = stage(monkeypatch, rule("switch-mode http"), back="tcp", delay=None)
    c = t.client()
    t.says(c, GET)
    assert c.closed and not t.dialled and [line[0] for line in t.log] == ["IR"]


def test_a_worker_that_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """What became HTTP is let go while it is idle, as in HTTP mode; a TCP session goes on."""
    t, _ = stage(monkeypatch, rule("switch-mode http if HTTP"), delay=1.0, back="http")
    c = t.client()
    t.says(c, GET)
    t.stands(t.dialled[0])
    t.says(t.dialled[0], OK)
    assert not c.closed
    t.rt.drain(1.0)
    t.passes(1.1)  # less than it might be idle
    assert c.closed
    t, _ = stage(monkeypatch, back="tcp", delay=None)
    c = t.client()
    t.rt.drain(1.0)
    t.passes(1.1)
    assert not c.closed


def test_rules_of_connections_have_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = rule("accept if WAIT_END", "tcp-req-conn"), rule("reject", "tcp-req-conn")
    t, _ = stage(monkeypatch, back="tcp", delay=None, tcp_request_connection=rules)
    c = t.client()
    assert not c.closed
