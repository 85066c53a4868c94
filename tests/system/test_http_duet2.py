"""HTTP exchanges through Debian's haproxy and forkproxy, with what ``test_http_duet`` does not configure: options, captures, retries."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.duet import BESIDE_HAPROXY, Duet, read_all
from tests.system.scripts import (
    GET,
    LAST,
    OK,
    Case,
    Different,
    alike,
    answer,
    ask,
    asks,
    differences,
    last,
    leaves,
    pieces,
    refuses,
    says,
    told,
)

pytestmark = BESIDE_HAPROXY

DEFAULTS = """
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
  retries 2
"""

TEN = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ROOT = GET % b"/"
SECOND = LAST % (b"/2", b"")
WEBSOCKET = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\n"


#: name → (sections behind the defaults, exchanges by name: client, server or answers in turn, lines of the log)
FILES: dict[str, tuple[str, dict[str, Case]]] = {
    "captures": (
        """
frontend fe
  bind 127.0.0.1:{port}
  capture request header X-One len 5
  capture request header X-Two len 10
  capture response header X-Back len 4
  capture cookie SES len 12
  declare capture request len 6
  http-request capture req.hdr(x-rule) id 2
  http-request capture path len 8
  declare capture response len 8
  http-response capture res.hdr(x-later) id 1
  http-request return status 200 string here content-type text/plain if {{ path /here }}
  default_backend be
backend be
  server s 127.0.0.1:{origin}
""",
        {
            "all": (
                last(
                    b"/a/long/path",
                    b"X-One: 1234567\r\nX-Two: a|b\r\nX-Two: second\r\nX-Rule: ruled-by\r\nCookie: a=b; SESSION=abcdefghi\r\n",
                ),
                answer(
                    b"HTTP/1.1 200 OK\r\nX-Back: backwards\r\nX-Later: later-than-that\r\nSet-Cookie: SESX=1; path=/\r\n"
                    b"Content-Length: 0\r\n\r\n"
                ),
                1,
            ),
            "none": (last(), answer(OK), 1),
            "answered here": (last(b"/here"), answer(OK), 1),
            "bad request": (ask(b"BAD\r\n\r\n"), answer(OK), 1),
        },
    ),
    "forwardfor except": (
        """
listen fe
  bind 127.0.0.1:{port}
  option forwardfor except 127.0.0.0/8
  option originalto except 10.0.0.0/8
  server s 127.0.0.1:{origin}
""",
        {"one": (last(), answer(OK), 1)},
    ),
    "forwardfor if-none": (
        """
listen fe
  bind 127.0.0.1:{port}
  option forwardfor header X-Client if-none
  option originalto header X-Meant
  server s 127.0.0.1:{origin}
""",
        {
            "absent": (last(), answer(OK), 1),
            "there": (last(b"/", b"X-Client: 1.2.3.4\r\n"), answer(OK), 1),
            "twice on one connection": (asks(b"GET /1 HTTP/1.1\r\nHost: a\r\nX-Client: 1.1.1.1\r\n\r\n", SECOND), answer(OK, 2), 2),
        },
    ),
    "set-src": (
        """
listen fe
  bind 127.0.0.1:{port}
  http-request set-src hdr(x-src) if {{ hdr(x-src) -m found }}
  http-request set-header X-Seen %[src],%ci
  option forwardfor
  server s 127.0.0.1:{origin}
""",
        {
            "moved": (last(b"/", b"X-Src: 127.0.0.1\r\n"), answer(OK), 1),
            "not moved": (last(), answer(OK), 1),
        },
    ),
    "timeouts by rules": (
        """
listen fe
  bind 127.0.0.1:{port}
  http-request set-timeout server 150ms if {{ path /quick }}
  timeout tarpit 100ms
  http-request tarpit if {{ path /tar }}
  server s 127.0.0.1:{origin}
""",
        {
            "server": (last(b"/quick"), (b"hang",), 1),
            "tarpit": (last(b"/tar"), answer(OK), 1),
        },
    ),
    "server close": (
        """
listen fe
  bind 127.0.0.1:{port}
  option http-server-close
  server s 127.0.0.1:{origin}
""",
        {"two requests": (asks(ROOT, SECOND), answer(OK), 2)},
    ),
    "httpclose": (
        """
