"""``cookie`` and its companions: what they make of a line, and what HAProxy says of a wrong one."""

from __future__ import annotations

from typing import Any

import pytest

from forkproxy.plan import Cookie
from forkproxy.rules import hashing
from tests.unit.config.reading import alerts, backend, good, server, warnings


@pytest.mark.parametrize(
    ("line", "made"),
    [
        ("S", {}),
        ("S insert indirect nocache", {"mode": "insert", "indirect": True, "nocache": True}),
        ("S insert postonly preserve", {"mode": "insert", "postonly": True, "preserve": True}),
        ("S prefix indirect", {"mode": "prefix", "indirect": True}),
        ("S rewrite", {"mode": "rewrite"}),
        ("S maxidle 1500ms maxlife 2h insert", {"mode": "insert", "maxidle_s": 2, "maxlife_s": 7200}),
        ("S insert maxlife 100d", {"mode": "insert", "maxlife_s": 8640000}),
        ("S insert attr A=b secure domain a.b httponly domain .c.d attr C",
         {"mode": "insert", "tail": b"; domain=a.b; domain=.c.d; HttpOnly; Secure; A=b; C"}),
    ],
)  # fmt: skip
def test_cookie(line: str, made: dict[str, Any]) -> None:
    assert backend(f"cookie {line}").cookie == Cookie(name=b"S", **made)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("cookie", "'cookie' expects <cookie_name> as argument."),
        ("cookie S insert rewrite", "cookie 'rewrite', 'insert' and 'prefix' modes are incompatible."),
        ("cookie S rewrite indirect", "cookie 'rewrite' and 'indirect' modes are incompatible."),
        ("cookie S insert noodle", "'cookie' supports 'rewrite', 'insert', 'prefix', 'indirect', 'nocache', 'postonly', 'domain',"),
        ("cookie S prefix preserve", "cookie 'preserve' requires at least 'insert' or 'indirect'."),
        ("cookie S insert domain", "'domain' expects <domain> as argument."),
        ("cookie S insert domain a;b.c", "character ';' is not permitted in domain name 'a;b.c'."),
        ("cookie S insert attr", "'attr' expects <value> as argument."),
        ("cookie S insert attr a;b", "character '%x3B' is not permitted in attribute value."),
        ("cookie S insert maxidle", "'maxidle' expects <idletime> in seconds as argument."),
        ("cookie S insert maxlife", "'maxlife' expects <lifetime> in seconds as argument."),
        ("cookie S insert maxidle x", "unexpected character 'x' in argument to <maxidle>."),
        ("cookie S insert maxlife 30000d", "timer overflow in argument <30000d> to <maxlife>, maximum value is 2147483647 s (~68 years)."),
        ("dynamic-cookie-key", "'dynamic-cookie-key' expects <secret_key> as argument."),
        ("persist", "missing persist method."),
        ("persist rdp-cookie()", "persist rdp-cookie(name)' requires an rdp cookie name."),
        ("persist foo", "unknown persist method."),
        ("force-persist TRUE", "'force-persist' requires either 'if' or 'unless' followed by a condition."),
        ("ignore-persist", "'ignore-persist' requires either 'if' or 'unless' followed by a condition."),
        ("ignore-persist if nope", "error detected in backend 'b' while parsing 'ignore-persist' rule : no such ACL : 'nope'"),
        ("appsession JSESSIONID len 52 timeout 3h", "'appsession' is not supported anymore since HAProxy 1.6.; Use 'cookie' in"),
    ],
)  # fmt: skip
def test_complaints(line: str, complaint: str) -> None:
    (said,) = alerts(f"backend b\n mode http\n {line}\n")
    assert said.startswith(complaint)


def test_where_it_has_no_effect() -> None:
    assert warnings("backend b\n cookie S insert\n") == ["cookie will be ignored for backend 'b' (needs 'mode http')."]
    assert warnings("backend b\n mode http\n cookie S insert domain local\n")[0].startswith("domain 'local' contains no embedded dot")
    assert [text.partition(" because")[0] for text in warnings("frontend f\n mode http\n bind :1\n cookie S\n persist rdp-cookie\n")] == [
        "'cookie' ignored", "'persist' ignored",
    ]  # fmt: skip


def test_defaults_hand_it_on() -> None:
    made = good("defaults\n mode http\n cookie S insert\nbackend b\nbackend c\n cookie T rewrite\n")
    assert [b.cookie.name if b.cookie else None for b in made.backends.values()] == [b"S", b"T"]


def test_rules_and_remote_desktops() -> None:
    made = backend("acl x path /x\n force-persist if x\n ignore-persist unless x")
    assert [force for _, force in made.persist_rules] == [True, False]
    assert made.rdp_cookie == b""
    assert backend("persist rdp-cookie", mode="tcp").rdp_cookie == b"msts"
    assert backend("persist rdp-cookie(x)", mode="tcp").rdp_cookie == b"x"


def test_dynamic_cookies_are_those_of_haproxy() -> None:
    assert hashing.server_cookie(b"sEcrET", "127.0.0.1", 40097) == b"7ae5f2cd0462308f"  # made by haproxy 2.6
    assert hashing.server_cookie(b"k", "::1", 80) != hashing.server_cookie(b"k", "::1", 81)
    lines = "cookie S insert dynamic\n dynamic-cookie-key k"
    assert server("", lines=lines).cookie == hashing.server_cookie(b"k", "127.0.0.1", 80)
    assert server("cookie own", lines=lines).cookie == b"own"
    assert server("", lines="cookie S insert\n dynamic-cookie-key k").cookie == b""
