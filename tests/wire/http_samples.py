"""HTTP/1 messages and what must become of them: one row per sentence of what is tolerated, normalised and refused.

A request row is ``(what it shows, bytes, outcome)``. The outcome is a status for a refused message, or the expected attributes:
``fields`` are the field lines to forward, other names attributes of the head. Unnamed attributes are not looked at.
"""

from __future__ import annotations

from typing import Any

from forkproxy.http.message import BodyKind

NONE, LENGTH, CHUNKED, CLOSE, TUNNEL = BodyKind

Outcome = int | dict[str, Any]
H = b"Host: x\r\n"
GET = b"GET /a HTTP/1.1\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


def _get(fields: bytes) -> bytes:
    return GET + fields + b"\r\n"


def _post(fields: bytes) -> bytes:
    return POST + fields + b"\r\n"


REQUESTS: list[tuple[str, bytes, Outcome]] = [
    (
        "a plain request",
        _get(H),
        {"method": b"GET", "target": b"/a", "version": 11, "fields": H, "host": b"x", "body": NONE, "keep_alive": True},
    ),
    ("Connection before Host", _get(b"A: b\r\nConnection: close\r\n" + H), {"fields": b"A: b\r\n" + H, "keep_alive": False}),
    (
        "Connection before Host and after it",
        _get(b"Connection: keep-alive\r\n" + H + b"Content-Length: 3\r\nConnection: close\r\n"),
        {"fields": H + b"Content-Length: 3\r\n", "keep_alive": False, "body": LENGTH},
    ),
    ("no field at all", _get(b""), {"fields": b"", "host": None, "keep_alive": True}),
    # -- parsing: white space and line ends
    ("leading empty lines", b"\r\n\n\r\n" + _get(H), {"fields": H, "method": b"GET"}),
    ("leading bare CR", b"\r" + _get(H), 400),
    ("several blanks between the words", b"GET   /a \t HTTP/1.1\r\n" + H + b"\r\n", {"target": b"/a", "fields": H}),
    ("blank before the method", b" " + _get(H), 400),
    ("blank after the version", b"GET /a HTTP/1.1 \r\n" + H + b"\r\n", 400),
    ("bare LF", b"GET /a HTTP/1.1\nHost: x\nA: b\n\n", {"fields": b"Host: x\r\nA: b\r\n", "target": b"/a"}),
    ("bare LF only at the end", b"GET /a HTTP/1.1\r\nHost: x\r\n\n", {"fields": H}),
    ("bare LF in the middle", b"GET /a HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", {"fields": b"Host: x\r\nA: b\r\n"}),
    ("folded lines", _get(b"Host: x\r\nA: 1\r\n  2\r\n\tb\r\n"), {"fields": b"Host: x\r\nA: 1    2  \tb\r\n"}),
    ("folding with bare LF", b"GET /a HTTP/1.1\nA: 1\n 2\n\n", {"fields": b"A: 1  2\r\n"}),
    ("value on the folded line only", _get(b"Content-Length:\r\n 0\r\n"), {"body": NONE}),
    ("folded before any field", GET + b" A: x\r\nHost: x\r\n\r\n", 400),
    ("bare CR in a value", _get(b"A: b\rc\r\n"), 400),
    ("two CR", _get(b"A: b\r\r\n"), 400),
    ("bare CR in the request line", b"GET /a\r HTTP/1.1\r\n\r\n", 400),
    # -- version
    ("HTTP/1.2 goes out as 1.1", b"GET /a HTTP/1.2\r\n\r\n", {"version": 11, "start": b"GET /a HTTP/1.1\r\n"}),
    ("HTTP/2.0 goes out as 1.1", b"GET /a HTTP/2.0\r\n\r\n", {"version": 11}),
    ("HTTP/1.0", b"GET /a HTTP/1.0\r\n\r\n", {"version": 10, "keep_alive": False, "start": b"GET /a HTTP/1.0\r\n"}),
    ("HTTP/1.0 with a Host", b"GET /a HTTP/1.0\r\nHost: x\r\n\r\n", {"version": 10, "keep_alive": False, "fields": H}),
    ("HTTP/1.10", b"GET /a HTTP/1.10\r\n\r\n", 400),
    ("lower-case version", b"GET /a http/1.1\r\n\r\n", 400),
    ("no version (HTTP/0.9)", b"GET /a\r\n\r\n", 400),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    # -- method and target
    ("lower-case method", b"get /a HTTP/1.1\r\n\r\n", {"method": b"get"}),
    ("unknown method", b"M-SEARCH /a HTTP/1.1\r\n\r\n", {"method": b"M-SEARCH"}),
    ("method that is no token", b"G@T /a HTTP/1.1\r\n\r\n", 400),
    ("fragment", b"GET /a#b HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("byte from 0x80", b"GET /\x80 HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("DEL", b"GET /\x7f HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("control", b"GET /\x01 HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("characters that pass", b'GET /"<>\\^{|}` HTTP/1.1\r\n' + H + b"\r\n", {"target": b'/"<>\\^{|}`'}),
    ("relative target", b"GET foo HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("* of OPTIONS", b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n", {"target": b"*"}),
    ("* of an unknown method", b"FOO * HTTP/1.1\r\n" + H + b"\r\n", {"target": b"*"}),
    ("* of GET", b"GET * HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("CONNECT", b"CONNECT x:8080 HTTP/1.1\r\nHost: x:8080\r\n\r\n", {"target": b"x:8080", "host": b"x:8080"}),
    ("CONNECT without Host", b"CONNECT x:443 HTTP/1.1\r\n\r\n", {"target": b"x:443", "host": None}),
    ("CONNECT, default port", b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", {"target": b"x:443", "fields": H}),
    ("CONNECT to an IPv6 address", b"CONNECT [::1]:8080 HTTP/1.1\r\n\r\n", {"target": b"[::1]:8080"}),
    (
        "CONNECT with a length",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n",
        {"body": NONE, "fields": H, "close_after": True},
    ),
    (
        "CONNECT with chunks",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        {"body": NONE, "fields": H, "close_after": True},
    ),
    ("CONNECT with lengths that differ", b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 4\r\n\r\n", 400),
    ("Upgrade with a body", _post(b"Content-Length: 3\r\nUpgrade: x\r\nConnection: Upgrade\r\n"),
     {"upgrade": None, "length": 3, "fields": H + b"Content-Length: 3\r\n"}),
    ("Upgrade with chunks", _post(b"Transfer-Encoding: chunked\r\nUpgrade: x\r\nConnection: Upgrade\r\n"),
     {"upgrade": None, "body": CHUNKED, "fields": H + b"Transfer-Encoding: chunked\r\n"}),
    ("CONNECT without a port", b"CONNECT x HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("CONNECT to a path", b"CONNECT /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("CONNECT, another Host", b"CONNECT x:8080 HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("absolute stays absolute", b"GET http://x/b HTTP/1.1\r\n" + H + b"\r\n", {"target": b"http://x/b", "fields": H}),
    ("absolute, empty path", b"GET http://x HTTP/1.1\r\n" + H + b"\r\n", {"target": b"http://x/"}),
    ("absolute, only a query", b"GET http://x?q HTTP/1.1\r\n" + H + b"\r\n", {"target": b"http://x/?q"}),
    ("absolute, default port", b"GET http://x:80/ HTTP/1.1\r\nHost: x:80\r\n\r\n", {"target": b"http://x/", "fields": H, "host": b"x"}),
    ("absolute, default port of https", b"GET https://x:443/ HTTP/1.1\r\n" + H + b"\r\n", {"target": b"https://x/"}),
    ("absolute, other port", b"GET http://x:81/ HTTP/1.1\r\nHost: x:81\r\n\r\n", {"target": b"http://x:81/", "host": b"x:81"}),
    ("absolute, empty port", b"GET http://x:/a HTTP/1.1\r\n" + H + b"\r\n", {"target": b"http://x/a"}),
    ("absolute, case of the host", b"GET http://X/ HTTP/1.1\r\n" + H + b"\r\n", {"target": b"http://X/"}),
    ("absolute, without Host", b"GET http://x/ HTTP/1.1\r\n\r\n", {"target": b"http://x/", "host": None}),
    ("absolute, user information", b"GET http://u@x/ HTTP/1.1\r\n" + H + b"\r\n", {"target": b"http://u@x/", "host": b"x"}),
    ("absolute, another scheme", b"GET ftp://x/ HTTP/1.1\r\n" + H + b"\r\n", {"target": b"ftp://x/"}),
    ("absolute, another Host", b"GET http://x/ HTTP/1.1\r\nHost: y\r\n\r\n", 400),
    ("absolute, another port", b"GET http://x:81/ HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("absolute, no authority", b"GET http:///a HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("scheme without an authority", b"GET mailto:x HTTP/1.1\r\n" + H + b"\r\n", 400),
    # -- Host
    ("Host twice the same", _get(b"Host: x\r\nA: b\r\nHost: X\r\n"), {"fields": b"Host: x\r\nA: b\r\n", "host": b"x"}),
    ("Host twice, different", _get(b"Host: x\r\nHost: y\r\n"), 400),
    ("Host empty", _get(b"Host:\r\n"), {"host": b"", "fields": b"Host:\r\n"}),
    ("Host in capitals", _get(b"HOST: x\r\n"), {"host": b"x", "fields": b"HOST: x\r\n"}),
    ("Host, white space around", _get(b"Host: \t x \r\n"), {"host": b"x"}),
    ("Host with port and IPv6", _get(b"Host: [::1]:80\r\n"), {"host": b"[::1]:80"}),
    *(
        (f"Host with {bad!r}", _get(b"Host: x" + bad + b"y\r\n"), 400)
        for bad in (b" ", b"/", b"@", b"?", b"#", b'"', b"\\", b"\x80", b"\x01")
    ),
    # -- fields
    ("control in a value", _get(b"A: \x01\x0b\x7f\xff\r\n"), {"fields": b"A: \x01\x0b\x7f\xff\r\n"}),
    ("NUL in a value", _get(b"A: \0\r\n"), 400),
    ("blank before the colon", _get(b"A : b\r\n"), 400),
    ("no name", _get(b": b\r\n"), 400),
    ("no colon", _get(b"A\r\n"), 400),
    ("a name that is no token", _get(b"A(: b\r\n"), 400),
    ("100 fields", _get(H + b"a: b\r\n" * 99), {"host": b"x"}),
    ("101 fields", _get(H + b"a: b\r\n" * 100), 400),
    # -- framing
    (
        "Content-Length",
        _post(b"Content-Length: 3\r\n"),
        {"body": LENGTH, "length": 3, "fields": H + b"Content-Length: 3\r\n", "close_after": False},
    ),
    ("Content-Length 0", _post(b"Content-Length: 0\r\n"), {"body": NONE, "length": 0, "fields": H + b"Content-Length: 0\r\n"}),
    ("a length with GET", _get(b"Content-Length: 3\r\n"), {"body": LENGTH, "length": 3}),
    ("the same length twice", _post(b"Content-Length: 3\r\nContent-Length: 3\r\n"), {"length": 3, "fields": H + b"Content-Length: 3\r\n"}),
    ("a list of equal lengths", _post(b"Content-Length: 3, 03\r\n"), {"length": 3, "fields": H + b"Content-Length: 3\r\n"}),
    ("leading zeros", _post(b"Content-Length: 003\r\n"), {"length": 3, "fields": H + b"Content-Length: 3\r\n"}),
    ("lengths that differ", _post(b"Content-Length: 3\r\nContent-Length: 4\r\n"), 400),
    ("0 and another", _post(b"Content-Length: 0\r\nContent-Length: 4\r\n"), 400),
    *(
        (f"length {bad!r}", _post(b"Content-Length: " + bad + b"\r\n"), 400)
        for bad in (b"", b"+3", b"-3", b"3,", b",3", b"3 3", b"0x3", b"3;", b"3.0", b"9223372036854775808", b"9" * 20, b"1_0")
    ),
    ("the largest length", _post(b"Content-Length: 9223372036854775807\r\n"), {"length": 2**63 - 1}),
    (
        "chunked",
        _post(b"Transfer-Encoding: chunked\r\n"),
        {"body": CHUNKED, "fields": H + b"Transfer-Encoding: chunked\r\n", "close_after": False},
    ),
    ("chunked in capitals", _post(b"Transfer-Encoding: Chunked\r\n"), {"body": CHUNKED}),
    *((f"coding {bad!r}", _post(b"Transfer-Encoding: " + bad + b"\r\n"), 422) for bad in (b"gzip, chunked", b"gzip,deflate, chunked")),
    ("another coding on its own line", _post(b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"), 422),
    *(
        (f"coding {bad!r}", _post(b"Transfer-Encoding: " + bad + b"\r\n"), 400)
        for bad in (
            b"",
            b"gzip",
            b"identity",
            b"chunked, chunked",
            b"chunked, gzip",
            b"chunked;q=1",
            b"xchunked",
            b"\x0bchunked",
            b"chunked,",
            b"chunked chunked",
        )
    ),
    ("chunked twice on two lines", _post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400),
    (
        "both lengths",
        _post(b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
        {"body": CHUNKED, "length": 0, "fields": H + b"Transfer-Encoding: chunked\r\n", "close_after": True, "close_peer": False},
    ),
    ("both lengths, 0", _post(b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), {"body": CHUNKED, "close_after": True}),
    (
        "both, the other order",
        _post(b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
        {"fields": H + b"Transfer-Encoding: chunked\r\n", "close_after": True},
    ),
    ("both, one of them wrong", _post(b"Transfer-Encoding: chunked\r\nContent-Length: x\r\n"), 400),
    (
        "chunked in HTTP/1.0",
        b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        {"body": CHUNKED, "close_after": True, "close_peer": True},
    ),
    *((f"HTTP/1.0 {m.decode()} with a body", m + b" /a HTTP/1.0\r\nContent-Length: 3\r\n\r\n", 413) for m in (b"GET", b"HEAD", b"DELETE")),
    ("HTTP/1.0 GET with chunks", b"GET /a HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
    ("HTTP/1.0 GET with length 0", b"GET /a HTTP/1.0\r\nContent-Length: 0\r\n\r\n", {"body": NONE}),
    (
        "HTTP/1.0 POST with a body",
        b"POST /a HTTP/1.0\r\nHost: x\r\nContent-Length: 3\r\n\r\n",
        {"body": LENGTH, "length": 3, "close_after": False},
    ),
    # -- connections
    ("Connection: close", _get(H + b"Connection: close\r\n"), {"fields": H, "keep_alive": False}),
    ("Connection: keep-alive", _get(H + b"Connection: Keep-Alive\r\nA: b\r\n"), {"fields": H + b"A: b\r\n", "keep_alive": True}),
    ("HTTP/1.0 keep-alive", b"GET /a HTTP/1.0\r\nHost: x\r\nConnection: Keep-Alive\r\n\r\n", {"fields": H, "keep_alive": True}),
    (
        "Connection with other names",
        _get(H + b"Foo: 1\r\nConnection: keep-alive, foo, Close,  X-Y\r\n"),
        {"fields": H + b"Foo: 1\r\nConnection: foo, X-Y\r\n", "keep_alive": False},
    ),
    ("Connection names nothing", _get(H + b"Connection: ,,\r\n"), {"fields": H}),
    (
        "Connection on two lines",
        _get(H + b"Connection: close\r\nConnection: foo\r\n"),
        {"fields": H + b"Connection: foo\r\n", "keep_alive": False},
    ),
    ("Connection: close before Host", _get(b"Connection: close\r\n" + H), {"fields": H, "keep_alive": False}),
    (
        "length and Connection",
        _post(b"Content-Length: 3\r\nConnection: close\r\nA: b\r\n"),
        {"fields": H + b"Content-Length: 3\r\nA: b\r\n", "keep_alive": False, "length": 3},
    ),
    (
        "Connection and length",
        _post(b"Connection: close\r\nContent-Length: 3\r\nA: b\r\n"),
        {"fields": H + b"Content-Length: 3\r\nA: b\r\n", "keep_alive": False, "length": 3},
    ),
    (
        "Keep-Alive and Proxy-Connection pass",
        _get(b"Keep-Alive: 3\r\nProxy-Connection: close\r\n"),
        {"fields": b"Keep-Alive: 3\r\nProxy-Connection: close\r\n", "keep_alive": True},
    ),
    ("TE with trailers", _get(H + b"TE: gzip, trailers\r\n"), {"fields": H + b"TE: trailers\r\n"}),
    ("TE without", _get(H + b"TE: gzip\r\nA: b\r\n"), {"fields": H + b"A: b\r\n"}),
    ("TE: trailers already", _get(H + b"te: trailers\r\n"), {"fields": H + b"te: trailers\r\n"}),
    (
        "Upgrade",
        _get(b"Connection: keep-alive, Upgrade\r\nUpgrade: foo/1\r\n"),
        {"upgrade": b"foo/1", "fields": b"Connection: Upgrade\r\nUpgrade: foo/1\r\n"},
    ),
    ("Upgrade without Connection", _get(H + b"Upgrade: foo\r\n"), {"upgrade": None, "fields": H}),
    ("Connection: upgrade without Upgrade", _get(H + b"Connection: upgrade\r\n"), {"upgrade": None, "fields": H}),
    (
        "h2c goes",
        _get(b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n"),
        {"upgrade": None, "fields": b"Connection: HTTP2-Settings\r\nHTTP2-Settings: x\r\n"},
    ),
    (
        "h2 goes, the rest stays",
        _get(b"Upgrade: h2, foo, h2c\r\nConnection: Upgrade\r\n"),
        {"upgrade": b"foo", "fields": b"Upgrade: foo\r\nConnection: Upgrade\r\n"},
    ),
    (
        "WebSocket",
        _get(b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
        {"upgrade": b"websocket"},
    ),
    ("WebSocket without a key", _get(b"Upgrade: websocket\r\nConnection: Upgrade\r\n"), 400),
    (
        "Upgrade-Insecure-Requests is no Upgrade",
        _get(H + b"Upgrade-Insecure-Requests: 1\r\n"),
        {"fields": H + b"Upgrade-Insecure-Requests: 1\r\n"},
    ),
    (
        "Expect",
        _post(b"Content-Length: 3\r\nExpect: 100-Continue\r\n"),
        {"expect_continue": True, "fields": H + b"Content-Length: 3\r\nExpect: 100-Continue\r\n"},
    ),
    ("another expectation", _post(b"Expect: foo\r\n"), {"expect_continue": False, "fields": H + b"Expect: foo\r\n"}),
    ("Expect in HTTP/1.0", b"POST /a HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", {"expect_continue": False}),
]

#: (what it shows, method of the request, bytes, outcome)
RESPONSES: list[tuple[str, bytes, bytes, Outcome]] = [
    (
        "length",
        b"GET",
        OK + b"Content-Length: 3\r\n\r\n",
        {
            "status": 200,
            "reason": b"OK",
            "version": 11,
            "body": LENGTH,
            "length": 3,
            "keep_alive": True,
            "fields": b"Content-Length: 3\r\n",
        },
    ),
    ("length 0", b"GET", OK + b"Content-Length: 0\r\n\r\n", {"body": NONE, "close_after": False}),
    ("chunked", b"GET", OK + b"Transfer-Encoding: chunked\r\n\r\n", {"body": CHUNKED}),
    ("no length", b"GET", OK + b"A: b\r\n\r\n", {"body": CLOSE, "close_after": True}),
    (
        "HTTP/1.0",
        b"GET",
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n",
        {"version": 10, "keep_alive": False, "start": b"HTTP/1.0 200 OK\r\n"},
    ),
    (
        "HTTP/1.0 keep-alive",
        b"GET",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n",
        {"keep_alive": True, "fields": b"Content-Length: 3\r\n"},
    ),
    ("HTTP/2.0 counts as 1.1", b"GET", b"HTTP/2.0 200 OK\r\nContent-Length: 3\r\n\r\n", {"version": 11}),
    ("no reason", b"GET", b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\n", {"reason": b"", "status": 200}),
    ("empty reason", b"GET", b"HTTP/1.1 200 \r\nContent-Length: 3\r\n\r\n", {"reason": b"", "status": 200}),
    ("several blanks", b"GET", b"HTTP/1.1  200  Very OK\r\nContent-Length: 3\r\n\r\n", {"reason": b"Very OK"}),
    ("odd bytes in the reason", b"GET", b"HTTP/1.1 200 X\x01\xe9\r\nContent-Length: 3\r\n\r\n", {"reason": b"X\x01\xe9"}),
    ("leading empty line", b"GET", b"\r\nHTTP/1.1 200 X\r\nContent-Length: 3\r\n\r\n", {"status": 200}),
    ("bare LF", b"GET", b"HTTP/1.1 200 X\nContent-Length: 3\n\n", {"fields": b"Content-Length: 3\r\n"}),
    ("unknown status", b"GET", b"HTTP/1.1 999 X\r\nContent-Length: 3\r\n\r\n", {"status": 999, "body": LENGTH}),
    *(
        (f"start line {bad!r}", b"GET", bad + b"\r\nContent-Length: 3\r\n\r\n", 502)
        for bad in (
            b"HTTP/1.1 0200 OK",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 20 OK",
            b"HTTP/1.1 2x0 OK",
            b"http/1.1 200 OK",
            b"HTTP/1.10 200 OK",
            b"HTTP/1 200 OK",
            b"HTTP/1.1",
            b"ICY 200 OK",
            b"HTTP/1.1 200 \0",
            b"HTTP/1.1 099 X",
        )
    ),
    ("malformed name", b"GET", OK + b"X y: 1\r\n\r\n", 502),
    ("bare CR", b"GET", OK + b"X: 1\r2\r\n\r\n", 502),
    ("NUL", b"GET", OK + b"X: \0\r\n\r\n", 502),
    ("lengths that differ", b"GET", OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 502),
    ("equal lengths", b"GET", OK + b"Content-Length: 3\r\nContent-Length: 03\r\n\r\n", {"length": 3, "fields": b"Content-Length: 3\r\n"}),
    ("another coding", b"GET", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 502),
    ("coding without chunked", b"GET", OK + b"Transfer-Encoding: gzip\r\n\r\n", 502),
    (
        "both lengths",
        b"GET",
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        {"body": CHUNKED, "fields": b"Transfer-Encoding: chunked\r\n", "close_after": True},
    ),
    (
        "chunked in HTTP/1.0",
        b"GET",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        {"body": CHUNKED, "close_after": True, "close_peer": True},
    ),
    (
        "204 loses its lengths",
        b"GET",
        b"HTTP/1.1 204 X\r\nContent-Length: 3\r\nA: b\r\n\r\n",
        {"body": NONE, "fields": b"A: b\r\n", "close_after": False},
    ),
    ("204 loses its coding", b"GET", b"HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n", {"body": NONE, "fields": b""}),
    ("100 loses its lengths", b"GET", b"HTTP/1.1 100 C\r\nContent-Length: 3\r\n\r\n", {"body": NONE, "status": 100, "fields": b""}),
    ("103", b"GET", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", {"body": NONE, "status": 103, "fields": b"Link: </a>\r\n"}),
    (
        "304 keeps its length",
        b"GET",
        b"HTTP/1.1 304 X\r\nContent-Length: 3\r\n\r\n",
        {"body": NONE, "fields": b"Content-Length: 3\r\n", "close_after": False},
    ),
    ("HEAD keeps its length", b"HEAD", OK + b"Content-Length: 3\r\n\r\n", {"body": NONE, "fields": b"Content-Length: 3\r\n"}),
    (
        "HEAD keeps its coding",
        b"HEAD",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        {"body": NONE, "fields": b"Transfer-Encoding: chunked\r\n"},
    ),
    ("HEAD without a length", b"HEAD", OK + b"\r\n", {"body": NONE, "close_after": False}),
    ("HEAD with a wrong length", b"HEAD", OK + b"Content-Length: x\r\n\r\n", 502),
    ("CONNECT", b"CONNECT", OK + b"Content-Length: 3\r\n\r\n", {"body": TUNNEL, "fields": b""}),
    ("CONNECT refused", b"CONNECT", b"HTTP/1.1 401 X\r\nContent-Length: 3\r\n\r\n", {"body": LENGTH, "length": 3}),
    (
        "101",
        b"GET",
        b"HTTP/1.1 101 S\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n",
        {"body": TUNNEL, "upgrade": b"foo", "fields": b"Upgrade: foo\r\nConnection: Upgrade\r\n"},
    ),
    (
        "close",
        b"GET",
        OK + b"Connection: close\r\nKeep-Alive: 3\r\nContent-Length: 3\r\n\r\n",
        {"keep_alive": False, "fields": b"Keep-Alive: 3\r\nContent-Length: 3\r\n"},
    ),
    (
        "an offer of h2",
        b"GET",
        OK + b"Upgrade: h2,h2c\r\nConnection: Upgrade, Keep-Alive\r\nContent-Length: 3\r\n\r\n",
        {"upgrade": None, "keep_alive": True, "fields": b"Content-Length: 3\r\n"},
    ),
    ("100 fields", b"GET", OK + b"a: b\r\n" * 100 + b"\r\n", {"body": CLOSE}),
    ("101 fields", b"GET", OK + b"a: b\r\n" * 101 + b"\r\n", 502),
]

#: (what it shows, bytes, what goes on) or None for a refused body
CHUNKED_BODIES: list[tuple[str, bytes, bytes | None]] = [
    ("one chunk", b"3\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
    ("no chunk", b"0\r\n\r\n", b"0\r\n\r\n"),
    ("several, hexadecimal", b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n"),
    ("line ends in the payload", b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"4\r\n\r\n\r\n\r\n0\r\n\r\n"),
    ("leading zeros", b"0" * 40 + b"3\r\nabc\r\n000\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
    ("blanks after the size", b"3 \t\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
    ("extensions", b'3;a=b;c="d;\\""\r\nabc\r\n0;x\r\n\r\n', b"3\r\nabc\r\n0\r\n\r\n"),
    ("blanks before the extension", b"3 ;a\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
    ("trailers", b"0\r\nA: b\r\nC: d\r\n\r\n", b"0\r\nA: b\r\nC: d\r\n\r\n"),
    ("bare LF in trailers", b"0\r\nA: b\nC: d\n\n", b"0\r\nA: b\r\nC: d\r\n\r\n"),
    ("folded trailers", b"0\r\nA: b\r\n c\r\n\r\n", b"0\r\nA: b   c\r\n\r\n"),
    ("fields that are none of a trailer", b"0\r\nContent-Length: 3\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\nA: b\r\n\r\n"),
    ("the most digits", b"0fffffffffffff\r\n", b"fffffffffffff\r\n"),
    ("too many digits", b"10000000000000\r\n", None),
    ("no size", b"\r\nabc\r\n0\r\n\r\n", None),
    ("no hexadecimal number", b"g\r\nabc\r\n0\r\n\r\n", None),
    ("0x", b"0x3\r\nabc\r\n0\r\n\r\n", None),
    ("sign", b"+3\r\nabc\r\n0\r\n\r\n", None),
    ("underscore", b"1_0\r\nabc\r\n0\r\n\r\n", None),
    ("blank before the size", b" 3\r\nabc\r\n0\r\n\r\n", None),
    ("blank inside the size", b"3 3\r\nabc\r\n0\r\n\r\n", None),
    ("bare LF after the size", b"3\nabc\r\n0\r\n\r\n", None),
    ("bare LF after the payload", b"3\r\nabc\n0\r\n\r\n", None),
    ("bare CR after the size", b"3\rabc\r\n0\r\n\r\n", None),
    ("more payload than the size", b"3\r\nabcd\r\n0\r\n\r\n", None),
    ("less payload than the size", b"3\r\nab\r\n0\r\n\r\n", None),
    ("an open quote", b'3;a="b\r\nabc\r\n0\r\n\r\n', None),
    ("a control in an extension", b"3;a=\x01\r\nabc\r\n0\r\n\r\n", None),
    ("a bare LF in an extension", b"3;a\nabc\r\n0\r\n\r\n", None),
    ("a malformed trailer", b"0\r\nA b\r\n\r\n", None),
    ("a folded line before any trailer", b"0\r\n A: b\r\n\r\n", None),
    ("a bare CR in a trailer", b"0\r\nA: b\rc\r\n\r\n", None),
    ("NUL in a trailer", b"0\r\nA: \0\r\n\r\n", None),
]
