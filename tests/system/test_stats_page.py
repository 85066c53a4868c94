"""The statistics page of running processes: beside Debian's haproxy, through several workers, and in a browser."""

from __future__ import annotations

import re
import shutil
import socket
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ports import free_ports
from tests.system.browser import CHROMIUM, Browser
from tests.system.conftest import Proxy, eventually, get
from tests.system.duet import Duet, Seen, read_all
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
    **plain(b"/red", b"/scoped;csv", b"/auth", b"/denied"),
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


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")
def test_as_haproxy(tmp_path: Path) -> None:
    with Duet(tmp_path, PAGES) as both:
        wrong = differences(both, CASES, DIFFERENT, compared)
        csv = both.run(last(b"/st;csv"), answer(OK), 1)
    assert not wrong, "\n".join(wrong)
    theirs, ours = (re.search(rb"# [^\n\[]*?,-,", side.client) or re.search(rb"# [^\n]*", side.client) for side in csv)
    assert theirs is not None and ours is not None
    names = theirs[0].rstrip(b"-,\n").split(b",")
    assert ours[0].split(b",")[: len(names)] == names, "3.4 has more columns behind those of 2.6"


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


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_in_a_browser(service: tuple[Proxy, int], tmp_path: Path) -> None:
    _, port = service
    pytest.importorskip("websockets.sync.client")
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
        assert tip == "Layer4 connection problem: Connection refused"
        page.photograph(tmp_path / "light.png")

        # it renews itself
        total = "Number(document.querySelector('[data-k=\"web/FRONTEND\"] [data-l=\"Sessions Total\"]').dataset.v)"
        before = page.run(total)
        for _ in range(30):
            get(port)
        page.wait(f"{total} >= {before} + 30")
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
