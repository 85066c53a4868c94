"""Drafts: what is inherited, and that nothing inherited is shared."""

from __future__ import annotations

from forkproxy.config.drafts import ProxyDraft
from tests.unit.config.reading import good
from tests.unit.rules.support import make_txn


def test_a_section_gets_copies_of_its_defaults() -> None:
    defaults = ProxyDraft("defaults", "d")
    defaults.mode = "http"
    defaults.timeouts["client_s"] = 5.0
    defaults.options["logasap"] = True
    defaults.capture_request.append((b"host", 10))
    first, second = ProxyDraft("frontend", "a"), ProxyDraft("frontend", "b")
    first.inherit(defaults)
    second.inherit(defaults)
    first.timeouts["client_s"] = 1.0
    first.options["logasap"] = False
    first.capture_request.clear()
    assert (second.mode, second.timeouts, second.options) == ("http", {"client_s": 5.0}, {"logasap": True})
    assert second.capture_request == defaults.capture_request == [(b"host", 10)]


def test_what_is_a_sections_own_is_not_inherited() -> None:
    defaults = ProxyDraft("defaults", "d")
    defaults.description = "text"
    defaults.id = 7
    made = ProxyDraft("backend", "b")
    made.inherit(defaults)
    assert (made.kind, made.name, made.id, made.description, made.servers) == ("backend", "b", None, "", [])


def test_named_defaults_are_chosen_with_from_and_add_up() -> None:
    plan = good(
        "defaults one\n mode http\n timeout client 10s\n timeout connect 1s\n timeout server 1s\n"
        "defaults two from one\n timeout client 20s\n"
        "frontend a from one\n bind :18001\n"
        "frontend b from two\n bind :18002\n"
        "frontend c\n bind :18003\n timeout client 30s\n",
        timeouts=False,
    )
    assert [(f.mode, f.timeouts.client_s) for f in plan.frontends] == [("http", 10.0), ("http", 20.0), ("http", 30.0)]


def test_a_section_can_take_back_what_its_defaults_say() -> None:
    plan = good(
        "defaults\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n disabled\n option dontlognull\n option logasap\n"
        " option splice-auto\n option redispatch\n log 127.0.0.1 local0\n"
        "frontend f\n bind :18001\n enabled\n no option dontlognull\n default option logasap\n no log\n"
        "backend b\n no option redispatch\n",
        timeouts=False,
    )
    f, b = plan.frontends[0], plan.backends["b"]
    assert not f.disabled and f.options == {"splice-auto"} and f.log_targets == () and f.log_format is None
    assert b.disabled and b.redispatch == 0 and len(b.log_targets) == 1


def test_rules_of_a_named_defaults_come_first() -> None:
    plan = good(
        "defaults d\n mode http\n timeout client 1s\n http-request set-header x-one 1\n"
        "frontend f from d\n bind :18001\n http-request set-header x-two 2\n",
        timeouts=False,
    )
    txn = make_txn()
    for step in plan.frontends[0].http_request or ():
        step(txn)
    assert txn.req is not None and txn.req.items()[1:] == [(b"x-one", b"1"), (b"x-two", b"2")]
