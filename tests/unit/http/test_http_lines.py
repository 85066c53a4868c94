"""What is remembered of field lines: verdicts stay the same, there is an end to the memory, and secrets are not in it."""

from __future__ import annotations

import pytest

from forkproxy.http import lines
from forkproxy.http.lines import CAREFUL, CHUNKED, CONNECTION, HOST, LENGTH, LONGEST, MOST_PLAIN, MOST_SPECIAL, PLAIN, Lines
from forkproxy.http.reader import Limits, parse_request


def fresh() -> Lines:
    return Lines(lines._REQUEST, lines._HOST)


@pytest.mark.parametrize(
    ("line", "kind", "value"),
    [
        (b"Accept: */*", PLAIN, b""),
        (b"Accept:", PLAIN, b""),
        (b"X-T: a\tb\xff ", PLAIN, b""),
        (b"HOST:\t example.com:80", HOST, b"example.com:80"),
        (b"Host:", HOST, b""),
        (b"connection: Keep-alive", CONNECTION, b"Keep-alive"),
        (b"Content-length:0", LENGTH, b"0"),
        (b"Transfer-Encoding: chunked", CHUNKED, b"chunked"),
        (b"Content-Length: 03", CAREFUL, b""),
        (b"Transfer-Encoding: gzip, chunked", CAREFUL, b""),
        (b"Connection: upgrade", CAREFUL, b""),
        (b"Host: a b", CAREFUL, b""),
        (b"Expect: 100-continue", CAREFUL, b""),
        (b"TE: trailers", CAREFUL, b""),
        (b"Upgrade: h2c", CAREFUL, b""),
        (b" folded", CAREFUL, b""),
        (b"A : b", CAREFUL, b""),
        (b"A: b\rc", CAREFUL, b""),
        (b"A: b\nHost: c", CAREFUL, b""),
        (b"", CAREFUL, b""),
    ],
)
def test_what_a_line_is(line: bytes, kind: int, value: bytes) -> None:
    memory = fresh()
    for _ in range(2):
        found = memory.judge(line)
        assert (found.kind, found.value) == (kind, value)
    assert (line in memory.plain) == (kind == PLAIN)
    assert (line in memory.special) == (kind not in (PLAIN, CAREFUL))


def test_the_memory_has_an_end() -> None:
    memory = fresh()
    for i in range(MOST_SPECIAL + 10):
        memory.judge(b"X-Number: %d" % i)
        memory.judge(b"Content-Length: %d" % i)
        assert len(memory.plain) <= MOST_PLAIN and len(memory.special) <= MOST_SPECIAL
    memory.judge(b"X-Long: " + b"x" * LONGEST)
    assert all(len(line) <= LONGEST for line in memory.plain)


def test_secrets_are_not_kept() -> None:
    memory = fresh()
    for name in (b"Cookie", b"AUTHORIZATION", b"Proxy-Authorization", b"set-cookie"):
        assert memory.judge(name + b": secret").kind == PLAIN
    assert not memory.plain and not memory.special


@pytest.mark.parametrize("body", [0, 20000])
def test_the_head_ends_at_the_first_empty_line_however_much_follows(body: int) -> None:
    raw = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
    parsed = parse_request(b"##" + raw + b"abc\r\n\r\n" + b"x" * body, 2, Limits())
    assert parsed is not None
    assert parsed[1] == 2 + len(raw) and parsed[0].fields_raw == b"Host: x\r\nContent-Length: 3\r\n"
    assert parse_request(b"y" * body + raw[:-2], body, Limits()) is None
