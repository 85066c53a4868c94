"""What leaves reads as it was meant: messages made here, heads after rules edited them, chunks; and what follows a message changes nothing
about it."""

from __future__ import annotations

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from forkproxy.errors import ProtocolError
from forkproxy.http.body import Chunks, payload
from forkproxy.http.framing import reconcile_request, reconcile_response
from forkproxy.http.message import BodyKind, Head
from forkproxy.http.reader import Limits, parse_request, parse_response
from forkproxy.http.writer import LAST_CHUNK, REASONS, chunk, response
from tests.fuzz.effort import examples
from tests.fuzz.test_http_fuzz import bodies, requests, responses

LIMITS = Limits()
names = st.sampled_from([b"x-a", b"content-type", b"Location", b"set-cookie", b"Via"])
values = st.binary(max_size=20).map(lambda raw: bytes(c for c in raw if c >= 32 and c != 127).strip(b" "))
final = st.sampled_from(sorted(status for status in REASONS if status >= 200))


@settings(max_examples=examples(500), deadline=None)
@given(final, st.lists(st.tuples(names, values), max_size=4), st.binary(max_size=300), st.booleans(), st.booleans(), st.binary(max_size=20))
def test_a_message_made_here(
    status: int, fields: list[tuple[bytes, bytes]], body: bytes, close: bool, head_only: bool, trailing: bytes
) -> None:
    method = b"HEAD" if head_only else b"GET"
    raw = response(status, fields, body, close=close, head=head_only)
    parsed = parse_response(raw + trailing, 0, LIMITS, method)
    assert parsed is not None
    head, end = parsed
    bodiless = head_only or status in (204, 304)
    assert head.status == status and head.keep_alive is not close
    assert raw[end:] == (b"" if bodiless else body)
    assert head.body is (BodyKind.LENGTH if body and not bodiless else BodyKind.NONE)
    for name, value in fields:
        assert value in head.get_all(name.lower())
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(raw)
    answer = connection.next_event()
    assert isinstance(answer, h11.Response) and answer.status_code == status
    data = b""
    while isinstance(event := connection.next_event(), h11.Data):
        data += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert data == (b"" if bodiless else body)


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=100), max_size=6), st.integers(1, 50), st.binary(max_size=20))
def test_chunks_made_here(parts: list[bytes], step: int, trailing: bytes) -> None:
    raw = b"".join(map(chunk, parts)) + LAST_CHUNK
    chunks = Chunks()
    held, out, done = b"", b"", False
    fed = raw + trailing
    at = 0
    while not done:
        held += fed[at : at + step]
        at += step
        good, used, done = chunks.feed(held)
        out += good
        held = held[used:]
    assert payload(out) == b"".join(parts)
    assert held + fed[at:] == trailing


Edit = tuple[str, bytes, bytes]
edits = st.lists(
    st.tuples(
        st.sampled_from(["set", "add", "remove"]),
        st.sampled_from([b"content-length", b"transfer-encoding", b"x", b"host", b"Content-Length", b"Transfer-Encoding"]),
        st.sampled_from([b"0", b"3", b"5, 5", b"chunked", b"gzip", b"", b"nonsense"]),
    ),
    max_size=4,
)


def edit(head: Head, changes: list[Edit]) -> None:
    for what, name, value in changes:
        if what == "set":
            head.set(name, value)
        elif what == "add":
            head.add(name, value)
        else:
            head.remove(name.lower())


@settings(max_examples=examples(800), deadline=None)
@given(requests, edits)
def test_no_rule_can_split_a_request(raw: bytes, changes: list[Edit]) -> None:
    try:
        parsed = parse_request(raw, 0, LIMITS)
    except ProtocolError:
        return
    if parsed is None:
        return
    head = parsed[0]
    hosts = head.get_all(b"host")
    edit(head, [change for change in changes if change[1] != b"host"])
    kept = reconcile_request(head)
    assert kept or head.body is BodyKind.NONE
    if head.version < 11 and head.body is not BodyKind.NONE:
        return  # 413, or chunks that HTTP/1.0 does not have: another connection in any case
    if head.upgrade is not None:
        return  # a handshake may want more than framing
    again = parse_request(head.start_line() + head.block() + b"\r\n", 0, LIMITS)
    assert again is not None
    assert (again[0].body, again[0].length, again[0].get_all(b"host")) == (head.body, head.length, hosts)


@settings(max_examples=examples(800), deadline=None)
@given(responses, edits, st.sampled_from([b"GET", b"HEAD", b"POST"]))
def test_no_rule_can_split_a_response(raw: bytes, changes: list[Edit], method: bytes) -> None:
    try:
        parsed = parse_response(raw, 0, LIMITS, method)
    except ProtocolError:
        return
    if parsed is None:
        return
    head = parsed[0]
    bodiless = head.status == 304 or method == b"HEAD"
    if bodiless:
        return  # lengths only inform there
    edit(head, changes)
    reconcile_response(head, bodiless)
    again = parse_response(head.start_line() + head.block() + b"\r\n", 0, LIMITS, method)
    assert again is not None
    if head.close_peer and head.body is not BodyKind.CHUNKED:
        assert again[0].body is BodyKind.CLOSE  # ends with the client's connection
    elif head.version >= 11:
        assert (again[0].body, again[0].length) == (head.body, head.length)


@settings(max_examples=examples(500), deadline=None)
@given(requests, responses, bodies, st.binary(max_size=30))
def test_what_follows_changes_nothing(request_: bytes, response_: bytes, body: bytes, trailing: bytes) -> None:
    for parse, raw, args in ((parse_request, request_, ()), (parse_response, response_, (b"GET",))):
        try:
            alone = parse(raw, 0, LIMITS, *args)
        except ProtocolError:
            continue
        if alone is not None and alone[1] == len(raw):
            more = parse(raw + trailing, 0, LIMITS, *args)
            assert more is not None and more[1] == alone[1] and more[0].block() == alone[0].block()
    try:
        out, used, done = Chunks().feed(body)
    except ProtocolError:
        return
    if done:
        assert Chunks().feed(body + trailing) == (out, used, True)
