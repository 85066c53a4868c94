"""``bind`` lines: addresses, options, numbers."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from tests.unit.config.reading import alerts, frontend, good, notes


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ("name web", "name", "web"),
        ("id 9", "id", 9),
        ("backlog 12", "backlog", 12),
        ("maxconn 13", "maxconn", 13),
        ("interface lo", "interface", "lo"),
        ("v4v6", "v4v6", True),
        ("v6only", "v6only", True),
        ("transparent", "transparent", True),
        ("defer-accept", "defer_accept", True),
        ("tfo", "tfo", True),
        ("accept-proxy", "accept_proxy", True),
        ("mss 1400", "mss", 1400),
        ("mss -12", "mss", -12),
        ("tcp-ut 3s", "tcp_ut_ms", 3000),
        ("mode 660", "mode", 0o660),
        ("uid 12", "uid", 12),
        ("gid 13", "gid", 13),
        ("level admin", "level", "admin"),
        ("expose-fd listeners", "expose_fd_listeners", True),
        ("namespace blue", "namespace", "blue"),
        ("severity-output string", "options", {"severity-output": "string"}),
    ],
)
def test_an_option_gives_a_field(options: str, field: str, value: object) -> None:
    bound = frontend(f"bind 127.0.0.1:18099 {options}").binds[1]
    assert getattr(bound, field) == value


def test_users_and_groups_by_name() -> None:
    user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(os.getgid())
    bound = frontend(f"bind /nowhere/sock user {user.pw_name} group {group.gr_name}").binds[1]
    assert (bound.uid, bound.gid, bound.address.family, bound.address.host) == (user.pw_uid, group.gr_gid, "unix", "/nowhere/sock")


def test_several_addresses_and_ranges_are_one_bind_each() -> None:
    made = good("frontend f\n bind :18001,127.0.0.1:18002-18004 name x\n bind [::1]:18005 id 2\n bind abns@name\n").frontends[0]
    assert [(str(b.address), b.id, b.name) for b in made.binds] == [
        ("0.0.0.0:18001", 1, "x"),
        ("127.0.0.1:18002", 3, "x"),
        ("127.0.0.1:18003", 4, "x"),
        ("127.0.0.1:18004", 5, "x"),
        ("[::1]:18005", 2, ""),
        ("abns@name", 7, ""),
    ]
    assert made.binds[0].place.line == made.binds[0].place.line and made.binds[4].place.line == made.binds[0].place.line + 1


def test_addresses_expand_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_PORT", "18077")
    assert str(frontend("bind 127.0.0.1:${WEB_PORT}").binds[1].address) == "127.0.0.1:18077"


def test_a_bind_of_defaults_or_with_tls_is_refused() -> None:
    assert alerts("defaults\n bind :18001\n") == ["'bind' not allowed in 'defaults' section."]
    assert alerts("frontend f\n bind :18001 ssl crt x\n")[0].endswith("'ssl' is known to HAProxy, not supported by forkproxy yet")


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    assert alerts("frontend f\n bind :18001 accept-prox\n") == [
        "'bind :18001' in section 'frontend' : unknown keyword 'accept-prox'; did you mean 'accept-proxy' maybe ?"
    ]


def test_what_only_places_listeners_on_threads_is_noted() -> None:
    found = notes("frontend f\n bind :18001 process 1 thread 1-2 shards by-thread\n")
    assert len(found) == 3 and all("forkproxy" in note for note in found)