listen fe
  bind 127.0.0.1:{port}
  option httpclose
  server s 127.0.0.1:{origin}
""",
        {"one": (ask(ROOT), answer(OK), 1)},
    ),
    "pretend keep-alive": (
        """
listen fe
  bind 127.0.0.1:{port}
  option http-server-close
  option http-pretend-keepalive
  server s 127.0.0.1:{origin}
""",
        {"two requests": (asks(ROOT, SECOND), answer(OK), 2)},
    ),
    "redir": (
        """
listen fe
  bind 127.0.0.1:{port}
  server s 127.0.0.1:{origin} redir http://mirror.example
""",
        {
            "GET": (last(b"/a?b=c"), answer(OK), 1),
            "POST": (ask(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), answer(OK), 1),
        },
    ),
    "retry on everything": (
        """
listen fe
  bind 127.0.0.1:{port}
  retry-on all-retryable-errors
  server s 127.0.0.1:{origin}
""",
        {
            "empty": (last(), (b"", OK), 1),
            "junk": (last(), (b"what is this\r\n\r\n", OK), 1),
            "503": (last(), (b"HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", OK), 1),
            "never": (last(), (b"", b"", b"", OK), 1),
            "404 is not": (last(), (b"HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", OK), 1),
            "with a body": (
                ask(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"), (b"", OK), 1),
        },
    ),
    "retry on a status": (
        """
listen fe
  bind 127.0.0.1:{port}
  retry-on 404
  http-request disable-l7-retry if {{ path /once }}
  server s 127.0.0.1:{origin}
""",
        {
            "404": (last(), (b"HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", OK), 1),
            "forbidden": (last(b"/once"), (b"HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", OK), 1),
        },
    ),
    "retry on nothing": (
        """
listen fe
  bind 127.0.0.1:{port}
  retry-on none
  server s 127.0.0.1:{dead}
""",
        {"dead": (last(), answer(OK), 1)},
    ),
    "upgrades": (
        """
listen fe
  bind 127.0.0.1:{port}
  server s 127.0.0.1:{origin}
""",
        {
            "101 that nobody asked for": (ask(ROOT), answer(SWITCH + b"Upgrade: x\r\nConnection: upgrade\r\n\r\n"), 1),
            "wrong accept value": (
                ask(b"GET / HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"),
                answer(SWITCH + WEBSOCKET + b"Sec-WebSocket-Accept: nonsense\r\n\r\n"), 1),
        },
    ),
    "rules on framing": (
        """
listen fe
  bind 127.0.0.1:{port}
  http-request del-header content-length if {{ path /dropped }}
  http-request set-header content-length 3 if {{ path /forged }}
  http-request set-path /else if {{ path /moved }}
  http-request set-method PUT if {{ path /method }}
  http-response del-header content-length if {{ status 201 }}
  http-response set-header Connection close if {{ status 202 }}
  http-response set-status 418 reason Teapot if {{ status 203 }}
  server s 127.0.0.1:{origin}
""",
        {
            "forged": (ask(b"POST /forged HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nabcde"), answer(OK), 1),
            "path": (last(b"/moved"), answer(OK), 1),
            "method": (last(b"/method"), answer(OK), 1),
            "no length to the client": (ask(ROOT), answer(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello"), 1),
            "status": (last(), answer(b"HTTP/1.1 203 Other\r\nContent-Length: 5\r\n\r\nhello"), 1),
        },
    ),
    "early hints": (
        """
listen fe
  bind 127.0.0.1:{port}
  http-request early-hint Link "</style.css>; rel=preload"
  http-request early-hint Link "</x.js>; rel=preload"
  server s 127.0.0.1:{origin}
""",
        {
            "two": (last(b"/hints"), answer(OK), 1),
            "HTTP/1.0": (ask(b"GET /hints HTTP/1.0\r\n\r\n"), answer(OK), 1),
        },
    ),
    "dontlognull": (
        """
frontend fe
  bind 127.0.0.1:{port}
  option dontlognull
  default_backend be
backend be
  server s 127.0.0.1:{origin}
""",
        {
            "nothing came": (read_all, answer(OK), 0),
            "something came": (ask(b"GE"), answer(OK), 1),
        },
    ),
    "ignored probes": (
        """
frontend fe
  bind 127.0.0.1:{port}
  option http-ignore-probes
  default_backend be
