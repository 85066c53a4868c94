"""Transcripts of answers that rules hold back: http-response pause and wait-for-body."""

from __future__ import annotations

from typing import Any

import pytest

from forkproxy.net.loop import ET
from forkproxy.registry import Needs
from forkproxy.rules.context import RuleContext
from forkproxy.rules.ruleset import parse_rule
from forkproxy.rules.words import Words
from tests.session.stage import Stage, Wire

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
TEN = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_END = b"HTTP/1.1 200 OK\r\n\r\n"
WAIT = "wait-for-body time 1s"
SHOW = "set-header X-Len %[res.body_len]-%[res.body]"
END, RESET = b"", ConnectionResetError


def begun(monkeypatch: Any, *rules: str, side: str = "back", request: bytes = GET) -> tuple[Stage, Wire, Wire]:
    """A stage, its client, and the server's connection that has the request."""
    made = [parse_rule("http-res", Words.of(rule), RuleContext(name="f")) for rule in rules]
    needs = Needs.NONE
    for rule in made:
        needs |= rule.needs
    own: dict[str, Any] = {"mode": "http", "http_response": tuple(rule.step for rule in made), "needs": needs}
    sides = {"front": {"mode": "http"}, "back": {"mode": "http"}} | {side: own}
    t = Stage(monkeypatch, **sides, client_s=60.0, server_s=5.0, connect_s=1.0)
    c = t.client()
    t.says(c, request)
    (up,) = t.dialled
    t.stands(up)
    return t, c, up


#: rules, what the server says piece by piece, what of it the client has before the last piece, at the end, the flags of the log
BODIES: dict[str, tuple[list[str], list[Any], bytes, bytes, str]] = {
    "no wait": ([SHOW], [TEN + b"hello", b"world"], b"X-Len: 5-hello\r\n\r\nhello", b"hello" b"world", "--"),
    "length": ([WAIT, SHOW], [TEN + b"hello", b"world"], b"", b"X-Len: 10-helloworld\r\n\r\nhelloworld", "--"),
    "rules go on once": (["add-header X 1", WAIT, "add-header Y 1"], [TEN + b"h", b"elloworld"], b"",
                         b"X: 1\r\nY: 1\r\n\r\nhelloworld", "--"),
    "more than it": ([WAIT, SHOW], [TEN + b"hello", b"worldtoo"], b"", b"X-Len: 10-helloworld\r\n\r\nhelloworld", "--"),
    "chunks": ([WAIT, SHOW], [CHUNKS + b"5\r\nhel", b"lo\r\n3\r", b"\nabc\r\n0\r\n\r\n"], b"",
               b"X-Len: 8-helloabc\r\n\r\n5\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n", "--"),
    "until the end": ([WAIT, SHOW], [UNTIL_END + b"hello", b"abc", END], b"",
                      b"X-Len: 8-helloabc\r\nconnection: close\r\n\r\nhelloabc", "--"),
    "cut": ([WAIT, SHOW], [TEN + b"hello", END], b"", b"X-Len: 5-hello\r\n\r\nhello", "SD"),
    "broken": ([WAIT, SHOW], [UNTIL_END + b"hello", RESET], b"", b"X-Len: 5-hello\r\nconnection: close\r\n\r\nhello", "SD"),
    "bad chunks": ([WAIT], [CHUNKS + b"5\r\nhello\r\n", b"zz\r\n"], b"", b"502 Bad Gateway", "PH"),
    "denied": ([WAIT, "deny if { res.body -m sub bad }"], [TEN + b"a ba", b"d word"], b"", b"502 Bad Gateway", "PH"),
    "at least": ([WAIT + " at-least 4", SHOW], [TEN + b"h", b"ell", b"oworld"], b"X-Len: 4-hell\r\n\r\nhell", b"helloworld", "--"),
    "at least of chunks": ([WAIT + " at-least 6", SHOW], [CHUNKS + b"5\r\nhello\r\n", b"5\r\nworld\r\n", b"0\r\n\r\n"],
                           b"X-Len: 10-helloworld\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n", b"0\r\n\r\n", "--"),
    "a full buffer": ([WAIT, "set-header X-Len %[res.body_len]"],
                      [b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"a" * 9000, b"b" * 9000, b"c" * 2000],
                      b"X-Len: 16384\r\n\r\naaa", b"ccc", "--"),
    "no body": ([WAIT, SHOW], [b"HTTP/1.1 204 No\r\n\r\n"], b"", b"X-Len: 0-\r\n\r\n", "--"),
}  # fmt: skip


