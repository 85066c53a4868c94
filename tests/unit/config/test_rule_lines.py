"""Rule lines as the whole file reads them: names that must exist, rules that nothing reaches."""

from __future__ import annotations

import pytest

from forkproxy.rules.variables import PROCESS
from tests.unit.config.reading import alerts, good, read, warnings
from tests.unit.rules.support import make_txn

FILE = "frontend f\n bind 127.0.0.1:18080\n mode http\n {}\n default_backend b\nbackend b\n mode http\n server s 127.0.0.1:1\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("http-request set-var(txn.a) nbsrv(nosuch)", "unable to find backend 'nosuch'"),
        ("http-request set-var(txn.a) nbsrv", "proxy 'f' has not backend capability"),
        ("http-request set-var(txn.a) fe_conn(b)", "unable to find frontend 'b'"),
        ("http-request set-var(txn.a) srv_conn(b/t)", "unable to find server 't' in proxy 'b'"),
        ("http-request deny if { srv_is_up(x/s) }", "unable to find proxy 'x'"),
        ("http-request set-var(txn.a) nbsrv(b)", ""),
        ("http-request set-var(txn.a) srv_conn(b/s)", ""),
        ("http-request set-var(txn.a) fe_conn", ""),
    ],
)
def test_names_must_exist(line: str, message: str) -> None:
    found = alerts(FILE.format(line))
    assert (len(found) == 1 and message in found[0]) if message else not found


def test_rules_behind_a_final_one() -> None:
    """As haproxy 2.6 warns: of HTTP rules only, and only where the rule has no condition at all."""
    lines = (
        "http-request deny if { path /a }", "http-request return if TRUE", "http-request deny", "http-request set-path /x",
        "http-response allow", "http-response set-header A b", "tcp-request content accept", "tcp-request content reject",
    )  # fmt: skip
    found = warnings(FILE.format("\n ".join(lines)).replace(" default_backend b\n", ""))
    shadowed = [text for text in found if "NOOP" in text]
    assert shadowed == [
        f"previous '{kind}' action is final and has no condition attached, further entries are NOOP."
        for kind in ("http-request", "http-response")
    ]


GLOBAL = "global\n set-var proc.a str(primary)\n set-var proc.n int(200),sub(7)\n set-var proc.m int(1),add(proc.n)\n"


def test_variables_of_the_process() -> None:
    made = good(GLOBAL + " set-var-fmt proc.f x-%[var(proc.n)]\n" + FILE.format("maxconn 10"))
    assert made.global_.options["variables"] == {"proc.a": b"primary", "proc.n": 193, "proc.m": 194, "proc.f": b"x-193"}
    assert PROCESS == {}, "reading changes nothing of the process that reads"
    for line, message in (
        ("set-var txn.a str(x)", "must be process-wide"),
        ("set-var proc.a src", "may not be used in 'global'"),
        ("set-var proc.a var(proc.none)", "has no value here"),
        ("set-var proc.a str(x) y", "unexpected argument 'y'"),
        ("set-var proc.a-b str(x)", "only letters"),
    ):
        found = alerts("global\n " + line + "\n" + FILE.format("maxconn 10"))
        assert len(found) == 1 and message in found[0], line


@pytest.mark.parametrize(
    ("line", "today"),
    [
        ("reqadd X-Foo:\\ bar\\ baz unless FALSE", "http-request add-header X-Foo bar\\ baz unless FALSE"),
        ("rspadd Via:\\ me", "http-response add-header Via me"),
        ("reqdel ^X-Foo:", "http-request del-header X-Foo"),
        ("rspidel ^X-.* if TRUE", "http-response del-header ^X-.* -m reg if TRUE"),
        ("reqrep ^Host:\\ (.*) Host:\\ x\\\\1 if TRUE", "http-request replace-header Host ^(.*) x\\\\1 if TRUE"),
        ("rspirep ^Server:\\ a b", "http-response replace-header Server (?i)^a b"),
        ("reqrep ^GET\\ /a GET\\ /b", "http-request replace-uri <regex of the target> <its replacement>"),
        ("reqitarpit ^User-Agent:\\ bad", "http-request tarpit if { req.hdr(User-Agent) -m reg -i ^bad }"),
        ("reqpass ^GET\\ /ok if LOCALHOST", "http-request allow if { url_reg <regex of the target> } LOCALHOST"),
    ],
)
def test_old_edits_are_told_in_todays_words(line: str, today: str) -> None:
    (found,) = [m for m in read(FILE.format(line)).diagnostics.messages if "anymore" in m.text]
    assert f"today's line: {today}" in found.text + getattr(found, "hint", ""), found


