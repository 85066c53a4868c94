"""TCP mode beside Debian's haproxy: bytes at both ends, ends carried through, and the lines of tcplog with their termination flags."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.system import scripts
from tests.system.duet import BESIDE_HAPROXY, Duet, Script, Seen, read_all, read_until
from tests.system.scripts import differences, hole, reset

pytestmark = BESIDE_HAPROXY

HEAD = """
global
  log {log} local0
defaults
  mode tcp
  log global
  option tcplog
  timeout connect 2s
  timeout client 5s
  timeout server 5s
  retries 1
"""

PLAIN = """
frontend fe
  bind 127.0.0.1:{port}
  default_backend be
backend be
  server s 127.0.0.1:{origin}
"""


# -- clients and servers


def says(*parts: bytes, end: bool = False) -> Script:
    """Sends parts, closes its sending half if ``end``, returns all that comes."""

    def client(sock: socket.socket) -> bytes:
        for part in parts:
            sock.sendall(part)
        if end:
            sock.shutdown(socket.SHUT_WR)
        return read_all(sock)

    return client


def silent(sock: socket.socket) -> bytes:
    return read_all(sock)


def asks_and_closes(sock: socket.socket) -> bytes:
    sock.sendall(b"ping\n")
    got = read_until(sock, b"pong\n")
    sock.close()
    return got


def leaves(sock: socket.socket) -> bytes:
    time.sleep(0.05)  # the server's connection stands by then, with both
    sock.close()
    return b""


def resets_late(sock: socket.socket) -> bytes:
    sock.sendall(b"ping\n")
    got = read_until(sock, b"pong\n")
    reset(sock)
    return got


def aborts(sock: socket.socket) -> bytes:
    """Ends before it has said anything, a moment after it connected."""
    time.sleep(0.1)
    sock.shutdown(socket.SHUT_WR)
    return read_all(sock)


def trickle(sock: socket.socket) -> bytes:
    for part in (b"ab", b"cd", b"ef\n"):
        sock.sendall(part)
        time.sleep(0.05)
    return read_until(sock, b"\n")


def ping_then_late_words(sock: socket.socket) -> bytes:
    """Sees the server's end first and sends on."""
    sock.sendall(b"ping\n")
    got = read_all(sock)
    sock.sendall(b"still here\n")
    sock.shutdown(socket.SHUT_WR)
    return got


def pong(sock: socket.socket) -> None:
    read_until(sock, b"\n")
    sock.sendall(b"pong\n")
    read_all(sock)


def pong_and_close(sock: socket.socket) -> None:
    read_until(sock, b"\n")
    sock.sendall(b"pong\n")


def answers_at_the_end(sock: socket.socket) -> None:
    got = read_all(sock)
    sock.sendall(b"you sent %d bytes\n" % len(got))


def ends_first(sock: socket.socket) -> None:
    read_until(sock, b"\n")
    sock.sendall(b"pong\n")
    sock.shutdown(socket.SHUT_WR)
    read_all(sock)


def speaks_first(sock: socket.socket) -> None:
    sock.sendall(b"220 welcome\n")
    read_all(sock)


def resets(sock: socket.socket) -> None:
    read_until(sock, b"\n")
    reset(sock._sock)  # type: ignore[attr-defined]


def reads(sock: socket.socket) -> None:
    read_all(sock)


BIG = bytes(range(256)) * 40_000  # 10 MB


def big_answer(sock: socket.socket) -> None:
    read_until(sock, b"\n")
    sock.sendall(BIG)


