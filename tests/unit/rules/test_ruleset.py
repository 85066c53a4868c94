"""Rules: every action on a real head, conditions folded in, what is refused; use_backend as one function."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forkproxy.errors import ConfigError
from forkproxy.registry import Needs
from forkproxy.rules.expr import compile_sample
from forkproxy.rules.logencode import http_safe
from forkproxy.rules.ruleset import fold_use_backend, parse_rule, parse_use_backend, steps_of
from forkproxy.rules.userlist import Userlist, basic_credentials
from forkproxy.rules.verdict import ALLOW, REJECT, SILENT_DROP, WAIT, Reply
from tests.unit.rules.support import context, make_txn, words

RAW = (
    b"GET /foo/bar?q=1 HTTP/1.1\r\nHost: h.com\r\nX-A: one, two,three\r\nX-A: four\r\nX-B: curl/7\r\nX-Cc: z\r\n"
    b"Authorization: Basic am9lOnNlY3JldA==\r\n\r\n"
)


def run(line: str, kind: str = "http-req", txn: Any = None, **more: Any) -> tuple[Any, Any]:
    txn = txn if txn is not None else make_txn(RAW, response=kind != "http-req")
    return parse_rule(kind, words(line), context(kind, **more)).step(txn), txn


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("set-path /x", b"/x?q=1"),
        ("set-pathq /x?y", b"/x?y"),
        ("set-query a=b", b"/foo/bar?a=b"),
        ("set-query %[var(txn.none)]", b"/foo/bar"),
        ("set-uri http://o/x", b"http://o/x"),
        ("replace-path /foo/(.*) /\\1", b"/bar?q=1"),
        ("replace-path (.*) /new\\1", b"/new/foo/bar?q=1"),
        ("replace-path oo x", b"x?q=1"),
        ("replace-path nomatch x", b"/foo/bar?q=1"),
        ("replace-pathq ([^?]*)(\\?(.*))? \\1/foo\\2", b"/foo/bar/foo?q=1"),
        ("replace-uri ([^/:]*://[^/]*)?(.*) \\1/foo\\2", b"/foo/foo/bar?q=1"),
        ("set-path /x if { path /other }", b"/foo/bar?q=1"),
        ("set-path /x unless { path /other }", b"/x?q=1"),
    ],
)
def test_target(line: str, target: bytes) -> None:
    verdict, txn = run(line)
    assert verdict is None and txn.req.target == target


@pytest.mark.parametrize(
    ("line", "name", "values"),
    [
        ("add-header X-A %[src]", b"x-a", [b"one, two,three", b"four", b"127.0.0.1"]),
        ("set-header X-A new", b"x-a", [b"new"]),
        ("del-header x-a", b"x-a", []),
        ("del-header x- -m beg", b"x-cc", []),
        ("del-header ^X-[a-b]$ -m reg", b"x-cc", [b"z"]),
        ("del-header ^x-[a-b]$ -m reg", b"x-b", []),
        ("replace-header X-B curl foo", b"x-b", [b"foo"]),
        ("replace-header X-A ^(o.*),.*$ <\\1>", b"x-a", [b"<one, two>", b"four"]),
        ("replace-value X-A ^t(.*)$ T\\1", b"x-a", [b"one,Two,Three", b"four"]),
    ],
)
def test_headers(line: str, name: bytes, values: list[bytes]) -> None:
    verdict, txn = run(line)
    assert verdict is None and txn.req.get_all(name) == values


@pytest.mark.parametrize(("line", "values"), [
    ("set-header Host b.org", [b"b.org"]), ("set-header X-Host b.org", [b"www.example.com"]), ("del-header host", []),
    ("add-header HOST b.org", [b"www.example.com", b"b.org"]), ("replace-header Host w+ x", [b"x"]),
    ("replace-value Host (.*) \\1,c.net", [b"www.example.com", b"c.net"]),
    ("set-uri http://d.net/x", [b"d.net"]), ("del-header ho -m beg", []),
])  # fmt: skip
@pytest.mark.parametrize("name", ["hdr", "req.hdr"])
def test_who_asks_for_host_sees_what_rules_made_of_it(line: str, values: list[bytes], name: str) -> None:
    txn = make_txn()
    one = compile_sample(f"{name}(host)", context())
    assert one.each is not None and (one.fetch(txn), list(one.each(txn))) == (b"www.example.com", [b"www.example.com"])
    parse_rule("http-req", words(line), context()).step(txn)
    assert (one.fetch(txn), list(one.each(txn))) == (values[-1] if values else None, values)
    txn = make_txn(response=True)
    assert one.fetch(txn) == (None if name == "hdr" else b"www.example.com"), "in the response it is the response's"


@pytest.mark.parametrize(("lines", "steps", "fields"), [
    (["set-header A 1", "set-header B %[src]", "del-header X-A"], 1, [("A", "1"), ("B", "127.0.0.1")]),
    (["set-header A 100%%", "set-header B %[src]:%[dst]", "set-header C %[src]"], 1,
     [("A", "100%"), ("B", "127.0.0.1:127.0.0.1"), ("C", "127.0.0.1")]),
    (["set-header A 1", "set-header a 2"], 2, [("a", "2")]),  # the second one cuts what the first one set
    (["set-header A 1", "del-header a"], 2, []),
    (["set-header A 1", "set-header B %[req.hdr(a)]"], 2, [("A", "1"), ("B", "1")]),  # it sees what the first one set
    (["set-header A 1", "set-header B 2 if TRUE", "set-header C 3 unless TRUE"], 3, [("A", "1"), ("B", "2")]),
    (["set-header A 1", "add-header A 2", "set-header B 3"], 3, [("A", "1"), ("A", "2"), ("B", "3")]),
    (["set-header A 1", "set-header B %[req.body]"], 2, [("A", "1"), ("B", "")]),  # it may have to wait
])  # fmt: skip
def test_edits_that_follow_each_other_are_one_step(lines: list[str], steps: int, fields: list[tuple[str, str]]) -> None:
    txn = make_txn(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    made = steps_of(parse_rule("http-req", words(line), context()) for line in lines)
    for step in made:
        assert step(txn) is None
    assert txn.req is not None
    assert len(made) == steps
    assert txn.req.items() == [(b"Host", b"h"), *((name.encode(), value.encode()) for name, value in fields)]


def test_edits_of_a_request_and_of_a_response_are_two_steps() -> None:
    rules = [parse_rule(kind, words("set-header A 1"), context(kind)) for kind in ("http-req", "http-res")]
    assert len(steps_of(rules)) == 2


def test_response_headers_and_status() -> None:
    _, txn = run("set-header X-S %[status]", "http-res")
    assert txn.res.get(b"x-s") == b"200"
    _, txn = run("set-status 503 reason Nope", "http-after-res")
    assert (txn.res.status, txn.res.reason) == (503, b"Nope")


# what haproxy 2.6 answered to GET /p/a?q=1 (Host h.com): fields in its order
REDIRECTS = [
    ("redirect location http://x/%[path]?a", 302, [b"http://x//p/a?a", b"no-cache"]),
    ("redirect prefix http://p", 302, [b"http://p/p/a?q=1", b"no-cache"]),
    ("redirect prefix http://p drop-query append-slash code 301", 301, [b"http://p/p/a/"]),
    ("redirect scheme https", 302, [b"https://h.com/p/a?q=1", b"no-cache"]),
    ("redirect location /l set-cookie A=1 code 303", 303, [b"/l", b"no-cache", b"A=1; path=/;"]),
    ("redirect prefix / clear-cookie A= code 307", 307, [b"/p/a?q=1", b"no-cache", b"A=; path=/; Max-Age=0;"]),
    ("redirect code 308 location /x keep-query", 308, [b"/x?q=1"]),
    ("redirect location /x?y keep-query", 302, [b"/x?y&q=1", b"no-cache"]),
]


@pytest.mark.parametrize(("line", "status", "values"), REDIRECTS, ids=[r[0] for r in REDIRECTS])
def test_redirect(line: str, status: int, values: list[bytes]) -> None:
    reply, txn = run(line, txn=make_txn(b"GET /p/a?q=1 HTTP/1.1\r\nHost: h.com\r\n\r\n"))
    assert isinstance(reply, Reply) and reply.status == status and not reply.denied and reply.headers is not None
    assert [value for _, value in reply.headers(txn)] == values


def test_no_rule_splits_a_message() -> None:
    """CR, LF and NUL leave percent-encoded, blanks as they are, wherever a rule writes into a head."""
    assert http_safe(b"a\0 b") == b"a%00 b"
    evil, safe = "%[bin(6120620d0a63)]", b"a b%0D%0Ac"
    for line in (f"set-header X-N {evil}", f"add-header X-N {evil}", f"replace-header X-B .* {evil}"):
        _, txn = run(line)
        assert txn.req.get(b"x-b" if "replace" in line else b"x-n") == safe, line
    written = ("set-path", b"", b"?q=1"), ("set-uri", b"", b""), ("set-query", b"/foo/bar?", b""), ("set-pathq", b"", b"")
    for line, before, after in written:
        _, txn = run(f"{line} {evil}")
        assert txn.req.target == before + safe + after, line
    for how in ("location", "prefix"):
        reply, txn = run(f"redirect {how} {evil}")
        assert isinstance(reply, Reply) and reply.headers is not None
        assert reply.headers(txn)[0][1].startswith(safe)
    _, txn = run(f"set-header X-N {evil}", "http-res")
    assert txn.res.get(b"x-n") == safe


def test_a_slash_that_is_there_is_not_appended() -> None:
    reply, txn = run("redirect prefix / drop-query append-slash code 301", txn=make_txn(b"GET /p/?q HTTP/1.1\r\nHost: h\r\n\r\n"))
    assert reply.headers(txn) == [(b"location", b"/p/")]


def test_redirect_to_nowhere_is_skipped() -> None:
    assert run("redirect location %[var(txn.none)] ignore-empty")[0] is None


def test_return(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"path is %[path]")
    (tmp_path / "e.http").write_bytes(b"HTTP/1.0 503 No\r\n\r\nsorry")
    for line, status, kind, body in (
        ("return status 201 content-type text/plain string hello hdr X-P %[path]", 201, b"text/plain", b"hello"),
        ("return content-type text/plain lf-string a%[str(b)]", 200, b"text/plain", b"ab"),
        (f"return content-type text/plain file {tmp_path}/f", 200, b"text/plain", b"path is %[path]"),
        (f"return content-type text/plain lf-file {tmp_path}/f", 200, b"text/plain", b"path is /foo/bar"),
        ("return status 204", 204, b"", b""),
    ):
        reply, txn = run(line)
        assert (reply.kind, reply.status, reply.content_type, reply.body(txn)) == ("reply", status, kind, body)
        if "hdr" in line:
            assert reply.headers(txn) == [(b"X-P", b"/foo/bar")]
    reply, _ = run(f"return status 503 errorfile {tmp_path}/e.http")
    assert reply.raw == b"HTTP/1.0 503 No\r\n\r\nsorry" and reply.close
    assert run("return default-errorfiles")[0].default_error


def test_deny_and_tarpit() -> None:
    for line, kind, at, status in (
        ("deny", "deny", "http-req", 403),
        ("deny deny_status 429", "deny", "http-req", 429),
        ("deny", "deny", "http-res", 502),
        ("tarpit", "tarpit", "http-req", 500),
        ("tarpit deny_status 429", "tarpit", "http-req", 429),
    ):
        reply, _ = run(line, at)
        assert (reply.kind, reply.status, reply.denied, reply.body, reply.default_error) == (kind, status, True, None, True)
    reply, txn = run("deny status 429")
    assert (reply.status, reply.default_error, reply.body(txn)) == (429, False, b""), "as haproxy 2.6: a status of its own has no page"
    reply, txn = run("deny hdr X-B c")
    assert reply.headers(txn) == [(b"X-B", b"c")] and reply.body(txn) == b""


def test_auth() -> None:
    users = Userlist("u")
    users.add(b"joe", b"secret", True, [b"admins"])
    rule = "auth realm Area unless { http_auth(u) }"
    assert run(rule, userlists={"u": users})[0] is None
    reply, txn = run(rule, txn=make_txn(), userlists={"u": users})
    assert reply.status == 401 and reply.headers(txn) == [(b"www-authenticate", b'Basic realm="Area"')]
    assert run("deny if { http_auth_group(u) admins }", userlists={"u": users})[0] is not None
    assert run("deny if { http_auth_group(u) others }", userlists={"u": users})[0] is None


def test_crypt_passwords() -> None:
    users = Userlist("u")
    users.add(b"a", b"$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", False)
    assert users.check(b"a", b"Hello world!") and users.check(b"a", b"Hello world!")
    assert not users.check(b"a", b"hello world!") and not users.check(b"b", b"")
    assert basic_credentials(b"Basic !!!") is None and basic_credentials(b"Bearer x") is None


def test_a_slow_hash_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from forkproxy.rules import userlist

    made: list[bytes] = []

    def crypt(password: bytes, salt: bytes) -> bytes:
        made.append(password)
        return salt if password == b"right" else b"x"

    monkeypatch.setattr(userlist, "_libcrypt", lambda: SimpleNamespace(crypt=crypt))
    users = Userlist("u")
    users.add(b"a", b"$5$hash", False)
    assert [users.check(b"a", b"right"), users.check(b"a", b"right")] == [True, True]
    assert [users.check(b"a", b"wrong"), users.check(b"a", b"wrong"), users.check(b"a", b"right")] == [False, False, True]
    assert made == [b"right", b"wrong", b"wrong"]


def test_variables() -> None:
    _, txn = run("set-var(txn.a) path,upper")
    assert txn.vars["txn.a"] == b"/FOO/BAR"
    run("set-var(txn.a,ifnotexists) str(no)", txn=txn)
    assert txn.vars["txn.a"] == b"/FOO/BAR"
    run("set-var(txn.a,ifexists,ifempty) str(no)", txn=txn)
    assert txn.vars["txn.a"] == b"/FOO/BAR", "all conditions, not any"
    run("set-var-fmt(sess.b) %[src]:%[str(x)]", txn=txn)
    assert txn.origin.vars == {"sess.b": b"127.0.0.1:x"}
    run("unset-var(txn.a)", txn=txn)
    assert "txn.a" not in txn.vars


def test_marks() -> None:
    _, txn = run("set-src hdr_ip(x-forwarded-for),ipmask(8)")
    assert txn.marks is None
    _, txn = run("set-src str(10.9.8.7)")
    assert run("deny if { src 10.9.8.7 }", txn=txn)[0] is not None
    run("set-timeout server 5s", txn=txn)
    run("set-nice 2000", txn=txn)
    run("set-fc-tos 0x10", txn=txn)
    run("set-log-level silent", txn=txn)
    assert (txn.marks["timeout.server"], txn.marks["nice"], txn.marks["fc_tos"], txn.log_level) == (5.0, 1024, 16, -1)


def test_capture() -> None:
    ctx = context(caps="frontend")
    rule = parse_rule("http-req", words("capture req.hdr(x-b) len 3"), ctx)
    assert ctx.captures[0] == [(b"req.hdr(x-b)", 3)]
    txn = make_txn(RAW)
    rule.step(txn)
    assert txn.captures_req == [b"cur"]
    parse_rule("http-req", words("capture path id 0"), ctx).step(txn)
    assert txn.captures_req == [b"/fo"]


def test_flow() -> None:
    assert run("allow")[0] is ALLOW
    assert run("reject")[0] is REJECT
    assert run("silent-drop")[0] is SILENT_DROP
    assert run("accept if { src 127.0.0.0/8 }", "tcp-req-conn")[0] is ALLOW


def test_waiting_for_content() -> None:
    txn = make_txn(b"")
    txn.body, txn.body_done = b"", False
    assert run("accept if { req.ssl_hello_type 1 }", "tcp-req-cont", txn)[0] is WAIT
    assert run("set-var(sess.sni) req.ssl_sni if { req.ssl_hello_type 1 }", "tcp-req-cont", txn)[0] is WAIT
    assert run("set-var(sess.sni) req.ssl_sni", "tcp-req-cont", txn)[0] is None, "an action takes what is there (observed)"
    assert not txn.body_done and "sess.sni" not in (txn.origin.vars or {})
    txn.body_done = True
    assert run("accept if { req.ssl_hello_type 1 }", "tcp-req-cont", txn)[0] is None


def test_wait_for_body() -> None:
    txn = make_txn(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
    txn.body, txn.body_done = b"12", False
    assert run("wait-for-body time 1s", txn=txn)[0] is WAIT
    assert run("wait-for-body time 1s at-least 2", txn=txn)[0] is None
    bare = make_txn()
    bare.body_done = False
    assert run("wait-for-body time 1s", txn=bare)[0] is None, "there is none to wait for"
    assert txn.marks == {"timeout.body": 1.0}
    assert not parse_rule("http-req", words("wait-for-body time 1s"), context()).needs & Needs.BODY  # only where it is met


@pytest.mark.parametrize(
    ("kind", "line", "message", "hint"),
    [
        ("http-req", "sethdr x y", "unknown action 'sethdr'", "set-header"),
        ("http-req", "accept", "does not have the action 'accept'", "tcp-request connection"),
        ("tcp-req-conn", "deny", "does not have the action 'deny'", "http-request"),
        ("http-req", "set-header", "expects a header field's name", ""),
        ("http-req", "set-header X", "expects a log-format string", ""),
        ("http-req", "set-header X:Y v", "not a valid header field name", ""),
        ("http-req", "set-header X v extra", "unexpected argument 'extra'", ""),
        ("http-req", "set-header X %[status]", "it needs the response", ""),
        ("http-res", "set-header X %[path]", "gone by then", ""),
        ("http-req", "set-var path", "expects its argument in parentheses", ""),
        ("http-req", "set-var(foo) path", "invalid variable name 'foo'", ""),
        ("http-req", "return string x", "a content-type must be given", "content-type"),
        ("http-req", "return status 600", "from 200 to 599", ""),
        ("http-req", "return bogus", "does not know 'bogus'", "lf-string"),
        ("http-req", "return string a file b content-type x", "cannot be used together", ""),
        ("http-req", "redirect", "redirection type expected", ""),
        ("http-req", "redirect location /x code 200", "unsupported HTTP code '200'", ""),
        ("http-res", "redirect scheme https", "only 'location' is allowed", ""),
        ("http-req", "replace-path ( x", "regex '(' is invalid", ""),
        ("http-req", "use-service nothing", "unknown service 'nothing'", ""),
        ("http-req", "set-log-level loud", "not a log level", "emerg"),
        ("http-req", "capture path id 3", "unable to find capture id '3'", ""),
        ("http-req", "deny errorfiles nowhere", "unknown http-errors section 'nowhere'", ""),
        ("http-req", "deny if", "missing ACL name", ""),
        ("http-req", "", "expects an action", ""),
    ],
)
def test_refused(kind: str, line: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_rule(kind, words(line), context(kind))
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_known_action() -> None:
    with pytest.raises(ConfigError, match="known to HAProxy"):
        parse_rule("http-req", words("cache-use c"), context(known={"action": {"cache-use"}}))


def test_final() -> None:
    for line, final in (("return", True), ("allow", True), ("deny if { path /x }", False), ("set-header X y", False)):
        assert parse_rule("http-req", words(line), context()).final is final


# -- use_backend ----------------------------------------------------------------------------------------------------------


def host(name: str) -> Any:
    return make_txn(b"GET / HTTP/1.1\r\nHost: " + name.encode() + b"\r\n\r\n")


def choices(*lines: str) -> Any:
    ctx = context("use-backend")
    return fold_use_backend([parse_use_backend(words(line), ctx) for line in lines])


def test_use_backend_first_match_wins() -> None:
    choose = choices(
        "a if { hdr(host) -i a.com shared.com }",
        "b if { hdr(host) -i B.com shared.com }",
        "c if { hdr(host) -i c.com a.com }",
        "dyn-%[hdr(host),lower] if { hdr_beg(host) -i dyn }",
        "d if { hdr(host) -i d.com }",
        "e",
    )
    for name, expected in (
        ("A.com", "a"), ("b.com", "b"), ("SHARED.com", "a"), ("c.com", "c"), ("DYN.x", "dyn-dyn.x"), ("d.com", "d"), ("z", "e"),
    ):  # fmt: skip
        assert choose(host(name)) == expected
    several = make_txn(b"GET / HTTP/1.1\r\nHost: c.com\r\n\r\n")
    assert several.req is not None
    for value in (b"c.com, b.com", b"b.com, c.com"):
        several.req.replace_all([(b"Host", value)])
        assert choose(several) == "b"  # every value counts, and the first rule that any of them meets


def test_use_backend_nothing_matches() -> None:
    assert choices("a if { path /x }")(host("z")) is None
    assert choices() is None


def test_use_backend_passes_over_what_is_hidden() -> None:
    """Whether rules stand alone, are folded into one look-up, or make the name themselves: the next rule that matches counts."""
    ctx = context("use-backend")
    lines = (
        "a if { hdr(host) a }", "a if { hdr(host) b }", "b if { hdr(host) b }", "x-%[hdr(host)] if { hdr(host) c }",
        "c if { hdr(host) c }", "a if { hdr_beg(host) d }", "x-%[hdr(host)] if { hdr_beg(host) d }", "d if { hdr_beg(host) d }",
    )  # fmt: skip
    rules = [parse_use_backend(words(line), ctx) for line in lines]
    for hidden, expected in (
        ((), ["a", "a", "x-c", "a"]),
        (("a",), [None, "b", "x-c", "x-d"]),
        (("a", "b", "x-c", "x-d"), [None, None, "c", "d"]),
    ):
        choose = fold_use_backend(rules, frozenset(hidden))
        assert choose is not None and [choose(host(name)) for name in "abcd"] == expected
    assert fold_use_backend(rules[:2], {"a"}) is None


def test_use_backend_folds_named_acls() -> None:
    from forkproxy.rules.acl import compile_acl

    ctx = context("use-backend")
    for i in range(50):
        ctx.acls[f"h{i}"] = [compile_acl(words(f"hdr(host) -i h{i}.com"), ctx)]
    rules = [parse_use_backend(words(f"b{i} if h{i}"), ctx) for i in range(50)]
    choose = fold_use_backend(rules)
    assert choose is not None and choose(host("H49.com")) == "b49" and choose(host("h50.com")) is None
    assert "_dispatch" in repr(choose)


# -- lists of fields in bytes ---------------------------------------------------------------------------------------------


def test_header_lists() -> None:
    txn: Any = make_txn(b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-B: 2\r\nY: " + b"v" * 3000 + b"\r\n\r\n")
    before = txn.req.items()
    run("set-var(txn.all) req.hdrs_bin", txn=txn)
    for line, names in (
        ("del-headers-bin var(txn.all)", []),
        ("add-headers-bin var(txn.all)", [b"host", b"x-a", b"x-b", b"y"]),
        ("add-headers-bin var(txn.all) prefix X-", [b"host", b"x-a", b"x-b", b"y", b"x-a", b"x-b"]),
        ("set-headers-bin var(txn.all) prefix x-a", [b"host", b"x-b", b"y", b"x-b", b"x-a"]),
        ("set-headers-bin var(txn.none)", [b"host", b"x-b", b"y", b"x-b", b"x-a"]),
        ("del-headers-bin bin(03782d6200) -m beg", [b"host", b"y", b"x-a"]),
        ("del-headers-bin bin(022d6100) -m end", [b"host", b"y"]),
        ("set-headers-bin bin(0161016200) ", [b"host", b"y", b"a"]),
        ("add-headers-bin bin(0361203a0162000001)", [b"host", b"y", b"a"]),  # no token
        ("add-headers-bin bin(0161ff)", [b"host", b"y", b"a"]),  # cut off
        ("add-headers-bin bin(01620161000001630164)", [b"host", b"y", b"a", b"b"]),  # what follows the end is not looked at
    ):
        run(line, txn=txn)
        assert [name for name, _ in txn.req.items()] == names, line
    assert txn.req.get(b"y") == dict(before)[b"Y"]
    run("add-headers-bin bin(01630361" "0d0a00)", txn=txn)
    assert txn.req.get(b"c") == b"a%0D%0A"


def test_who_ended_a_set() -> None:
    for traced, place in ((True, ("t.cfg", 3)), (False, None)):
        txn: Any = make_txn(RAW)
        run("set-header A b", txn=txn, traced=traced)
        run("deny if { path /other }", txn=txn, traced=traced)
        assert not txn.marks
        run("deny if { path /foo/bar }", txn=txn, traced=traced)
        assert dict(txn.marks or ()).get("last_rule") == place
    sample = parse_rule("http-req", words("set-var(txn.a) last_rule_line"), context())
    other = make_txn(RAW)
    sample.step(other)
    assert other.vars is not None and "txn.a" not in other.vars


def test_the_servers_status_stays_known() -> None:
    txn = make_txn(RAW, response=True)
    status = ("set-status 500", "set-status 501")
    for line in ("set-var(txn.a) server_status", *status, "set-var(txn.b) server_status", "set-var(txn.c) status"):
        run(line, "http-res", txn)
    assert txn.vars is not None and [txn.vars[f"txn.{n}"] for n in "abc"] == [200, 200, 501]
