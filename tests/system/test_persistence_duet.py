"""Cookie persistence through Debian's haproxy and forkproxy with the same file: which server, what it saw, what the client got, log flags.

All requests of one table go over one connection; the origin answers with the Cookie lines that it got, and says what the request's
``x-say`` fields tell it to say.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator

import pytest

from tests.system.duet import BESIDE_HAPROXY, Duet, Script

pytestmark = BESIDE_HAPROXY

MODES = (
    "insert", "insert indirect", "insert indirect nocache", "insert postonly", "insert preserve", "insert indirect preserve", "rewrite",
    "prefix", "prefix indirect", "indirect", "", "nocache", "insert httponly secure attr SameSite=None domain a.b domain .c.d attr X",
    "insert indirect maxidle 100", "insert indirect maxlife 1000", "insert indirect maxidle 100 maxlife 1000",
)  # fmt: skip
CONFIG = """
global
  log {log} local0
defaults
  mode http
  log global
  option httplog
  timeout connect 200ms
  timeout client 3s
  timeout server 3s
  balance first
listen fe
  bind 127.0.0.1:{port}
  cookie SRV insert
  http-request deny if {{ path /deny }}
  server s1 127.0.0.1:{origin} cookie c1
""" + "".join(f"  use_backend m{i} if {{{{ path /{i} }}}}\n" for i in range(len(MODES))) + """
  use_backend %[path,field(2,/)] unless {{ path / }}
""" + "".join(f"""
backend m{i}
  cookie SRV {mode}
  server s1 127.0.0.1:{{origin}} cookie c1
  server s2 127.0.0.1:{{origin}} cookie c2
""" for i, mode in enumerate(MODES)) + """
backend bare
  cookie SRV insert indirect maxidle 10
  server s1 127.0.0.1:{origin}
  server s2 127.0.0.1:{origin} cookie c2
backend use
  cookie SRV insert indirect
  use-server s0 if {{ path_end 2 }}
  use-server s2 if {{ path_end 2 }}
  server s0 127.0.0.1:{origin} cookie c0 disabled
  server s1 127.0.0.1:{origin} cookie c1
  server s2 127.0.0.1:{origin} cookie c2
backend ignore
  cookie SRV insert indirect
  http-request set-path /changed
  ignore-persist if {{ path_end x }}
  server s1 127.0.0.1:{origin} cookie c1
  server s2 127.0.0.1:{origin} cookie c2
backend force
  cookie SRV insert indirect
  option redispatch
  retries 1
  force-persist if {{ path_end x }}
  server s1 127.0.0.1:{origin} cookie c1
  server s2 127.0.0.1:{origin} cookie c2 disabled
  server s3 127.0.0.1:{dead} cookie c3 disabled
  server s4 127.0.0.1:{dead} cookie c4
backend persist
  cookie SRV insert indirect
  option persist
  retries 1
  server s1 127.0.0.1:{origin} cookie c1
  server s2 127.0.0.1:{origin} cookie c2 disabled
  server s3 127.0.0.1:{dead} cookie c3 disabled
backend both
  cookie SRV insert indirect
  option persist
  option redispatch
  retries 1
  server s1 127.0.0.1:{origin} cookie c1
  server s3 127.0.0.1:{dead} cookie c3 disabled
  server s4 127.0.0.1:{origin} cookie c4 backup
  server s5 127.0.0.1:{origin} cookie c1