def hello(name: str) -> bytes:
    """A TLS ClientHello for ``name``."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(coming, going, server_hostname=name).do_handshake()
    return going.read()


HELLO = hello("www.example.com")


def greeted(sock: socket.socket) -> None:
    got = b""
    while len(got) < len(HELLO):
        got += sock.recv(65536)
    sock.sendall(b"!")


def pong_and_late_words(sock: socket.socket) -> None:
    """Answers, and says more some time after the client's end was passed on: without a timeout of its own for that (server-fin) the one
    that runs goes on."""
    read_until(sock, b"\n")
    sock.sendall(b"pong\n")
    read_all(sock)
    time.sleep(0.1)
    with contextlib.suppress(OSError):
        sock.sendall(b"late\n")


class Case(NamedTuple):
    """``text`` is the file below HEAD, ``lines`` how many log lines the exchange makes."""

    name: str
    client: Script
    server: Script
    text: str = PLAIN
    lines: int = 1


def more(*lines: str, of: str = PLAIN, under: str = "frontend fe") -> str:
    """``of`` with lines added to one section."""
    return of.replace(under + "\n", under + "\n" + "".join(f"  {line}\n" for line in lines), 1)


def short(*lines: str, of: str = PLAIN) -> str:
    """``of`` with other defaults."""
    return "".join(f"  {line}\n" for line in lines) + of


SNI = """
frontend fe
  bind 127.0.0.1:{port}
  tcp-request inspect-delay 2s
  tcp-request content accept if {{ req.ssl_hello_type 1 }}
  tcp-request content reject
  use_backend secure if {{ req.ssl_sni www.example.com }}
  default_backend be
backend secure
  server sec 127.0.0.1:{origin}
backend be
  server s 127.0.0.1:{dead}
"""

LENGTH = """
frontend fe
  bind 127.0.0.1:{port}
  tcp-request inspect-delay 1s
  tcp-request content reject if {{ req.len gt 100 }}
  tcp-request content accept if {{ req.len ge 6 }}
  tcp-request content reject if !{{ wait_end }}
  default_backend be
backend be
  server s 127.0.0.1:{origin}
"""

TWO = """
frontend fe
  bind 127.0.0.1:{port}
  default_backend be
backend be
  balance roundrobin
  option redispatch
  server bad 127.0.0.1:{dead}
  server s 127.0.0.1:{origin}
