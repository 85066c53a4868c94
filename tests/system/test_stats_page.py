"""The statistics page of running processes: beside Debian's haproxy, through several workers, and in a browser."""

from __future__ import annotations

import csv
import io
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from forkproxy.stats import forms
from tests.peers import needs
from tests.ports import free_ports
from tests.system.browser import Browser
from tests.system.conftest import Proxy, eventually, get
from tests.system.duet import Duet, Seen, Side, read_all
from tests.system.scripts import OK, Case, Different, answer, ask, differences, last, told

pytestmark = pytest.mark.system

DEFAULTS = """
global
  log {log} local0
defaults
  mode http
  log global
  option httplog
  timeout connect 1s
  timeout client 2s
  timeout server 2s
"""
PAGES = DEFAULTS + """
frontend fe
  bind 127.0.0.1:{port}
  http-request set-header X-Seen yes
  http-request allow if {{ path /allowed }}
  redirect location /there if {{ path_beg /st /red }}
  stats uri /st
  stats refresh 7s
  stats admin if {{ hdr(x-admin) -m found }}
  use_backend auth if {{ path_beg /auth }}
  use_backend denied if {{ path_beg /denied }}
  use_backend scoped if {{ path_beg /scoped }}
  default_backend be
backend auth
  stats auth joe:secret
  stats auth ann:other
  stats realm My\\ Realm
  stats uri /auth
backend denied
  stats uri /denied
  stats http-request allow if {{ hdr(x-me) -m found }}
  stats http-request auth realm r if {{ hdr(x-ask) -m found }}
  stats http-request deny
backend scoped
  stats uri /scoped
  stats scope .
  stats scope be
backend be
  server a 127.0.0.1:{origin}
  server b 127.0.0.1:{origin} disabled
"""
ADMIN = b"X-Admin: 1\r\n"


def post(target: bytes, body: bytes, fields: bytes = ADMIN) -> Callable[..., bytes]:
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%bContent-Length: %d\r\n\r\n%b"
    return ask(head % (target, fields, len(body), body))  # type: ignore[return-value]


def plain(*targets: bytes, fields: bytes = b"") -> dict[str, Case]:
    return {target.decode(): (last(target, fields), answer(OK), 1) for target in targets}


