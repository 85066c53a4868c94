"""From drafts to the plan: numbers, fall-backs, links, formats."""

from __future__ import annotations

import pytest

from forkproxy.config.build_server import numbers
from forkproxy.plan import LogTarget
from forkproxy.registry import Needs
from tests.cost import cpu_s
from tests.unit.config.reading import alerts, backend, frontend, good, read, warnings


@pytest.mark.parametrize(
    ("explicit", "given"),
    [
        ([None, None, None], [1, 2, 3]),
        ([None, 2, None], [1, 2, 3]),
        # as observed with "show stat": the count goes on under a number that is taken
        ([None, None, 2, None, None], [1, 3, 2, 5, 6]),
        ([None, 1, None, None], [2, 1, 4, 5]),
        ([9, None], [9, 2]),
    ],
)
def test_numbers_are_those_that_haproxy_gives(explicit: list[int | None], given: list[int]) -> None:
    assert numbers(explicit) == given


def test_proxies_count_from_two_when_there_is_a_stats_socket() -> None:
    text = "frontend f\n bind :18001\nbackend b\n id 4\nbackend c\nlisten l\n bind :18002\n"
    plain, with_cli = good(text), good("global\n stats socket /nowhere/s\n" + text)
    assert [p.id for p in plain.frontends] == [1, 5] and [b.id for b in plain.backends.values()] == [4, 3, 5]
    assert [p.id for p in with_cli.frontends] == [2, 6] and [b.id for b in with_cli.backends.values()] == [4, 5, 6]


def test_a_listen_is_a_frontend_and_a_backend_of_one_name_and_leads_to_itself() -> None:
    made = good("listen l\n bind :18001\n mode http\n server a 127.0.0.1:1\n http-request deny if { src 192.0.2.1 }\n")
    front, back = made.frontends[0], made.backends["l"]
    assert (front.name, front.id, front.default_backend) == ("l", back.id, "l")
    assert front.http_request is back.http_request is not None


def test_timeouts_fall_back_as_the_manual_says() -> None:
    t = frontend("").timeouts
    assert (t.client_s, t.http_request_s, t.http_keep_alive_s, t.client_fin_s) == (2.0, 2.0, 2.0, None)
    assert (t.connect_s, t.queue_s, t.tarpit_s, t.server_s, t.server_fin_s) == (1.0, 1.0, 1.0, 3.0, None)
    assert t.tunnel_s is None
    own = frontend("timeout http-request 5s\n timeout client-fin 7").timeouts
    assert (own.http_request_s, own.http_keep_alive_s, own.client_fin_s) == (5.0, 5.0, 0.007)
    assert frontend("timeout http-request 5s\n timeout http-keep-alive 250ms").timeouts.http_keep_alive_s == 0.25
    made = backend("timeout queue 4s\n timeout tunnel 1h\n timeout check 6s\n server s 127.0.0.1:1 check")
    assert made.timeouts.queue_s == 4.0
    assert made.servers[0].check is not None and made.servers[0].check.timeout_s == 6.0


def test_a_timeout_of_zero_is_none_and_is_warned_of() -> None:
    text = "listen l\n bind :18001\n timeout connect 0\n server a 127.0.0.1:1\n"
    result = read(text)
    assert result.plan is not None and result.plan.backends["l"].timeouts.connect_s is None
    assert [w.splitlines()[0] for w in warnings(text)] == ["missing timeouts for proxy 'l'."]


def test_log_targets_are_those_of_global_where_asked_for_and_carry_the_tag() -> None:
    made = good(
        "global\n log 127.0.0.1:5514 local3 notice\n log-tag edge\n"
        "frontend f\n bind :18001\n log global\n log 127.0.0.2 local1\n option tcplog\n"
        "frontend g\n bind :18002\n log global\n log-tag special\n option tcplog\n"
        "frontend h\n bind :18003\n"
    )
    f, g, h = made.frontends
    assert [(str(t.address), t.facility, t.level, t.tag) for t in f.log_targets] == [
        ("127.0.0.1:5514", 19, 5, "edge"),
        ("127.0.0.2:514", 17, 7, "edge"),
    ]
    assert [t.tag for t in g.log_targets] == ["special"] and h.log_targets == () and h.log_format is None
    assert isinstance(made.global_.log_targets[0], LogTarget) and made.global_.log_targets[0].tag == "edge"
    assert f.log_format is not None and f.error_log_format is None and f.log_needs & Needs.END


def test_needs_are_the_or_over_all_rules_of_a_proxy() -> None:
    assert frontend("").needs == Needs.NONE
    assert frontend("use_backend b if { path_beg /x }").needs & Needs.HEADERS
    assert frontend("use_backend b if { path_beg /x }").use_backend is not None
    assert backend("balance uri\n server s 127.0.0.1:1").needs & Needs.HEADERS


