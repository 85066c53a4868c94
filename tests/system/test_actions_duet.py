"""Actions in Debian's haproxy and in forkproxy: what the server is asked and what the client is answered, one exchange per rule."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from tests.peers import needs
from tests.system.duet import Duet, Side, read_all, read_head

pytestmark = [pytest.mark.system, needs("haproxy")]

REQUEST_RULES = r"""
set-header X-New %[src]-%[path]
set-header X-A one
set-header x-LIST new
add-header X-List more
set-header X-Pct 100%%\ %[str(a%b)]
set-header X-Quoted "\"a b\""
set-header X-Q %{+Q}[path]
set-header X-Hex %{+X}[src]
set-header X-Fmt "%ci:%cp %HM %HP %HQ %HV"
set-header X-Abs %[req.hdr(none)]
del-header X-List
del-header X- -m beg
del-header ^x-.$ -m reg
del-header ist -m end
del-header is -m sub
replace-header X-List (.*) <\1>
replace-header X-List ^a,(.*)$ \1,z
replace-header Cookie "a=([^;]*)(.*)" a=x\1\2
replace-value X-List ^.$ [\0]
set-method PUT
set-path /new/path
set-path /p%[path]
set-path noslash
set-pathq /n?q=1
set-query z=9
set-query "%[query,regsub(x=1,x=2)]"
set-uri /u?v
set-uri http://other/u
replace-path /foo/(.*) /bar/\1
replace-path (.*) \1/more
replace-path nomatch x
replace-pathq (.*)\?(.*) /z\1?w&\2
replace-uri ^/foo(.*) /uri\1
set-var(txn.x) path,upper
set-var-fmt(txn.x) %[path]-%[src]
unset-var(txn.case2)
set-log-level silent
set-nice 5
set-tos 0x10
set-src hdr(x-ip)
set-src-port int(99)
set-dst ipv4(10.0.0.1)
set-dst-port int(99)
set-priority-class int(1)
strict-mode off
disable-l7-retry
early-hint Link </s.css>
capture path len 5
allow
deny
deny status 429
deny deny_status 500
deny status 404 content-type text/plain string nope
deny content-type text/plain lf-string "no %[path]" hdr X-Why rule hdr X-None %[req.hdr(none)]
return
return status 204
return status 201 content-type text/html string "<p>"
return status 200 content-type text/plain lf-string "%[path] %[src]"
return status 503 default-errorfiles
auth realm here
auth
redirect location /to
redirect location /to%[path]?a code 301
redirect location /to code 303 set-cookie A=1
redirect location /to clear-cookie A=
redirect prefix /pre
redirect prefix http://h/pre drop-query
redirect prefix / append-slash drop-query code 307
redirect scheme https
redirect scheme https code 308
reject
wait-for-body time 100ms
normalize-uri path-merge-slashes
"""
RESPONSE_RULES = r"""
set-header X-S %[status]
add-header Set-Cookie c=3
del-header Set-Cookie
replace-header Set-Cookie (.*);(.*) \2
replace-value Vary ^b$ x
set-status 503
set-status 418 reason "I am"
set-status 299
deny
deny status 404
deny status 500 content-type text/plain string x
return status 200 content-type text/plain string replaced
redirect location /res
set-header X-V %[var(txn.case)]
set-header X-C %[res.cook(c)]-%[res.cook_cnt(c)]-%[res.hdr(vary,1)]
set-header X-B %[res.hdr_names]
set-log-level err
strict-mode on
"""
AFTER_RULES = r"""
set-header X-Z %[status]
del-header Vary
set-status 201
"""


def rules(text: str) -> list[str]:
    return [line for line in text.strip().split("\n") if line]


def _literal(rule: str) -> str:
    """A rule in a text that is formatted."""
    return rule.replace("{", "{{").replace("}", "}}")


CASES = [("http-request", r) for r in rules(REQUEST_RULES)] + [("http-response", r) for r in rules(RESPONSE_RULES)]
CASES += [("http-after-response", r) for r in rules(AFTER_RULES)]
TEXT = (
    """
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
  http-request set-var(txn.case) req.hdr(case)
  http-request del-header case
  http-request capture req.hdr(user-agent) len 10
"""
    + "".join(f"  {kind} {_literal(rule)} if {{{{ var(txn.case) -m str c{i} }}}}\n" for i, (kind, rule) in enumerate(CASES))
    + "  default_backend b\nbackend b\n  server s 127.0.0.1:{origin}\n"
)
REQUEST = (
    b"GET /foo/bar?x=1&y=2 HTTP/1.1\r\nHost: h.com\r\nCase: c%d\r\nX-List: a, b,c\r\nX-List: d\r\nX-A: 1\r\nX-IP: 10.1.2.3\r\n"
    b"Cookie: a=1; b=2\r\nConnection: close\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nSet-Cookie: c=1; path=/\r\nSet-Cookie: d=2\r\nVary: a, b\r\nConnection: close\r\n\r\n%b"
)


def repeats(sock: socket.socket) -> None:
    """Answers with the head that it got, names of fields in lower case."""
    head = read_head(sock)
    if head.endswith(b"\r\n\r\n"):
        body = re.sub(rb"(?m)^[^:\r\n]+:", lambda m: m[0].lower(), head)
        sock.sendall(ANSWER % (len(body), body))


def run(side: Side) -> list[bytes]:
    """What the client got for each case: names of fields in lower case and in order, without ports, of error pages the first line."""
    found = []
    for number in range(len(CASES)):
        side.origin.begin(repeats)
        with socket.create_connection(("127.0.0.1", side.port), timeout=8) as sock:
            sock.sendall(REQUEST % number)
            data = read_all(sock)
        data = re.sub(rb"(?m)^[A-Za-z-]+:", lambda m: m[0].lower(), data)
        head, _, body = data.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 1"):
            head, _, body = body.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        if body.startswith(b"<html>"):
            body = b"a page of errors"
            lines = [line for line in lines if not line.lower().startswith((b"content-length:", b"content-type:", b"cache-control:"))]
        names = sorted(re.sub(rb"^[^:]+:", lambda m: m[0].lower(), line) for line in lines)
        found.append(b"\n".join([first, *names, b"", body]).replace(b":%d" % side.port, b":PORT"))
    return [re.sub(rb"127\.0\.0\.1:\d+", b"127.0.0.1:PORT", one) for one in found]


def test_every_action(tmp_path: Path) -> None:
    with Duet(tmp_path, TEXT) as duet:
        theirs, ours = run(duet.reference), run(duet.ours)
    different = [(" ".join(case), ha, fp) for case, ha, fp in zip(CASES, theirs, ours, strict=True) if ha != fp]
    for case, ha, fp in different:
        print(f"--- {case}\n{ha.decode('latin-1')}\n--- ours\n{fp.decode('latin-1')}")
    assert not different
