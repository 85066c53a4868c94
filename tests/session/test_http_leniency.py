"""Transcripts of what options let pass or take away: violations of peers, bodies of HTTP/1.0 requests, both lengths, trailers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.session.stage import Stage, Wire

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OLD = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
TAIL = b"3\r\nabc\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n"
BARE = b"3\r\nabc\r\n0\r\n\r\n"
UNSAFE = "accept-unsafe-violations-in-http-"


def theatre(mp: pytest.MonkeyPatch, *, front: str = "", back: str = "", settings: str = "") -> Stage:
    sides = [{"mode": "http", "options": frozenset(words.split())} for words in (front, back)]
    switches: dict[str, Any] = dict.fromkeys(settings.split(), True)
    return Stage(mp, front=sides[0], back=sides[1], settings=switches, client_s=10.0, server_s=5.0, connect_s=1.0)


def exchange(stage: Stage, *request: bytes, answer: bytes = OK) -> tuple[Wire, bytes]:
    """A client asks, in so many pieces, and is answered: (its connection, what the server got; b"" when it never heard of it)."""
    c = stage.client()
    for piece in request:
        stage.says(c, piece)
        if stage.dialled and not stage.dialled[-1].got:
            stage.stands(stage.dialled[-1])
    if not stage.dialled:
        return c, b""
    stage.says(stage.dialled[-1], answer)
    return c, stage.dialled[-1].got


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE"])
@pytest.mark.parametrize("framing", [b"Content-Length: 4\r\n\r\nbody", CHUNKED + BARE])
def test_an_old_request_with_a_body(monkeypatch: pytest.MonkeyPatch, method: bytes, framing: bytes) -> None:
    raw = method + b" / HTTP/1.0\r\nHost: a\r\n" + framing
    c, seen = exchange(theatre(monkeypatch), raw)
    assert (c.got[:12], seen, c.ended or c.closed) == (b"HTTP/1.1 413", b"", True)
    c, seen = exchange(theatre(monkeypatch, settings="h1-accept-payload-with-any-method"), raw)
    assert c.got.startswith(b"HTTP/1.1 200") and seen.startswith(method + b" / ") and seen.endswith(framing.partition(b"\r\n\r\n")[2])


def test_both_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n" + CHUNKED + BARE
    for settings, closed in (("", True), ("h1-do-not-close-on-insecure-transfer-encoding", False)):
        c, seen = exchange(theatre(monkeypatch, settings=settings), raw)
        assert b"Content-Length" not in seen and seen.endswith(BARE)
        assert (b"connection: close" in c.got, c.ended or c.closed) == (closed, closed)


def test_both_lengths_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n" + CHUNKED + BARE
    for settings, closed in (("", True), ("h1-do-not-close-on-insecure-transfer-encoding", False)):
        stage = theatre(monkeypatch, settings=settings)
        c, _ = exchange(stage, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", answer=answer)
        assert c.got.endswith(BARE) and b"Content-Length" not in c.got
        assert stage.dialled[-1].closed == closed and not c.closed


@pytest.mark.parametrize("cut", [0, 4, 12, 20], ids=["with the head", "in the chunk", "in the trailers", "late in the trailers"])
def test_trailers(monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    head, answer = b"POST / HTTP/1.1\r\nHost: a\r\n" + CHUNKED, b"HTTP/1.1 200 OK\r\n" + CHUNKED
    pieces = [head + TAIL[:cut], TAIL[cut:]] if cut else [head + TAIL]
    for front, back in (("", ""), ("http-drop-response-trailers", ""), ("", "http-drop-request-trailers")):
        stage = theatre(monkeypatch, front=front, back=back)
        c, seen = exchange(stage, *pieces, answer=answer + TAIL[: cut or None])
        if cut:
            stage.says(stage.dialled[-1], TAIL[cut:])
        assert seen == head + (BARE if back else TAIL)
        assert c.got == answer + (BARE if front else TAIL)
        assert not c.closed and not stage.dialled[-1].closed


WEBSOCKET = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
KEYED = WEBSOCKET + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n"

#: what the manual lists: the request, and what the server gets of it where the option lets it pass
REQUESTS = {
    "name of a field": (b"GET / HTTP/1.1\r\nHost: a\r\nB c: d\r\nE: f\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nE: f\r\n\r\n"),
    "NUL in a name": (b"GET / HTTP/1.1\r\nHost: a\r\nB\0c: d\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "NUL in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nB: \0\r\n\r\n",) * 2,
    "byte from 0x80": (b"GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n",) * 2,
    "fragment": (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",) * 2,
    "authority of CONNECT": (b"CONNECT a HTTP/1.1\r\nHost: b\r\n\r\n",) * 2,
    "another Host": (b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "HTTP/0.9": (b"GET /\r\n\r\n", b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"),
    "another protocol": (b"GET / RTSP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "more digits": (b"GET / HTTP/01.10\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "no key": (WEBSOCKET + b"\r\n",) * 2,
}
#: the answer, and what the client gets of it where the option lets it pass
RESPONSES = {
    "status": (b"HTTP/1.1 02000 X\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 2000 X\r\nContent-Length: 0\r\n\r\n"),
    "name of a field": (
        b"HTTP/1.1 200 X\r\nB c: d\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n"),
    "NUL in a value": (b"HTTP/1.1 200 X\r\nB: \0\r\nContent-Length: 0\r\n\r\n",) * 2,
    "chunked twice": (
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked, ,chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 200 X\r\n" + CHUNKED + b"0\r\n\r\n"),
    "another protocol": (b"RTSP/1.1 200 X\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n"),
    "more digits": (b"HTTP/01.10 200 X\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n"),
    "accept value": (SWITCH,) * 2,
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_violations_of_clients(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    raw, passed = REQUESTS[name]
    c, seen = exchange(theatre(monkeypatch, back=UNSAFE + "response"), raw)
    assert (c.got[:12], seen) == (b"HTTP/1.1 400", b""), "the option of the other side changes nothing"
    assert exchange(theatre(monkeypatch, front=UNSAFE + "request"), raw)[1] == passed


@pytest.mark.parametrize("raw", [
    b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nB: c\rd\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
])  # fmt: skip
def test_what_never_passes(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    c, seen = exchange(theatre(monkeypatch, front=UNSAFE + "request"), raw)
    assert (c.got[:12], seen) == (b"HTTP/1.1 400", b"")


@pytest.mark.parametrize("name", RESPONSES)
def test_violations_of_servers(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    raw, passed = RESPONSES[name]
    request = KEYED if raw is SWITCH else b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert exchange(theatre(monkeypatch, front=UNSAFE + "request"), request, answer=raw)[0].got.startswith(b"HTTP/1.1 502")
    assert exchange(theatre(monkeypatch, back=UNSAFE + "response"), request, answer=raw)[0].got == passed
