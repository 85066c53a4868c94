"""``source`` and ``usesrc`` of backends and servers, and what HAProxy says of wrong ones."""

from __future__ import annotations

import pytest

from forkproxy.master import limits
from forkproxy.plan import Address, Foreign
from tests.unit.config.reading import alerts, backend, good


@pytest.mark.parametrize(
    ("words", "foreign", "interface"),
    [
        ("client", Foreign("client"), ""),
        ("clientip interface lo", Foreign("clientip"), "lo"),
        ("192.0.2.7:50", Foreign("address", address=Address("ipv4", "192.0.2.7", 50)), ""),
        ("hdr_ip(X-Forwarded-For)", Foreign("header", header=b"x-forwarded-for"), ""),
        ("hdr_ip(x,2)", Foreign("header", header=b"x", occurrence=2), ""),
        ("hdr_ip(x,-3)", Foreign("header", header=b"x", occurrence=-3), ""),
        ("hdr_ip(x,0)", None, ""),
    ],
)
def test_usesrc(words: str, foreign: Foreign | None, interface: str) -> None:
    text = f"source 10.0.0.1 usesrc {words}\n server a 127.0.0.1:1\n server b 127.0.0.1:2 source 10.0.0.2\n"
    first, second = backend(text).servers
    assert (first.source, first.foreign, first.source_interface) == (Address("ipv4", "10.0.0.1"), foreign, interface)
    assert (second.source, second.foreign, second.source_interface) == (Address("ipv4", "10.0.0.2"), None, "")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("source 1.1.1.1 usesrc", "'usesrc' expects <addr>[:<port>], 'client', or 'clientip' as argument."),
        ("source 1.1.1.1 usesrc hdr_ip(x", "'usesrc' expects hdr_ip(<hdr>[,<occ>])."),
        ("source 1.1.1.1 usesrc hdr_ip(x,-20)", "usesrc hdr_ip(name,num) does not support negative occurrences values smaller than 10."),
        ("source 1.1.1.1 usesrc client foo", "'source' only supports optional keywords 'interface' and 'usesrc' (got 'foo')."),
        ("source 1.1.1.1 usesrc /tmp/x", "'usesrc' : only an IPv4 or IPv6 address can be connected from (got '/tmp/x')."),
        ("server s 1.1.1.1:1 usesrc client", "'server b/s' : 'usesrc' only allowed after a 'source' statement."),
        ("server s 1.1.1.1:1 source 1.1.1.1 usesrc",
         "'server b/s' : 'usesrc' expects <addr>[:<port>], 'client', or 'clientip' as argument."),
        ("server s 1.1.1.1:1 namespace no/such", "'server b/s' : Cannot open namespace 'no/such'."),
    ],
)  # fmt: skip
def test_complaints(line: str, said: str) -> None:
    assert alerts(f"backend b\n {line}\n") == [said]


def test_who_wants_to_pose_as_somebody_else_stays_root() -> None:
    text = "global\n uid 99\nbackend b\n source 1.1.1.1{}\n server s 127.0.0.1:1\n"
    assert "require full privileges" in limits.unprivileged(good(text.format(" usesrc clientip")))
    assert not limits.unprivileged(good(text.format("")))
