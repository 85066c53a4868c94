"""Checks of known protocols and tcp-check sequences: an answer means the same in one piece and byte by byte, and a server's end settles it.

Texts and statuses are those that HAProxy 2.6 logs for the same bytes (``tests/system/test_checks_duet.py`` asks it).
"""

from __future__ import annotations

from typing import Any

import pytest

from forkproxy import registry
from forkproxy.clock import ManualClock
from forkproxy.health import kinds  # noqa: F401
from forkproxy.health.conversation import About, Conversation, Hop, Next, Parting, Result, View
from forkproxy.health.spop import hello, pairs
from forkproxy.health.status import Status
from forkproxy.plan import Address, Backend, Check, CheckStep, Server

ABOUT = About(
    Backend(name="b", id=1), Server(name="s", id=1, backend="b", address=Address("ipv4", "127.0.0.1", 1)), ManualClock(), View
)


def begin(kind: str, *steps: CheckStep, **options: Any) -> Conversation:
    conversation: Conversation = registry.CHECKS[kind].factory(Check(kind=kind, steps=steps, options=options)).begin(ABOUT)
    conversation.hop()
    return conversation


def converse(conversation: Conversation, answers: tuple[bytes, ...], size: int) -> tuple[Next, list[bytes]]:
    """The verdict, and what was asked: each answer comes in pieces of ``size`` once something was asked (or nothing is to be asked)."""
    asked: list[bytes] = []
    last = conversation.start()
    for answer in answers:
        if isinstance(last, bytes):
            asked.append(last)
            last = None
        for at in range(0, len(answer), size):
            last = conversation.feed(answer[at : at + size])
            if isinstance(last, (Result, Parting)):
                return last, asked
    return (conversation.eof() if last is None else last), asked


def frame(body: str) -> bytes:
    data = bytes.fromhex(body)
    return len(data).to_bytes(4, "big") + data


