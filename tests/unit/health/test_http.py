"""HTTP checks as transcripts; requests and reports are those that HAProxy 2.6 sent and wrote for the same rules."""

from __future__ import annotations

from typing import Any

import pytest

from forkproxy import registry
from forkproxy.clock import ManualClock
from forkproxy.health.conversation import About, Hop, Next, Result, View
from forkproxy.health.http import dechunk, http, parse_codes
from forkproxy.health.status import Status
from forkproxy.plan import Address, Backend, Check, CheckStep, Server
from forkproxy.values import replace

ABOUT = About(
    Backend(name="b", id=1), Server(name="s", id=1, backend="b", address=Address("ipv4", "127.0.0.1", 1)), ManualClock(), View
)
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Y: abc\r\n\r\nfoo"


def check(*steps: CheckStep, **more: Any) -> Check:
    return Check(kind="http", steps=steps, **more)


def expect(match: str, pattern: str = "", **more: Any) -> CheckStep:
    comment = more.pop("comment", "")
    return CheckStep(kind="expect", args={"match": match, "pattern": pattern, **more}, comment=comment)


def run(plan: Check, *parts: bytes, end: bool = False) -> Next:
    conversation = http(plan).begin(ABOUT)
    conversation.start()
    for part in parts:
        last = conversation.feed(part)
        if last is not None:
            return last
    return conversation.eof() if end else None


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [
        (check(), b"OPTIONS / HTTP/1.0\r\n\r\n"),
        (check(options={"method": "GET", "uri": "/k2"}), b"GET /k2 HTTP/1.0\r\n\r\n"),
        (check(options={"method": "HEAD", "uri": "/k3", "version": "HTTP/1.1"}), b"HEAD /k3 HTTP/1.1\r\nconnection: close\r\n\r\n"),
        (
            check(options={"uri": "*", "version": "HTTP/1.1\r\nHost: www"}),
            b"OPTIONS * HTTP/1.1\r\nhost: www\r\nconnection: close\r\n\r\n",
        ),
        (
            check(
                CheckStep(
                    kind="send",
                    args={
                        "method": "POST", "uri": "/k4", "version": "HTTP/1.1", "body": "hello world",
                        "headers": (("Host", "k4.local"), ("X-A", "b c"), ("Content-Length", "99")),
                    },
                )
            ),
            b"POST /k4 HTTP/1.1\r\nhost: k4.local\r\nx-a: b c\r\ncontent-length: 11\r\nconnection: close\r\n\r\nhello world",
        ),
    ],
)  # fmt: skip
def test_requests(plan: Check, wanted: bytes) -> None:
    assert http(plan).begin(ABOUT).start() == wanted


def test_send_state() -> None:
    program = http(check(send_state=True, options={"method": "GET", "uri": "/k5"}))
    view = View(status="UP 1/3", address="127.0.0.1", port=28090, name="k5/s1", node="nodeX", weight=1, total_weight=1)
    assert program.begin(replace(ABOUT, view=lambda: view)).start() == (
        b"GET /k5 HTTP/1.0\r\nx-haproxy-server-state: UP 1/3; address=127.0.0.1; port=28090; name=k5/s1; node=nodeX;"
        b" weight=1/1; scur=0/0; qcur=0\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [
        (check(), Result(Status.L7OK, 200)),
        (check(expect("status", "200-299,404")), Result(Status.L7OK, 200)),
        (check(expect("rstatus", "^3")), Result(Status.L7STS, 200, "OK")),
        (check(expect("status", "200", negate=True)), Result(Status.L7STS, 200, "OK")),
        (check(expect("string", "foo", negate=True)), Result(Status.L7RSP, 0, "HTTP check matched unwanted content")),
        (check(expect("string", "bar")), Result(Status.L7RSP, 0, "HTTP content check did not match")),
        (check(expect("rstring", "f.o")), Result(Status.L7OK, 200)),
        (check(expect("rstring", "b.r")), Result(Status.L7RSP, 0, "HTTP content check did not match")),
        (
            check(expect("string", "bar", comment="mycomment")),
            Result(Status.L7RSP, 0, "HTTP content check did not match comment: mycomment"),
        ),
        (check(expect("string", "bar", error_status="L7STS")), Result(Status.L7STS, 200, "HTTP content check did not match")),
        (check(expect("hdr", name=("str", "x-y"), value=("beg", "z"))), Result(Status.L7STS, 200, "OK")),
        (check(expect("hdr", name=("str", "x-y"), value=("beg", "a"))), Result(Status.L7OK, 200)),
        (check(expect("fhdr", name=("reg", "^x-"))), Result(Status.L7OK, 200)),
        (check(expect("status", "200"), expect("string", "foo")), Result(Status.L7OK, 200)),
        (check(expect("status", "200", ok_status="L4OK")), Result(Status.L4OK)),
    ],
)
def test_verdicts_whole_and_byte_by_byte(plan: Check, wanted: Result) -> None:
    assert run(plan, GOOD, end=True) == wanted
    assert run(plan, *(GOOD[i : i + 1] for i in range(len(GOOD))), end=True) == wanted


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (b"HTTP/1.1 503 Bad thing here\r\nContent-Length: 0\r\n\r\n", Result(Status.L7STS, 503, "Bad thing here")),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", Result(Status.L7OK, 302)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", Result(Status.L7OK, 204)),
        (b"", Result(Status.L7RSP)),
        (b"HTTP/1.1 200 O", Result(Status.L7RSP)),
        (b"garbage\r\n\r\n", Result(Status.L7RSP)),
        (b"HTTP/1.0 404 Not found\r\n\r\n", Result(Status.L7STS, 404, "Not found")),
    ],
)
def test_answers_of_the_default_rule(answer: bytes, wanted: Result) -> None:
    assert run(check(), answer, end=True) == wanted


