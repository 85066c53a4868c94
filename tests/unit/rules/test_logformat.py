"""Log formats: the built-in ones as haproxy writes them, flags, escaping, encoders, errors."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import forkproxy.rules.library  # noqa: F401
from forkproxy.errors import ConfigError
from forkproxy.registry import Needs
from forkproxy.rules import logformat, loglines
from forkproxy.rules.logencode import captured
from forkproxy.rules.logformat import compile_format
from tests.unit.rules.support import context, make_txn, words

RAW = b'GET /p?x HTTP/1.1\r\nHost: h\r\nX-A: v{1}|2"#\r\n\r\n'


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from forkproxy.rules import logalias

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for name in ("local", "local_zone"):
        logalias.NAMES[name].clear()


def render(text: str, txn: object | None = None, style: str = "log", **more: object) -> bytes:
    return compile_format(text, context("log", **more), style=style).render(txn if txn is not None else make_txn(RAW))


def test_httplog() -> None:
    assert render(logformat.HTTPLOG) == (
        b'127.0.0.1:40000 [14/Nov/2023:22:13:20.250] fe be/s1 1/0/1/7/10 200 1234 - - ---- 1/1/0/0/0 0/0 "GET /p?x HTTP/1.1"'
    )


def test_httplog_of_a_redirect_with_captures() -> None:
    """As haproxy 2.6 logs it: empty slots count, special characters are escaped, what was not reached is -1."""
    txn = make_txn(RAW)
    txn.be, txn.server_id, txn.status, txn.flags = None, b"<NOSRV>", 302, b"LR"
    txn.t_queue = txn.t_connect = txn.t_response = 0.0
    txn.captures_req, txn.captures_res = [b'v{1}|2"#', None], [None]
    assert render(logformat.HTTPLOG, txn).endswith(
        b'fe fe/<NOSRV> 1/-1/-1/-1/10 302 1234 - - LR-- 1/1/0/0/0 0/0 {v#7B1#7D#7C2#22#23|} {} "GET /p?x HTTP/1.1"'
    )


@pytest.mark.parametrize(("values", "shown"), [
    ([b"a|b"], b"{a#7Cb}"), ([b"a|b", None], b"{a#7Cb|}"), ([None, b"x}"], b"{|x#7D}"), ([b"", b"b", None], b"{|b|}"), ([], b"{}"),
])  # fmt: skip
def test_a_bar_in_a_captured_header_is_none_between_two(values: list[bytes | None], shown: bytes) -> None:
    assert captured(values) == shown


def test_clf() -> None:
    assert render(logformat.CLF) == (
        b'127.0.0.1 - - [14/Nov/2023:22:13:20 +0000] "GET /p?x HTTP/1.1" 200 1234 "" "" 40000 250 "fe" "be" "s1" 1 0 1 7 10 ---- '
        b'1 1 0 0 0 0 0 "" "" '
    )


def test_tcplog() -> None:
    txn = make_txn(b"")
    txn.t_first = txn.t_request = txn.t_response = 0.0
    assert render(logformat.TCPLOG, txn) == b"127.0.0.1:40000 [14/Nov/2023:22:13:20.250] fe be/s1 2/1/11 1234 -- 1/1/0/0/0 0/0"


def test_connect_log() -> None:
    text = render(logformat.CONNECTLOG.replace("{mode}", "HTTP"))
    assert text == b"Connect from 127.0.0.1:40000 to 127.0.0.1:8080 (fe/HTTP)"


def test_logasap() -> None:
    txn = make_txn(RAW)
    txn.t_end, txn.clock.now = 0.0, 1000.010
    assert render("%Ta %Tt %B", txn, logasap=True) == b"+9 +10 +1234"


def test_redispatch_and_cookie_flags() -> None:
    txn = make_txn(RAW)
    txn.redispatched, txn.retries, txn.flags = True, 2, b"SD"
    assert render("%rc %tsc %ts", txn) == b"+2 SD-- SD"
    txn.kept = SimpleNamespace(letters=b"NI")
    assert render("%tsc %ts", txn) == b"SDNI SD"


def test_request_line_survives_rewriting() -> None:
    from forkproxy.rules.ruleset import parse_rule

    txn = make_txn(RAW)
    parse_rule("http-req", words("set-path /changed"), context()).step(txn)
    assert txn.req is not None and txn.req.target == b"/changed?x"
    assert render("%r|%HM|%HU|%HP|%HPO|%HQ|%HV", txn) == b"GET /p?x HTTP/1.1|GET|/p?x|/p|/p|?x|HTTP/1.1"


def test_bad_request() -> None:
    txn = make_txn(b"")
    txn.t_first = txn.t_request = 0.0
    assert render("%{+Q}r %HM %TR %Tq %Ti", txn) == b'"<BADREQ>" <BADREQ> -1 -1 -1'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%{+X}ci:%{+X}cp", b"7F000001:9C40"),
        ("%{+X}Ts", b"6553F100"),
        ("a  b   %ST", b"a b 200"),
        ("100%%", b"100%"),
        ("%{+Q}o %ci %{-Q}cp %ST %b/%s", b'"127.0.0.1" 40000 200 "be"/"s1"'),
        ("%[var(txn.none)]", b"-"),
        ('%{+Q}[var(txn.none)]', b'""'),
        ("%{+Q}[var(txn.v)]", b'"value"'),
        ('%{+E}[str(a\\"b]c)]', b'a\\"b\\]c'),
        ("%[str(a%0Ab),url_dec]", b"a#0Ab"),
        ("%CC %CS %ID", b"- - -"),
        ("%{+Q}CC %{+Q}ID", b'"" ""'),
        ("%si:%sp %bi:%bp", b"10.0.0.7:80 -:0"),
        ("%tsc--", b"------"),
        ("%Th/%Ti/%Tq/%Td/%Tu/%U", b"0/1/2/1/10/100"),
        ("%fi:%fp %ft %f", b"127.0.0.1:8080 fe fe"),
        ("%rt %ms", b"7 250"),
        ("%hr%hs|", b"|"),
    ],
)
def test_item(text: str, expected: bytes) -> None:
    assert render(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%[str(a%0Db%0Ac%00d),url_dec]", b"a%0Db%0Ac"),
        ("%[var(txn.none)]", b""),
        ("a  b", b"a  b"),
        ("%[path] x", b"/p x"),
        ("[%ID]", b"[]"),
    ],
)
def test_http_style(text: str, expected: bytes) -> None:
    assert compile_format(text, context()).render(make_txn(RAW)) == expected


def test_json_of_bytes_that_are_no_text() -> None:
    assert json.loads(render("%{+json}o %(x)[bin(41ff42)]")) == {"x": "A\ufffdB"}


def test_json() -> None:
    line = render('%{+json}o %(client)ci %(port)cp %(status:str)ST %b %(path)[var(txn.v)] %(n)[var(txn.n)] %(none)[var(txn.none)]')
    assert json.loads(line) == {"client": "127.0.0.1", "port": 40000, "status": "200", "path": "value", "n": 7, "none": None}
    assert render('x=%{+json}[str(a\\"b)]') == b'x="a\\"b"'


def test_json_without_flag_ignores_names() -> None:
    assert render("%(client)ci %(x:sint)[int(3)]") == b"127.0.0.1 3"


def test_cbor() -> None:
    assert render("%{+cbor}o %(a)[int(10)] %(b)[str(xy)] %(c)[always_true]") == b"BF61610A616262787961" + b"63F5FF"
    assert render("%{+cbor,+bin}o %(a)[int(500)]") == bytes.fromhex("bf61611901f4ff")


def test_constant_format() -> None:
    made = compile_format("plain text", context())
    assert made.constant == b"plain text" and made.needs == Needs.NONE
    assert compile_format("a%[str(b)]", context()).constant == b"ab"


def test_needs() -> None:
    assert compile_format("%[path] %[src]", context()).needs == Needs.HEADERS | Needs.L4
    assert compile_format("%B", context()).needs & Needs.END


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%zz", "no such log-format alias 'zz'"),
        ("%[src", "missing ']'"),
        ("%[src x]", "unexpected ' x]'"),
        ("%{+Z}ci", "unknown flag '+Z'"),
        ("%{+Q", "missing '}'"),
        ("%(a:int)ci", "unexpected type 'int'"),
        ("%[path]", "gone by then"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_format(text, context("log"), style="log")
    assert message in caught.value.message


def test_json_of_any_byte_is_one_line() -> None:
    """Whatever a client sends: a line stays one line and can be parsed."""
    for byte in range(256):
        txn = make_txn(RAW)
        txn.vars = {"txn.v": bytes((65, byte, 66))}
        line = render('%{+json}o %(v)[var(txn.v)] %(path)HU %(line)r %(when)tr %(type:str)B %(yes:bool)[always_true] %(src)[src]', txn)
        assert min(line) >= 32 and set(json.loads(line)) == {"v", "path", "line", "when", "type", "yes", "src"}


@pytest.mark.interpreted
def test_lines_that_are_written_down_are_those_that_are_made() -> None:
    assert Path(loglines.__file__).read_text(encoding="utf-8") == logformat.written_down(), "run: make loglines"


def test_only_the_very_lines_that_are_written_down_are_taken() -> None:
    assert compile_format(logformat.HTTPLOG, context("log"), style="log").render is loglines.httplog
    assert compile_format(logformat.TCPLOG, context("log", mode="tcp"), style="log").render is loglines.tcplog
    assert compile_format(logformat.TCPLOG, context("log")).render is not loglines.tcplog  # as a header's value
    asap = compile_format(logformat.HTTPLOG, context("log", logasap=True), style="log").render
    assert asap is not loglines.httplog
    assert b" 200 +" in asap(make_txn(RAW))