"""

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
NOW = time.time()


def stamp(offset_s: int) -> bytes:
    units = int(NOW + offset_s) >> 2
    return "".join(ALPHABET[units >> shift & 63] for shift in (24, 18, 12, 6, 0)).encode()


def told(match: re.Match[bytes]) -> bytes:
    """A time in a cookie, as hundreds of seconds from now."""
    units = 0
    for letter in match[1].decode():
        units = units << 6 | ALPHABET.index(letter)
    return b"|%d" % round(((units << 2) - NOW) / 100)


def origin(sock: socket.socket) -> None:
    got = b""
    while True:
        while b"\r\n\r\n" not in got:
            data = sock.recv(65536)
            if not data:
                return
            got += data
        head, _, got = got.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        body = b"[" + b"|".join(line.partition(b":")[2].strip() for line in lines if line[:7].lower() == b"cookie:") + b"]"
        said = b"".join(line[7:] + b"\r\n" for line in lines if line.startswith(b"x-say: ") and b":" in line[7:])
        status = next((line[10:] for line in lines if line.startswith(b"x-status: ")), b"200 OK")
        if head.startswith(b"HEAD") or status[:3] in (b"204", b"304"):
            body = b""
        sock.sendall(b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, said, len(body), body))


Case = tuple[bytes, bytes | None, bytes]


def client(cases: list[Case]) -> Script:
    """Sends the requests one by one; gives back, one line each, what the client is to see of the answers."""

    def script(sock: socket.socket) -> bytes:
        seen = b""
        got = b""
        for number, (line, cookie, more) in enumerate(cases):
            fields = b"cookie: " + cookie + b"\r\n" if cookie is not None else b""
            sock.sendall(line + b" HTTP/1.1\r\nhost: x\r\n" + fields + more + b"\r\n")
            while b"\r\n\r\n" not in got:
                data = sock.recv(65536)
                if not data:
                    return seen + b"<closed>"
                got += data
            head, _, got = got.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            size = int(length[1]) if length and b" 204" not in head[:13] else 0
            while len(got) < size:
                got += sock.recv(65536)
            body, got = got[:size], got[size:]
            told_fields = [f for f in head.split(b"\r\n") if f.lower().startswith((b"set-cookie:", b"cache-control:"))]
            told_fields = [name.lower() + b":" + value for name, _, value in (f.partition(b":") for f in told_fields)]
            shown = b" ".join([b"%d" % number, line, head[9:12], *told_fields, body if body[:1] == b"[" else b""])
            seen += re.sub(rb"\|([A-Za-z0-9+/]{5})(?![A-Za-z0-9])", told, shown) + b"\n"
        return seen

    return script


@pytest.fixture(scope="module")
def duet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Duet]:
    with Duet(tmp_path_factory.mktemp("persistence"), CONFIG) as both:
        yield both


def compare(duet: Duet, cases: list[Case]) -> None:
    for start in range(0, len(cases), 100):  # more lines than that do not fit the log's socket
        some = cases[start : start + 100]
        theirs, ours = duet.run(client(some), origin, log_lines=len(some))
        assert ours.client.split(b"\n") == theirs.client.split(b"\n")
        assert len(theirs.client.splitlines()) == len(some)
        assert ours.log == theirs.log


GET = b"GET /%d"
REQUESTS = (
    None, b"SRV=c1", b"SRV=c2", b"SRV=c9", b"SRV=c9; SRV=c2", b"SRV=c2; SRV=c1", b"a=1; SRV=c2~q; b=2", b"SRV=", b'SRV="c2"', b"srv=c2",
    b"SRV=c2|" + stamp(-30), b"SRV=c2|" + stamp(-200), b"SRV=c2|" + stamp(-30) + b"|" + stamp(-500),
    b"SRV=c2|" + stamp(-30) + b"|" + stamp(-5000), b"SRV=c2|" + stamp(80000) + b"|" + stamp(-30), b"SRV=c2|" + stamp(90000),
    b"SRV=c2|" + stamp(-30) + b"|" + stamp(90000), b"SRV=c2||" + stamp(-30), b"SRV=c2|!!!!!",
)  # fmt: skip
ANSWERS = (b"SRV=abc; path=/x", b"other=1; SRV=2", b"SRV=", b"SRV", b"srv=1")


def test_every_mode_with_every_cookie(duet: Duet) -> None:
    compare(duet, [(GET % mode, cookie, b"") for mode in range(len(MODES)) for cookie in REQUESTS])


def test_every_mode_with_every_cookie_of_a_server(duet: Duet) -> None:
    says = [b"x-say: set-cookie: " + text + b"\r\n" for text in ANSWERS]
    cases: list[Case] = [(GET % mode, cookie, say) for mode in range(len(MODES)) for cookie in (None, b"SRV=c2") for say in says]
    cases += [(b"POST /%d" % mode, None, b"content-length: 0\r\n") for mode in range(len(MODES))]
    compare(duet, cases)


def test_answers_that_caches_would_store(duet: Duet) -> None:
    tag = b'x-say: etag: "a"\r\n'
    controls = (
        b"private", b"no-cache", b"no-store", b"max-age=0", b"s-maxage=0", b"max-age=9", b"s-maxage=5", b"public", b'no-cache="set-cookie"',
        b"public, max-age=0", b"max-age=0, public", b"NO-STORE", b'private="x"',
    )  # fmt: skip
    says = [b"", *(b"x-say: cache-control: " + text + b"\r\n" for text in controls)]
    says += [b"x-say: pragma: no-cache\r\n", b"x-say: expires: 0\r\n", b"x-say: last-modified: x\r\n"]
    cases: list[Case] = [(b"GET /2", None, say + more) for say in says for more in (b"", tag)]
    cases += [(b"GET /2", None, tag + b"x-status: %d X\r\n" % status) for status in (201, 203, 204, 300, 302, 304, 404, 410, 500, 501)]
    cases += [(method + b" /2", None, tag + b"content-length: 0\r\n") for method in (b"HEAD", b"OPTIONS", b"PUT", b"POST")]
    compare(duet, cases)


def test_servers_that_are_down_and_rules_that_choose(duet: Duet) -> None:
    paths = (b"/", b"/bare", b"/use/1", b"/use/2", b"/ignore/x", b"/ignore/y", b"/force/y", b"/force/x", b"/persist", b"/both")
    cookies = (None, b"SRV=c1", b"SRV=c2", b"SRV=c3", b"SRV=c4", b"SRV=c0", b"SRV=z")
    compare(duet, [(b"GET /deny", None, b""), *((b"GET " + path, cookie, b"") for path in paths for cookie in cookies)])
