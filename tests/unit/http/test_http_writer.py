"""Messages made here."""

from __future__ import annotations

import pytest

from forkproxy.http.message import BodyKind
from forkproxy.http.reader import Limits, parse_response
from forkproxy.http.writer import LAST_CHUNK, REASONS, chunk, error_page, response

PAGES = (200, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 407, 408, 410, 413, 414, 421, 422, 425, 429, 431, 500, 501, 502, 503, 504)


def whole(status: int) -> bytes:
    page = error_page(status)
    assert page.status == status
    return response(status, page.fields, page.body, reason=page.reason)


def test_the_familiar_503() -> None:
    assert whole(503) == (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 107\r\ncache-control: no-cache\r\ncontent-type: text/html\r\n\r\n"
        b"<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n"
    )


@pytest.mark.parametrize("status", PAGES)
def test_pages_are_messages(status: int) -> None:
    page = whole(status)
    parsed = parse_response(page, 0, Limits(), b"GET")
    assert parsed is not None
    head, end = parsed
    assert head.status == status
    assert head.body is BodyKind.LENGTH
    assert len(page) == end + head.length
    assert head.keep_alive is (status not in (400, 408, 414, 431))
    body = page[end:]
    assert body.startswith(b"<html><body><h1>%d %b</h1>\n" % (status, head.reason))
    assert body.endswith(b"\n</body></html>\n")
    assert head.get(b"cache-control") == b"no-cache"
    assert head.get(b"content-type") == b"text/html"


def test_a_page_for_a_status_without_one() -> None:
    assert error_page(418) == error_page(500)


def test_response() -> None:
    assert response(200, [(b"a", b"b")], b"xyz") == b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\na: b\r\n\r\nxyz"
    assert response(200, [], b"xyz", head=True) == b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"
    assert response(200, [(b"Content-Length", b"9")], b"xyz", head=True) == b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    assert response(302, [], b"", close=True) == b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    assert response(204, [], b"") == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert response(304, [], b"xyz") == b"HTTP/1.1 304 Not Modified\r\n\r\n"
    assert response(200, [], b"", version=10) == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n"
    assert response(200, [], b"", version=10, close=True).endswith(b"\r\nconnection: close\r\n\r\n")
    assert response(799, [], b"", reason=b"Own Words").startswith(b"HTTP/1.1 799 Own Words\r\n")
    assert response(100, [], b"") == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_chunks() -> None:
    assert chunk(b"x" * 26) + LAST_CHUNK == b"1a\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n"


def test_every_reason_is_a_phrase() -> None:
    assert all(100 <= status < 600 and phrase for status, phrase in REASONS.items())
