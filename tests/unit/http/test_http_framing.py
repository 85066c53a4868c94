"""Framing fields after rules, protocol switches, payload of chunks."""

from __future__ import annotations

import pytest

from forkproxy.errors import ProtocolError
from forkproxy.http.body import MAX_LINE, Chunks, payload
from forkproxy.http.framing import reconcile_request, reconcile_response
from forkproxy.http.message import BodyKind, RequestHead, ResponseHead
from forkproxy.http.upgrade import check_switch, websocket_accept

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def request(kind: BodyKind, length: int = 0, *fields: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead.create(b"POST", b"/", fields, body=kind, length=length)


def response(kind: BodyKind, length: int = 0, *fields: tuple[bytes, bytes], status: int = 200) -> ResponseHead:
    return ResponseHead.create(status, b"", fields, body=kind, length=length)


def test_a_request_whose_length_was_deleted_loses_its_body() -> None:
    for head in (request(BodyKind.LENGTH, 3), request(BodyKind.CHUNKED)):
        assert not reconcile_request(head)
        assert (head.body, head.length) == (BodyKind.NONE, 0)
        assert head.block() == b"content-length: 0\r\n"


def test_edits_of_a_requests_framing_are_undone() -> None:
    head = request(BodyKind.LENGTH, 3, (b"Content-Length", b"30"), (b"Transfer-Encoding", b"chunked"))
    assert reconcile_request(head)
    assert head.block() == b"content-length: 3\r\n"
    head = request(BodyKind.CHUNKED, 0, (b"Content-Length", b"30"), (b"Transfer-Encoding", b"chunked"))
    assert reconcile_request(head)
    assert head.block() == b"Transfer-Encoding: chunked\r\n"
    head = request(BodyKind.NONE, 0, (b"Content-Length", b"30"), (b"Transfer-Encoding", b"chunked"))
    assert reconcile_request(head)
    assert head.block() == b""
    head = request(BodyKind.NONE, 0, (b"Content-Length", b"0"))
    assert reconcile_request(head)
    assert head.block() == b"Content-Length: 0\r\n"


def test_a_response_whose_length_was_deleted_ends_with_close() -> None:
    for kind, length in ((BodyKind.LENGTH, 3), (BodyKind.NONE, 0)):
        head = response(kind, length)
        reconcile_response(head, bodiless=False)
        assert head.close_peer
        assert (head.body, head.length, head.block()) == (kind, length, b"")


def test_edits_of_a_responses_framing_are_undone() -> None:
    head = response(BodyKind.LENGTH, 3, (b"Content-Length", b"30"))
    reconcile_response(head, bodiless=False)
    assert head.block() == b"content-length: 3\r\n"
    head = response(BodyKind.CHUNKED)
    reconcile_response(head, bodiless=False)
    assert head.block() == b"transfer-encoding: chunked\r\n"
    head = response(BodyKind.CLOSE, 0, (b"Content-Length", b"0"))
    reconcile_response(head, bodiless=False)
    assert head.block() == b""
    head = response(BodyKind.NONE, 0, (b"Content-Length", b"0"), status=204)
    reconcile_response(head, bodiless=False)
    assert head.block() == b""
    head = response(BodyKind.NONE, 0, (b"Content-Length", b"0"))
    reconcile_response(head, bodiless=False)
    assert (head.block(), head.close_peer) == (b"Content-Length: 0\r\n", False)
    head = response(BodyKind.NONE, 0, (b"Content-Length", b"30"), status=304)
    reconcile_response(head, bodiless=True)
    assert (head.block(), head.close_peer) == (b"Content-Length: 30\r\n", False)


def asked(upgrade: bytes | None) -> RequestHead:
    head = RequestHead.create(b"GET", b"/", [(b"Sec-WebSocket-Key", KEY)])
    head.upgrade = upgrade
    return head


def answered(upgrade: bytes | None, accept: bytes) -> ResponseHead:
    head = ResponseHead.create(101, b"", [(b"Sec-WebSocket-Accept", accept)], body=BodyKind.TUNNEL)
    head.upgrade = upgrade
    return head


def test_websocket_accept_of_the_rfc() -> None:
    assert websocket_accept(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_switches() -> None:
    check_switch(asked(b"websocket"), answered(b"websocket", websocket_accept(KEY)))
    check_switch(asked(b"foo"), answered(b"foo", b""))
    check_switch(asked(b"websocket"), answered(b"websocket", b"wrong"), relaxed=True)
    check_switch(asked(b"foo, websocket"), answered(b"foo", b""))
    for request_head, response_head in (
        (asked(None), answered(b"foo", b"")),
        (asked(b"websocket"), answered(b"websocket", b"wrong")),
        (asked(b"websocket"), answered(None, b"wrong")),
    ):
        with pytest.raises(ProtocolError) as caught:
            check_switch(request_head, response_head)
        assert caught.value.status == 502


def test_payload() -> None:
    framed = b"3\r\nabc\r\nA\r\n\r\n34567\r\n\0\r\n0\r\nA: b\r\n\r\n"
    assert payload(framed) == b"abc\r\n34567\r\n\0"
    assert payload(b"3\r\nab") == b"ab"
    assert payload(b"3\r\nabc\r\n1f") == b"abc"
    assert payload(b"") == b""


def test_chunks_count_what_they_announce() -> None:
    chunks = Chunks()
    assert chunks.feed(b"3\r\nabc\r\n1000\r\nx") == (b"3\r\nabc\r\n1000\r\nx", 15, False)
    assert chunks.size == 3 + 4096


def test_lines_and_trailers_are_bounded() -> None:
    with pytest.raises(ProtocolError):
        Chunks().feed(b"0" * (MAX_LINE + 1))
    with pytest.raises(ProtocolError):
        Chunks().feed(b"0\r\nA: " + b"a" * (MAX_LINE + 1))
    with pytest.raises(ProtocolError):
        Chunks(max_trailers=2).feed(b"0\r\n" + b"A: b\r\n" * 3 + b"\r\n")
    assert Chunks(max_trailers=2).feed(b"0\r\nA: b\r\nA: b\r\n\r\n")[2]


def test_payload_is_not_joined_or_copied_twice() -> None:
    """A clean body that arrives as a whole goes on as the very bytes that came."""
    raw = b"3\r\nabc\r\n3\r\nabc\r\n"
    assert Chunks().feed(raw)[0] is raw
