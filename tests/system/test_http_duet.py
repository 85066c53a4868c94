"""HTTP exchanges through Debian's haproxy and forkproxy with the same file: clients, servers and logs must have seen the same."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from tests.system.duet import BESIDE_HAPROXY, Duet, Script, read_all, read_head, read_until
from tests.system.scripts import GET, LAST, OK, Case, Different, answer, ask, asks, differences, hangs, last, refuses, reset, says

pytestmark = BESIDE_HAPROXY

CONFIG = """
global
  log {log} local0
defaults
  mode http
  log global
  option httplog
  timeout connect 1s
  timeout client 700ms
  timeout server 700ms
  timeout http-request 500ms
  timeout http-keep-alive 400ms
  timeout tunnel 600ms
  retries 1
frontend fe
  bind 127.0.0.1:{port}
  http-request deny if {{ path /deny }}
  http-request deny deny_status 429 if {{ path /slow-down }}
  http-request return status 200 content-type text/plain string "here" if {{ path /here }}
  http-request redirect location /there if {{ path /moved }}
  http-request redirect prefix https://example.org code 301 if {{ path_beg /prefix/ }}
  http-request set-header X-Added "a value"
  http-response set-header X-Back yes if {{ status 201 }}
  use_backend none if {{ path /none }}
  use_backend dead if {{ path /dead }}
  use_backend closing if {{ path_beg /closing }}
  use_backend fwd if {{ path /fwd }}
  use_backend named if {{ path /named }}
  default_backend be
backend be
  server s 127.0.0.1:{origin}
backend closing
  option http-server-close
  server s 127.0.0.1:{origin}
backend fwd
  option forwardfor
  server s 127.0.0.1:{origin}
backend named
  option forwardfor header X-Client
  server s 127.0.0.1:{origin}
backend dead
  server s 127.0.0.1:1
