"""What may be asked, and how an answer is shown, whole or not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from forkproxy.clock import Clock, ManualClock
from forkproxy.master.http_client import MOST, PATIENCE_S, Request, begin, complete, shown
from forkproxy.net.loop import Loop


@pytest.mark.parametrize(
    ("method", "uri", "wrong"),
    [
        ("FOO", "http://127.0.0.1/", "unknown method 'FOO'"),
        ("GET", "https://127.0.0.1/", "needs TLS"),
        ("GET", "127.0.0.1", "is not an http:// URI"),
        ("GET", "http://127.0.0.1:/x", "is not an http:// URI"),
        ("GET", "http://127.0.0.1/a b", "is not an http:// URI"),
        ("GET", "http://example.org/", "'example.org' is not an address"),
        ("GET", "http://127.0.0.1:0/", "no such port"),
        ("GET", "http://127.0.0.1:99999/", "no such port"),
        ("GET", "http://[127.0.0.1]/", "is not an address"),
    ],
)
def test_what_cannot_be_asked(method: str, uri: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        Request(method, uri)


def test_requests() -> None:
    one = Request("GET", "http://127.0.0.1?a=b")
    assert one.data.startswith(b"GET /?a=b HTTP/1.1\r\nhost: 127.0.0.1\r\n") and one.data.endswith(b"connection: close\r\n\r\n")
    assert (one.address.host, one.address.port) == ("127.0.0.1", 80)
    six = Request("POST", "http://[::1]:81/x", b"body")
    assert b"host: [::1]:81\r\n" in six.data and six.data.endswith(b"content-length: 4\r\n\r\nbody") and six.address.family == "ipv6"
    assert b"content-length: 0\r\n" in Request("PUT", "http://localhost/").data


HEAD = b"HTTP/1.1 200 OK\r\nA: b\r\n"


@pytest.mark.parametrize(
    ("method", "got", "over", "text"),
    [
        ("GET", HEAD + b"Content-Length: 3\r\n\r\nabc", True, "abc\n"),
        ("GET", HEAD + b"Content-Length: 4\r\n\r\nabc", False, "abc\n"),
        ("HEAD", HEAD + b"Content-Length: 3\r\n\r\n", True, "\r\n"),
        ("GET", HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", False, "abc\n"),
        ("GET", HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", True, "abc\n"),
        ("GET", HEAD + b"\r\nuntil the end\n", False, "until the end\n"),
        ("GET", b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 0\r\n\r\n", True, "\r\n"),
        ("GET", HEAD, False, "no whole answer:\nHTTP/1.1 200 OK\r\nA: b\r\n\n"),
        ("GET", b"", False, "no whole answer\n"),
        ("GET", b"SSH-2.0-x\r\n\r\n", True, "SSH-2.0-x\r\n\r\n"),
    ],
)
def test_answers(method: str, got: bytes, over: bool, text: str) -> None:
    assert complete(method, got) is over
    said = shown(method, got)
    assert said.endswith(text)
    if "whole" not in text and "SSH" not in text:
        assert said.startswith("HTTP/1.1 200 OK\n") and "A: b\r\n" in said


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        yield sock


def test_an_exchange_ends_in_any_case(server: socket.socket) -> None:
    loop = Loop(Clock())
    said: list[str] = []
    uri = f"http://127.0.0.1:{server.getsockname()[1]}/"

    def ask() -> socket.socket:
        begin(loop, Request("GET", uri), said.append)
        assert said == []
        peer, _ = server.accept()
        peer.settimeout(5)
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            loop.run_once(0.1)
            asked += peer.recv(4096)
        return peer

    def heard() -> str:
        for _ in range(200):
            loop.run_once(0.05)
            if said:
                assert not len(loop)
                return said.pop()
        pytest.fail("no end")

    with closing(ask()) as peer:
        peer.sendall(HEAD + b"Content-Length: 2\r\n\r\nok")
        assert heard().endswith("ok\n")
    with closing(ask()) as peer:
        peer.sendall(HEAD)
        peer.shutdown(socket.SHUT_WR)
        assert heard().startswith("no whole answer")
    with closing(ask()) as peer:
        peer.settimeout(5)
        peer.sendall(HEAD + b"\r\n")
        with pytest.raises(OSError):
            while not said:
                peer.sendall(b"x" * 65536)
                loop.run_once(0.0)
            peer.sendall(b"x" * MOST)
            peer.sendall(b"x" * MOST)
        assert MOST - 100 < len(heard()) <= MOST + 1
    server.close()
    begin(loop, Request("GET", uri), said.append)
    assert heard() == "Connection refused\n"
    loop.close()


def test_patience_has_an_end(server: socket.socket) -> None:
    clock = ManualClock()
    loop = Loop(clock)
    said: list[str] = []
    begin(loop, Request("GET", f"http://127.0.0.1:{server.getsockname()[1]}/"), said.append)
    loop.run_once(0)
    clock.advance(PATIENCE_S + 1.0)
    loop.run_once(0)
    loop.run_once(0)
    assert said == ["no whole answer\nno answer within 10s\n"]
    loop.close()
