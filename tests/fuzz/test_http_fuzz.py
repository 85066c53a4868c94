"""Whatever arrives: a message, None or a ProtocolError; the same on the fast and the careful road, whole and in pieces; and never a
framing that h11 sees differently where it accepts the message."""

from __future__ import annotations

from typing import Any

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forkproxy.errors import ProtocolError
from forkproxy.http import careful
from forkproxy.http.body import Chunks, payload
from forkproxy.http.grammar import is_token
from forkproxy.http.message import BodyKind, Head
from forkproxy.http.reader import Limits, parse_request, parse_response
from tests.fuzz.effort import examples

LIMITS = Limits(head_bytes=400, max_fields=20)

FIELDS = [
    "Host: x", "HOST: X", "host:x ", "Host: y", "Content-Length: 3", "content-length: 03", "Content-Length: 0",
    "Content-Length: 3, 3", "Content-Length: 4", "Transfer-Encoding: chunked", "transfer-encoding: Chunked",
    "Transfer-Encoding: gzip, chunked", "Connection: keep-alive", "Connection: close", "connection: Upgrade",
    "Connection: keep-alive, Upgrade, A", "Upgrade: foo", "Upgrade: h2c, foo", "Upgrade: websocket", "Upgrade: h2",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "TE: trailers", "te: gzip", "Expect: 100-continue", "A: b", "A: b\r\n c",
    "A: \t\xe9 b ", "A:", "Upgrade-Insecure-Requests: 1", "Content-Lengt: 1", "Te2: x", "Hos: x", "Connection2: x",
    "Content-Type: text/html", "Keep-Alive: 3",
]  # fmt: skip
PIECES = [
    "", " ", "\t", "\r", "\n", "\r\n", "\r\n\r\n", ":", ",", "\x00", "\x01", "\x7f", "\xff", "#", "@", "0", "3", "x", "chunked",
    "Host: z\r\n", "A", "\r\n ",
]  # fmt: skip
LINES = [
    "GET / ", "GET /a?b ", "POST /a ", "POST /a ", "HEAD / ", "OPTIONS * ", "GET http://x ", "GET http://x:80/a ",
    "POST https://x:443/ ", "CONNECT x:443 ", "get / ", "FOO  /\t",
]  # fmt: skip


