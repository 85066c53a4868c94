"""The cookie in an RDP connection request."""

from __future__ import annotations

import pytest

from forkproxy.wire.rdp import Incomplete, rdp_cookie


def rdp_request(cookie: bytes) -> bytes:
    body = b"Cookie: " + cookie + b"\r\n\x01\x00\x08\x00\x00\x00\x00\x00"
    return b"\x03\x00" + (11 + len(body)).to_bytes(2, "big") + bytes([6 + len(body)]) + b"\xe0\0\0\0\0\0" + body


def test_rdp_cookie() -> None:
    data = rdp_request(b"mstshash=user1")
    assert rdp_cookie(data) == b"user1" and rdp_cookie(data, b"MSTSHASH") == b"user1" and rdp_cookie(data, b"msts") is None
    assert rdp_cookie(b"GET / HTTP/1.1\r\n") is None
    for end in range(len(data)):
        with pytest.raises(Incomplete):
            rdp_cookie(data[:end])


@pytest.mark.parametrize("at", [1, 2, 4, 5, 6, 7, 10])
def test_another_protocol_is_no_request_for_a_connection(at: int) -> None:
    data = bytearray(rdp_request(b"mstshash=user1"))
    data[at] ^= 0x40
    assert rdp_cookie(data) is None


@pytest.mark.parametrize("cookie", [b"mstshash", b""])
def test_no_cookie(cookie: bytes) -> None:
    assert rdp_cookie(rdp_request(cookie)) is None
