"""The statistics page: what its addresses ask for, who may see it, what its forms come to, what it shows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from forkproxy.health.status import Status
from forkproxy.master.forms import carry_out
from forkproxy.plan import StatsPage
from forkproxy.proxy import reply
from forkproxy.rules.verdict import ALLOW, WAIT, Reply, Service, Verdict
from forkproxy.state.layout import RESPONSE_HISTOGRAM, REUSES
from forkproxy.state.servers import CHECK_TEXT
from forkproxy.stats import forms, histograms, html, page, service
from forkproxy.stats.columns import COLUMNS, NUMBER
from forkproxy.stats.forms import Form
from forkproxy.stats.history import KEPT, History
from forkproxy.stats.page import Query
from forkproxy.values import replace
from tests.unit.stats.fixtures import World, world


@pytest.fixture
def full() -> Iterator[World]:
    made = world()
    yield made
    made.close()


@pytest.fixture
def bound(full: World) -> Iterator[World]:
    service.bind(lambda: full.context)
    yield full
    service._bound.make = service._bound.context = service._bound.manage = service._bound.history = None


ASKED = {
    b"": Query(),
    b";csv": Query(form="csv"),
    b";json;norefresh": Query(form="json", refresh=False),
    b";typed": Query(form="typed"),
    b";json-schema": Query(form="json-schema"),
    b"?x=;csvx": Query(form="csv"),
    b";up;no-maint": Query(up=True, no_maint=True),
    b";st=DONE;norefresh": Query(status="DONE", refresh=False),
    b"?scope=web&x=y": Query(scope="web"),
    b";csv?scope=a%2eb%3c": Query(form="csv", scope="a.b"),
    b"?scope=" + b"x" * 50: Query(scope="x" * 20),
    b"/anything": Query(),
}


@pytest.mark.parametrize("rest", ASKED, ids=repr)
def test_what_is_asked_for(rest: bytes) -> None:
    assert page.parse(rest) == ASKED[rest]


def test_choices_go_along() -> None:
    assert Query(up=True, refresh=False, scope="a").suffix() == ";up;norefresh?scope=a"
    every = Query(up=True, no_maint=True, refresh=False, scope="a").suffix()
    assert page.parse(every.encode()).suffix() == every == ";up;no-maint;norefresh?scope=a"


# -- which requests


def request(target: bytes, method: bytes = b"GET", body: bytes = b"", **fields: bytes) -> Any:
    head = SimpleNamespace(method=method, target=target, get=lambda name: fields.get(name.decode().replace("-", "_")))
    return SimpleNamespace(req=head, body=body, body_done=True, req_done=True, clock=SimpleNamespace(now=5.0), logged=False, server_id=b"")


@pytest.mark.parametrize(
    ("method", "target", "answered"),
    [
        (b"GET", b"/st", True), (b"HEAD", b"/stuff", True), (b"POST", b"/st;up", True), (b"GET", b"http://h/st", True),
        (b"GET", b"/s", False), (b"GET", b"/", False), (b"PUT", b"/st", False), (b"DELETE", b"/st", False), (b"OPTIONS", b"*", False),
        (b"GET", b"http://h/x", False), (b"CONNECT", b"h:1", False),
    ],
)  # fmt: skip
def test_which_requests_are_answered(method: bytes, target: bytes, answered: bool) -> None:
    txn = request(target, method)
    verdict = page.answering(StatsPage(uri=b"/st"))(txn)
    assert isinstance(verdict, Service) == answered
    assert txn.server_id == (b"<STATS>" if answered else b"")


def constant(value: Any) -> Any:
    return lambda txn: value


def test_rules_decide_first() -> None:
    deny = Reply("deny", status=403)

    def verdict(*rules: Verdict | None) -> Any:
        return page.answering(StatsPage(uri=b"/st", rules=tuple(constant(r) for r in rules)))(request(b"/st"))

    assert verdict(None, deny, ALLOW) is deny
    assert isinstance(verdict(ALLOW, deny), Service) and isinstance(verdict(None), Service)
    assert isinstance(verdict(WAIT), Service), "nothing more will come"


def test_a_form_is_waited_for() -> None:
    txn = request(b"/st", b"POST")
    txn.body_done = False
    step = page.answering(StatsPage(uri=b"/st"))
    assert step(txn) is WAIT
    txn.body_done = True
    assert isinstance(step(txn), Service)


# -- what is shown


def text(bound: World, target: bytes, **said: Any) -> str:
    answer = page.answer(request(target), StatsPage(uri=b"/st", **said))
    assert answer is not None and answer[0] == 200
    return answer[2].decode()


def names(csv: str) -> list[str]:
    return ["/".join(line.split(",")[:2]) for line in csv.splitlines()[1:]]


def test_exports(bound: World) -> None:
    csv = text(bound, b"/st;csv")
    assert csv.splitlines()[0] == "# " + ",".join(column.name for column in COLUMNS) + ",-,"
    assert names(csv)[:4] == ["f/FRONTEND", "tcpf/FRONTEND", "b/s1", "b/s2"]
    assert "b/s4" in names(csv)
    assert "b/s4" not in names(text(bound, b"/st;csv;no-maint")) and "b/s4" not in names(text(bound, b"/st;csv;up"))
    assert set(names(text(bound, b"/st;csv", scope=("f", "none")))) == {"f/FRONTEND", "none/BACKEND"}
    assert names(text(bound, b"/st;csv?scope=tcp")) == ["tcpf/FRONTEND"]
    assert text(bound, b"/st;typed").startswith("F.2.0.0.pxname.1:KNS") and text(bound, b"/st;json").startswith('[[{"objType":"Frontend"')
    assert text(bound, b"/st;json-schema").startswith('{"$schema":"http://json-schema.org/draft-04/schema#"')


def fields(target: bytes, refresh_s: int) -> dict[bytes, bytes]:
    answer = page.answer(request(target), StatsPage(uri=b"/st", refresh_s=refresh_s))
    assert answer is not None
    return dict(answer[1])


def test_fields(bound: World) -> None:
    assert fields(b"/st;csv", 7) == {b"cache-control": b"no-cache", b"content-type": b"text/plain", b"refresh": b"7"}
    assert b"refresh" not in fields(b"/st;csv;norefresh", 7) and b"refresh" not in fields(b"/st;csv", 0)
    assert fields(b"/st;json", 0)[b"content-type"] == b"application/json"
    assert b"default-src 'none'" in fields(b"/st", 0)[b"content-security-policy"]


def test_the_page_has_every_row_and_value(bound: World) -> None:
    bound.rows.cells(0)[bound.rows.base("b/s1") + 3] += 1
    shown = text(bound, b"/st")
    rows = set(names(text(bound, b"/st;csv")))
    assert set(re.findall(r'<tr class="[^"]*" data-k="([^"]*)"', shown)) == rows
    assert re.findall(r'<h2><a href="#[^"]*">([^<]*)</a>', shown) == ["f", "tcpf", "b", "t", "none"]
    row = shown[shown.index('data-k="b/s1"') :].partition("</tr>")[0]
    assert f'data-c="{NUMBER["weight"]}" data-u="n" data-l="Wght">7<' in row
    assert 'class="server maint" data-k="b/s4"' in shown
    assert "http-equiv" not in shown and "Version" not in shown and "<form method=\"post" not in shown and "here" not in shown
    assert not re.search(r'(?:src|href)="(?:https?:)?//', shown), "nothing comes from elsewhere"


def test_what_the_file_says_of_the_page(bound: World) -> None:
    shown = text(bound, b"/st", refresh_s=9, node="edge", desc="of <b>all</b>", show_version=True, show_legends=True)
    assert '<noscript><meta http-equiv="refresh" content="9"></noscript>' in shown and 'data-live="1"' in shown
    assert all(said in shown for said in ("on edge", "of &lt;b&gt;all&lt;/b&gt;", "Version", "cookie c1", "127.0.0.1:8001"))
    assert 'data-live="0"' in text(bound, b"/st;norefresh", refresh_s=9) and 'href="/st"' in text(bound, b"/st;norefresh", refresh_s=9)


def test_a_backend_that_is_kept_out_of_rules_is_marked(bound: World) -> None:
    assert "unpublished" not in text(bound, b"/st")
    before = bound.plan
    hidden = replace(before.backends["b"], unpublished=True, description="the <first>")
    bound.context.model.plan = replace(before, backends={**before.backends, "b": hidden})
    assert '<span class="said">the &lt;first&gt; (unpublished)</span>' in text(bound, b"/st")
    assert "unpublished" not in text(bound, b"/st;csv"), "tools know no such state"


def test_forms_are_offered_to_those_who_may(bound: World) -> None:
    assert '<form method="post"' not in text(bound, b"/st", admin=(lambda txn: False,))
    shown = text(bound, b"/st;up", admin=(lambda txn: False, lambda txn: True))
    assert shown.count('<form method="post" action="/st;up">') == 2, "of backends with servers"
    assert all(f'value="{action}"' in shown for action in forms.ACTIONS)
    assert 'name="s" value="s1"' in shown and 'name="b" value="#4"' in shown


def test_the_form_that_filters_keeps_what_the_prefix_has_of_a_query(bound: World) -> None:
    answer = page.answer(request(b"/a?stats&x=1;csv"), StatsPage(uri=b"/a?stats&x=1"))
    assert answer is not None and answer[2].startswith(b"# pxname")
    answer = page.answer(request(b"/a?stats=&x=1&scope=t%3c"), StatsPage(uri=b"/a?stats"))
    assert answer is not None
    shown = answer[2].decode()
    form = re.search(r'<form class="find".*?</form>', shown, re.S)
    assert form is not None and 'action="/a"><input type="hidden" name="stats" value="">' in form[0] and 'value="t"' in form[0]
    assert set(re.findall(r'<section class="proxy" data-name="([^"]*)"', shown)) == {"t", "tcpf"}


def test_tips_have_numbers_that_exist(bound: World) -> None:
    bound.servers.set("b/s1", check_status=int(Status.L7STS), check_code=500)
    bound.servers.say("b/s1", CHECK_TEXT, "<no>")
    bound.rows.cells(0)[bound.rows.base("b/s1") + REUSES] += 3
    row = text(bound, b"/st").partition('data-k="b/s1"')[2].partition("</tr>")[0]
    assert 'title="Layer7 wrong status\n&lt;no&gt;\n' in row and "Connections used again: 3\n" in row
    assert all(name in NUMBER and all(column in NUMBER for _, column in lines) for name, lines in html.TIPS.items())


def test_times_of_answers_with_show_modules(bound: World) -> None:
    cells, base = bound.rows.cells(0), bound.rows.base("b/s1") + RESPONSE_HISTOGRAM
    cells[base + 1] += 50  # half a millisecond to one
    cells[base + 3] += 50  # two to four
    rows = list(csv.DictReader(io.StringIO(text(bound, b"/st;csv", show_modules=True).removeprefix("# "))))
    times = {f"{row['pxname']}/{row['svname']}": [row[name] for _, name in histograms.SHARES] for row in rows}
    assert times["b/s1"] == ["1", "3.8", "4"] and times["b/s2"] == ["", "", ""] and len(rows[0]) == len(COLUMNS) + 5
    assert "answer_p50" not in text(bound, b"/st;csv")
    row = text(bound, b"/st", show_modules=True).partition('data-k="b/s1"')[2].partition("</tr>")[0]
    assert f'data-c="{len(COLUMNS) + 2}" data-u="m" data-l="Answers, ms 95 %">3.8<' in row, "where the script finds it in CSV"


@pytest.mark.parametrize(
    ("counts", "share", "wanted"),
    [([], 0.5, None), ([4], 0.5, 0.2), ([0, 4], 1.0, 1.0), ([1, 0, 0, 3], 0.25, 0.5), ([0] * 16 + [1], 0.5, 16384.0)],
)  # fmt: skip
def test_quantiles(counts: list[int], share: float, wanted: float | None) -> None:
    assert histograms.quantile([*counts, *[0] * 20], 0, share) == wanted


def test_what_became_of_a_form_is_said(bound: World) -> None:
    assert 'class="message well"' in text(bound, b"/st;st=DONE") and 'class="message ill"' in text(bound, b"/st;st=DENY")
    assert "Unexpected result" in text(bound, b"/st;st=<b>") and "<b>" not in text(bound, b"/st;st=<b>").partition("<main>")[0]


@pytest.mark.parametrize(
    ("status", "seen"),
    [("OPEN", "up"), ("UP", "up"), ("UP 1/3", "turning"), ("DOWN", "down"), ("DOWN 1/2", "turning"), ("MAINT (via b/s)", "maint"),
     ("DRAIN", "drain"), ("NOLB 1/2", "drain"), ("no check", "up"), ("STOP", "maint")],
)  # fmt: skip
def test_colours(status: str, seen: str) -> None:
    assert html.condition(status) == seen


# -- forms


def test_forms_are_read() -> None:
    assert forms.parse(b"s=a&s=b+c&b=%23be&action=drain&x") == Form("drain", "#be", ("a", "b c"))
    assert forms.parse(b"") == Form()
    with pytest.raises(ValueError, match="no action"):
        forms.parse(b"s=a&action=&b=be")
    with pytest.raises(ValueError):
        forms.parse(b"s=%ff")


def sent(body: bytes, *, allowed: bool = True, **more: Any) -> str:
    """The status that a browser is sent back with; "" while the master is asked."""
    txn = request(b"/st;up", b"POST", body, **{k: v for k, v in more.items() if isinstance(v, bytes)})
    txn.req_done = more.get("whole", True)
    answer = page.answer(txn, StatsPage(uri=b"/st", admin=(lambda txn: allowed,)))
    if answer is None:
        return ""
    status, found, content = answer
    assert status == 303 and not content
    match = re.fullmatch(rb"/st;st=(\w+);up", dict(found)[b"location"])
    assert match is not None
    return match[1].decode()


def test_forms_that_never_reach_the_master() -> None:
    good = b"s=a&b=be&action=maint"
    assert sent(good, allowed=False) == "DENY" and sent(good, sec_fetch_site=b"cross-site") == "DENY"
    assert sent(good, whole=False) == "EXCD"
    assert sent(b"s=a&b=be&action=") == "ERRP"
    assert sent(b"b=be&action=maint") == sent(b"s=a&b=be") == "NONE"


def test_the_master_is_asked_and_its_answer_given(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    told: list[Any] = []
    service.bind(lambda: None, lambda form, done: asked.append((form, done)))  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(reply, "local", lambda txn, status, found, body: told.append((status, dict(found)[b"location"])))
    assert sent(b"s=a&b=be&action=maint", sec_fetch_site=b"same-origin") == "" and told == []
    form, done = asked[0]
    assert form == Form("maint", "be", ("a",))
    done("PART")
    assert told == [(303, b"/st;st=PART;up")]
    service._bound.make = service._bound.manage = None


@pytest.mark.parametrize(
    ("action", "backend", "servers", "result", "states"),
    [
        ("maint", "b", ["s1"], "DONE", {"s1": "MAINT"}),
        ("drain", "#4", ["s1", "s2"], "DONE", {"s1": "DRAIN", "s2": "DRAIN"}),
        ("disable", "b", ["s1"], "DONE", {"s1": "MAINT"}),
        ("ready", "b", ["s4"], "DONE", {"s4": "no check"}),
        ("maint", "b", ["s1", "nobody"], "PART", {"s1": "MAINT"}),
        ("maint", "b", ["nobody"], "ERRP", {}),
        ("maint", "nowhere", ["s1"], "ERRP", {"s1": "UP"}),
        ("explode", "b", ["s1"], "ERRP", {"s1": "UP"}),
        ("hdown", "b", ["s1"], "DONE", {"s1": "DOWN"}),
        ("hdown", "b", ["s3"], "DONE", {"s3": "DOWN"}),
        ("hnolb", "b", ["s1", "s3"], "DONE", {"s1": "NOLB", "s3": "NOLB"}),
        ("dhlth", "b", ["s1", "s3"], "DONE", {}),
        ("ehlth", "b", ["s2"], "DONE", {}),
        ("ehlth", "b", ["s3"], "NONE", {}),
        ("dagent", "b", ["s1", "s3"], "DONE", {}),
        ("eagent", "b", ["s3"], "NONE", {}),
        ("arunn", "b", ["s3"], "NONE", {}),
        ("adown", "b", ["s1"], "NONE", {}),
        ("shutdown", "b", ["s1", "s3"], "DONE", {}),
    ],
)
def test_carrying_out(full: World, action: str, backend: str, servers: list[str], result: str, states: dict[str, str]) -> None:
    checked = {"b/s1", "b/s2"}
    done: list[str] = []

    def note(key: str, *more: Any, **fields: Any) -> None:
        if "server" not in fields and key not in checked:
            raise KeyError(key)
        done.append(fields.get("server", key))

    health = SimpleNamespace(board=full.board, suspend=note, resume=note)
    supervisor = SimpleNamespace(workers=list, orders=SimpleNamespace(give=lambda workers, what, **fields: note(what, **fields)))
    master: Any = SimpleNamespace(plan=full.plan, health=health, supervisor=supervisor)
    assert carry_out(master, action, backend, servers) == result
    if action in ("dhlth", "ehlth", "dagent", "eagent", "shutdown"):
        assert done == [f"b/{name}" for name in servers if action == "shutdown" or f"b/{name}" in checked]
    for name, status in states.items():
        assert full.board.entries[f"b/{name}"].status().startswith(status)


# -- charts


def test_history_keeps_rates_and_forgets(full: World) -> None:
    from forkproxy.state.layout import BYTES_OUT, REQ_TOT
    from forkproxy.state.names import frontend_key

    history = History(full.plan, full.rows)
    history.look()
    assert dict(history.charts(["F/f"])) == {"F/f": []}
    cells, base = full.rows.cells(0), full.rows.base(frontend_key("f"))
    for _ in range(KEPT + 5):
        cells[base + REQ_TOT] += 10
        cells[base + BYTES_OUT] += 500
        full.clock.advance(5.0)
        history.look()
    points = dict(history.charts(["F/f", "F/unknown"]))["F/f"]
    assert len(points) == KEPT and points[-1][:3] == (2.0, 0.0, 100.0)
    shown = html._history(["f"], history)
    assert '"step":5.0' in shown and '"F/f":[[2.0,0.0,100.0,' in shown
    assert "<" not in html._history(["</script>"], None)
