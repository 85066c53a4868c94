"""Answers that may be shown to strangers: no name and no address is left, and whatever was one thing still is."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from forkproxy.master.anonymous import Anonymizer
from forkproxy.plan import Address, Backend, Bind, Frontend, Global, Plan, Ring, Server
from forkproxy.values import replace


def a_plan() -> Plan:
    server = Server(name="db-7.x", address=Address("ipv4", "10.9.8.7", 80), backend="accounts", id=1, cookie=b"secret")
    numbered = Server(name="8", address=Address("unix", "/run/app.sock"), backend="accounts", id=2)
    patterns: Any = SimpleNamespace(lists=[SimpleNamespace(name="/etc/partners.map")])
    return Plan(
        global_=Global(node="box.example", stats_sockets=(Bind(Address("unix", "/run/admin.sock")),)),
        frontends=(Frontend(name="shop", id=1, binds=(Bind(Address("ipv4", "*", 443), name="door"),)),),
        backends={"accounts": Backend(name="accounts", id=2, servers=(server, numbered))},
        objects={"patterns": patterns},
    )


ANSWERS = """\
# pxname,svname accounts
shop,FRONTEND,,,0,1,box.example
accounts/db-7.x 3 10.9.8.7 10.9.8.7:80 8 unix@/run/app.sock
0x1: proto=tcpv4 src=192.0.2.77:4000 fe=shop be=accounts srv=db-7.x age=1s uri=/private/path?card=1
door: [2001:db8::1]:443 2001:db8::1 fe80:1:2:3::4 12:34:56 cookie=secret
1 (/etc/partners.map) unix@/run/admin.sock
accounts2 shopping 3.4.0 1.5
"""


def test_nothing_is_left_and_what_was_the_same_still_is() -> None:
    shown = Anonymizer(5, a_plan).hide(ANSWERS)
    lines = shown.splitlines()
    assert lines[0] == "# pxname,svname accounts", "headings stay"
    rest = "\n".join(lines[1:-1])
    names = "shop accounts db-7 box 10.9.8.7 192.0.2 2001 fe80 secret partners admin app.sock private door"
    for name in names.split():
        assert name not in rest, name
    backend, server = re.match(r"([0-9a-f]{6})/([0-9a-f]{6}) 3 ([0-9a-f]{6}) \3:80 8 unix@[0-9a-f]{6}$", lines[2]).groups()[:2]  # type: ignore[union-attr]
    assert f" be={backend} srv={server} age=1s uri=" in lines[3] and lines[3].startswith("0x1: proto=tcpv4 src=")
    assert "12:34:56" in lines[4]
    assert lines[-1] == "accounts2 shopping 3.4.0 1.5"


def test_another_key_hides_otherwise() -> None:
    first, second = (Anonymizer(key, a_plan) for key in (1, 0xFFFFFFFF))
    assert first.hide("shop") != second.hide("shop") and first.hide("shop") == Anonymizer(1, a_plan).hide("shop")
    assert re.fullmatch("[0-9a-f]{6}", second.hide("shop"))


def test_what_comes_later_is_hidden_too() -> None:
    plan = a_plan()
    plans = [plan]
    anonymizer = Anonymizer(5, lambda: plans[-1])
    assert "later" in anonymizer.hide("later\n") and "accounts" not in anonymizer.hide("# table: accounts, type: ip\n")
    late = Server(name="later", address=Address("ipv4", "10.9.8.8", 80), backend="accounts", id=3)
    accounts = replace(plan.backends["accounts"], servers=(late,))
    plans.append(replace(plan, backends={"accounts": accounts}, objects={**plan.objects, "ring/r": Ring("echo")}))
    shown = anonymizer.hide("later echo\n").split()
    assert len(shown) == 2 and not {"later", "echo"} & set(shown)