def test_old_refusals_work() -> None:
    plan = good(FILE.format("\n ".join((
        "block if { path /blocked }", "reqdeny ^GET\\ /no", "reqideny ^x-bad:\\ yes$ unless { path /yes }", "reqdeny ^X-Case:\\ a$",
    ))))  # fmt: skip
    steps = plan.frontends[0].http_request
    assert steps is not None

    def answer(path: str, field: str = "A: b") -> int:
        txn = make_txn(f"GET {path} HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n".encode())
        return next((verdict.status for step in steps or () if (verdict := step(txn)) is not None), 200)

    for args, status in (
        (("/",), 200), (("/blocked",), 403), (("/nothing",), 403), (("/", "X-Bad: YES"), 403), (("/yes", "X-Bad: YES"), 200),
        (("/", "x-case: a"), 200), (("/", "X-Case: a"), 403),
    ):  # fmt: skip
        assert answer(*args) == status, args
    backend = good(FILE.format("maxconn 10").replace(" server s", " rspideny ^set-cookie:\\ bad\n server s")).backends["b"]
    assert backend.http_response is not None
    txn = make_txn(response=True)
    assert txn.res is not None and backend.http_response[0](txn) is None
    txn.res.add(b"Set-Cookie", b"bad=1")
    assert backend.http_response[0](txn).status == 502


def test_structured_data_is_read() -> None:
    made = good(FILE.format('log 127.0.0.1:514 format rfc5424 local0\n option httplog\n log-format-sd [a@1\\ path=\\"%{+E}HP\\"]'))
    txn = make_txn(b'GET /x"] HTTP/1.1\r\nHost: h\r\n\r\n')
    assert made.frontends[0].log_format_sd is not None and made.frontends[0].log_format_sd(txn) == b'[a@1 path="/x#22\\]"]'
    assert any("'log-format-sd' directive is ignored" in text for text in warnings("backend x\n log-format-sd y\n"))


SWITCHING = (
    "frontend f\n bind 127.0.0.1:18080\n mode tcp\n {}\n default_backend b\nbackend b\n mode {}\n server s 127.0.0.1:1\n"
)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("switch-mode", "'switch-mode' expects a mode"),
        ("switch-mode tcp", "'switch-mode' expects a valid mode"),
        ("switch-mode http proto h2", "'proto' : 'h2' is known to HAProxy, not supported by forkproxy"),
        ("switch-mode http proto zz", "'proto' : 'zz' is no protocol"),
        ("switch-mode http now", "now"),
    ],
)
def test_wrong_ways_to_switch_the_mode(words: str, message: str) -> None:
    [found] = alerts(SWITCHING.format(f"tcp-request content {words}", "http"))
    assert message in found


def test_a_frontend_that_switches_has_rules_of_http() -> None:
    lines = "http-request deny\n http-after-response set-header A b\n option forwardfor\n capture request header X len 5"
    switched = good(SWITCHING.format("tcp-request content switch-mode http if HTTP\n " + lines, "http")).frontends[0]
    assert switched.http_request and switched.http_after_response and switched.forwardfor and switched.capture_request
    found = warnings(SWITCHING.format(lines, "http"))
    assert [text.split(" ignored")[0] for text in found] == ["'http-request' rules", "'http-after-response' rules", "'option forwardfor'"]
    [refused] = alerts("backend b\n tcp-request content switch-mode http\n")
    assert "'switch-mode' not allowed because backend 'b' has no frontend capability" in refused
