"""``http-request normalize-uri``: every normalizer over the same targets in Debian's haproxy and in forkproxy."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.system.duet import BESIDE_HAPROXY, Duet, Side, read_all, read_head

pytestmark = BESIDE_HAPROXY

NORMALIZERS = [
    "fragment-encode", "fragment-strip", "path-merge-slashes", "path-strip-dot", "path-strip-dotdot", "path-strip-dotdot full",
    "percent-decode-unreserved", "percent-decode-unreserved strict", "percent-to-uppercase", "percent-to-uppercase strict",
    "query-sort-by-name",
]  # fmt: skip
TARGETS = """
/ /. /./bar/ /a/./a /.well-known/ /a/. /a/.. /foo/../ /foo/../bar/ /foo/bar/../ /../bar/ /bar/../../ /foo//../ /foo/%2E%2E/ /.. /../..
/a/../.. /../a/../../b // /foo//bar //a///b//?x//y /%61dmin /foo%3Fbar=baz /%%36%36 /%ZZ /%6f /%zz /%7e%2d%5f /a%2 /?c=3&a=1&b=2
/?aaa=3&a=1&aa=2 /?a=3&b=4&a=1&b=5&a=2 /?b&a&&c= /x?%6f=%41 /#foo /#a#b /a?b#c http://h/a/../b//c/./d?z=1&a=2 http://h/../x * /a/.../b
/a/..b/../c /a?x/../y /./ /../ /a/b/../../c /?b=1&a
""".split()  # noqa: SIM905

TEXT = """
global
  log {log} local0
  expose-experimental-directives
defaults
  mode http
  timeout connect 1s
  timeout client 2s
  timeout server 2s
frontend fe
  bind 127.0.0.1:{port}
  option accept-invalid-http-request
  use_backend %[req.hdr(x-to)]
""" + "".join(  # a backend each: 2.6 takes no notice of some normalizers where a condition follows them
    f"backend n{i}\n  http-request normalize-uri {name}\n  server s 127.0.0.1:{{origin}}\n" for i, name in enumerate(NORMALIZERS)
)


def repeats(sock: socket.socket) -> None:
    """Answers every request with its first line."""
    while (head := read_head(sock)).endswith(b"\r\n\r\n"):
        line = head.partition(b"\r\n")[0]
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(line) + line)


def run(side: Side) -> dict[str, bytes]:
    """What becomes of each target by each normalizer: the line that the server gets, or the status that the client gets."""
    side.origin.begin(repeats)
    found = {}
    for number, name in enumerate(NORMALIZERS):
        for target in TARGETS:
            method = "OPTIONS" if target == "*" else "GET"
            host = "h" if target.startswith("http") else "a"
            with socket.create_connection(("127.0.0.1", side.port), timeout=8) as sock:
                sock.sendall(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-To: n{number}\r\nConnection: close\r\n\r\n".encode())
                status, _, rest = read_all(sock).partition(b"\r\n")
            found[f"{name}: {target}"] = rest.partition(b"\r\n\r\n")[2] if b" 200 " in status else status
    return found


def test_same(tmp_path: Path) -> None:
    with Duet(tmp_path, TEXT) as both:
        reference, ours = both.pool.map(run, (both.reference, both.ours))
    assert ours == reference
    assert len(ours) == len(NORMALIZERS) * len(TARGETS) and ours["path-strip-dotdot: /foo/../bar/"] == b"GET /bar/ HTTP/1.1"