"""

CASES = [
    Case("client ends", asks_and_closes, pong),
    Case("server ends", says(b"ping\n"), pong_and_close),
    Case("client's half-close", says(b"one\n", b"two\n", end=True), answers_at_the_end),
    Case("server's half-close", ping_then_late_words, ends_first),
    Case("server speaks first", lambda sock: (read_until(sock, b"\n"), sock.close())[0], speaks_first),
    Case("nothing said", leaves, reads),
    Case("client resets", resets_late, pong),
    Case("server resets", says(b"ping\n"), resets),
    Case("big answer", says(b"give\n"), big_answer),
    Case("big upload", says(BIG, end=True), answers_at_the_end),
    Case("client timeout", says(b"ping\n"), pong, short("timeout client 200ms")),
    Case("server timeout", says(b"ping\n"), reads, short("timeout server 200ms")),
    Case("both timeouts", says(b"ping\n"), pong_and_late_words,
         short("timeout client 200ms", "timeout server 200ms")),
    Case("tunnel timeout", says(b"ping\n"), pong, short("timeout tunnel 200ms")),
    Case("client-fin", lambda sock: (sock.sendall(b"ping\n"), read_all(sock), time.sleep(0.5))[1], ends_first,
         short("timeout client-fin 200ms")),
    Case("server-fin", says(b"ping\n", end=True), lambda sock: (read_all(sock), time.sleep(0.6)), short("timeout server-fin 200ms")),
    Case("refused", says(b"ping\n"), pong, short("timeout connect 100ms", of=PLAIN.replace("{origin}", "{dead}"))),
    Case("connect timeout", says(b"ping\n"), pong, short("timeout connect 100ms", of=PLAIN.replace("{origin}", "HOLE"))),
    Case("client leaves while connecting", aborts, pong, PLAIN.replace("{origin}", "HOLE")),
    Case("abortonclose while connecting", lambda sock: (sock.sendall(b"x"), aborts(sock))[1], pong,
         short("option abortonclose", of=PLAIN.replace("{origin}", "HOLE"))),
    Case("no server", silent, pong, PLAIN.replace("{origin}", "{origin} disabled")),
    Case("no backend", silent, pong, PLAIN.replace("  default_backend be\n", "  use_backend be if {{ src 10.0.0.1 }}\n")),
    Case("redispatch", asks_and_closes, pong, TWO),
    Case("redispatch 1", asks_and_closes, pong,
         short("retries 3",
               of=TWO.replace("redispatch", "redispatch 1").replace("balance roundrobin", "balance first")), 1),
    Case("redispatch is last", asks_and_closes, pong,
         short("retries 2", "timeout connect 100ms", of=TWO.replace("balance roundrobin", "balance source"))),
    Case("backup", asks_and_closes, pong, TWO.replace("{dead}", "{dead} disabled").replace("{origin}", "{origin} backup")),
    Case("content rejected", says(b"x" * 200), pong, LENGTH),
    Case("content accepted", trickle, pong, LENGTH),
    Case("content never complete", says(b"abc"), pong,
         short("timeout client 400ms", of=LENGTH.replace("inspect-delay 1s", "inspect-delay 200ms"))),
    Case("content ends early", says(b"abc", end=True), pong, LENGTH),
    Case("nothing and gone under inspection", leaves, reads, LENGTH),
    Case("sni", lambda sock: (sock.sendall(HELLO), read_until(sock, b"!"))[1], greeted, SNI),
    Case("sni in pieces", lambda sock: (sock.sendall(HELLO[:20]), time.sleep(0.05), sock.sendall(HELLO[20:]), read_until(sock, b"!"))[3],
         greeted, SNI),
    Case("not tls", says(b"GET / HTTP/1.0\r\n\r\n"), pong, SNI),
    Case("session rejected", silent, pong, more("tcp-request session reject"), 0),
    Case("content rejected at once", silent, pong, more("tcp-request content reject")),
    Case("backend's content rule", says(b"ping\n"), pong,
         more("tcp-request inspect-delay 1s",
              "tcp-request content reject if {{ req.payload(0,4) -m str ping }}",
              under="server s 127.0.0.1:{origin}")),
    Case("answer rejected", says(b"ping\n"), pong,
         more("tcp-response inspect-delay 1s",
              "tcp-response content reject if {{ res.payload(0,4) -m str pong }}",
              under="server s 127.0.0.1:{origin}")),
    Case("answer accepted", asks_and_closes, pong,
         more("tcp-response inspect-delay 1s",
              "tcp-response content reject if {{ res.payload(0,4) -m str none }}",
              under="server s 127.0.0.1:{origin}")),
    Case("logasap", asks_and_closes, pong, more("option logasap")),
    Case("dontlognull", leaves, reads, more("option dontlognull"), 0),
    Case("listen section", asks_and_closes, pong, "listen both\n  bind 127.0.0.1:{port}\n  server s 127.0.0.1:{origin}\n"),
    Case("source", asks_and_closes, pong, PLAIN.replace("{origin}", "{origin} source 127.0.0.9")),
]  # fmt: skip


#: cases of one file share the started pair
FILES: dict[str, dict[str, scripts.Case]] = {}
for case in CASES:
    FILES.setdefault(case.text, {})[case.name] = (case.client, case.server, case.lines)


def exact(seen: Seen, title: str) -> object:
    return seen.client, seen.server, [re.sub(r" B ", " n ", line) for line in seen.log]


@pytest.mark.parametrize("text", FILES, ids=lambda text: next(iter(FILES[text])))
def test_same(text: str, tmp_path: Path) -> None:
    with hole() as port, Duet(tmp_path, HEAD + text.replace("HOLE", str(port))) as both:
        wrong = differences(both, FILES[text], {}, exact, settle=True)
    assert not wrong, "\n".join(wrong)