backend be
  server s 127.0.0.1:{origin}
""",
        {
            "nothing came": (read_all, answer(OK), 0),
            "something came": (ask(b"GE"), answer(OK), 1),
        },
    ),
    "logasap": (
        """
frontend fe
  bind 127.0.0.1:{port}
  option logasap
  default_backend be
backend be
  server s 127.0.0.1:{origin}
""",
        {"one": (last(), answer(OK), 1), "bad": (ask(b"BAD\r\n\r\n"), answer(OK), 1)},
    ),
    "dontlog-normal": (
        """
frontend fe
  bind 127.0.0.1:{port}
  option dontlog-normal
  default_backend be
backend be
  server s 127.0.0.1:{origin}
""",
        {
            "normal": (last(), answer(OK), 0),
            "error": (last(), answer(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"), 1),
            "bad": (ask(b"BAD\r\n\r\n"), answer(OK), 1),
        },
    ),
    "error-log-format": (
        """
frontend fe
  bind 127.0.0.1:{port}
  error-log-format "%ci:%cp [%t] failed: %ft"
  default_backend be
backend be
  server s 127.0.0.1:{origin}
""",
        {"one": (last(), answer(OK), 1), "bad": (ask(b"BAD\r\n\r\n"), answer(OK), 1), "nothing": (read_all, answer(OK), 1)},
    ),
    "own addresses in the log": (
        """
frontend fe
  bind 127.0.0.1:{port}
  log-format "%ci:%cp [%t] from %bi to %si and %[bc_dst] %ST"
  default_backend be
backend be
  server s 127.0.0.1:{origin}
""",
        {
            "one": (last(), answer(OK), 1),
            "kept": (asks(ROOT, SECOND), answer(OK, 2), 2),
            "bad": (ask(b"BAD\r\n\r\n"), answer(OK), 1),
        },
    ),
    "buffered": (
        """
listen fe
  bind 127.0.0.1:{port}
  option http-buffer-request
  balance roundrobin
  http-request deny if {{ req.body -m sub evil }}
  use-server t if {{ req.body -m beg t }}
  server s 127.0.0.1:{origin}
  server t 127.0.0.1:{origin}
""",
        {
            "good": (ask(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"), answer(OK), 1),
            "evil": (ask(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nevil"), answer(OK), 1),
            "chosen": (ask(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nthis"), answer(OK), 1),
            "never whole": (ask(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nConnection: close\r\n\r\nbody"), answer(OK), 1),
        },
    ),
    "wait for body": (
        """
listen fe
  bind 127.0.0.1:{port}
  balance roundrobin
  http-request wait-for-body time 200ms at-least 4 if {{ path /some }}
  http-request wait-for-body time 200ms if {{ path /all }}
  http-request deny if {{ req.body -m beg evil }}
  server s 127.0.0.1:{origin}
""",
        {
            "all": (ask(b"POST /all HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nevil"), answer(OK), 1),
            "never whole": (ask(b"POST /all HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nConnection: close\r\n\r\nbody"), answer(OK), 1),
        },
    ),
    "unique id": (
        """
frontend fe
  bind 127.0.0.1:{port}
  unique-id-format "%{{+X}}o id-%[path]-%ci"
  unique-id-header X-Id
  default_backend be
backend be
  http-request set-header X-Same yes if {{ unique-id -m end /a }}
  http-request del-header X-Id
  server s 127.0.0.1:{origin}
""",
        {"one": (last(b"/b"), answer(OK), 1)},
    ),
    "monitor": (
        """
frontend fe
  bind 127.0.0.1:{port}
  monitor-uri /alive
  acl few nbsrv(be) lt 1
  monitor fail if few
  default_backend be
backend be
  server s 127.0.0.1:{origin}
""",
        {"alive": (last(b"/alive"), answer(OK), 0), "else": (last(b"/alive?x"), answer(OK), 1)},
    ),
    "monitor fails": (
        """
frontend fe
  bind 127.0.0.1:{port}
  monitor-uri /alive
  acl few nbsrv(be) lt 1
  monitor fail if few
  default_backend be
backend be
  server s 127.0.0.1:{origin} disabled
""",
        {"alive": (last(b"/alive"), answer(OK), 0), "no server": (last(), answer(OK), 1)},
    ),
    "errors of its own": (
        """
