"""Transcripts of rules that take time or say something at once: pause, do-log."""

from __future__ import annotations

from typing import Any

import pytest

from forkproxy.proxy.accesslog import DATA_END, AccessLog, Target
from forkproxy.proxy.logs import _with_data
from forkproxy.rules.context import RuleContext
from forkproxy.rules.logformat import compile_format
from forkproxy.rules.ruleset import parse_rule
from forkproxy.rules.words import Words
from forkproxy.values import replace
from forkproxy.wire import syslog
from tests.session.stage import Stage

GET = b"GET /a HTTP/1.1\r\nHost: a\r\nX-Wait: 1500\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def stage(monkeypatch: Any, *rules: str, kind: str = "http-req", field: str = "http_request") -> Stage:
    steps = tuple(parse_rule(kind, Words.of(rule), RuleContext(name="f")).step for rule in rules)
    return Stage(monkeypatch, front={"mode": "http", field: steps}, back={"mode": "http"}, client_s=60.0, server_s=5.0, connect_s=1.0)


@pytest.mark.parametrize(
    ("rule", "wait_s"),
    [
        ("pause 2s", 2.0),
        ("pause 300", 0.3),
        ("pause req.hdr_val(x-wait)", 1.5),
        ("pause req.hdr_val(x-none)", 0.0),
        ("pause int(-5)", 0.0),
        ("pause 5s if { path /b }", 0.0),
    ],
)
def test_pause(monkeypatch: pytest.MonkeyPatch, rule: str, wait_s: float) -> None:
    t = stage(monkeypatch, "set-header X-Before 1", rule, "set-header X-After 1")
    c = t.client()
    t.says(c, GET)
    if wait_s:
        t.passes(wait_s - 0.05)
        assert not t.dialled
        t.passes(0.1)
    (up,) = t.dialled
    t.stands(up)
    assert up.got.count(b"X-Before: 1\r\n") == up.got.count(b"X-After: 1\r\n") == 1, "no rule runs twice"
    t.says(up, OK)
    assert c.got.endswith(b"ok")


def test_a_client_that_goes_during_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    t = stage(monkeypatch, "pause 2s")
    c = t.client()
    t.says(c, GET)
    t.resets(c)
    t.passes(3.0)
    assert not t.dialled and c.closed and len(t.log) == 1


def test_lines_that_rules_write(monkeypatch: pytest.MonkeyPatch) -> None:
    t = stage(monkeypatch, "do-log if { path /a }", "set-log-level silent", "do-log")
    lines: list[tuple[int, bytes]] = []
    render = compile_format("%OG %ST %HM %HU", RuleContext(name="f", kind="log"), style="log").render
    t.fe.log = AccessLog(replace(t.fe.plan, log_format=render), [Target(7, 0, lambda level, wall, line: lines.append((level, line)))])
    t.says(t.client(), GET)
    assert lines == [(6, b"http-req -1 GET /a")], "a silent one says nothing, and the end does not either"
    t = stage(monkeypatch, "do-log", kind="tcp-req-conn", field="tcp_request_connection")
    render = compile_format("%OG %ci", RuleContext(name="f", kind="log"), style="log").render
    t.fe.log = AccessLog(replace(t.fe.plan, log_format=render), [Target(7, 0, lambda level, wall, line: lines.append((level, line)))])
    t.client()
    assert lines[1:] == [(6, b"tcp-req-conn 192.0.2.1")]


@pytest.mark.parametrize(
    ("form", "text", "end"),
    [
        ("rfc5424", b'[a b="c"]' + DATA_END + b"text", b' tag 7 - [a b="c"] text\n'),
        ("rfc5424", b"-" + DATA_END + b"text", b" tag 7 - - text\n"),
        ("rfc5424", b"text", b" tag 7 - - text\n"),
        ("rfc3164", b"[a]" + DATA_END + b"text", b" tag[7]: text\n"),
        ("raw", b"[a]" + DATA_END + b"text", b"text\n"),
    ],
)
def test_structured_data(form: str, text: bytes, end: bytes) -> None:
    line = _with_data(syslog.make(form, 16, 1024, "tag", 7, ""), form == "rfc5424")
    assert line(6, 1_700_000_000.5, text).endswith(end)


def test_a_frontend_with_structured_data(monkeypatch: pytest.MonkeyPatch) -> None:
    t = stage(monkeypatch)
    lines: list[bytes] = []
    plan = replace(t.fe.plan, log_format=lambda s: b"text", log_format_sd=lambda s: b"[x]")
    t.fe.log = AccessLog(plan, [Target(7, 0, lambda level, wall, line: lines.append(line))])
    c = t.client()
    t.says(c, GET)
    t.stands(t.dialled[0])
    t.says(t.dialled[0], OK)
    assert lines == [b"[x]" + DATA_END + b"text"]


POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"


@pytest.mark.parametrize(
    ("rule", "pieces", "answer", "sent", "times"),
    [
        ("wait-for-body time 1s", [b"hello", b"world"], b"", b"X-Len: 10\r\n\r\nhelloworld", b"300/0"),
        ("wait-for-body time 1s at-least 4", [b"h", b"ello"], b"", b"X-Len: 5\r\n\r\nhello", b"300/0"),
        ("wait-for-body time 200ms", [b"hello", b"world"], b" 408 ", b"", b"-1/-1"),
        ("wait-for-body time 1s if { path /b }", [b"hello", b"world"], b"", b"X-Len: 10\r\n\r\nhelloworld", b"300/0"),
    ],
)
def test_waiting_for_the_body(
    monkeypatch: pytest.MonkeyPatch, rule: str, pieces: list[bytes], answer: bytes, sent: bytes, times: bytes
) -> None:
    """The rule says how long and how much, also where others look at the body; the wait is a part of the request (as in HAProxy)."""
    made = [parse_rule("http-req", Words.of(text), RuleContext(name="f")) for text in (rule, "set-header X-Len %[req.body_len]")]
    front = {"mode": "http", "http_request": tuple(one.step for one in made), "needs": made[0].needs | made[1].needs}
    t = Stage(monkeypatch, front=front, back={"mode": "http"}, client_s=60.0, server_s=5.0, connect_s=1.0)
    render = compile_format("%TR/%Tw", RuleContext(name="f", kind="log"), style="log").render
    lines: list[bytes] = []
    t.fe.log = AccessLog(replace(t.fe.plan, log_format=render), [Target(7, 0, lambda level, wall, line: lines.append(line))])
    c = t.client()
    t.says(c, POST + pieces[0])
    assert not t.dialled
    t.passes(0.3)
    if not answer:
        t.says(c, pieces[1])
        (up,) = t.dialled
        t.stands(up)
        assert up.got.endswith(sent)
        t.says(c, b"x" * (10 - sum(map(len, pieces))))
        t.says(up, OK)
    assert answer in c.got and lines == [times]