def pick(values: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(values)


#: where to cut (as a share of the text), how much, what to put there
change = st.tuples(st.floats(0, 1), st.integers(0, 3), pick(PIECES))
mutations: st.SearchStrategy[list[tuple[float, int, str]]] = st.lists(change, max_size=2) | st.just([])


def mutate(text: str, changes: list[tuple[float, int, str]]) -> bytes:
    for share, cut, piece in changes:
        at = int(share * len(text))
        text = text[:at] + piece + text[at + cut :]
    return text.encode("latin-1")


versions = pick(["HTTP/1.1"] * 6 + ["HTTP/1.0", "HTTP/2.0"])
fields = st.lists(pick(FIELDS).map(lambda text: text + "\r\n"), max_size=5).map("".join)
hosts = pick(["Host: x\r\n", "Host: x\r\n", "Connection: close\r\nHost: x\r\n", ""])
requests = st.builds(
    lambda line, version, host, rest, changes: mutate(f"{line}{version}\r\n{host}{rest}\r\n", changes),
    pick(LINES),
    versions,
    hosts,
    fields,
    mutations,
)
statuses = pick([" 200 OK", " 200 OK", " 404 ", " 304 N", " 204", " 100 C", " 101 S", " 503  X Y"])
responses = st.builds(
    lambda version, status, rest, changes: mutate(f"{version}{status}\r\n{rest}\r\n", changes), versions, statuses, fields, mutations
)


def outcome(parse: Any, *args: Any) -> Any:
    """Status of the refusal, None, or the head as a dictionary with its end."""
    try:
        parsed = parse(*args)
    except ProtocolError as error:
        return error.status
    if parsed is None:
        return None
    head, end = parsed
    slots = [name for cls in type(head).__mro__[:-1] for name in getattr(cls, "__slots__", ())]
    return {name: getattr(head, name) for name in slots if name != "_lower"}, end


def check_block(head: Head) -> None:
    """What goes on is plain: CRLF only between fields, tokens as names, no NUL, and it reads the same again."""
    block = head.block()
    assert block == b"" or block.endswith(b"\r\n")
    for line in block.split(b"\r\n")[:-1]:
        name, colon, value = line.partition(b":")
        assert colon and is_token(name)
        assert not any(c in value for c in b"\r\n\0")
    lengths, codings = head.get_all(b"content-length"), head.get_all(b"transfer-encoding")
    assert len(lengths) <= 1
    assert not (lengths and codings)
    if head.body is BodyKind.LENGTH:
        assert lengths == [b"%d" % head.length]
    if head.body is BodyKind.CHUNKED:
        assert codings and codings[0].lower() == b"chunked" and len(codings) == 1


@settings(max_examples=examples(1500), deadline=None)
@given(requests | st.binary(max_size=60))
@example(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 3\r\n\r\n")
def test_request(raw: bytes) -> None:
    fast = outcome(parse_request, raw, 0, LIMITS)
    assert fast == outcome(careful.request, raw, 0, LIMITS)
    grown = next((got for cut in range(len(raw) + 1) if (got := outcome(parse_request, raw[:cut], 0, LIMITS)) is not None), None)
    if isinstance(fast, int) or isinstance(grown, int):
        assert isinstance(grown, int)
        assert isinstance(fast, int)  # what is refused early is refused as a whole
        return
    assert grown == fast
    if fast is None:
        return
    parsed = parse_request(raw, 0, LIMITS)
    assert parsed is not None
    head, _ = parsed
    check_block(head)
    again = parse_request(head.start_line() + head.block() + b"\r\n", 0, LIMITS)
    if again is not None and not head.close_peer:
        assert (again[0].body, again[0].length, again[0].target, again[0].host) == (head.body, head.length, head.target, head.host)
        assert again[0].block() == head.block()
    check_with_h11(raw, head)


def check_with_h11(raw: bytes, head: Any) -> None:
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(raw)
        event = connection.next_event()
        if not isinstance(event, h11.Request):
            return
        connection.receive_data(b"0\r\n\r\n" + b"x" * 64)
        body = connection.next_event()
    except h11.RemoteProtocolError:
        return
    if head.method == b"CONNECT":
        return
    if isinstance(body, h11.EndOfMessage):
        assert head.body is BodyKind.NONE or (head.body is BodyKind.CHUNKED and connection.trailing_data[0] == b"x" * 64)
    elif isinstance(body, h11.Data):
        assert head.body is BodyKind.LENGTH
        assert head.length >= len(body.data)


@settings(max_examples=examples(1000), deadline=None)
@given(responses | st.binary(max_size=60), st.sampled_from([b"GET", b"HEAD", b"CONNECT", b"POST"]))
def test_response(raw: bytes, method: bytes) -> None:
    fast = outcome(parse_response, raw, 0, LIMITS, method)
    assert fast == outcome(careful.response, raw, 0, LIMITS, method)
    grown = next((got for cut in range(len(raw) + 1) if (got := outcome(parse_response, raw[:cut], 0, LIMITS, method)) is not None), None)
    assert grown == fast
    if not isinstance(fast, tuple):
        assert fast in (None, 502)
        return
    parsed = parse_response(raw, 0, LIMITS, method)
    assert parsed is not None
    check_block(parsed[0])


SIZES = ["{:x}", "{:x}", "{:X}", "000{:x}", "{:x} ", "{:x};a", '{:x};a="b;\\""', "{:x} ;a;b=c"]
chunk = st.builds(
    lambda size, data: f"{size.format(len(data))}\r\n{data}\r\n", pick(SIZES), pick(["a", "abc", "0123456789ab", "\r\n\r", "0\r\n\r\n"])
)
ENDS = ["0\r\n\r\n", "000\r\n\r\n", "0;x\r\nA: b\r\nTE: c\r\n\r\n", "0\r\nA: b\n c\n\n", "0\r\n", ""]
bodies = st.builds(lambda parts, end, changes: mutate("".join(parts) + end, changes), st.lists(chunk, max_size=4), pick(ENDS), mutations)


def feed(raw: bytes, cuts: list[int]) -> tuple[bytes, int, bool] | None:
    chunks = Chunks()
    held = out = b""
    at = 0
    try:
        for cut in [*sorted(cuts), len(raw)]:
            cut = min(cut, len(raw))
            held += raw[at:cut]
            at = cut
            good, used, done = chunks.feed(held)
            out += good
            held = held[used:]
            if done:
                return out, at - len(held), True
    except ProtocolError:
        return None
    return out, len(raw) - len(held), False


@settings(max_examples=examples(1500), deadline=None)
@given(bodies | st.binary(max_size=40), st.lists(st.integers(0, 80), max_size=6))
def test_chunks(raw: bytes, cuts: list[int]) -> None:
    whole = feed(raw, [])
    pieces = feed(raw, cuts)
    if whole is not None:
        assert pieces == whole
    elif pieces is not None:
        assert pieces[2]  # over before the malformed bytes arrived
    if whole is None:
        return
    out, used, done = whole
    again = Chunks().feed(out)
    assert again == (out, len(out), done)
    if done:
        check_chunks_with_h11(raw[:used], payload(out))


def check_chunks_with_h11(raw: bytes, expected: bytes) -> None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + raw)
    assert isinstance(connection.next_event(), h11.Request)
    data = b""
    try:
        while True:
            event = connection.next_event()
            if not isinstance(event, h11.Data):
                break
            data += bytes(event.data)
    except h11.RemoteProtocolError:
        return
    if isinstance(event, h11.EndOfMessage):
        assert data == expected
        assert connection.trailing_data == (b"", False)


@pytest.mark.parametrize("end", [b"", b"\r\n", b"x", b"\r\n\r\n"])
@pytest.mark.parametrize(
    "piece", [b"\r\n", b"a:\r\n", b"a: b\n ", b'"', b';"', b"0", b" ", b"\t", b"Connection: close\r\n", b"Host: x\r\n", b"a", b":", b","]
)
def test_long_repetitions_cost_linear_time(piece: bytes, end: bytes) -> None:
    """No input makes an expression look at the same bytes again and again; quadratic ones would run into the timeout."""
    limits = Limits(head_bytes=1 << 20, max_fields=100)
    for front in (b"", b"GET /", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: ", b"HTTP/1.1 200 OK\r\nConnection: "):
        raw = front + piece * 100_000 + end
        for _ in range(2):
            outcome(parse_request, raw, 0, limits)
            outcome(parse_response, raw, 0, limits, b"GET")
    for front in (b"", b"3;", b"0\r\n"):
        try:
            Chunks().feed(front + piece * 100_000 + end)
        except ProtocolError:
            continue