def test_disable_on_404_goes_before_expect() -> None:
    plan = check(expect("status", "200"), disable_on_404=True)
    assert run(plan, b"HTTP/1.0 404 Not found\r\n\r\n") == Result(Status.L7OKC, 404)
    assert run(plan, b"HTTP/1.0 500 Oops\r\n\r\n") == Result(Status.L7STS, 500, "Oops")


def test_body_is_looked_at_as_it_comes() -> None:
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    assert run(check(expect("string", "foo")), start + b"foo") == Result(Status.L7OK, 200)
    assert run(check(expect("string", "zzz")), start + b"foo") is None
    assert run(check(expect("string", "zzz")), start + b"foo", end=True) == Result(Status.L7RSP, 0, "HTTP content check did not match")
    assert run(check(expect("string", "zzz")), b"HTTP/1.0 200 OK\r\n\r\n", end=True) == Result(
        Status.L7RSP, 0, "HTTP content check could not find a response body"
    )


def test_chunked_body_is_decoded() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfo\r\n1;x=y\r\no\r\n0\r\n\r\n"
    assert run(check(expect("string", "foo")), answer) == Result(Status.L7OK, 200)
    assert run(check(expect("string", "foo")), *(answer[i : i + 1] for i in range(len(answer)))) == Result(Status.L7OK, 200)


def test_bad_chunk_is_an_invalid_response() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nfoo"
    assert run(check(expect("string", "foo")), answer) == Result(Status.L7RSP)


def test_min_recv_says_when_a_body_is_worth_a_look() -> None:
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    plan = check(expect("string", "foo", min_recv=6, negate=True))
    assert run(plan, start + b"foo") is None  # would be a match already
    assert run(plan, start + b"foo", b"bar") == Result(Status.L7RSP, 0, "HTTP check matched unwanted content")
    assert run(check(expect("string", "foo", min_recv=0)), start + b"bar") == Result(Status.L7RSP, 0, "HTTP content check did not match")
    assert run(check(expect("string", "foo", min_recv=-1)), start + b"bar") is None


def test_an_endless_answer_ends_with_the_buffer() -> None:
    plan = check(expect("string", "foo"), bufsize_bytes=1024)
    assert run(plan, b"HTTP/1.0 200 OK\r\n\r\n", b"x" * 500, b"x" * 600) == Result(Status.L7RSP, 0, "HTTP content check did not match")
    assert run(check(bufsize_bytes=1024), b"HTTP/1.0 200 " + b"x" * 2000) == Result(Status.L7RSP)


def test_timeout_says_what_the_rule_wants() -> None:
    conversation = http(check(expect("status", "200", tout_status="L4TOUT"))).begin(ABOUT)
    conversation.start()
    assert conversation.timeout() == Result(Status.L4TOUT)
    assert http(check()).begin(ABOUT).timeout() == Result(Status.L7TOUT)


def test_several_exchanges_with_hops() -> None:
    plan = check(
        CheckStep(kind="connect", args={"port": 81}),
        CheckStep(kind="send", args={"method": "GET", "uri": "/1"}),
        expect("status", "200"),
        CheckStep(kind="connect", args={"port": 82, "send_proxy": True}),
        CheckStep(kind="send", args={"method": "GET", "uri": "/2"}),
    )
    conversation = http(plan).begin(ABOUT)
    assert conversation.hop() == Hop(None, 81)
    assert conversation.start() == b"GET /1 HTTP/1.0\r\n\r\n"
    assert conversation.feed(GOOD) == Hop(None, 82, True)
    assert conversation.start() == b"GET /2 HTTP/1.0\r\n\r\n"
    assert conversation.feed(b"HTTP/1.1 204 Fine\r\n\r\n") == Result(Status.L7OK, 204)


def test_two_requests_on_one_connection() -> None:
    plan = check(CheckStep(kind="send", args={"uri": "/1"}), CheckStep(kind="send", args={"uri": "/2"}), expect("string", "foo"))
    conversation = http(plan).begin(ABOUT)
    conversation.start()
    assert conversation.feed(GOOD) == b"OPTIONS /2 HTTP/1.0\r\n\r\n"
    assert conversation.feed(GOOD) == Result(Status.L7OK, 200)


def test_codes() -> None:
    assert parse_codes("200,201,300-310") == (range(200, 201), range(201, 202), range(300, 311))
    for wrong in ("", "abc", "20", "200-", "200-1000"):
        with pytest.raises(ValueError):
            parse_codes(wrong)


@pytest.mark.parametrize("args", [{"match": "nonsense", "pattern": ""}, {"match": "hdr", "name": ("xyz", "a")}])
def test_wrong_rules_are_refused(args: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        http(check(CheckStep(kind="expect", args=args)))


def test_dechunk_waits_for_the_end() -> None:
    assert dechunk(b"3\r\nfoo\r\n") == (b"foo", False)
    assert dechunk(b"3\r\nfo") == (b"fo", False)
    assert dechunk(b"0\r\n\r\n") == (b"", True)
    assert dechunk(b"0\r\nA: b\r\n\r\n") == (b"", True)


def test_registered() -> None:
    assert registry.CHECKS["http"].factory is http