AGENT = "65 00000001 00 00" + b"\x07version\x08\x032.0\x0emax-frame-size\x03\xfc\xf0\x06\x0ccapabilities\x08\x00".hex()
GREETING = b"\x13\0\0\0\x0a10.11.6-MariaDB\0xy"


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("kind", "options", "answers", "wanted"),
    [
        ("redis-check", {}, (b"+PONG\r\n",), Result(Status.L7OK, 0, "Redis server is ok")),
        ("redis-check", {}, (b"-NOAUTH no\r\n",), Result(Status.L7STS, 0, "-NOAUTH no")),
        ("smtpchk", {"hello": "EHLO x"}, (b"220 me\r\n", b"250 x\r\n", b"221 bye now\r\n"), Result(Status.L7OK, 221, "bye now")),
        ("smtpchk", {}, (b"421 later\r\n",), Result(Status.L7STS, 421, "later")),
        ("smtpchk", {}, (b"220 me\r\n", b"550 no\r\n"), Result(Status.L7STS, 550, "no")),
        ("ldap-check", {}, (bytes.fromhex("300c02010161070a010004000400"),), Result(Status.L7OK, 0, "Success")),
        (
            "ldap-check", {}, (bytes.fromhex("300c02010161070a013104000400"),),
            Result(Status.L7STS, 49, "See RFC: http://tools.ietf.org/html/rfc4511#section-4.1.9"),
        ),
        ("ldap-check", {}, (bytes.fromhex("300c02010178070a010004000400"),), Result(Status.L7RSP, 0, "Not LDAPv3 protocol")),
        ("mysql-check", {}, (GREETING,), Result(Status.L7OK, 0, "10.11.6-MariaDB")),
        (
            "mysql-check", {"user": "a", "client": "post-41"}, (GREETING, b"\x07\0\0\x02\0\0\0\x02\0\0\0"),
            Result(Status.L7OK, 0, "10.11.6-MariaDB"),
        ),
        ("mysql-check", {"user": "a", "client": "pre-41"}, (GREETING, b"\x05\0\0\x02\xff\x15\x04no"), Result(Status.L7STS, 1045, "no")),
        ("mysql-check", {}, (b"SSH-2.0-x\r\n",), Result(Status.L7RSP)),
        ("pgsql-check", {"user": "a"}, (b"R\0\0\0\x08\0\0\0\x03",), Result(Status.L7OK, 0, "PostgreSQL server is ok")),
        ("pgsql-check", {"user": "a"}, (b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0",), Result(Status.L7OK, 0, "PostgreSQL server is ok")),
        ("pgsql-check", {"user": "a"}, (b"no thing",), Result(Status.L7STS, 0, "PostgreSQL unknown error")),
        ("spop-check", {}, (frame(AGENT),), Result(Status.L7OK, 0, "SPOA server is ok")),
        (
            "spop-check", {}, (frame(AGENT.replace("00000001", "00000000", 1)),),
            Result(Status.L7RSP, 0, "payload fragmentation is not supported"),
        ),
        ("spop-check", {}, (b"HTTP/1.0 400",), Result(Status.L7RSP, 0, "frame is too big")),
        ("ssl-hello-chk", {}, (b"\x15\x03\0\0\x02\x02\x28",), Result(Status.L6OK)),
        ("ssl-hello-chk", {}, (b"SSH-2.0",), Result(Status.L6RSP)),
    ],
)  # fmt: skip
def test_answers(kind: str, options: dict[str, Any], answers: tuple[bytes, ...], wanted: Result, size: int) -> None:
    assert converse(begin(kind, **options), answers, size)[0] == wanted


@pytest.mark.parametrize("kind", sorted(registry.CHECKS.keys() - {"tcp", "tcp-check", "agent-check", "external-check"}))
def test_silence_is_a_timeout_and_an_early_end_an_error(kind: str) -> None:
    options = {"user": "a", "client": "post-80"}
    conversation = begin(kind, **options)
    conversation.start()
    late = conversation.timeout().status
    assert late is (Status.L6TOUT if kind == "ssl-hello-chk" else Status.L7TOUT)
    conversation = begin(kind, **options)
    conversation.start()
    verdict = conversation.eof()
    assert isinstance(verdict, Result) and not verdict.status.passed


def expect(match: str, pattern: Any, comment: str = "", **more: Any) -> CheckStep:
    return CheckStep(kind="expect", args={"match": match, "pattern": pattern, "shown": str(pattern), **more}, comment=comment)


SEND = CheckStep(kind="send", args={"data": b"Q"})
CONNECT = CheckStep(kind="connect", args={"port": 99, "linger": True})


def test_sends_leave_together_and_forget_what_came_before() -> None:
    conversation = begin("tcp-check", expect("string", b"hi"), SEND, SEND, expect("string", b"ho"))
    assert conversation.start() is None
    assert conversation.feed(b"hi ho") == b"QQ"
    assert conversation.feed(b"h") is None
    assert conversation.feed(b"o") == Result(Status.L7OK, 0, "(tcp-check)")


def test_what_is_sent_last_leaves_before_the_verdict_or_the_next_connection() -> None:
    assert begin("tcp-check", SEND).start() == Parting(b"Q", Result(Status.L7OK, 0, "(tcp-check)"))
    conversation = begin("tcp-check", CheckStep(kind="connect"), SEND, CONNECT, expect("string", b"x"))
    assert conversation.start() == Parting(b"Q", Hop(port=99, linger=True))
    assert conversation.where() == " at step 3 of tcp-check (connect port 99)"
    assert conversation.start() is None
    assert conversation.feed(b"x") == Result(Status.L7OK, 0, "(tcp-check)")


def test_a_comment_of_its_own_line_is_the_next_rules() -> None:
    conversation = begin("tcp-check", CheckStep(kind="comment", comment="why"), expect("rstring", "^a", tout_status="L4TOUT"))
    conversation.start()
    assert conversation.timeout() == Result(Status.L4TOUT, 0, " at step 2 of tcp-check (expect regex) comment: 'why'")
    assert conversation.feed(b"b") is None
    assert conversation.eof() == Result(Status.L7RSP, 0, "TCPCHK did not match content (regex) at step 2 comment: why")


def test_a_full_buffer_is_the_end() -> None:
    program = registry.CHECKS["tcp-check"].factory(
        Check(kind="tcp-check", steps=(expect("string", b"needle"),), bufsize_bytes=100)
    )
    conversation = program.begin(ABOUT)
    conversation.hop()
    conversation.start()
    assert conversation.feed(b"x" * 99) is None
    assert conversation.feed(b"x") == Result(Status.L7RSP, 0, "TCPCHK did not match content 'b'needle'' at step 1")


def test_the_hello_of_stream_processing() -> None:
    assert pairs(hello(), 4 + 7) == {b"supported-versions": b"2.0", b"max-frame-size": 16380, b"capabilities": b"", b"healthcheck": True}
