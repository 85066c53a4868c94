"""Transcripts of fetches that tell what ended a stream, what it waited for, and which one of its connection it was."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from forkproxy.proxy.accesslog import AccessLog, Target
from forkproxy.rules.context import RuleContext
from forkproxy.rules.logformat import compile_format
from forkproxy.rules.ruleset import parse_rule
from forkproxy.rules.words import Words
from forkproxy.values import replace
from tests.session.stage import Stage

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TEN = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


def stage(monkeypatch: Any, text: str, *rules: tuple[str, str], mode: str = "http", **front: Any) -> tuple[Stage, list[bytes]]:
    """A stage whose log has what ``text`` makes of each stream; ``rules`` are (kind, words), as on lines 1, 2 … of the file."""
    own: dict[str, Any] = {"mode": mode, **front}
    fields = {"http-req": "http_request", "http-res": "http_response", "tcp-req-cont": "tcp_request_content"}
    for number, (kind, words) in enumerate(rules, 1):
        split = words.split()
        cursor = Words(split, [0] * len(split), file="f.cfg", line=number, source=words)
        made = parse_rule(kind, cursor, RuleContext(name="f", mode=mode, traced=True))
        own[fields[kind]] = (*own.get(fields[kind], ()), made.step)
        own["needs"] = own.get("needs", 0) | made.needs
    t = Stage(monkeypatch, front=own, back={"mode": mode, "retries": 1}, client_s=5.0, server_s=5.0, connect_s=1.0, http_request_s=2.0)
    lines: list[bytes] = []
    render = compile_format(Words(["log-format", text], [0, 0], start=1), RuleContext(name="f", kind="log", mode=mode), style="log").render
    t.fe.log = AccessLog(replace(t.fe.plan, log_format=render), [Target(7, 0, lambda level, wall, line: lines.append(line))])
    return t, lines


def begun(t: Stage, request: bytes = GET) -> tuple[Any, Any]:
    c = t.client()
    t.says(c, request)
    up = t.dialled[-1]
    t.stands(up)
    return c, up


ENDS = "%[fs.aborted] %[bs.aborted] %[bc_err] %[bc_err_name] %[bc_err_str]"


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("well", b"0 0 0 - Success"),
        ("client resets", b"1 0 0 - Success"),
        ("server resets early", b"0 1 47 ERESET ECONNRESET returned by OS"),
        ("server resets late", b"0 1 47 ERESET ECONNRESET returned by OS"),
        ("server cuts", b"0 1 0 - Success"),
        ("refused", b"0 0 46 EREFUSED ECONNREFUSED returned by OS"),
        ("refused once", b"0 0 0 - Success"),
        ("unreachable", b"0 0 48 EUNREACH ENETUNREACH returned by OS"),
    ],
)
def test_errors_and_aborts(monkeypatch: pytest.MonkeyPatch, what: str, line: bytes) -> None:
    t, lines = stage(monkeypatch, ENDS)
    if what in ("refused", "unreachable", "refused once"):
        error = errno.ENETUNREACH if what == "unreachable" else errno.ECONNREFUSED
        t.room = 0  # the kernel does not take anything before the connection stands
        t.says(t.client(), GET)
        t.fails(t.dialled[0], error)
        t.passes(1.1)
        if what == "refused once":
            t.takes(t.dialled[1])
            t.says(t.dialled[1], OK)
        else:
            t.fails(t.dialled[1], error)
    else:
        c, up = begun(t)
        if what == "client resets":
            t.resets(c)
        elif what == "server resets early":
            t.resets(up)
        else:
            t.says(up, OK if what == "well" else TEN + b"a")
            if what == "server resets late":
                t.resets(up)
            elif what == "server cuts":
                t.says(up, b"")
    assert lines == [line]


def test_numbers_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = "%[fc_settings_streams_limit] %[bc_settings_streams_limit] %[fs.rst_code] %[bs.rst_code]"
    t, lines = stage(monkeypatch, f"%[fs.id] %[req.bytes_in] %[req.bytes_out] {limits}", ("http-req", "set-header X-More 12345"))
    c, up = begun(t)
    t.says(up, OK)
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"
    t.says(c, post + b"abc")
    t.says(c, b"def")
    sent = len(up.got)
    t.says(up, OK)
    more = len(b"X-More: 12345\r\n")
    assert sent == len(GET) + more + len(post) + 6 + more
    assert lines == [b"1 %d %d 1 1 - -" % (len(GET), len(GET) + more), b"2 %d %d 1 1 - -" % (len(post) + 6, len(post) + 6 + more)]
    t, lines = stage(monkeypatch, "%[fs.id] %[bs.id] %[req.bytes_out]", mode="tcp")
    c, up = begun(t, b"hello")
    t.says(c, b" you")
    t.says(up, b"")
    t.says(c, b"")
    assert lines == [b"0 0 9"]


WAITS = "%[waiting_entity] %[last_entity]"


def test_who_was_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pausing = ("http-req", "set-header a b"), ("http-req", "pause 1s"), ("http-req", "deny if { path /deny }")
    t, lines = stage(monkeypatch, WAITS, *pausing)
    c = t.client()
    t.says(c, GET)
    t.resets(c)
    c = t.client()
    t.says(c, GET)
    t.passes(1.1)
    t.resets(c)
    t.says(t.client(), GET.replace(b"/a", b"/deny"))
    t.passes(1.1)
    assert lines == [b"f.cfg:2 -", b"- -", b"- f.cfg:3"]
    t, lines = stage(monkeypatch, WAITS, ("http-res", "wait-for-body time 1s"))
    c, up = begun(t)
    t.says(up, TEN + b"a")
    t.passes(1.1)
    assert lines == [b"f.cfg:1 -"] and b" 504 " in c.got
    looking = ("tcp-req-cont", "accept if { src 192.0.2.77 }"), ("tcp-req-cont", "reject unless { req.payload(0,9) -m found }")
    t, lines = stage(monkeypatch, WAITS, *looking, mode="tcp", inspect_delay_s=3.0)
    c = t.client()
    t.says(c, b"abc")
    t.resets(c)
    assert lines == [b"f.cfg:2 -"]
