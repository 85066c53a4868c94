"""Keywords of the proxy sections: what each one makes of the plan."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forkproxy import registry
from forkproxy.config.keywords.options import SWITCHES, network_test
from tests.unit.config.reading import alerts, backend, frontend, good, notes, server, warnings

FRONT, BACK = 1, 2


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("maxconn 50", "maxconn", 50),
        ("backlog 60", "backlog", 60),
        ("rate-limit sessions 7", "rate_limit_sessions", 7),
        ("monitor-uri /up", "monitor_uri", b"/up"),
        ("description one two", "description", "one two"),
        ("unique-id-header X-Id", "unique_id_header", b"X-Id"),
        ("capture request header host len 20\n capture request header te len 3", "capture_request", ((b"host", 20), (b"te", 3))),
        ("capture response header server len 9", "capture_response", ((b"server", 9),)),
        ("declare capture request len 5", "capture_request", ((b"", 5),)),
        ("capture cookie SID len 8", "capture_cookie", (b"SID", 8, True)),
        ("capture cookie SID= len 8", "capture_cookie", (b"SID", 8, False)),
        ("option httpclose", "connection_mode", "httpclose"),
        ("option http-server-close", "connection_mode", "http-server-close"),
        ("option httpclose\n option http-keep-alive", "connection_mode", "keep-alive"),
        ("option httpclose\n no option httpclose", "connection_mode", "keep-alive"),
        ("option httpclose\n no option http-server-close", "connection_mode", "httpclose"),
        ("tcp-request inspect-delay 30s", "inspect_delay_s", 30.0),
        ("default_backend b", "default_backend", "b"),
        ("clitcpka-cnt 3\n clitcpka-idle 10s\n clitcpka-intvl 2s", "capabilities",
         {"clitcpka-cnt": 3, "clitcpka-idle": 10, "clitcpka-intvl": 2}),
    ],
)  # fmt: skip
def test_a_frontend_line_gives_a_value(line: str, field: str, value: object) -> None:
    assert getattr(frontend(line), field) == value


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("retries 5", "retries", 5),
        ("", "retries", 3),
        ("option redispatch", "redispatch", -1),
        ("option redispatch 2", "redispatch", 2),
        ("option redispatch\n no option redispatch", "redispatch", 0),
        ("http-reuse always", "http_reuse", "always"),
        ("", "http_reuse", "safe"),
        ("option allbackups", "allbackups", True),
        ("fullconn 100", "fullconn", 100),
        ("retry-on 503 empty-response", "retry_on", frozenset({"503", "empty-response"})),
        ("retry-on none", "retry_on", frozenset()),
        ("retry-on all-retryable-errors", "retry_on",
         frozenset({"conn-failure", "empty-response", "junk-response", "response-timeout", "0rtt-rejected", "500", "502", "503", "504"})),
        ("max-keep-alive-queue 4\n srvtcpka-cnt 9", "capabilities", {"max-keep-alive-queue": 4, "srvtcpka-cnt": 9}),
    ],
)  # fmt: skip
def test_a_backend_line_gives_a_value(line: str, field: str, value: object) -> None:
    assert getattr(backend(f"{line}\n server s 127.0.0.1:1"), field) == value


@pytest.mark.parametrize(("name", "sides", "http"), [row[:3] for row in SWITCHES], ids=[row[0] for row in SWITCHES])
def test_every_switch_turns_on_and_off_where_it_belongs(name: str, sides: int, http: bool) -> None:
    """``option x`` shows up in the plan, ``no option x`` does not, and the other side is warned that it has no part in it."""
    server_line = "" if name == "transparent" else "server s 127.0.0.1:1"
    if sides & FRONT:
        assert name in frontend(f"option {name}").options
        assert name not in frontend(f"option {name}\n no option {name}").options
        assert name not in frontend(f"option {name}\n default option {name}").options
    if sides & BACK:
        assert name in backend(f"option {name}\n {server_line}").options
        assert name not in backend(f"no option {name}\n {server_line}").options
    if sides != FRONT | BACK:
        wrong, missing = ("backend", "frontend") if sides == FRONT else ("frontend", "backend")
        text = f"{wrong} p\n mode http\n option {name}\n" + (" bind :18001\n" if wrong == "frontend" else "")
        assert warnings(text) == [f"'{name}' ignored because {wrong} 'p' has no {missing} capability."]


def test_tcpka_is_both_keepalives_and_former_names_are_known() -> None:
    assert frontend("option tcpka").options == {"clitcpka"}
    assert "srvtcpka" in backend("option tcpka\n server s 127.0.0.1:1").options
    assert frontend("option accept-invalid-http-request").options == {"accept-unsafe-violations-in-http-request"}


def test_forwardfor_and_originalto() -> None:
    made = frontend("option forwardfor except 192.0.2.0/24 header X-Client if-none\n option originalto")
    assert made.forwardfor is not None and made.originalto == (b"x-original-to", None, False)
    header, excepted, if_none = made.forwardfor
    assert (header, if_none) == (b"X-Client", True)
    assert [excepted(a) for a in ("192.0.2.77", "192.0.3.1", "::1", "unix")] == [True, False, False, False]


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
        ("10.0.0.0/8", "10.9.8.7", "11.0.0.1"),
        ("10.0.0.0/255.255.0.0", "10.0.9.9", "10.1.0.0"),
        ("0.0.0.0/0", "203.0.113.9", "::"),
        ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
    ],
)
def test_networks(network: str, inside: str, outside: str) -> None:
    test = network_test(network)
    assert test(inside) and not test(outside)


@pytest.mark.parametrize("network", ["", "x", "10.0.0.0/33", "10.0.0.0/x", "::1/129", "10.0.0.0/"])
def test_wrong_networks(network: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        network_test(network)


@pytest.mark.parametrize(
    ("line", "algorithm", "args"),
    [
        ("balance roundrobin", "roundrobin", ()),
        ("balance static-rr", "static-rr", ()),
        ("balance leastconn", "leastconn", ()),
        ("balance first", "first", ()),
        ("balance source", "source", ()),
        ("balance uri", "uri", (0, 0, False, False)),
        ("balance uri len 9 depth 2 whole path-only", "uri", (9, 2, True, True)),
        ("balance url_param id", "url_param", ("id", False)),
        ("balance url_param id check_post 64", "url_param", ("id", True)),
        ("balance hdr(Host)", "hdr", ("Host", False)),
        ("balance hdr(Host) use_domain_only", "hdr", ("Host", True)),
        ("balance random", "random", (2,)),
        ("balance random(3)", "random", (3,)),
        ("balance rdp-cookie", "rdp-cookie", ("mstshash",)),
        ("balance rdp-cookie(x)", "rdp-cookie", ("x",)),
        ("", "random", (2,)),
    ],
)
def test_balance(line: str, algorithm: str, args: tuple[object, ...]) -> None:
    made = backend(f"{line}\n server s 127.0.0.1:1").balance
    assert (made.algorithm, made.args, made.key) == (algorithm, args, None)


def test_balance_hash_compiles_its_expression() -> None:
    made = backend("balance hash str(abc)\n server s 127.0.0.1:1").balance
    assert made.algorithm == "hash" and made.key is not None and made.key(None) == b"abc"
    assert "balance hash" in alerts("backend b\n balance hash nonsense\n")[0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ("map-based", "sdbm", "")),
        ("hash-type map-based", ("map-based", "sdbm", "")),
        ("hash-type consistent", ("consistent", "sdbm", "avalanche")),
        ("hash-type consistent crc32", ("consistent", "crc32", "")),
        ("hash-type map-based wt6 avalanche", ("map-based", "wt6", "avalanche")),
        ("hash-type consistent none", ("consistent", "none", "")),
    ],
)
def test_hash_type(line: str, expected: tuple[str, str, str]) -> None:
    made = backend(f"{line}\n hash-balance-factor 150\n hash-preserve-affinity maxconn\n server s 127.0.0.1:1").balance
    assert (made.hash_method, made.hash_function, made.hash_modifier) == expected
    assert (made.hash_balance_factor, made.hash_preserve_affinity) == (150, "maxconn")


def test_errors_come_from_files_sections_and_parts(tmp_path: Path) -> None:
    page = tmp_path / "400.http"
    page.write_bytes(b"HTTP/1.0 400 Bad\r\n\r\nno")
    made = good(
        f"http-errors set\n errorfile 502 {page}\n errorfile 503 /dev/null\n"
        f"frontend f\n bind :18001\n mode http\n errorfile 400 {page}\n errorloc303 403 /denied\n errorloc 404 /none\n errorfiles set 503\n"
        " http-error status 429 content-type text/plain string slow\n"
    ).frontends[0]
    assert sorted(made.errors) == [400, 403, 404, 429, 503]
    assert made.errors[400].raw == b"HTTP/1.0 400 Bad\r\n\r\nno" and made.errors[503].raw == b""
    assert (made.errors[403].location, made.errors[403].location_code) == ("/denied", 303)
    assert (made.errors[404].location, made.errors[404].location_code) == ("/none", 302)
    reply = made.errors[429].reply
    assert reply.status == 429 and reply.body(None) == b"slow" and reply.content_type == b"text/plain"


def test_an_errorfile_must_exist_be_handled_and_fit(tmp_path: Path) -> None:
    big = tmp_path / "big.http"
    big.write_bytes(b"x" * 20_000)
    found = alerts(
        "frontend f\n bind :18001\n mode http\n errorfile 999 /dev/null\n errorfile 400 /nowhere\n errorfiles nosuch\n"
        f" errorfile 500 {big}\n"
    )
    assert "errorfile : status code '999' not handled." in found[0]
    assert "errorfile : error opening file '/nowhere'." in found[1]
    assert any("unknown http-errors section 'nosuch'" in text for text in found)
    assert any("larger than a buffer" in text for text in found)


def test_httpchk_forms_and_steps() -> None:
    def options(line: str) -> object:
        check = server("check", lines=line).check
        assert check is not None and check.kind == "http"
        return dict(check.options)

    assert options("option httpchk") == {"method": "OPTIONS", "uri": "/", "version": "HTTP/1.0"}
    assert options("option httpchk /up") == {"method": "OPTIONS", "uri": "/up", "version": "HTTP/1.0"}
    assert options("option httpchk GET /up") == {"method": "GET", "uri": "/up", "version": "HTTP/1.0"}
    assert options("option httpchk GET /up HTTP/1.1 www") == {
        "method": "GET", "uri": "/up", "version": "HTTP/1.1", "headers": (("host", "www"),),
    }  # fmt: skip


def test_http_check_rules_become_steps() -> None:
    check = server(
        "check",
        lines="option httpchk\n http-check connect port 81 addr 127.0.0.9\n http-check send meth PUT uri /x hdr a b body z\n"
        " http-check comment why\n http-check expect ! string down\n http-check expect status 200-299,404 comment ok\n"
        " http-check expect hdr name -m beg x- value -m reg ^y\n http-check disable-on-404\n http-check send-state\n"
        " option log-health-checks",
    ).check
    assert check is not None and (check.disable_on_404, check.send_state, check.log_checks) == (True, True, True)
    connect, send, comment, string, status, header = check.steps
    assert connect.kind == "connect" and connect.args["port"] == 81 and connect.args["address"].host == "127.0.0.9"
    assert send.args == {"method": "PUT", "uri": "/x", "headers": (("a", "b"),), "body": "z"}
    assert (comment.kind, comment.comment) == ("comment", "why")
    assert string.args == {"negate": True, "match": "string", "pattern": "down"}
    assert status.args == {"negate": False, "match": "status", "pattern": "200-299,404"} and status.comment == "ok"
    assert header.args == {"negate": False, "match": "hdr", "name": ("beg", "x-"), "value": ("reg", "^y")}


def test_the_old_way_of_hiding_headers_in_the_version_works_and_is_warned_of() -> None:
    text = r"backend b" "\n" r" option httpchk GET /up HTTP/1.1\r\nHost:\ www" "\n server s 127.0.0.1:1 check\n"
    assert len(warnings(text)) == 1 and "hiding headers or body" in warnings(text)[0]


def test_dispatch_and_transparent_are_a_server() -> None:
    only = backend("dispatch 127.0.0.1:81").servers
    assert [(s.name, str(s.address)) for s in only] == [("dispatch", "127.0.0.1:81")]
    assert [(s.name, str(s.address)) for s in backend("option transparent").servers] == [("transparent", "0.0.0.0:0")]


def test_source_is_every_servers_source_unless_it_has_its_own() -> None:
    made = backend("source 192.0.2.1:0 interface eth0\n server a 127.0.0.1:1\n server b 127.0.0.1:2 source 192.0.2.2").servers
    assert [(str(s.source), s.source_interface) for s in made] == [("192.0.2.1:0", "eth0"), ("192.0.2.2:0", "")]


def test_answers_are_a_reason_to_send_again_in_http_mode_only() -> None:
    assert backend("retry-on 503", mode="tcp").retry_on == {"conn-failure"}
    assert backend("retry-on 503").retry_on == {"503"}


def test_the_name_of_a_server_for_itself() -> None:
    assert backend("http-send-name-header X-Srv").name_header == b"x-srv"
    assert backend("http-send-name-header X-Srv", mode="tcp").name_header == b""
    assert alerts("backend b\n mode http\n http-send-name-header\n") == ["'http-send-name-header' requires a header string."]
    (said,) = alerts("backend b\n mode http\n http-send-name-header Host\n")
    assert said == "'http-send-name-header' cannot be used with the header 'Host'."


def test_the_older_form_of_option_transparent() -> None:
    assert backend("transparent").servers[0].name == "transparent"


@pytest.mark.parametrize("line", ["option disable-h2-upgrade", "timeout client-hs 3s"])
def test_what_is_accepted_without_effect_says_what_happens_instead(line: str) -> None:
    text = f"listen l\n bind :18001\n {line}\n server s 127.0.0.1:1\n"
    assert alerts(text) == [] and len(notes(text)) == 1 and "forkproxy" in notes(text)[0]


@pytest.mark.parametrize("name", ["clitimeout", "srvtimeout", "contimeout", "redispatch", "reqrep", "monitor-net"])
def test_what_haproxy_dropped_is_refused_with_what_replaces_it(name: str) -> None:
    found = alerts(f"defaults\n {name} 3s\n")
    assert len(found) == 1 and re.search(r"Use '|Please use '", found[0])


def test_log_formats() -> None:
    logged = "log 127.0.0.1 local0\n "
    for line in ("option httplog", "option httplog clf", "option tcplog", "option tcplog clf", 'log-format "%ci %ST"'):
        assert frontend(logged + line).log_format is not None
    connect = frontend(logged, mode="tcp").log_format
    assert connect is not None  # without a format, connections are logged in one plain sentence
    assert frontend('unique-id-format %{+X}o\\ %ci:%pid').unique_id is not None


def test_the_https_format_is_refused_while_there_is_no_tls() -> None:
    (found,) = alerts("frontend f\n bind :18001\n mode http\n log 127.0.0.1 local0\n option httpslog\n")
    assert found.startswith("'option httpslog' : fetch 'ssl_fc_err' is known to HAProxy")


def test_every_keyword_of_this_room_explains_itself() -> None:
    places = {"defaults", "frontend", "listen", "backend", "bind", "server"}
    silent = [k.name for k in registry.KEYWORDS.values() if k.section in places and not k.doc]
    assert silent == []


def test_option_forwarded() -> None:
    assert backend("option forwarded").forwarded is not None
    assert backend("option forwarded\n no option forwarded").forwarded is None
    assert warnings("backend b\n option forwarded\n") == ["'option forwarded' ignored for backend 'b' as it requires HTTP mode."]
    (said,) = alerts("backend b\n mode http\n option forwarded fro\n")
    assert said.startswith("'option forwarded' only supports optional values: 'proto', 'host', 'host-expr'")