frontend fe
  bind 127.0.0.1:{port}
  errorloc302 403 http://sorry.example/403
  errorloc303 400 http://sorry.example/400
  http-error status 503 content-type text/plain string "not now" hdr X-Why because
  http-request deny if {{ path /deny }}
  use_backend none if {{ path /none }}
  default_backend be
backend be
  server s 127.0.0.1:{origin}
backend none
""",
        {
            "errorloc302": (last(b"/deny"), answer(OK), 1),
            "errorloc303": (ask(b"BAD\r\n\r\n"), answer(OK), 1),
            "http-error": (last(b"/none"), answer(OK), 1),
        },
    ),
    "backup and redispatch": (
        """
listen fe
  bind 127.0.0.1:{port}
  balance roundrobin
  option redispatch
  server dead 127.0.0.1:{dead}
  server dead2 127.0.0.1:{dead}
  server down 127.0.0.1:{origin} disabled
  server b 127.0.0.1:{origin} backup
""",
        {"both dead": (last(), answer(OK), 1)},
    ),
    "only a backup": (
        """
listen fe
  bind 127.0.0.1:{port}
  server down 127.0.0.1:{dead} disabled
  server b 127.0.0.1:{origin} backup
""",
        {"one": (last(), answer(OK), 1)},
    ),
    "clf": (
        """
frontend fe
  bind 127.0.0.1:{port}
  log-format "%ci:%cp [%t] %{{+Q}}r %ST %HM %HU %HP %HQ %HV %{{+Q}}CC %hrl"
  capture request header Host len 10
  default_backend be
backend be
  server s 127.0.0.1:{origin}
""",
        {"one": (last(b"/p?q=1"), answer(OK), 1), "bad": (ask(b"BAD\r\n\r\n"), answer(OK), 1)},
    ),
    "conditions out of their time": (
        """
listen fe
  bind 127.0.0.1:{port}
  acl either path /
  acl either status 200
  http-response set-header X-Never 1 if {{ path / }}
  http-response set-header X-Always 1 unless {{ path / }}
  http-response set-header X-Either 1 if either
  http-response set-header X-Method 1 if METH_GET
  http-after-response set-header X-Host 1 if {{ req.hdr(host) a }}
  http-request set-header X-Status 1 if {{ status 200 }} or !{{ res.hdr_cnt(a) ge 0 }}
  server s 127.0.0.1:{origin}
""",
        {"one": (last(), answer(OK), 1)},
    ),
    "wrong PROXY headers": (
        """
frontend fe
  bind 127.0.0.1:{port} accept-proxy
  error-log-format "%ci:%cp [%t] %[fc_err] %[fc_err_str] %ts"
  http-request return status 200
""",
        {
            "none": (leaves(b""), refuses, 1),
            "half of one": (ask(b"PROXY TCP4 1.2"), refuses, 1),
            "too late": (ask(b""), refuses, 1),
            "another protocol": (ask(ROOT), refuses, 1),
            "a wrong address": (ask(b"PROXY TCP4 foo bar 1 2\r\n"), refuses, 1),
            "a wrong family": (ask(b"PROXY TCP9 1.2.3.4 1.2.3.4 1 2\r\n"), refuses, 1),
            "a wrong version": (ask(b"\r\n\r\n\0\r\nQUIT\n\x41\x11\0\x0c" + bytes(12)), refuses, 1),
            "a wrong command": (ask(b"\r\n\r\n\0\r\nQUIT\n\x25\x11\0\x0c" + bytes(12)), refuses, 1),
        },
    ),
    "from TCP to HTTP": (
        """
frontend fe
  bind 127.0.0.1:{port}
  mode tcp
  log-format "%ci:%cp [%t] %f %b/%s %ts"
  tcp-request inspect-delay 200ms
  tcp-request content accept if {{ path -m beg /raw }}
  tcp-request content set-var(sess.host) req.hdr(host) unless {{ path_end /switch }}
  tcp-request content switch-mode http if HTTP {{ path_end /switch }}
  tcp-request content set-var(sess.last) str(yes)
  http-request set-header X-Switched %[var(sess.host)]%[var(sess.last)]
  http-request deny if {{ hdr(x-deny) 1 }}
  http-request return status 200 content-type text/plain string hello if {{ path_beg /here }}
  use_backend http if HTTP {{ path_beg /a }} or {{ path_end /switch }}
  default_backend raw
