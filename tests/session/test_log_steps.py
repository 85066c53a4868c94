"""Transcripts of frontends that log more than once, or each target otherwise: log-steps and log profiles."""

from __future__ import annotations

from typing import Any

import pytest

from forkproxy.proxy.accesslog import DATA_END, AccessLog, Target
from forkproxy.proxy.profiles import ProfiledLog, access_log
from forkproxy.rules.context import RuleContext
from forkproxy.rules.logformat import compile_format
from forkproxy.rules.logprofile import Change, LogProfile
from forkproxy.rules.ruleset import parse_rule
from forkproxy.rules.words import Words
from forkproxy.values import replace
from tests.session.stage import Stage

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ALL = frozenset({"accept", "request", "connect", "response", "close"})


def render(text: str) -> Any:
    return compile_format(text, RuleContext(name="f", kind="log"), style="log").render


USUAL = "%OG %s %ST"
PROFILES = {
    "p": LogProfile(
        name="p",
        changes={
            "connect": Change(drop=True),
            "error": Change(format=render("failed %OG")),
            "http-req": Change(format=render("rule %HP")),
            "any": Change(sd=lambda s: b"[x]"),
        },
    ),
    "q": LogProfile(name="q", changes={"any": Change(format=render("q %OG"))}),
}
DATA = b"[x]" + DATA_END


def stage(monkeypatch: Any, steps: frozenset[str] | None, *rules: str, profile: str = "", mode: str = "http", **front: Any) -> Any:
    """A stage, and the lines of two targets: an ordinary one and one with ``profile``."""
    capabilities = {} if steps is None else {"log-steps": steps}
    made = tuple(parse_rule("http-req", Words.of(rule), RuleContext(name="f", find=lambda kind, name: None)).step for rule in rules)
    own = {"mode": mode, "http_request": made or None, "capabilities": capabilities, **front}
    t = Stage(monkeypatch, front=own, back={"mode": mode}, client_s=60.0, server_s=5.0, connect_s=1.0)
    lines: list[bytes] = []
    other: list[bytes] = []
    targets = [
        Target(7, 0, lambda level, wall, line: lines.append(line)),
        Target(7, 0, lambda level, wall, line: other.append(line), profile),
    ]
    plan = replace(t.fe.plan, log_format=render(USUAL))
    log = ProfiledLog(plan, targets, PROFILES, dict.fromkeys(PROFILES, targets), steps)
    # what the frontend's runtime works out when it has targets
    t.rt.frontends["f"] = t.fe = type(t.fe)(t.rt, plan, t.rt.backends, log)
    return t, lines, other


def exchange(t: Stage) -> None:
    """Two requests on one connection."""
    c = t.client()
    for _ in range(2):
        t.says(c, GET)
        if not t.dialled[0].got.count(GET) > 1:
            t.stands(t.dialled[0])
        t.says(t.dialled[0], OK)
    assert c.got.count(b"200 OK") == 2


SOME: list[frozenset[str] | None] = [
    None, ALL, ALL - {"close"}, frozenset({"accept", "close"}), frozenset({"response"}), frozenset({"connect"}),
]  # fmt: skip


@pytest.mark.parametrize("steps", SOME)
def test_steps(monkeypatch: pytest.MonkeyPatch, steps: frozenset[str] | None) -> None:
    t, lines, other = stage(monkeypatch, steps, profile="p")
    exchange(t)
    each = [
        (step, line)
        for step, line in (
            ("accept", b"txn_accept <NOSRV> -1"),
            ("request", b"txn_request <NOSRV> -1"),
            ("connect", b"txn_connect s0 -1"),
            ("response", b"txn_response s0 200"),
            ("close", b"txn_close s0 200"),
        )
        if step in (steps or {"close"})
    ]
    assert lines == [line for _, line in each] * 2
    assert other == [DATA + line for step, line in each if step != "connect"] * 2, "what is dropped is dropped for one target only"


def test_what_never_was_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    for steps in (None, frozenset({"accept"})):
        t, lines, other = stage(monkeypatch, steps, profile="p")
        t.says(t.client(), b"BAD\r\n\r\n")
        assert lines == [b"sess_error <NOSRV> 400"] and other == [b"failed sess_error"]
        t, lines, other = stage(monkeypatch, steps, profile="q", error_log_format=lambda s: b"usual error")
        t.says(t.client(), b"BAD\r\n\r\n")
        assert lines == [b"usual error"] and other == [b"q sess_error"]


def test_rules_and_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    t, lines, other = stage(monkeypatch, frozenset({"close"}), "do-log", "do-log profile q", "set-log-level silent", "do-log", profile="p")
    exchange(t)
    assert lines == [b"http-req <NOSRV> -1", b"q http-req"] * 2, "a silent stream says nothing"
    assert other == [b"rule /a", b"q http-req"] * 2


def test_levels_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    t, lines, _ = stage(monkeypatch, ALL, options=frozenset({"dontlog-normal"}))
    exchange(t)
    assert lines == []
    t, lines, _ = stage(monkeypatch, ALL, options=frozenset({"logasap"}))
    exchange(t)
    assert len(lines) == 10, "the steps say when, nobody else"


def test_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    t, lines, _ = stage(monkeypatch, ALL, mode="tcp")
    c = t.client()
    (up,) = t.dialled
    t.stands(up)
    t.says(up, b"hello")
    t.says(up, b"")
    t.says(c, b"")
    assert [line.split()[0] for line in lines] == [b"txn_accept", b"txn_connect", b"txn_close"]


def test_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    t, lines, _ = stage(monkeypatch, ALL)
    c = t.client()
    t.says(c, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    (up,) = t.dialled
    t.stands(up)
    t.says(up, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    t.says(up, b"")
    t.says(c, b"")
    assert [line.split()[0] for line in lines] == [b"txn_accept", b"txn_request", b"txn_connect", b"txn_response", b"txn_close"]


def test_who_uses_nothing_of_it_pays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    t = Stage(monkeypatch, front={"mode": "http"}, back={"mode": "http"})
    log = access_log(t.fe.plan, t.rt.logs)
    assert type(log) is AccessLog and t.fe.log_steps is None and t.fe.plain and t.fe.plain_response
