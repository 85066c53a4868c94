"""Tokens of distcc messages; the rows are what Debian's haproxy 2.6 finds."""

from __future__ import annotations

import pytest

from forkproxy.wire.distcc import find

MESSAGE = b"DIST00000001ARGC00000002ARGV00000002ccARGV00000002-cDOTI00000004abcd"


@pytest.mark.parametrize(
    ("token", "occurrence", "number", "body"),
    [
        (b"DIST", 1, 1, b""),
        (b"ARGV", 1, 2, b"cc"),
        (b"ARGV", 2, 2, b"-c"),
        (b"DOTI", 1, 4, b"abcd"),
    ],
)
def test_tokens(token: bytes, occurrence: int, number: int, body: bytes) -> None:
    found = find(MESSAGE, token, occurrence)
    assert found is not None and found[0] == number and MESSAGE[found[1] : found[1] + found[2]] == body


def test_what_is_not_there() -> None:
    assert find(MESSAGE, b"ARGV", 3) is None and find(MESSAGE, b"NONE", 1) is None and find(MESSAGE[:11], b"DIST", 1) is None
    with pytest.raises(ValueError, match="zzzz"):
        find(b"DISTzzzzzzzz", b"DIST", 1)
    with pytest.raises(ValueError, match="-000000c"):  # it would begin with itself for ever
        find(b"ARGV-000000c", b"DIST", 1)
