"""The Forwarded field of "option forwarded" (RFC 7239): every word, quoting, nodes that nobody knows. Examples are the manual's."""

from __future__ import annotations

import pytest

import forkproxy.rules.library  # noqa: F401  # registers fetches
from forkproxy.errors import ConfigError
from forkproxy.registry import Needs
from forkproxy.rules.forwarded import compile_forwarded
from tests.unit.rules.support import context, make_txn, words

RAW = b"GET / HTTP/1.1\r\nHost: haproxy.org\r\nX-Node: %s\r\n\r\n"


@pytest.mark.parametrize(
    ("text", "src", "field"),
    [
        ("", "127.0.0.1", b"proto=http;for=127.0.0.1"),
        ("for proto", "127.0.0.1", b"proto=http;for=127.0.0.1"),
        ("", "2001:db8::1", b'proto=http;for="[2001:db8::1]"'),
        ("for for_port", "127.0.0.1", b'for="127.0.0.1:40000"'),
        ("host-expr str(host.com) by-expr str(_haproxy) for for_port-expr int(10)", "::1", b'host="host.com";by=_haproxy;for="[::1]:10"'),
        ("host for-expr str(000000007F2F367E) for_port", "::1", b'host="haproxy.org";for="_000000007F2F367E:40000"'),
        ("for-expr int(77)", "::1", b"for=_77"),
        ("for-expr req.hdr(x-none)", "::1", b"for=unknown"),
        ("for-expr str(not/a/name)", "::1", b"for=unknown"),
        ("for-expr str(192.0.2.7)", "::1", b"for=192.0.2.7"),
        ("for-expr str([2001:db8::7])", "::1", b'for="[2001:db8::7]"'),
        ("for-expr src for_port-expr str(x)", "192.0.2.1", b'for="192.0.2.1:_x"'),
        ("for-expr src for_port-expr str(_x)", "192.0.2.1", b'for="192.0.2.1:_x"'),
        ("for-expr src for_port-expr str(80)", "192.0.2.1", b'for="192.0.2.1:80"'),
        ("for-expr src for_port-expr req.hdr(x-none)", "192.0.2.1", b"for=192.0.2.1"),
        ("for", "unix", b"for=unknown"),
        ("proto for_port", "192.0.2.1", b"proto=http"),
        ("proto host-expr str(a%22b),url_dec", "192.0.2.1", b"proto=http"),
    ],
)
def test_what_it_says(text: str, src: str, field: bytes) -> None:
    txn = make_txn(RAW.replace(b"%s", b"n"))
    txn.origin.src, txn.origin.src_port = src, 40000
    render, _ = compile_forwarded(words(text), context())
    assert render(txn) == field


def test_what_it_needs() -> None:
    assert compile_forwarded(words("for"), context())[1] == Needs.NONE
    assert compile_forwarded(words("for-expr req.hdr(x)"), context())[1] & Needs.HEADERS


@pytest.mark.parametrize("text", ["fro", "proto-expr str(x)", "for-exp str(x)", "for-expr", "for-expr nonsense"])
def test_complaints(text: str) -> None:
    with pytest.raises(ConfigError):
        compile_forwarded(words(text), context())


def test_a_port_without_its_side_is_ignored_and_said_so() -> None:
    said: list[str] = []
    render, _needs = compile_forwarded(words("host by_port"), context(warn=said.append))
    assert b"by" not in render(make_txn(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")) and "by_port" in said[0]
