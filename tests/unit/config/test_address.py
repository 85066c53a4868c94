"""Address forms: manual 2.9; messages as HAProxy words them."""

from __future__ import annotations

import pytest

from forkproxy.config.address import Unresolved, expand, parse_address, parse_addresses
from forkproxy.plan import Address


def resolver(host: str, family: str) -> tuple[str, str] | None:
    table = {"web": {"ipv4": "192.0.2.7", "ipv6": "2001:db8::7"}, "six": {"ipv6": "2001:db8::6"}}.get(host, {})
    for wanted in (family,) if family else ("ipv4", "ipv6"):
        if wanted in table:
            return wanted, table[wanted]
    return None


@pytest.mark.parametrize(
    ("text", "family", "host", "port"),
    [
        (":80", "ipv4", "0.0.0.0", 80),
        ("*:80", "ipv4", "0.0.0.0", 80),
        ("127.0.0.1:8080", "ipv4", "127.0.0.1", 8080),
        ("ipv4@:80", "ipv4", "0.0.0.0", 80),
        ("ipv6@:80", "ipv6", "::", 80),
        (":::80", "ipv6", "::", 80),
        ("::1:80", "ipv6", "::1", 80),
        ("[::1]:80", "ipv6", "::1", 80),
        ("ipv6@2001:db8::1:443", "ipv6", "2001:db8::1", 443),
        ("ip@[::1]:80", "ipv6", "::1", 80),
        ("tcp4@127.0.0.1:80", "ipv4", "127.0.0.1", 80),
        ("stream+ipv4@127.0.0.1:80", "ipv4", "127.0.0.1", 80),
        ("/run/x.sock", "unix", "/run/x.sock", 0),
        ("unix@rel/x.sock", "unix", "rel/x.sock", 0),
        ("uxst@/x", "unix", "/x", 0),
        ("abns@name", "abns", "name", 0),
        ("abnsz@name", "abnsz", "name", 0),
        ("fd@7", "fd", "7", 0),
        ("fd@${FD}", "fd", "9", 0),
        ("$HOST:${PORT-81}", "ipv4", "10.1.2.3", 81),
        ("web:80", "ipv4", "192.0.2.7", 80),
        ("ipv6@web:80", "ipv6", "2001:db8::7", 80),
        ("six:80", "ipv6", "2001:db8::6", 80),
    ],
)
def test_forms(text: str, family: str, host: str, port: int) -> None:
    env = {"FD": "9", "HOST": "10.1.2.3"}
    assert parse_address(text, default_port=None, resolve=resolver, env=env) == [Address(family, host, port)]


def test_a_range_is_one_address_per_port() -> None:
    assert [a.port for a in parse_address("127.0.0.1:5-8", allow_range=True)] == [5, 6, 7, 8]


def test_several_addresses() -> None:
    assert [str(a) for a in parse_addresses("127.0.0.1:1-2,[::1]:3,/x,")] == ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3", "unix@/x"]


@pytest.mark.parametrize(
    ("text", "port", "relative"),
    [("10.0.0.1", 0, False), ("10.0.0.1:80", 80, False), ("10.0.0.1:+10", 10, True), ("10.0.0.1:-10", -10, True), ("10.0.0.1:0", 0, False)],
)
def test_ports_of_servers(text: str, port: int, relative: bool) -> None:
    assert parse_address(text, allow_offset=True) == [Address("ipv4", "10.0.0.1", port, "stream", relative)]


def test_datagrams() -> None:
    assert parse_address("127.0.0.1", default_port=514, dgram=True) == [Address("ipv4", "127.0.0.1", 514, "dgram")]
    assert parse_address("udp@127.0.0.1:5", dgram=True)[0].kind == "dgram"
    assert parse_address("tcp@127.0.0.1:5", dgram=True, either=True)[0].kind == "stream"


def test_a_name_may_stay_unresolved() -> None:
    assert parse_address("web:80", resolve=None) == [Address("name", "web", 80)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (":x", "invalid character 'x' in port number 'x' in ':x'"),
        ("1.2.3.4:80x", "invalid character 'x' in port number '80x' in '1.2.3.4:80x'"),
        ("1.2.3.4", "missing port specification in '1.2.3.4'"),
        ("[::1]:", "missing port specification in '[::1]:'"),
        ("1.2.3.4:0", "invalid port '0' in '1.2.3.4:0'"),
        ("1.2.3.4:99999", "invalid port '99999' in '1.2.3.4:99999'"),
        ("1.2.3.4:80-70", "invalid port range '80-70' in '1.2.3.4:80-70'"),
        ("1.2.3.4:+80", "port offset not permitted here in '1.2.3.4:+80'"),
        ("ipv4@::1:80", "invalid address: '::1' in 'ipv4@::1:80'"),
        ("ipv6@1.2.3.4:80", "invalid address: '1.2.3.4' in 'ipv6@1.2.3.4:80'"),
        ("300.1.1.1:80", "invalid address: '300.1.1.1' in '300.1.1.1:80'"),
        ("foo@bar:80", "invalid address: 'foo@bar' in 'foo@bar:80'"),
        ("fd@x", "file descriptor 'x' is not a valid integer in 'fd@x'"),
        ("udp@1.2.3.4:80", "dgram-type address not acceptable in 'udp@1.2.3.4:80'"),
        ("quic4@1.2.3.4:80", "address prefix 'quic4@' is known to HAProxy, not supported by forkproxy yet in 'quic4@1.2.3.4:80'"),
        ("/" + "x" * 108, f"socket path '/{'x' * 108}' too long (max 107)"),
    ],
)
def test_wrong_addresses_of_a_bind(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_address(text, default_port=None, allow_range=True, resolve=resolver)
    assert str(caught.value) == message


def test_ranges_and_ports_only_where_they_are_allowed() -> None:
    with pytest.raises(ValueError, match="port range not permitted here"):
        parse_address("1.2.3.4:5-6")
    with pytest.raises(ValueError, match="port specification not permitted here"):
        parse_address("1.2.3.4:5", allow_port=False)
    assert parse_address("::1", allow_port=False)[0].host == "::1"


def test_an_unknown_name_says_which() -> None:
    with pytest.raises(Unresolved) as caught:
        parse_address("nobody:80", resolve=resolver)
    assert caught.value.host == "nobody"


def test_expansion_of_unquoted_variables() -> None:
    assert expand("a$X-${Y-d}-${Z}$", {"X": "1"}) == "a1-d-$"