backend http
  mode http
  http-request set-header X-Host %[var(sess.host)]
  server s 127.0.0.1:{origin}
backend raw
  mode tcp
  server s 127.0.0.1:{origin}
""",
        {
            "by a rule": (last(b"/switch"), answer(OK), 1),
            "by the backend": (last(b"/a"), answer(OK), 1),
            "two by a rule": (asks(GET % b"/switch", LAST % (b"/switch", b"X-A: 1\r\n")), answer(OK, 2), 2),
            "two by the backend": (asks(GET % b"/a", LAST % (b"/a", b"X-A: 1\r\n")), answer(OK, 2), 2),
            "to a TCP backend too late": (asks(GET % b"/a", LAST % (b"/b", b"")), answer(OK, 2), 2),
            "answered here": (asks(GET % b"/here/switch", LAST % (b"/a/switch", b"")), answer(OK, 2), 2),
            "denied": (last(b"/switch", b"X-Deny: 1\r\n"), answer(OK), 1),
            "not at all": (last(b"/raw/switch"), says(OK), 1),
            "no HTTP": (ask(b"hello\r\n\r\n"), says(OK), 1),
            "a body": (ask(b"POST /switch HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"), answer(OK), 1),
        },
    ),
    "answers held back": (
        """
listen fe
  bind 127.0.0.1:{port}
  http-request set-var(txn.least) path
  http-response wait-for-body time 200ms at-least 4 if {{ var(txn.least) -m str /least }}
  http-response wait-for-body time 200ms unless {{ var(txn.least) -m str /least }}
  http-response set-header X-Len %[res.body_len]
  http-response set-header X-Body %[res.body]
  http-response deny if {{ res.body -m sub bad }}
  server s 127.0.0.1:{origin}
""",
        {
            "whole": (last(), pieces(TEN + b"hello", b"world"), 1),
            "chunks": (last(), pieces(CHUNKS + b"5\r\nhello\r\n", b"5\r\nworld\r\n0\r\n\r\n"), 1),
            "until the end": (last(), pieces(b"HTTP/1.1 200 OK\r\n\r\nhello", b"abc"), 1),
            "too late": (last(), pieces(TEN + b"hello", b"", b"", b"", b"", b"", b"world"), 1),
            "cut": (last(), pieces(TEN + b"hello"), 1),
            "refused": (last(), pieces(TEN + b"a ba", b"d word"), 1),
            "bad chunks": (last(), pieces(CHUNKS + b"5\r\nhello\r\n", b"zz\r\n"), 1),
            "enough": (last(b"/least"), pieces(TEN + b"h", b"ello", b"", b"", b"", b"world"), 1),
        },
    ),
    "no format": (
        """
frontend fe
  bind 127.0.0.1:{port}
  log-format "%ci:%cp [%t] %lc"
  default_backend be
backend be
  server s 127.0.0.1:{origin}
""",
        {"one": (last(b"/p?q=1"), answer(OK), 1)},
    ),
}

#: Where Debian's 2.6 and the 3.4 that we follow differ, or where an issue asks for more: what ours does, and why.
DIFFERENT: dict[str, dict[str, Different]] = {
    "upgrades": {"wrong accept value": ("3.4 checks it, 2.6 does not", b" 502 ")},
    "rules on framing": {
        "forged": ("2.6 answers 500; here no rule can make a head lie about its body", b" 200 OK"),
        "no length to the client": ("2.6 sends chunks, here the end of the connection ends the body", b"connection: close"),
    },
    "answers held back": {"too late": ("2.6 logs sR, and a request it was not that timed out", " sH-- ")},
    "errors of its own": {"errorloc303": ("2.6 has only its own page for what never became a request", b" 303 ")},
}


@pytest.mark.parametrize("name", FILES)
def test_same(tmp_path: Path, name: str) -> None:
    text, cases = FILES[name]
    with Duet(tmp_path, DEFAULTS + text) as both:
        wrong = differences(both, cases, DIFFERENT.get(name, {}), lambda seen, title: (alike(seen.client), *told(seen)[1:]))
    assert not wrong, "\n".join(wrong)
