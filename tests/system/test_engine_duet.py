"""HTTP/1 exchanges through Debian's haproxy and forkproxy: connection modes, interim and switching answers, answers without a body, early
ends on either side, retries. Each is compared byte for byte but for the order and case of field names."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from tests.system.duet import BESIDE_HAPROXY, Duet, Script, Seen, in_turn, read_all, read_head, read_until
from tests.system.scripts import OK, Case, Different, alike, answer, ask, asks, differences, leaves, says, serves, told

pytestmark = BESIDE_HAPROXY

DEFAULTS = """
global
  log {log} local0
  h1-case-adjust content-length Content-Length
  h1-case-adjust x-rule X-RuLe
  h1-case-adjust connection CONNECTION
defaults
  mode http
  log global
  option httplog
  timeout connect 1s
  timeout client 900ms
  timeout server 900ms
  timeout http-keep-alive 400ms
  retries 2
"""
FRONT = "frontend fe\n  bind 127.0.0.1:{port}\n"
BACK = "backend be\n  server s 127.0.0.1:{origin}\n"

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"
OLD_KEPT = b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
HELLO = b"Content-Length: 5\r\n\r\nhello"
OK_OLD = b"HTTP/1.0 200 OK\r\n" + HELLO
OK_OLD_KEPT = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + HELLO
OK_CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + HELLO
WEBSOCKET = b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" \
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
           b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"


def talks(*steps: bytes) -> Script:
    """A client that sends every other step and waits for the one behind it; reads until the end at last."""

    def script(sock: socket.socket) -> bytes:
        got = b""
        for i, step in enumerate(steps):
            if i % 2 == 0:
                sock.sendall(step)
            else:
                got += read_until(sock, step)
        return read_all(sock, got)

    return script


def slowly(*pieces: bytes) -> Script:
    """A client that sends its request in pieces and reads until the end."""

    def script(sock: socket.socket) -> bytes:
        for piece in pieces:
            sock.sendall(piece)
            time.sleep(0.05)  # so that each is received for itself
        return read_all(sock)

    return script


def reads_then(end: bytes, *answers: bytes) -> partial[Script]:
    """A server that reads up to ``end`` and has another answer for each connection."""
    return partial(in_turn, *answers, until=end)


def keeps(raw: bytes) -> Script:
    """As ``serves``, with another answer."""
    return lambda sock: serves(sock, raw)


def first_asks_who(sock: socket.socket) -> None:
    """A server that challenges the first request of each connection."""
    got = read_head(sock)
    sock.sendall(b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\n" + HELLO)
    serves(sock) if got else None


def converses(*steps: bytes) -> Script:
    """A server that waits for every other step and sends the one behind it, then waits for the end."""

    def script(sock: socket.socket) -> None:
        got = b""
        for i, step in enumerate(steps):
            if i % 2 == 0:
                got = read_until(sock, step, got).partition(step)[2]
            elif step:
                sock.sendall(step)
        sock.recv(65536)

    return script


File = tuple[str, Mapping[str, Case]]


def modes() -> Iterator[tuple[str, File]]:
    """Every mode of a frontend with every mode of a backend, and with HTTP/1.0 on either side."""
    options = {"keep": "", "server-close": "  option http-server-close\n", "close": "  option httpclose\n"}
    for front, first in options.items():
        for back, second in options.items():
            text = FRONT + first + "  default_backend be\n" + BACK + second
            yield f"{front} with {back}", (text, {
                "1.1": (asks(GET, GET, LAST), serves, 0),
                "1.0": (ask(OLD), serves, 1),
                "1.0 kept": (asks(OLD_KEPT, OLD), serves, 0),
                "server 1.0": (asks(GET, LAST), keeps(OK_OLD), 0),
                "server 1.0 kept": (asks(GET, LAST), keeps(OK_OLD_KEPT), 0),
                "server closes": (asks(GET, LAST), keeps(OK_CLOSE), 0),
            })  # fmt: skip


FILES: dict[str, File] = {
    **dict(modes()),
    "pretends": (
        FRONT + "  default_backend be\n" + BACK + "  option httpclose\n  option http-pretend-keepalive\n  option http-no-delay\n",
        {"1.1": (asks(GET, LAST), serves, 0), "1.0": (ask(OLD), serves, 1)},
    ),
    "names": (
        FRONT + "  option h1-case-adjust-bogus-client\n  http-request deny if {{ path /deny }}\n  default_backend be\n"
        "  http-response set-header x-rule 1\n" + BACK + "  option h1-case-adjust-bogus-server\n  http-request set-header x-rule y\n",
        {
            "both": (ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-length: 2\r\nConnection: close\r\n\r\nhi"), answer(OK), 1),
            "interim": (ask(LAST), answer(b"HTTP/1.1 103 Early\r\nX-Rule: 2\r\n\r\n" + OK), 1),
            "own answer": (ask(b"GET /deny HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), answer(OK), 1),
        },
    ),
    "delete unusual names": (
        FRONT + "  option http-restrict-req-hdr-names delete\n  http-request set-header x_rule 1\n  default_backend be\n" + BACK
        + "  http-request set-header x_be 1\n",
        {"two": (ask(b"GET /x HTTP/1.1\r\nHost: a\r\nX_y: 1\r\nZ.a: 2\r\nB-c: 3\r\nConnection: close\r\n\r\n"), answer(OK), 1)},
    ),
    "reject unusual names": (
        FRONT + "  default_backend be\n" + BACK + "  option http-restrict-req-hdr-names reject\n",
        {
            "one": (ask(b"GET /x HTTP/1.1\r\nHost: a\r\nX_y: 1\r\nConnection: close\r\n\r\n"), answer(OK), 1),
            "none": (ask(LAST), answer(OK), 1),
        },
    ),
    "for a proxy": (
        "userlist u\n  user a insecure-password b\n" + FRONT + "  option http-use-proxy-header\n"
        "  http-request auth realm r if {{ path /auth }} !{{ http_auth(u) }}\n  default_backend be\n" + BACK,
        {
            "asked": (ask(b"GET http://a/auth HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), answer(OK), 1),
            "told": (
                ask(b"GET http://a/auth HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic YTpi\r\nConnection: close\r\n\r\n"),
                answer(OK), 1),
            "no proxy": (ask(b"GET /auth HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic YTpi\r\nConnection: close\r\n\r\n"),
                answer(OK), 1),
            "its field": (ask(b"GET http://a/ HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\nConnection: close\r\n\r\n"),
                answer(OK), 1),
        },
    ),
    "challenges in two places": (
        FRONT + "  use_backend two if {{ path /two }}\n  default_backend be\n" + BACK + "  http-reuse always\nbackend two\n"
        "  server s 127.0.0.1:{origin}\n",
        {"and back": (asks(GET, GET, GET.replace(b"/", b"/two", 1), GET, LAST), first_asks_who, 5)},
    ),
    "challenges": (
        FRONT + "  default_backend be\nbackend be\n  balance roundrobin\n  http-reuse always\n  server s 127.0.0.1:{origin}\n"
        "  server t 127.0.0.1:{origin}\n  server u 127.0.0.1:{origin}\n",
        {
            name: (asks(GET, GET, GET, LAST), keeps(b"HTTP/1.1 401 No\r\nWWW-Authenticate: " + name.encode() + b"\r\n" + HELLO), 4)
            for name in ("NTLM", "Negotiate abc", "Basic realm=x", "Basic realm=x, NTLM")
        } | {"proxy": (asks(GET, GET, LAST), keeps(b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\n" + HELLO), 3)},
    ),
    "interim": (
        FRONT + "  default_backend be\n" + BACK,
        {
            "102 and 103": (ask(LAST), answer(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n" + OK), 1),
            "to HTTP/1.0": (ask(OLD), answer(b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n" + OK), 1),
            "with a length": (ask(LAST), answer(b"HTTP/1.1 103 Early\r\nContent-Length: 5\r\n\r\n" + OK), 1),
            "100 nobody waits for": (ask(POST), answer(b"HTTP/1.1 100 Continue\r\n\r\n" + OK), 1),
            "100 waited for": (
                talks(b"POST /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n",
                      b"100 Continue\r\n\r\n", b"body"),
                converses(b"\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"body", OK), 1),
            "417 instead": (
                talks(b"POST /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n", b"later", b"body" + LAST),
                converses(b"\r\n\r\n", b"HTTP/1.1 417 No\r\nContent-Length: 5\r\n\r\nlater", b"bodyG", b""), 0),
            "only interim": (ask(LAST), says(b"HTTP/1.1 103 Early\r\n\r\n"), 1),
        },
    ),
    "switches": (
        FRONT + "  default_backend be\n" + BACK + "  timeout tunnel 300ms\n",
        {
            "websocket": (talks(WEBSOCKET, b"\r\n\r\n", b"ping", b"pong"), converses(b"\r\n\r\n", ACCEPTED, b"ping", b"pong"), 1),
            "first bytes at once": (talks(WEBSOCKET, b"early", b"ping", b"pong"),
                converses(b"\r\n\r\n", ACCEPTED + b"early", b"ping", b"pong"), 1),
            "declined": (asks(WEBSOCKET, LAST), serves, 2),
            "declined with 426": (asks(WEBSOCKET, LAST), keeps(b"HTTP/1.1 426 No\r\nUpgrade: x\r\nConnection: upgrade\r\n" + HELLO), 2),
            "another protocol": (
                talks(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n", b"\r\n\r\n", b"ping", b"pong"),
                converses(b"\r\n\r\n", b"HTTP/1.1 101 Go\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n", b"ping", b"pong"), 1),
            "no key": (ask(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"), answer(OK), 1),
            "101 that nobody asked for": (ask(LAST), answer(b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), 1),
            "connect": (talks(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", b"\r\n\r\n", b"ping", b"pong"),
                converses(b"\r\n\r\n", b"HTTP/1.1 200 Go\r\n\r\n", b"ping", b"pong"), 1),
            "connect declined": (asks(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", LAST),
                keeps(b"HTTP/1.1 403 No\r\n" + HELLO), 2),
            "h2c": (ask(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c, x\r\nConnection: upgrade, close\r\n\r\n"), answer(OK), 1),
            "upgrade not connected": (ask(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: close\r\n\r\n"), answer(OK), 1),
            "connected without upgrade": (ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\n\r\n"), answer(OK), 1),
        },
    ),
    "bodies": (
        FRONT + "  default_backend be\n" + BACK,
        {
            f"{method} {status.decode()} {name}": (
                ask(b"%b / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % method.encode()),
                answer(b"HTTP/1.1 %b X\r\n" % status + fields + b"\r\n"), 1)
            for method, status in (("HEAD", b"200"), ("GET", b"204"), ("GET", b"304"), ("HEAD", b"404"))
            for name, fields in (("length", b"Content-Length: 7\r\n"), ("chunked", b"Transfer-Encoding: chunked\r\n"), ("none", b""))
        } | {
            name: (ask(LAST), says(b"HTTP/1.1 200 OK\r\n" + rest), 1)
            for name, rest in {
                "equal lengths": b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
                "list of equal lengths": b"Content-Length: 5, 5\r\n\r\nhello",
                "leading zeros": b"Content-Length: 005\r\n\r\nhello",
                "different lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
                "both": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                "until close": b"\r\nhello",
                "unknown coding": b"Transfer-Encoding: x\r\n\r\nhello",
                "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                "surplus": b"Content-Length: 5\r\n\r\nhello and more",
                "trailers": b"Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5\r\nhello\r\n0\r\nX-T: t\r\n\r\n",
                "extension": b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n",
                "bad chunk": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n",
                "named fields": b"Connection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n" + HELLO,
            }.items()
        } | {
            "chunked in HTTP/1.0": (ask(LAST), says(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), 1),
            "chunked to HTTP/1.0": (ask(OLD), says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), 1),
            "POST to HTTP/1.0": (ask(b"POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody"), answer(OK), 1),
            "trailers of a request": (
                ask(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\nConnection: close\r\n\r\n"
                    b"5\r\nhello\r\n0\r\nX-T: t\r\n\r\n"),
                answer(OK), 1),
            "named fields of a request": (
                ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: gzip, trailers\r\n\r\n"),
                answer(OK), 1),
            "pipelined": (ask(GET * 3 + LAST), serves, 4),
            "pipelined behind a body": (ask(POST.replace(b"Connection: close\r\n", b"") + LAST), converses(b"body", OK, b"last", OK), 2),
        },
    ),
    "early ends": (
        FRONT + "  default_backend be\n" + BACK,
        {
            "nothing": (ask(LAST), says(b""), 1),
            "half a head": (ask(LAST), says(b"HTTP/1.1 200 OK\r\nContent-Le"), 1),
            "half a body": (ask(LAST), says(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"), 1),
            "half a chunk": (ask(LAST), says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello"), 1),
            "junk": (ask(LAST), says(b"what is this\r\n\r\n"), 1),
            "early answer": (
                talks(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf", b"hello", b"other" + LAST),
                converses(b"half", OK, b"never", b""), 0),
            "half a body of the client": (
                leaves(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf", 0.05), converses(b"never", b""), 1),
        },
    ),
    "retries": (
        FRONT + "  default_backend be\n" + BACK + "  retry-on empty-response junk-response response-timeout 0rtt-rejected 425 408 500 504\n"
        "  timeout server 200ms\n  http-request disable-l7-retry if {{ path /once }}\n",
        {
            "empty": (ask(POST), (b"", OK), 1),
            "junk": (ask(POST), (b"junk\r\n\r\n", OK), 1),
            "timeout": (ask(POST), (b"hang", OK), 1),
            "timeouts": (ask(LAST), (b"hang", b"hang", b"hang"), 1),
            "statuses": (ask(LAST), (b"HTTP/1.1 425 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                b"HTTP/1.1 500 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", OK), 1),
            "the last status": (ask(LAST), (b"HTTP/1.1 408 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",) * 3, 1),
            "another status": (ask(LAST), (b"HTTP/1.1 503 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", OK), 1),
            "forbidden": (ask(b"GET /once HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), (b"", OK), 1),
            "a body that comes later": (
                slowly(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nConnection: close\r\n\r\n", b"some", b" body"),
                reads_then(b"some body", b"", OK), 1),
            "chunks that come later": (
                slowly(b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n", b"4\r\nsome\r\n",
                       b"5\r\n body\r\n0\r\n\r\n"),
                reads_then(b"0\r\n\r\n", b"", OK), 1),
            "a status before the body was sent": (
                slowly(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nConnection: close\r\n\r\n", b"some", b" body"),
                reads_then(b"some body", b"HTTP/1.1 500 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", OK), 1),
            "a body too large": (
                slowly(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\nConnection: close\r\n\r\n", *[b"x" * 8000] * 5),
                reads_then(b"x" * 40000, b"", OK), 1),
            "half a head": (ask(LAST), (b"", b""), 1),
        },
    ),
    "elsewhere": (
        FRONT + "  default_backend be\nbackend be\n  balance first\n  retries 3\n  option redispatch 2\n  retry-on empty-response\n"
        "  server s 127.0.0.1:{origin} id 1\n  server t 127.0.0.1:{origin} id 2\n",
        {"every second": (ask(LAST), (b"", b"", b"", OK), 1), "never": (ask(LAST), (b"", b"", b"", b""), 1)},
    ),
}

DIFFERENT: dict[str, dict[str, Different]] = {
    "interim": {"417 instead": ("2.6 goes on sending the body that the server did not want; in 3.4 its connection ends", b"417 No")},
    "switches": {
        "declined with 426": ("2.6 does not announce an end where the answer has a Connection of its own", b"connection: close"),
        "h2c": ("3.4 takes h2c out", b"200 OK"),
        "upgrade not connected": ("3.4 takes Upgrade away where Connection does not name it", b"200 OK"),
        "connected without upgrade": ("3.4 takes the name away where there is no Upgrade", b"200 OK"),
    },
    "bodies": {"leading zeros": ("3.4 takes leading zeros away", b"content-length: 5\r\n")},
    "retries": dict.fromkeys(
        ["a body that comes later", "chunks that come later", "a status before the body was sent"],
        ("2.6 sends a body again only when it came with its head; 3.4 whatever fits a buffer", b"200 OK"),
    ),
    "early ends": {"early answer": ("2.6 goes on sending the body; in 3.4 it is drained", b"hello")},
}


def sorted_lines(seen: Seen, title: str) -> object:
    client, server, log = told(seen)
    return alike(client), [alike(got) for got in server], log


@pytest.mark.parametrize("name", FILES)
def test_same(tmp_path: Path, name: str) -> None:
    text, cases = FILES[name]
    with Duet(tmp_path, DEFAULTS + text) as both:
        wrong = differences(both, cases, DIFFERENT.get(name, {}), sorted_lines)
    assert not wrong, "\n".join(wrong)
