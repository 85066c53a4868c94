"""Names of fields in the case that a peer relies on."""

from __future__ import annotations

import pytest

from forkproxy.http.case import adjuster

ADJUST = adjuster({b"content-length": b"Content-Length", b"x-a": b"X-A", b"x-a.b": b"X-A.B"})


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"content-length: 1\r\n", b"Content-Length: 1\r\n"),
        (b"CONTENT-length: 1\r\nx-b: 2\r\nx-a: content-length\r\n", b"Content-Length: 1\r\nx-b: 2\r\nX-A: content-length\r\n"),
        (b"x-content-length: 1\r\nx-ab: 1\r\nx-a.b: 1\r\n", b"x-content-length: 1\r\nx-ab: 1\r\nX-A.B: 1\r\n"),
        (b"x-axb: 1\r\n", b"x-axb: 1\r\n"),
        (b"GET /x-a: HTTP/1.1\r\nx-a: x-a: 1\r\n", b"GET /x-a: HTTP/1.1\r\nX-A: x-a: 1\r\n"),
        (b"", b""),
    ],
)
def test_adjust(lines: bytes, expected: bytes) -> None:
    assert ADJUST(lines) == expected
