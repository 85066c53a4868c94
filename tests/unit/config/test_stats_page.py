"""The ``stats`` keywords of proxy sections: what they come to, what is inherited, what is refused and in which words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from forkproxy import registry
from forkproxy.plan import StatsPage
from forkproxy.rules.verdict import ALLOW, Reply
from tests.unit.config.reading import alerts, good, warnings

FRONT = "frontend f\n bind :18080\n mode http\n"


@pytest.fixture(autouse=True)
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan holds the page itself in the place of the step that answers."""
    monkeypatch.setitem(registry.PAGES, "statistics", lambda page: page)


def page(lines: str, before: str = "") -> StatsPage:
    (made,) = good(f"{before}{FRONT} {lines}\n").frontends[0].statistics or ()
    found: Any = made
    assert isinstance(found, StatsPage)
    return found


def test_nothing_said_is_no_page() -> None:
    assert good(FRONT).frontends[0].statistics is None


@pytest.mark.parametrize("line", ["enable", "hide-version", "realm x", "refresh 5s", "scope .", "show-node", "show-desc", "show-legends"])
def test_any_of_them_enables(line: str) -> None:
    assert page(f"stats {line}").uri == b"/haproxy?stats"


def test_values() -> None:
    made = page("stats uri /st\n stats refresh 90\n stats show-version\n stats show-legends\n stats show-node n1\n stats show-desc a b  c")
    assert (made.uri, made.refresh_s, made.show_version, made.show_legends, made.node, made.desc) == (b"/st", 90, True, True, "n1", "a b c")
    made = page("stats refresh 5000ms\n stats show-version\n stats hide-version")
    assert (made.refresh_s, made.show_version, made.node, made.desc) == (5, False, None, None)


def test_names_of_the_global_section() -> None:
    made = page("stats show-node\n stats show-desc", "global\n node here\n description of it all\n")
    assert (made.node, made.desc) == ("here", "of it all")


def test_the_dot_is_the_section() -> None:
    assert page("stats scope .\n stats scope other").scope == ("f", "other")


def test_what_is_inherited_is_changed_for_oneself() -> None:
    before = "defaults\n mode http\n timeout client 1s\n stats uri /all\n stats auth a:b\n"
    first, second = good(f"{before}{FRONT} stats uri /own\n stats auth c:d\nfrontend g\n bind :18081\n").frontends
    mine, others = (frontend.statistics[0] for frontend in (first, second) if frontend.statistics)
    assert (mine.uri, mine.accounts) == (b"/own", (("a", "b"), ("c", "d")))  # type: ignore[attr-defined]
    assert (others.uri, others.accounts) == (b"/all", (("a", "b"),))  # type: ignore[attr-defined]


def asked(made: StatsPage, **fields: bytes) -> Any:
    """What the rules of the page say to a request."""
    head = SimpleNamespace(get=lambda name: fields.get(name.decode()), target=b"/st", method=b"GET", get_all=lambda name: [])
    txn = SimpleNamespace(req=head, fe=SimpleNamespace(plan=SimpleNamespace(options=frozenset())), vars=None)
    return next((verdict for rule in made.rules if (verdict := rule(txn)) is not None), None)


def test_accounts_are_a_rule() -> None:
    made = page("stats auth joe:secret\n stats auth ann:with:colon\n stats auth joe:newer\n stats realm 100%\\ ours")
    denied = asked(made)
    assert isinstance(denied, Reply) and denied.status == 401 and denied.headers is not None
    assert denied.headers(None) == [(b"www-authenticate", b'Basic realm="100% ours"')]
    assert asked(made, authorization=b"Basic am9lOm5ld2Vy") is None and asked(made, authorization=b"Basic YW5uOndpdGg6Y29sb24=") is None
    assert asked(made, authorization=b"Basic am9lOnNlY3JldA==").status == 401
    assert asked(page("stats auth joe:secret")).headers(None) == [(b"www-authenticate", b'Basic realm="HAProxy Statistics"')]


def test_rules_and_conditions() -> None:
    rules = "stats http-request deny if !yes\n stats http-request allow\n stats admin if yes\n stats admin unless yes"
    made = page(f"acl yes always_true\n {rules}")
    assert asked(made) is ALLOW and [condition(None) for condition in made.admin] == [True, False]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("uri", "'uri' needs an URI prefix."),
        ("realm", "'realm' needs an realm name."),
        ("auth", "'auth' needs a user:password account."),
        ("auth nobody", "'auth' needs a user:password account."),
        ("auth :x", "'auth' needs a user:password account."),
        ("scope", "'scope' needs a proxy name."),
        ("refresh x", "unexpected character 'x' in 'stats refresh'"),
        ("admin", "'stats admin' requires either 'if' or 'unless' followed by a condition."),
        ("admin TRUE", "'stats admin' requires either 'if' or 'unless' followed by a condition."),
        ("http-request redirect location /", "'stats http-request' expects 'allow', 'deny' or 'auth'."),
        ("show-node a/b", "'stats show-node' invalid node name - should be a string with digits, letters, '.', '-' or '_', not '/'."),
        ("auth a:b\n stats http-request deny",
         "frontend 'f': stats 'auth'/'realm' and 'http-request' can't be used at the same time."),
    ],
)  # fmt: skip
def test_complaints(line: str, complaint: str) -> None:
    assert alerts(f"{FRONT} stats {line}\n")[:1] == [complaint]


def test_unknown_parameters_are_refused() -> None:
    (alert,) = alerts(f"{FRONT} stats nonsense\n")[:1]
    assert "'stats' supports " in alert and "(got 'nonsense')" in alert


def test_not_in_defaults() -> None:
    for line in ("stats admin if TRUE", "stats http-request deny"):
        assert alerts(f"defaults\n {line}\n{FRONT}")[:1] == ["'stats' not allowed in 'defaults' section."]


def test_tcp_mode_has_no_page() -> None:
    text = "frontend f\n bind :18080\n mode tcp\n stats enable\n stats admin if TRUE\n"
    assert "'stats' statement ignored for frontend 'f' as it requires HTTP mode." in warnings(text)


def test_modules() -> None:
    plain, modules = good(f"{FRONT} stats enable\n"), good(f"{FRONT} stats show-modules\n")
    assert modules.global_.metered and not plain.global_.metered