@pytest.mark.parametrize("side", ["front", "back"])
@pytest.mark.parametrize("name", BODIES)
def test_bodies(monkeypatch: pytest.MonkeyPatch, name: str, side: str) -> None:
    rules, pieces, before, after, flags = BODIES[name]
    t, c, up = begun(monkeypatch, *rules, side=side)
    for index, piece in enumerate(pieces):
        if index and index == len(pieces) - 1:
            assert before in c.got and bool(before) == bool(c.got)
        if piece is RESET:
            t.resets(up)
        else:
            t.says(up, piece)
    assert after in c.got
    assert [line[0] for line in t.log] == [flags]


def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    t, c, up = begun(monkeypatch, WAIT)
    t.says(up, TEN + b"hello")
    t.passes(0.9)
    t.says(up, b"wor")
    assert not c.got
    t.passes(0.2)
    assert b" 504 Gateway" in c.got and up.closed and [line[0] for line in t.log] == ["sH"]
    t, c, up = begun(monkeypatch, "wait-for-body time 1h")
    t.says(up, TEN + b"hello")
    t.passes(5.1)  # timeout server
    assert b" 504 Gateway" in c.got and up.closed


@pytest.mark.parametrize("server_leaves", [False, True])
def test_pause(monkeypatch: pytest.MonkeyPatch, server_leaves: bool) -> None:
    t, c, up = begun(monkeypatch, "add-header X-A 1", "pause 2s", "add-header X-B 1", "pause int(300)", "add-header X-C 1")
    t.says(up, TEN + b"hello")
    t.passes(1.9)
    up.said.append(b"world")
    if server_leaves:
        up.said.append(END)
        t.event(up, 0x10)  # a hang-up is told whether we read or not, again and again unless somebody sees to it
    assert not t.reads(up) and not c.got
    t.passes(0.2)
    assert not c.got
    t.passes(0.3)
    assert c.got.endswith(b"X-A: 1\r\nX-B: 1\r\nX-C: 1\r\n\r\nhello") and t.reads(up)
    assert not t.watcher(up).mask & ET, "what waits there is told of again"
    t.event(up, 1)
    assert c.got.endswith(b"helloworld") and [line[0] for line in t.log] == ["--"]
    if server_leaves:
        t.event(up, 1)
        assert up.closed


def test_who_goes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    for rule in ("pause 2s", WAIT):
        t, c, up = begun(monkeypatch, rule)
        t.says(up, TEN + b"hello")
        t.resets(c)
        t.passes(3.0)
        assert up.closed and c.closed and len(t.log) == 1


def test_a_request_whose_answer_came_early_and_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of its body goes on meanwhile."""
    t, c, up = begun(monkeypatch, WAIT, request=b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
    t.says(up, TEN + b"hello")
    t.says(c, b"def")
    assert up.got.endswith(b"abcdef") and not c.got
    t.says(up, b"world")
    assert c.got.endswith(b"helloworld")
    t.says(c, GET)
    assert up.got.endswith(GET)


def test_bodies_of_our_own_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """http-after-response sees them, too (as in HAProxy 2.6)."""
    after = parse_rule("http-after-res", Words.of("set-header X-Body %[res.body_len]-%[res.body]"), RuleContext(name="f")).step
    said = parse_rule("http-req", Words.of("return content-type text/plain string hello"), RuleContext(name="f")).step
    t = Stage(monkeypatch, front={"mode": "http", "http_request": (said,), "http_after_response": (after,)}, back={"mode": "http"})
    c = t.client()
    t.says(c, GET)
    assert b"X-Body: 5-hello\r\n" in c.got and c.got.endswith(b"hello")
