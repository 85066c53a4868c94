"""The cookie that a log captures."""

from __future__ import annotations

import pytest

from forkproxy.proxy.request import enough, find_cookie


@pytest.mark.parametrize(
    ("lines", "name", "length", "prefix", "found"),
    [
        ([b"a=1; SESSION=abc; b=2"], b"SESSION", 32, False, b"SESSION=abc"),
        ([b"a=1", b"x;SESSION=abc"], b"SESSION", 32, False, b"SESSION=abc"),
        ([b"SESSION=abcdef"], b"SESSION", 9, False, b"SESSION=a"),
        ([b"SESSION_ID=1; SESSION=2"], b"SESSION", 32, False, b"SESSION=2"),
        ([b"SESSION_ID=1; SESSION=2"], b"SESSION", 32, True, b"SESSION_ID=1"),
        ([b"OTHER=1; SESSION"], b"SESSION", 32, False, b""),
        ([], b"SESSION", 32, True, b""),
    ],
)
def test_find(lines: list[bytes], name: bytes, length: int, prefix: bool, found: bytes) -> None:
    assert find_cookie(lines, name, length, prefix) == found


def test_enough_of_a_body() -> None:
    class Waiting:
        marks = {"body_least": 4}  # noqa: RUF012

    assert not enough(Waiting(), b"abc")  # type: ignore[arg-type]
    assert enough(Waiting(), b"abcd")  # type: ignore[arg-type]