CASES: dict[str, Case] = {
    **plain(b"/st", b"/st;csv", b"/st;csv;norefresh", b"/st;json", b"/st;typed", b"/st;json-schema", b"/st/more", b"/allowed", b"/s"),
    **plain(b"/red", b"/scoped;csv", b"/auth", b"/denied", b"/st;up;csv", b"/st;csv;no-maint", b"/st;csv?scope=be", b"/st;csv;up?scope=au"),
    **plain(b"/st;st=DONE", b"/st;st=NONE;norefresh", b"/st;st=XXXX"),
    **plain(b"/scoped;csv?scope=SC", b"/st;csv?scope=cOpe", b"/scoped;csv?scope=fe", b"/scoped;up"),
    "HEAD": (ask(b"HEAD /st;csv HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), answer(OK), 1),
    "HTTP/1.0": (ask(b"GET /st HTTP/1.0\r\n\r\n"), answer(OK), 1),
    "absolute": (ask(b"GET http://a/st;csv HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), answer(OK), 1),
    "DELETE": (ask(b"DELETE /st HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), answer(OK), 1),
    "known": (last(b"/auth", b"Authorization: Basic am9lOnNlY3JldA==\r\n"), answer(OK), 1),
    "wrong password": (last(b"/auth", b"Authorization: Basic am9lOm5vbmU=\r\n"), answer(OK), 1),
    "let in": (last(b"/denied", b"X-Me: 1\r\n"), answer(OK), 1),
    "asked": (last(b"/denied", b"X-Ask: 1\r\n"), answer(OK), 1),
    "no admin": (post(b"/st", b"s=a&b=be&action=drain", b""), answer(OK), 1),
    "maint": (post(b"/st;norefresh", b"s=a&b=be&action=maint"), answer(OK), 1),
    "nobody serves": (last(b"/"), answer(OK), 1),
    "ready": (post(b"/st;up", b"s=a&action=ready&b=be"), answer(OK), 1),
    "somebody serves": (last(b"/"), answer(OK), 1),
    "both": (post(b"/st", b"s=a&s=b&action=ready&b=be"), answer(OK), 1),
    "part": (post(b"/st", b"s=b&s=zz&action=maint&b=be"), answer(OK), 1),
    "no such server": (post(b"/st", b"s=zz&action=maint&b=be"), answer(OK), 1),
    "no such backend": (post(b"/st", b"s=a&action=maint&b=nope"), answer(OK), 1),
    "no such action": (post(b"/st", b"s=a&action=nope&b=be"), answer(OK), 1),
    "no server": (post(b"/st", b"action=maint&b=be"), answer(OK), 1),
    "no action": (post(b"/st", b"s=a&b=be"), answer(OK), 1),
    "nothing": (post(b"/st", b""), answer(OK), 1),
}
_QUIRK = "2.6 logs 400 where it answers 401 or 403"
DIFFERENT: dict[str, Different] = {
    "/auth": (_QUIRK, " 401 B - - LR-- "), "wrong password": (_QUIRK, " 401 B - - LR-- "), "asked": (_QUIRK, " 401 B - - LR-- "),
    "/denied": (_QUIRK, " 403 B - - PR-- "),
}  # fmt: skip
FIELDS = (b"cache-control", b"content-type", b"location", b"refresh", b"www-authenticate")


def compared(seen: Seen, title: str) -> object:
    """Status and fields, who is shown by exports, the line of the log."""
    client, server, log = told(seen)
    head, _, body = client.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    found = {name: value for name, _, value in (line.partition(b": ") for line in lines) if name in FIELDS}
    if found.get(b"content-type", b"").startswith(b"text/html"):
        found = {b"content-type": b"text/html"}  # whether a page renews itself stands in the page
    rows = re.findall(rb"(?m)^\[?(\w+,\w+),", body) if b"csv" in title.encode() else []
    return first, found, rows, server, log


@needs("haproxy")
def test_as_haproxy(tmp_path: Path) -> None:
    with Duet(tmp_path, PAGES) as both:
        wrong = differences(both, CASES, DIFFERENT, compared)
        csv = both.run(last(b"/st;csv"), answer(OK), 1)
    assert not wrong, "\n".join(wrong)
    theirs, ours = (re.search(rb"# [^\n\[]*?,-,", side.client) or re.search(rb"# [^\n]*", side.client) for side in csv)
    assert theirs is not None and ours is not None
    names = theirs[0].rstrip(b"-,\n").split(b",")
    assert ours[0].split(b",")[: len(names)] == names, "3.4 has more columns behind those of 2.6"


SHOWN = DEFAULTS.replace("\nglobal\n", "\nglobal\n  node edge-7\n  description The whole shop\n") + """
frontend fe
  bind 127.0.0.1:{port}
  use_backend %[path,field(2,/)]
backend plain
  stats enable
  stats uri /plain
backend hidden
  stats uri /hidden
  stats hide-version
backend legends
  stats uri /legends
  stats show-legends
backend node
  stats uri /node
  stats show-node
backend othernode
  stats uri /othernode
  stats show-node edge-8
backend desc
  stats uri /desc
  stats show-desc
backend otherdesc
  stats uri /otherdesc
  stats show-desc Only & this
backend refreshed
  stats uri /refreshed
  stats refresh 77
backend admin
  stats uri /admin
  stats admin if TRUE
backend told
  description Boots & shoes
  id 4242
  cookie SRV insert
  server s 127.0.0.9:{origin} cookie kookie id 4343
"""
#: what a page may tell → how to see it in either's
TOLD = {
    "version": rb"(version|Version</dt><dd>) ?(2\.6|3\.4)\.",
    "node": rb"edge-7",
    "other node": rb"edge-8",
    "description": rb"The whole shop",
    "other description": rb"Only &(amp;)? this",
    "of a proxy": rb"Boots &(amp;)? shoes",
    "address": rb"127\.0\.0\.9",
    "identifier of a proxy": rb"id[ =:#]+4242\b",
    "identifier of a server": rb"id[ =:#]+4343\b",
    "cookie": rb"kookie",
    "mode": rb"mode[ =:]+http",
    "link that stops it": rb"(?i)href=./\w+;norefresh",
    "form": rb"(?i)<form method=.post",
    "chosen server": rb'(?i)name=.s. value=.s.',
    "chosen backend": rb'(?i)name=.b. value=.#4242',
    "chosen action": rb"(?i)<select name=.?action",
    **{f"action {name}": b"value=.?" + name.encode() + b'["> ]' for name in forms.ACTIONS},
    "part of names": rb"(?i)<input [^>]*name=.scope",
    **{f"link {name}": b"(?i)href=./\\w+;" + name.encode() + b"\\W" for name in ("up", "csv", "json", "json-schema")},
}


@needs("haproxy")
def test_what_pages_tell_as_haproxy(tmp_path: Path) -> None:
    names = re.findall(r"(?m)^  stats uri /(\w+)", SHOWN)
    found = []
    with Duet(tmp_path, SHOWN) as both:
        for name in names:
            pages = [get(side.port, f"/{name}")[1] for side in (both.reference, both.ours)]
            found.append([{what for what, sign in TOLD.items() if re.search(sign, page)} for page in pages])
    assert len(found) == 9 and set.union(*(theirs for theirs, _ in found)) == set(TOLD), "every sign is seen somewhere"
    wrong = {name: theirs ^ ours for name, (theirs, ours) in zip(names, found, strict=True)}
    # since 3.3 the version is told on request only
    assert {name: differing for name, differing in wrong.items() if differing - {"version"}} == {}
    assert [name for name in names if "version" not in wrong[name]] == ["hidden"]


ACTED = DEFAULTS.replace("\nglobal\n", "\nglobal\n  max-spread-checks 10ms\n") + """
frontend fe
  bind 127.0.0.1:{port}
  stats uri /st
  stats admin if TRUE
  default_backend be
backend be
  server plain 127.0.0.1:{origin}
  server checked 127.0.0.1:{origin} check inter 1h weight 7
  server agent 127.0.0.1:{origin} check inter 1h agent-check agent-port {dead} agent-inter 1h
  server kept 127.0.0.1:{origin} track be/checked
backend other
  server s 127.0.0.1:{origin}
"""
EVERYBODY = "s=plain&s=checked&s=agent"
#: what a script sends, in turn. Checks are stopped ("dhlth") only while all is well: by the manual a server is then considered up, where
#: haproxy leaves it down.
ACTS = [
    *(f"s=checked&action={action}&b=be" for action in ("drain", "maint", "ready", "hdown", "hnolb", "hdown", "hrunn", "dhlth")),
    *(f"s=checked&action={action}&b=be" for action in ("drain", "ready")),
    *(f"s=agent&action={action}&b=be" for action in ("adown", "arunn", "dagent", "eagent", "adown", "maint", "arunn", "ready")),
    *(f"{EVERYBODY}&action={action}&b=be" for action in ("maint", "ready", "drain", "ready", "hdown", "hrunn", "adown", "shutdown")),
    *(f"s=plain&action={action}&b=be" for action in ("disable", "enable", "stop", "start", "dhlth", "ehlth", "hdown", "dagent", "arunn")),
    "s=kept&action=maint&b=be", "s=kept&action=ready&b=be", "s=kept&action=hdown&b=be",
    "action=ready&s=checked&b=%23{be}", "b=other&s=s&action=maint", "s=s&b=other&action=ready&x=y", "s=plain&b=other&action=maint",
]  # fmt: skip


@needs("haproxy")
def test_actions_as_haproxy(tmp_path: Path) -> None:
    """Every action by POST: what the browser is told and the states that follow."""

    columns = ("pxname", "svname", "status", "weight", "act", "bck", "check_rise", "agent_rise", "tracked")

    def rows(side: Side) -> list[dict[str, str]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{side.port}/st;csv", timeout=5) as answer:
            return list(csv.DictReader(io.StringIO(answer.read().decode().removeprefix("# "))))

    def state(side: Side) -> list[list[str]]:
        return [[row[name] for name in columns] for row in rows(side) if row["pxname"] in ("be", "other")]

    def settled(side: Side) -> bool:
        """Both have looked once: the agent, which is not there, says nothing."""
        found = {row["svname"]: (row["check_status"], row["agent_status"]) for row in rows(side)}
        return found["checked"] == ("L4OK", "") and found["agent"] == ("L4OK", "L4CON")

    wrong = []
    with Duet(tmp_path, ACTED) as both:
        sides = (both.reference, both.ours)
        for side in sides:
            eventually(partial(settled, side), "the first checks")
        for act in ACTS:
            (told_theirs, theirs), (told_ours, ours) = (
                (answer_to(side.port, act.format(be=next(row["iid"] for row in rows(side) if row["pxname"] == "be"))), state(side))
                for side in sides
            )
            if (told_theirs, theirs) != (told_ours, ours):
                wrong.append((act, told_theirs, told_ours, [pair for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1]]))
    assert not wrong, "\n".join(map(str, wrong))


SERVICE = """
global
  stats socket {dir}/cli level admin
  nbthread 2
  node edge-1
  description "Shop, Frankfurt"
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
frontend web
  bind 127.0.0.1:{port}
  stats uri /stats
  stats refresh 1s
  stats admin if TRUE
  stats show-node
  stats show-desc
  stats show-legends
  stats show-modules
  default_backend shop
backend shop
  description Orders & baskets
  balance roundrobin
  retries 0
  option redispatch
  server one 127.0.0.1:{origin}
  server two 127.0.0.1:{origin} weight 2
  server old 127.0.0.1:{origin} disabled
  server far 127.0.0.1:{dead} check inter 100ms fall 1
backend spare
  server x 127.0.0.1:{dead} backup
frontend origin
  bind 127.0.0.1:{origin}
  http-request return status 500 content-type text/plain string "no" if {{ path /broken }}
  http-request return status 200 content-type text/plain string "hello"
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[Proxy, int]]:
    port, origin, dead = free_ports(3)
    proxy = Proxy(tmp_path, SERVICE.replace("{{", "{").replace("}}", "}").replace("{port}", str(port)).replace("{origin}", str(origin))
                  .replace("{dead}", str(dead)).replace("{dir}", str(tmp_path))).ready()  # fmt: skip
    proxy.says("Server shop/far is DOWN")
    yield proxy, port
    proxy.end()


def table(port: int) -> list[list[str]]:
    return [line.split(",") for line in get(port, "/stats;csv")[1].decode().splitlines()[1:]]


def states(port: int) -> dict[str, str]:
    return {f"{row[0]}/{row[1]}": row[17] for row in table(port)}


def answer_to(port: int, form: str) -> str:
    """The word that a form is answered with."""
    sock = socket.create_connection(("127.0.0.1", port), 5)
    with sock:
        sock.sendall(b"POST /st HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(form), form.encode()))
        head = read_all(sock).decode()
    found = re.search(r"(?i)\r\nlocation: /st;st=(\w+)", head)
    return f"{head.split()[1]} {found[1] if found else ''}"


def send(port: int, form: str) -> str:
    """What a browser is told after it sent a form."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats", form.encode(), timeout=5) as page:
        return str(page.url).rpartition("st=")[2]


def test_forms_act_on_all_workers(service: tuple[Proxy, int]) -> None:
    proxy, port = service
    for _ in range(10):  # what the last check said, whichever worker answers
        (far,) = (row for row in table(port) if row[:2] == ["shop", "far"])
        assert far[36].removeprefix("* ") == "L4CON" and (far[65], far[56]) == ("Layer4 connection problem", "Connection refused")
    assert send(port, "s=one&s=two&b=shop&action=maint") == "DONE"
    for _ in range(20):  # whichever worker answers
        assert get(port)[0] == 503
    assert {states(port)["shop/one"] for _ in range(10)} == {"MAINT"}
    assert send(port, "s=one&b=shop&action=ready") == "DONE"
    assert {get(port)[0] for _ in range(20)} == {200}
    assert send(port, "s=one&b=shop&action=shutdown") == "DONE"
    assert send(port, "s=far&b=shop&action=dhlth") == "DONE"
    assert {states(port)["shop/far"] for _ in range(10)} == {"no check"}
    # what the runtime CLI changes is shown by every worker
    with socket.socket(socket.AF_UNIX) as cli:
        cli.connect(str(proxy.config.with_name("cli")))
        cli.sendall(f"add server shop/new 127.0.0.1:{port}; disable frontend origin; set maxconn frontend origin 77\n".encode())
        read_all(cli)
    for _ in range(10):
        rows = table(port)
        assert {row[6] for row in rows if row[0] == "origin"} == {"77"} and ["shop", "new"] in [row[:2] for row in rows]


@needs("chromium")
def test_in_a_browser(service: tuple[Proxy, int], tmp_path: Path) -> None:
    _, port = service
    for path in ["/"] * 20 + ["/broken"] * 3:
        get(port, path)
    with Browser(tmp_path) as page:
        page.emulate(1400, 1000)
        page.open(f"http://127.0.0.1:{port}/stats")
        shown = "[...document.querySelectorAll('tr[data-k]')].filter(r => r.offsetParent).map(r => r.dataset.k).join(' ')"
        everything = "web/FRONTEND shop/one shop/two shop/old shop/far shop/BACKEND spare/x spare/BACKEND origin/FRONTEND"
        assert page.run(shown) == everything
        assert page.run("document.querySelector('[data-k=\"shop/far\"]').className") == "server down"
        assert page.run("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
        assert page.run("document.querySelector('#shop .said').textContent") == "Orders & baskets"
        tip = page.run("document.querySelector('[data-k=\"shop/far\"] [data-l=LastChk]').title")
        assert tip.split("\n")[:2] == ["Layer4 connection problem", "Connection refused"]
        page.photograph(tmp_path / "light.png")

        # it renews itself
        total = "Number(document.querySelector('[data-k=\"web/FRONTEND\"] [data-l=\"Sessions Total\"]').dataset.v)"
        before = page.run(total)
        for _ in range(30):
            get(port)
        page.wait(f"{total} >= {before} + 30")
        page.wait("Number(document.querySelector('[data-k=\"web/FRONTEND\"] [data-l=\"Answers, ms 95 %\"]').dataset.v) > 0")
        page.wait("document.querySelectorAll('.tile svg polyline').length == 5")
        page.wait("document.querySelector('[data-chart=\"F/web\"] polyline') !== null")

        # filters
        page.run("document.querySelector('[data-show=trouble]').click()")
        assert "shop/far" in page.run(shown) and "shop/two" not in page.run(shown)
        page.run("document.querySelector('[data-show=all]').click()")
        page.run("const f = document.querySelector('#find'); f.value = 'shop'; f.dispatchEvent(new Event('input'))")
        assert page.run(shown) == "shop/one shop/two shop/old shop/far shop/BACKEND"
        page.run("f.value = 'spa'; f.dispatchEvent(new Event('input'))")
        assert page.run(shown) == "spare/x spare/BACKEND"
        page.run("f.value = 'nothing'; f.dispatchEvent(new Event('input'))")
        assert page.run(shown) == "" and page.run("!document.querySelector('#nothing').hidden")
        page.run("f.value = ''; f.dispatchEvent(new Event('input'))")

        # dark, by the system and by hand
        ground = "getComputedStyle(document.body).backgroundColor"
        light = page.run(ground)
        page.emulate(1400, 1000, dark=True)
        dark = page.run(ground)
        assert dark != light
        page.photograph(tmp_path / "dark.png")
        page.run("document.querySelector('#theme').click()")
        assert page.run(ground) == light

        # a form
        page.run("document.querySelector('[data-k=\"shop/old\"] input').click()")
        page.run("document.querySelector('#shop select').value = 'ready'; document.querySelector('#shop button[type=submit]').click()")
        page.wait("document.querySelector('.message.well') !== null")
        assert page.run("location.search + location.pathname").endswith("/stats;st=DONE")
        eventually(lambda: states(port)["shop/old"] == "no check")

        # a phone
        page.emulate(390, 844, phone=True)
        page.open(f"http://127.0.0.1:{port}/stats;norefresh")
        assert page.run("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
        assert page.run("getComputedStyle(document.querySelector('thead')).display") == "none"
        page.photograph(tmp_path / "phone.png")
        assert page.complaints == []
    assert all((tmp_path / f"{name}.png").stat().st_size > 20_000 for name in ("light", "dark", "phone"))
