"""Transcripts of requests for the statistics page: when it speaks, what is counted and logged, forms whose answer comes later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from forkproxy.plan import StatsPage
from forkproxy.rules.verdict import ALLOW, Reply, Service
from forkproxy.state import layout as L
from forkproxy.stats import page, service
from forkproxy.stats.forms import Form
from tests.session.stage import Stage, Wire
from tests.unit.stats.fixtures import plan, server, world

GET = b"GET /st;csv HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /st HTTP/1.1\r\nHost: a\r\nContent-Length: 24\r\n\r\n"
FORM = b"s=a&b=be&action=drain&x="
ADMIN = StatsPage(uri=b"/st", admin=(lambda txn: True,))

Done = Callable[[str], None]


@pytest.fixture
def asked() -> Iterator[list[tuple[Form, Done]]]:
    """Forms that the master has."""
    forms: list[tuple[Form, Done]] = []
    service.bind(lambda: None, lambda form, done: forms.append((form, done)))  # type: ignore[arg-type,return-value]
    yield forms
    service._bound.make = service._bound.manage = None


def stage(mp: pytest.MonkeyPatch, *, front: StatsPage | None = None, back: StatsPage | None = None, rules: Any = None) -> Stage:
    """Frontend and backend with pages; what they would show is "statistics"."""

    def fields(shown: StatsPage | None) -> dict[str, Any]:
        return {"mode": "http", "statistics": None if shown is None else (page.answering(shown),)}

    if front is not ADMIN:
        mp.setattr(page, "answer", lambda txn, shown: (200, [(b"content-type", b"text/plain")], b"statistics"))
    return Stage(mp, front={**fields(front), "http_request": rules}, back=fields(back), client_s=10.0, server_s=5.0, connect_s=1.0)


def says(made: Stage, raw: bytes = GET) -> Wire:
    c = made.client()
    made.says(c, raw)
    return c


def test_it_answers_behind_the_rules_of_the_frontend(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    made = stage(monkeypatch, front=StatsPage(uri=b"/st"), rules=(lambda s: seen.append(s.req.target), lambda s: ALLOW))
    c = says(made)
    assert c.got.endswith(b"\r\n\r\nstatistics") and not made.dialled and seen == [b"/st;csv"]
    assert made.log == [("LR", 0, False, "<STATS>", len(GET), len(c.got))]
    assert made.fe.count.row[L.INTERCEPTED] == 1
    made.says(c, GET.replace(b"/st", b"/s"))
    assert len(made.dialled) == 1, "the next request on the same connection goes to a server"


def test_a_rule_may_answer_first(monkeypatch: pytest.MonkeyPatch) -> None:
    made = stage(monkeypatch, front=StatsPage(uri=b"/st"), rules=(lambda s: Reply("deny", status=403, denied=True, default_error=True),))
    assert says(made).got.startswith(b"HTTP/1.1 403 ") and made.log[0][3] == "<NOSRV>"


def test_its_own_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    deny = Reply("deny", status=403, denied=True, default_error=True)
    made = stage(monkeypatch, front=StatsPage(uri=b"/st", rules=(lambda txn: deny,)))
    assert says(made).got.startswith(b"HTTP/1.1 403 ") and made.log[0][0] == "PR" and made.log[0][3] == "<STATS>"
    assert made.fe.count.row[L.REQ_DENIED] == 1


def test_it_answers_for_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    made = stage(monkeypatch, back=StatsPage(uri=b"/st"))
    assert says(made).got.endswith(b"statistics") and not made.dialled
    assert made.fe.count.row[L.INTERCEPTED] == 0, "the frontend had sent it on"


def test_a_form_waits_for_its_body_and_for_the_master(monkeypatch: pytest.MonkeyPatch, asked: list[tuple[Form, Done]]) -> None:
    seen: list[bytes] = []
    made = stage(monkeypatch, front=ADMIN, rules=(lambda s: seen.append(s.req.target),))
    c = says(made, POST + FORM[:10])
    assert asked == []
    made.says(c, FORM[10:])
    ((form, done),) = asked
    assert form == Form("drain", "be", ("a",)) and c.got == b"" and made.log == []
    done("DONE")
    assert c.got.startswith(b"HTTP/1.1 303 ") and b"\r\nlocation: /st;st=DONE\r\n" in c.got and not c.closed
    assert [line[0] for line in made.log] == ["LR"] and seen == [b"/st"], "rules are not walked again"


def test_nobody_is_told_who_left(monkeypatch: pytest.MonkeyPatch, asked: list[tuple[Form, Done]]) -> None:
    made = stage(monkeypatch, front=ADMIN)
    c = says(made, POST + FORM)
    made.resets(c)
    asked[0][1]("DONE")
    assert c.got == b"" and len(made.log) == 1


def test_a_form_larger_than_a_buffer_is_not_carried_out(monkeypatch: pytest.MonkeyPatch, asked: list[tuple[Form, Done]]) -> None:
    made = stage(monkeypatch, front=ADMIN)
    c = says(made, POST.replace(b"24", b"90000") + FORM + b"s=x&" * 5000)
    made.says(c, b"s=x&" * 5000)
    assert b"\r\nlocation: /st;st=EXCD\r\n" in c.got and asked == []


@pytest.mark.parametrize("kind", ["page", "metrics", "csv"])
def test_much_to_show_takes_many_turns_of_the_loop(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Traffic goes on meanwhile; what is sent at the end is what would have been made at once."""
    many = world(plan(tuple(server(f"s{i}", 1) for i in range(service.AT_ONCE))), size=256)
    service.bind(lambda: many.context)
    target = {"page": b"/st", "metrics": b"/metrics?scope=server&metrics=haproxy_server_weight", "csv": b"/st;csv"}[kind]
    get = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target
    handler = Service("service", handler=service.prometheus_exporter) if kind == "metrics" else None
    made = Stage(monkeypatch, front={
        "mode": "http", "statistics": (page.answering(StatsPage(uri=b"/st")),),
        "http_request": (lambda s: handler if s.req.target == target else None,),
    }, back={"mode": "http"}, client_s=10.0, server_s=5.0, connect_s=1.0)  # fmt: skip
    c, gone = made.client(), made.client()
    for wire in (c, gone):
        made.says(wire, get)
    assert c.got == b"" and not made.log, "it is being made"
    made.resets(gone)
    turns = 0
    while not c.got:
        made.settle()
        turns += 1
        assert turns < 2000
    assert turns > 5 and len(made.log) == 2
    head, _, body = c.got.partition(b"\r\n\r\n")
    assert b"200 OK" in head and b"content-length: %d" % len(body) in head.lower()
    monkeypatch.setattr(service, "AT_ONCE", 10_000)
    made.says(c, get)
    assert c.got.endswith(body) and len(c.got) > 2 * len(body), "as when it is made at once"
    service._bound.make = service._bound.context = None