backend none
"""


FIRST = GET % b"/"


def reads_then_resets(sock: socket.socket) -> None:
    read_head(sock)
    reset(sock)


def half_head(sock: socket.socket) -> None:
    read_head(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-")


def half_body(sock: socket.socket) -> None:
    read_head(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")


def stalls_in_body(sock: socket.socket) -> None:
    half_body(sock)
    sock.recv(65536)


def echo_body(size: int) -> Script:
    """Reads a body of ``size`` bytes and answers with it."""

    def script(sock: socket.socket) -> None:
        got = read_head(sock)
        while len(got.partition(b"\r\n\r\n")[2]) < size:
            got += sock.recv(65536)
        body = got.partition(b"\r\n\r\n")[2]
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    return script


def chunk_echo(sock: socket.socket) -> None:
    read_until(sock, b"0\r\n\r\n")
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-T: 1\r\n\r\n")


def early_answer_then_ok(sock: socket.socket) -> None:
    """The first connection answers early, the second one in order."""
    first = read_head(sock)
    if first.startswith(b"POST"):
        sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
    else:
        sock.sendall(OK)


def answered_early(sock: socket.socket) -> bytes:
    """Sends the second half of its body after the answer came."""
    sock.sendall(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf")
    got = read_until(sock, b"no!")
    sock.sendall(b"full" + LAST % (b"/after", b""))
    return read_all(sock, got)


def continue_then_ok(sock: socket.socket) -> None:
    read_head(sock)
    sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    while not sock.recv(65536):
        pass
    sock.sendall(OK)


def tunnel(sock: socket.socket) -> None:
    read_head(sock)
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
    while data := sock.recv(65536):
        sock.sendall(data.upper())


# -- clients


def keep_alive(sock: socket.socket) -> bytes:
    sock.sendall(FIRST)
    got = read_until(sock, b"hello")
    sock.sendall(LAST % (b"/2", b""))
    return read_all(sock, got)


def pipelined(sock: socket.socket) -> bytes:
    sock.sendall(FIRST + FIRST + LAST % (b"/3", b""))
    return read_all(sock)


def head_then_close(sock: socket.socket) -> bytes:
    sock.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    return read_all(sock)


def slow_head(sock: socket.socket) -> bytes:
    sock.sendall(b"GET / HTTP/1.1\r\nHo")
    return read_all(sock)


def nothing(sock: socket.socket) -> bytes:
    return read_all(sock)


def idle_after_one(sock: socket.socket) -> bytes:
    sock.sendall(FIRST)
    return read_all(sock)


def post(body: bytes, pieces: int = 1, extra: bytes = b"") -> Script:
    def script(sock: socket.socket) -> bytes:
        sock.sendall(b"POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%bContent-Length: %d\r\n\r\n" % (extra, len(body)))
        size = -(-len(body) // pieces)
        for i in range(pieces):
            sock.sendall(body[i * size : (i + 1) * size])
        return read_all(sock)

    return script


def chunked(sock: socket.socket) -> bytes:
    sock.sendall(b"POST /c HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
    sock.sendall(b"3\r\nabc\r\n")
    sock.sendall(b"4;x=y\r\ndefg\r\n0\r\n\r\n")
    return read_all(sock)


def stalled_upload(sock: socket.socket) -> bytes:
    sock.sendall(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    return read_all(sock)


def abandoned_upload(sock: socket.socket) -> bytes:
    sock.sendall(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    time.sleep(0.05)  # the client's own pace: it leaves after its first bytes were forwarded
    reset(sock)
    return b""


def expects(sock: socket.socket) -> bytes:
    sock.sendall(b"POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    got = read_until(sock, b"100 Continue\r\n\r\n")
    sock.sendall(b"body")
    return read_all(sock, got)


def upgrade(sock: socket.socket) -> bytes:
    sock.sendall(b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
    got = read_head(sock)
    sock.sendall(b"abc")
    got = read_until(sock, b"ABC", got)
    sock.shutdown(socket.SHUT_WR)
    return read_all(sock, got)


def http10(sock: socket.socket) -> bytes:
    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    return read_all(sock)


def http10_keep(sock: socket.socket) -> bytes:
    sock.sendall(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    got = read_until(sock, b"hello")
    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    return read_all(sock, got)


def deny_with_body(sock: socket.socket) -> bytes:
    sock.sendall(b"POST /deny HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde")
    got = read_until(sock, b"</html>\n")
    sock.sendall(LAST % (b"/after", b""))
    return read_all(sock, got)


def kept_after_503(sock: socket.socket) -> bytes:
    sock.sendall(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
    got = read_until(sock, b"</html>\n")
    sock.sendall(LAST % (b"/after", b""))
    return read_all(sock, got)


BIG = bytes(range(256)) * 2048  # 512 KiB

CASES: dict[str, Case] = {
    "one": (last(), answer(OK), 1),
    "keep-alive": (keep_alive, answer(OK, times=2), 2),
    "pipelined": (pipelined, answer(OK, times=3), 3),
    "head": (head_then_close, answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), 1),
    "idle keep-alive is closed silently": (idle_after_one, answer(OK), 1),
    "no request: 408": (nothing, answer(OK), 1),
    "half a head: 408": (slow_head, answer(OK), 1),
    "bad request": (ask(b"GET /a b c HTTP/1.1\r\n\r\n"), answer(OK), 1),
    "bad header": (ask(b"GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n"), answer(OK), 1),
    "no length: until close": (ask(FIRST), says(b"HTTP/1.1 200 OK\r\n\r\nuntil the end"), 1),
    "HTTP/1.0 server": (last(), answer(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"), 1),
    "HTTP/1.0 client": (http10, answer(OK), 1),
    "HTTP/1.0 client kept": (http10_keep, answer(OK, times=2), 2),
    "204": (last(), answer(b"HTTP/1.1 204 No Content\r\n\r\n"), 1),
    "304 with a length": (last(), answer(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"), 1),
    "chunked both ways": (chunked, chunk_echo, 1),
    "upload": (post(b"x" * 3000, 3), echo_body(3000), 1),
    "big upload and answer": (post(BIG, 7), echo_body(len(BIG)), 1),
    "early answer, the body goes on": (answered_early, early_answer_then_ok, 2),
    "100-continue": (expects, continue_then_ok, 1),
    "upgrade": (upgrade, tunnel, 1),
    "server closes without an answer": (ask(FIRST), refuses, 1),
    "server resets": (ask(FIRST), reads_then_resets, 1),
    "server hangs: 504": (ask(FIRST), hangs, 1),
    "server dies in the head": (ask(FIRST), half_head, 1),
    "server dies in the body": (ask(FIRST), half_body, 1),
    "server stalls in the body": (ask(FIRST), stalls_in_body, 1),
    "bad answer": (ask(FIRST), answer(b"HTTP/1.1 OK\r\n\r\n"), 1),
    "bad chunk in the answer": (ask(FIRST), answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), 1),
    "different lengths in the answer": (ask(FIRST), answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na"), 1),
    "upload stalls": (stalled_upload, hangs, 1),
    "upload is abandoned": (abandoned_upload, hangs, 1),
    "denied": (last(b"/deny"), answer(OK), 1),
    "denied with a body, then another": (deny_with_body, answer(OK), 2),
    "429": (last(b"/slow-down"), answer(OK), 1),
    "return": (last(b"/here"), answer(OK), 1),
    "redirect location": (last(b"/moved"), answer(OK), 1),
    "redirect prefix": (last(b"/prefix/x?y=z"), answer(OK), 1),
    "no server: 503, connection kept": (kept_after_503, answer(OK), 2),
    "dead server": (last(b"/dead"), answer(OK), 1),
    "http-server-close": (last(b"/closing"), answer(OK), 1),
    "forwardfor": (last(b"/fwd"), answer(OK), 1),
    "forwardfor by two names": (asks(GET % b"/fwd", LAST % (b"/named", b"")), answer(OK), 2),
    "response header rule": (last(), answer(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"), 1),
}

#: Where Debian's 2.6 and the 3.4 that we follow differ: why, and what our answer has.
DIFFERENT: dict[str, Different] = {"upload stalls": ("2.6 lets the server's timer speak (504), 3.4 the client's, twice", b" 400 ")}


def test_same(tmp_path: Path) -> None:
    with Duet(tmp_path, CONFIG) as both:
        wrong = differences(both, CASES, DIFFERENT)
    assert not wrong, "\n".join(wrong)
