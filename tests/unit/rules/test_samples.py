"""Fetches and converters against the values that Debian's haproxy gives (rows.py), and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import forkproxy.rules.library  # noqa: F401
from forkproxy.errors import ConfigError
from forkproxy.registry import Needs, Type
from forkproxy.rules.expr import compile_sample
from forkproxy.rules.logformat import compile_format
from tests.unit.rules.rows import MAPS, NEWER, REQUEST, ROWS
from tests.unit.rules.support import context, make_txn, words


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("maps")
    for name, text in MAPS.items():
        (where / name).write_text(text)
    return where


@pytest.mark.parametrize(("expression", "expected"), ROWS + NEWER, ids=[r[0] for r in ROWS + NEWER])
def test_row(expression: str, expected: bytes, maps: Path) -> None:
    text = re.sub(r"\bMAP[A-Z]*\b", lambda found: f"{maps}/{found[0]}", expression)
    assert compile_format(f"%[{text}]", context()).render(make_txn(REQUEST)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sorc", "unknown fetch method 'sorc'"),
        ("src,lowr", "unknown converter 'lowr'"),
        ("ipv4", "missing args for fetch method 'ipv4'"),
        ("str(a", "expected ')'"),
        ("str(\"a)", "unmatched quote"),
        ("int(x)", "'x' is not an integer"),
        ("always_true(1)", "takes no argument"),
        ("always_true,ipmask(8)", "cannot be applied"),
        ("status", "it needs the response"),
        ("str(a),word(0,_)", "the index starts at 1"),
        ("var(nope.x)", "invalid variable name 'nope.x'"),
        ("str(a),map(/does/not/exist)", "failed to open pattern file"),
        ("src,(", "unexpected '(' after 'src,'"),
        ("nbsrv(a,b)", "too many arguments"),
        ("str(a),regsub(\"(\",x)", "regex '(' is invalid"),
        ("str(a),regsub(a)", "argument 2 must be a string"),
        ("always_true,iif(a)", "argument 2 must be a string"),
        ("http_auth(nobody)", "unable to find userlist 'nobody'"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_sample(words(text), context())
    assert message in caught.value.message
    assert (caught.value.file, caught.value.line, caught.value.column) == ("t.cfg", 3, 1)


def test_suggestion() -> None:
    with pytest.raises(ConfigError) as caught:
        compile_sample(words("src,lowr"), context())
    assert "'lower'" in caught.value.hint


def test_known_to_haproxy() -> None:
    ctx = context(known={"fetch": {"ssl_fc_alpn"}})
    with pytest.raises(ConfigError, match="known to HAProxy, not supported by forkproxy"):
        compile_sample("ssl_fc_alpn", ctx)


def test_types_and_needs() -> None:
    sample = compile_sample("req.hdr(x),length", context())
    assert (sample.out, sample.needs) == (Type.SINT, Needs.HEADERS)
    sample = compile_sample("src", context("tcp-req-conn"))
    assert (sample.out, sample.needs) == (Type.ADDR, Needs.L4)


def test_constants_are_folded() -> None:
    sample = compile_sample("str(AbC),lower,length", context())
    assert sample.constant and sample.fetch(make_txn()) == 3


def test_response_fetches() -> None:
    txn = make_txn(response=True)
    ctx = context("http-res")
    assert compile_sample("status", ctx).fetch(txn) == 200
    assert compile_sample("res.hdr(content-type)", ctx).fetch(txn) == b"text/plain"
    assert compile_sample("hdr(content-type)", ctx).fetch(txn) == b"text/plain"  # of the side that the rule stands on
    assert compile_sample("hdr(host)", context("http-req")).fetch(make_txn()) == b"www.example.com"
    assert compile_sample("res.cook(a)", ctx).fetch(txn) == b"1"
    assert compile_sample("capture.req.uri", ctx).fetch(txn) == b"/a/b?x=1"
    with pytest.raises(ConfigError, match="gone by then"):
        compile_sample("path", ctx)
