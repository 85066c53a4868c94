"""``server``, ``default-server`` and ``server-template`` lines."""

from __future__ import annotations

import pytest

from forkproxy.config.keywords import server as keywords
from forkproxy.plan import Address
from tests.unit.config.reading import alerts, backend, good, server


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ("", "weight", 1),
        ("weight 0", "weight", 0),
        ("weight 256", "weight", 256),
        ("backup", "backup", True),
        ("disabled", "disabled", True),
        ("disabled enabled", "disabled", False),
        ("maxconn 9", "maxconn", 9),
        ("maxconn 9 minconn 3", "minconn", 3),
        ("minconn 3", "maxconn", 3),
        ("minconn 3", "minconn", 0),
        ("maxqueue 4", "maxqueue", 4),
        ("cookie abc", "cookie", b"abc"),
        ("redir http://x", "redir", b"http://x"),
        ("slowstart 20s", "slowstart_s", 20.0),
        ("id 77", "id", 77),
        ("on-marked-down shutdown-sessions", "on_marked_down", "shutdown-sessions"),
        ("on-marked-up shutdown-backup-sessions", "on_marked_up", "shutdown-backup-sessions"),
        ("on-error sudden-death", "on_error", "sudden-death"),
        ("observe none", "observe", ""),
        ("error-limit 3", "error_limit", 3),
        ("send-proxy", "send_proxy", 1),
        ("send-proxy-v2", "send_proxy", 2),
        ("send-proxy no-send-proxy", "send_proxy", 0),
        ("proxy-v2-options unique-id,crc32c", "proxy_options", ("crc32c", "unique-id")),
        ("tfo", "tfo", True),
        ("tcp-ut 2s", "tcp_ut_ms", 2000),
        ("pool-max-conn 0", "pool_max_conn", 0),
        ("pool-low-conn 5", "pool_low_conn", 5),
        ("pool-purge-delay 1m", "pool_purge_delay_s", 60.0),
        ("max-reuse 3", "max_reuse", 3),
        ("init-state fully-down", "init_state", "fully-down"),
        ("non-stick", "non_stick", True),
        ("strict-maxconn", "strict_maxconn", True),
        ("hash-key addr-port", "hash_key", "addr-port"),
        ("source 192.0.2.9 interface lo", "source", Address("ipv4", "192.0.2.9")),
        ("source 192.0.2.9 interface lo weight 3", "weight", 3),
        ("", "check", None),
        ("check no-check", "check", None),
    ],
)
def test_an_option_gives_a_field(options: str, field: str, value: object) -> None:
    assert getattr(server(options), field) == value


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ("", "kind", "tcp"),
        ("inter 500", "inter_s", 0.5),
        ("fastinter 1s downinter 1m", "downinter_s", 60.0),
        ("rise 5", "rise", 5),
        ("fall 6", "fall", 6),
        ("port 8080", "port", 8080),
        ("addr 192.0.2.1", "address", Address("ipv4", "192.0.2.1")),
        ("check-send-proxy", "send_proxy", True),
        ("send-proxy", "send_proxy", True),
        ("send-proxy port 8080", "send_proxy", False),
        ("send-proxy addr 127.0.0.2", "send_proxy", False),
        ("", "connect_timeout_s", 1.0),
    ],
)
def test_a_check_is_made_of_the_servers_and_the_backends_lines(options: str, field: str, value: object) -> None:
    check = server(f"check {options}").check
    assert check is not None and getattr(check, field) == value


def test_default_server_adds_up_and_gives_way() -> None:
    made = backend(
        "default-server inter 5s weight 10\n default-server check backup\n server a 127.0.0.1:1\n"
        " server b 127.0.0.1:2 weight 3 no-backup no-check\n default-server weight 20\n server c 127.0.0.1:3"
    ).servers
    assert [(s.weight, s.backup, s.check is not None) for s in made] == [(10, True, True), (3, False, False), (20, True, True)]
    assert made[0].check is not None and made[0].check.inter_s == 5.0


def test_default_server_of_a_defaults_section_is_inherited_not_shared() -> None:
    made = good(
        "defaults\n timeout connect 1s\n timeout server 1s\n timeout client 1s\n default-server weight 7\n"
        "backend a\n default-server weight 8\n server s 127.0.0.1:1\nbackend b\n server s 127.0.0.1:1\n",
        timeouts=False,
    )
    assert [b.servers[0].weight for b in made.backends.values()] == [8, 7]


def test_a_template_is_many_servers() -> None:
    made = backend("server-template web 3 127.0.0.1:80 check weight 2\n server-template x 5-6 127.0.0.1:81 id 20").servers
    assert [(s.name, s.id, s.weight) for s in made] == [("web1", 1, 2), ("web2", 2, 2), ("web3", 3, 2), ("x5", 20, 1), ("x6", 21, 1)]
    assert made[0].key == "b/web1"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:80", Address("ipv4", "127.0.0.1", 80)),
        ("127.0.0.1", Address("ipv4", "127.0.0.1", 0)),
        ("127.0.0.1:+10", Address("ipv4", "127.0.0.1", 10, "stream", True)),
        (":80", Address("ipv4", "0.0.0.0", 80)),
        ("[::1]:80", Address("ipv6", "::1", 80)),
        ("/nowhere/sock", Address("unix", "/nowhere/sock")),
        ("abns@x", Address("abns", "x")),
    ],
)
def test_addresses(address: str, expected: Address) -> None:
    assert backend(f"server s {address}").servers[0].address == expected


def test_names_are_resolved_in_the_order_of_init_addr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keywords, "resolve_host", lambda host, family="": ("ipv4", "192.0.2.5") if host == "known" else None)
    assert backend("server s known:80").servers[0].address == Address("ipv4", "192.0.2.5", 80)
    assert backend("server s other:80 init-addr last,libc,192.0.2.6").servers[0].address == Address("ipv4", "192.0.2.6", 80)
    parked = backend("server s other:80 init-addr last,libc,none").servers[0]
    assert parked.disabled and parked.options["fqdn"] == "other" and parked.address.port == 80
    assert alerts("backend b\n server s other:80\n") == ["'server b/s' : could not resolve address 'other'."]


def test_tracking_is_resolved_to_the_full_name() -> None:
    made = good(
        "backend a\n server x 127.0.0.1:1 check\n server y 127.0.0.1:2 track x\nbackend b\n server z 127.0.0.1:3 track a/y\n"
    ).backends
    assert [s.track for b in made.values() for s in b.servers] == ["", "a/x", "a/y"]


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    assert alerts("backend b\n server s 127.0.0.1:1 wieght 3\n") == [
        "'server b/s' : unknown keyword 'wieght'; did you mean 'weight' maybe ?"
    ]


def test_the_mark_stands_under_the_wrong_word() -> None:
    from forkproxy.config.diagnostics import Severity
    from tests.unit.config.reading import read

    messages = read("backend b\n server s 127.0.0.1:1 rise x\n").diagnostics.messages
    (found,) = [m for m in messages if m.severity is Severity.ALERT and m.line]
    assert found.source[found.column - 1 :] == "x"
