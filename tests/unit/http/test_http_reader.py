"""Limits, relaxed reading, early refusal, and that common heads take the fast road."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from forkproxy.errors import ProtocolError
from forkproxy.http import careful
from forkproxy.http.message import BodyKind, RequestHead
from forkproxy.http.reader import Limits, parse_request, parse_response

LIMITS = Limits()
SMALL = Limits(head_bytes=100, max_fields=5)


def refused(raw: bytes, limits: Limits = LIMITS) -> int:
    with pytest.raises(ProtocolError) as caught:
        parse_request(raw, 0, limits)
    return caught.value.status


def parsed(raw: bytes, limits: Limits = LIMITS) -> RequestHead:
    got = parse_request(raw, 0, limits)
    assert got is not None
    return got[0]


@pytest.mark.parametrize("end", [b"", b" HTTP/1.1\r\n\r\n"])
def test_a_request_line_that_is_too_long(end: bytes) -> None:
    assert refused(b"GET /" + b"a" * 100 + end, SMALL) == 414


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_a_head_that_is_too_large(end: bytes) -> None:
    assert refused(b"GET / HTTP/1.1\r\nA: " + b"a" * 100 + end, SMALL) == 431


def test_the_largest_head() -> None:
    raw = b"GET / HTTP/1.1\r\nHost: x\r\nA: "
    raw += b"a" * (100 - len(raw) - 4) + b"\r\n\r\n"
    assert parsed(raw, SMALL).target == b"/"
    assert refused(raw.replace(b"A:", b"AA:"), SMALL) == 431
    # without the room for its end it is refused as soon as the room is full
    assert parse_request(raw[:99], 0, SMALL) is None
    assert refused(raw[:98] + b"bb", SMALL) == 431


def test_empty_lines_are_bounded() -> None:
    assert parse_request(b"\r\n" * 20, 0, SMALL) is None
    assert refused(b"\r\n" * 60, SMALL) == 400


@pytest.mark.parametrize("max_fields", [0, 1, 2, 3, 4, 7, 50, 100, 101, 500])
def test_the_number_of_fields(max_fields: int) -> None:
    limits = Limits(1 << 20, max_fields)
    host = b"Host: x\r\n" if max_fields else b""
    fields = b"Connection: close\r\nContent-Length: 3\r\n"[: 19 if max_fields == 2 else None] if max_fields > 1 else b""
    count = (host + fields).count(b"\n")
    raw = b"GET / HTTP/1.1\r\n" + host + fields + b"a: b\r\n" * (max_fields - count)
    assert parsed(raw + b"\r\n", limits).method == b"GET"
    assert refused(raw + b"c: d\r\n\r\n", limits) == 400
    assert refused(raw + b"c: d\r\n", limits) == 400
    response = raw.replace(b"GET / HTTP/1.1", b"HTTP/1.1 200 OK")
    assert parse_response(response + b"\r\n", 0, limits, b"GET") is not None
    with pytest.raises(ProtocolError) as caught:
        parse_response(response + b"c: d\r\n\r\n", 0, limits, b"GET")
    assert caught.value.status == 502


def test_folded_lines_count_once() -> None:
    assert parsed(b"GET / HTTP/1.1\r\n" + b"a: b\r\n c\r\n" * 5 + b"\r\n", SMALL).get(b"a") == b"b   c"
    assert parse_request(b"GET / HTTP/1.1\r\n" + b"a: b\r\n c\r\n" * 5, 0, SMALL) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01",
        b"\x16",
        b"GET\r\n",
        b"GET /\x80",
        b"GET / HTTX",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/1.1\r\nA b",
        b"GET / HTTP/1.1\r\nA: \0",
        b"GET / HTTP/1.1\r\n A",
        b"GET / HTTP/1.1\rX",
        b"GET / HTTP/1.1\r\nA: b\rc",
        b"GET / FTP/1.1\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"\r\rGET",
    ],
)
def test_what_cannot_become_a_request_is_refused_at_once(raw: bytes) -> None:
    assert refused(raw) == 400


@pytest.mark.parametrize("raw", [b"SSH-", b"220 mail", b"HTTP/1.1 20\r\n", b"HTTP/1.1 200 OK\r\nA b"])
def test_what_cannot_become_a_response_is_refused_at_once(raw: bytes) -> None:
    if raw == b"SSH-":
        raw += b"2.0"
    with pytest.raises(ProtocolError) as caught:
        parse_response(raw, 0, LIMITS, b"GET")
    assert caught.value.status == 502


def test_a_response_head_that_is_too_large() -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_response(b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100, 0, SMALL, b"GET")
    assert caught.value.status == 502


def test_relaxed_requests() -> None:
    relaxed = Limits(relaxed=True)
    assert parsed(b"GET /a#b HTTP/1.1\r\n\r\n", relaxed).target == b"/a#b"
    assert parsed(b"GET /\x80 HTTP/1.1\r\n\r\n", relaxed).target == b"/\x80"
    assert parsed(b"GET /\r\n\r\n", relaxed).version == 10
    assert parsed(b"GET / RTSP/1.0\r\n\r\n", relaxed).version == 10
    assert parsed(b"GET / HTTP/1.10\r\n\r\n", relaxed).version == 11
    assert parsed(b"GET / HTTP/1.1\r\nA b: c\r\nD: e\r\n\r\n", relaxed).block() == b"D: e\r\n"
    assert parsed(b"GET / HTTP/1.1\r\nA: \0\r\n\r\n", relaxed).get(b"a") == b"\0"
    assert parsed(b"GET http://x/ HTTP/1.1\r\nHost: y\r\n\r\n", relaxed).target == b"http://x/"
    assert parsed(b"CONNECT x HTTP/1.1\r\nHost: y\r\n\r\n", relaxed).target == b"x"
    assert parsed(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", relaxed).upgrade == b"websocket"
    assert refused(b"GET /\x01 HTTP/1.1\r\n\r\n", relaxed) == 400
    assert refused(b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", relaxed) == 400
    assert refused(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", relaxed) == 400


def test_relaxed_responses() -> None:
    relaxed = Limits(relaxed=True)

    def status(raw: bytes) -> int:
        got = parse_response(raw, 0, relaxed, b"GET")
        assert got is not None
        return got[0].status

    assert status(b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n") == 2000
    assert status(b"ICY/1.0 200 OK\r\nContent-Length: 0\r\n\r\n") == 200
    got = parse_response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, ,chunked\r\n\r\n", 0, relaxed, b"GET")
    assert got is not None
    assert got[0].body is BodyKind.CHUNKED
    with pytest.raises(ProtocolError):
        parse_response(b"HTTP/1.1 65536 OK\r\n\r\n", 0, relaxed, b"GET")


def _bench() -> ModuleType:
    path = Path(__file__).resolve().parents[3] / "bench" / "micro_http.py"
    spec = importlib.util.spec_from_file_location("micro_http", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def test_common_heads_never_see_the_careful_road(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the speed rests on; the numbers are the benchmark's business."""

    def slow(*args: object) -> None:
        raise AssertionError("careful road")

    monkeypatch.setattr(careful, "request", slow)
    monkeypatch.setattr(careful, "response", slow)
    bench = _bench()
    for raw in (bench.BROWSER % 1, bench.SMALL % 1, bench.UPLOAD % 1):
        assert parsed(raw).host is not None
    assert parsed(
        b"GET / HTTP/1.0\r\nHost: localhost:80\r\nConnection: Keep-Alive\r\nUser-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n"
    ).keep_alive
    assert not parsed(b"GET / HTTP/1.1\r\nConnection: close\r\nHost: localhost:80\r\n\r\n").keep_alive  # wrk
    assert parsed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nA: \xc3\xa9\r\n\r\n").body is BodyKind.CHUNKED
    for raw in (
        bench.NGINX % 1,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
    ):
        assert parse_response(raw, 0, LIMITS, b"GET") is not None
    assert parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 0, LIMITS, b"HEAD") is not None


@pytest.mark.parametrize(("key", "good"), [("x" * 24, True), ("x" * 23, False), ("x" * 25, False), ("", False)])
def test_the_key_of_a_websocket_handshake(key: str, good: bool) -> None:
    raw = f"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    if good:
        found = parse_request(raw, 0, Limits())
        assert found is not None and found[0].upgrade == b"websocket"
    else:
        with pytest.raises(ProtocolError, match="without a valid key"):
            parse_request(raw, 0, Limits())