def test_a_static_use_backend_must_exist_and_a_dynamic_one_need_not() -> None:
    assert frontend("use_backend x-%[src]").use_backend is not None
    found = alerts("frontend f\n bind :18001\n use_backend applications\nbackend application\n")
    assert found == [
        "Proxy 'f': unable to find required use_backend: 'applications'. (did you mean 'application' maybe?)"
    ]


def test_a_disabled_proxy_may_refer_to_nothing() -> None:
    made = good("frontend f\n disabled\n default_backend nowhere\n")
    assert made.frontends[0].disabled and made.frontends[0].default_backend == "nowhere"


def test_abortonclose_is_on_in_http_backends_unless_refused() -> None:
    assert "abortonclose" in backend("server s 127.0.0.1:1").options
    assert "abortonclose" not in backend("server s 127.0.0.1:1", mode="tcp").options
    assert "abortonclose" not in backend("no option abortonclose\n server s 127.0.0.1:1").options


def test_fullconn_is_a_tenth_of_what_the_frontends_take() -> None:
    text = "frontend f\n bind :18001\n maxconn 955\n default_backend b\nbackend b\n {}\n server s 127.0.0.1:1 minconn 5 maxconn 10\n"
    assert good(text.format("")).backends["b"].fullconn == 96
    assert good(text.format("fullconn 7")).backends["b"].fullconn == 7
    more = "frontend g\n bind :18002\n maxconn 100\n {}\nbackend c\nbackend d\n"
    rules = "use_backend b if TRUE\n use_backend b if FALSE\n use_backend c if TRUE\n use_backend %[path]\n default_backend b"
    found = good(text.format("") + more.format(rules)).backends
    assert {name: backend.fullconn for name, backend in found.items()} == {"b": 106, "c": 10, "d": 1}, "each frontend counts once"
    assert good(text.format("") + more.format("disabled\n" + rules)).backends["b"].fullconn == 96


def test_frontends_take_as_many_connections_as_said_by_line_command_line_or_global() -> None:
    text = "global\n maxconn 500\nfrontend f\n bind :18001\n"
    assert good(text).frontends[0].maxconn == 500
    assert good(text, proxy_maxconn=300).frontends[0].maxconn == 300
    assert good(text + " maxconn 200\n", proxy_maxconn=300).frontends[0].maxconn == 200


def test_no_plan_comes_out_of_a_wrong_file_and_all_errors_are_told() -> None:
    result = read("frontend f\n bind :18001\n mode foo\n default_backend nowhere\n backlog x\n")
    assert result.plan is None
    texts = [m.text for m in result.diagnostics.messages]
    assert any("unknown proxy mode" in t for t in texts)
    assert any("unable to find required default_backend" in t for t in texts)
    assert any("'backlog' expects an integer" in t for t in texts)


def test_options_that_need_http_are_not_in_force_in_tcp_mode() -> None:
    result = read("frontend f\n bind :18001\n option http-ignore-probes\n option logasap\n option forwardfor\n")
    assert result.plan is not None
    assert result.plan.frontends[0].options == {"logasap"} and result.plan.frontends[0].forwardfor is None


def test_use_server_pairs_a_predicate_with_a_name() -> None:
    made = backend("server s 127.0.0.1:1\n use-server s if { src 127.0.0.1 }")
    assert len(made.use_server) == 1
    pred, name = made.use_server[0]
    assert pred is not None and name(None) == "s"


def test_twenty_thousand_lines_need_no_more_than_a_few_seconds() -> None:
    lines = ["frontend f", " bind :18001", " mode http"]
    for i in range(1000):
        lines += [f" acl h{i} hdr(host) -i h{i}.example.com", f" use_backend b{i} if h{i}"]
    for i in range(1000):
        lines += [f"backend b{i}", " mode http", " balance leastconn"]
        lines += [f" server s{j} 10.0.{i >> 8}.{j}:80 check weight {j + 1} maxconn 30" for j in range(15)]
    text = "\n".join(lines) + "\n"
    made: list[int] = []
    assert cpu_s(lambda: made.append(len(good(text).backends)), 6) < 6  # 1.5 on the machine that this was written on
    assert made[0] == 1000


def test_global_identifiers_by_row_and_each_once() -> None:
    text = "listen l\n guid a:1\n bind :18001,:18002 guid-prefix p\n bind :18003 name n guid-prefix q\n server s 127.0.0.1:1 guid s_1\n"
    assert good(text).objects["guids"] == {
        "l/<frontend>": "a:1", "l/<backend>": "a:1", "l/s": "s_1",
        "l/<listener>/0.0.0.0:18001": "p-1", "l/<listener>/0.0.0.0:18002": "p-2", "l/<listener>/n": "q-1",
    }  # fmt: skip
    again, letter, long = alerts(text + f"backend b\n guid s_1\n server x 127.0.0.1:1 guid a/b\n server y 127.0.0.1:1 guid {'x' * 128}\n")
    assert "'s_1' is already used at" in again and "character '/' is not permitted" in letter and "1 to 127 characters" in long
