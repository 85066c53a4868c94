"""Numbers and lists of texts behind their lengths."""

from __future__ import annotations

import pytest

from forkproxy.wire import varint


@pytest.mark.parametrize("number", [0, 1, 239, 240, 241, 2287, 2288, 16380, 1 << 20, (1 << 32) - 1])
def test_numbers(number: int) -> None:
    assert varint.read(varint.number(number), 0) == (number, len(varint.number(number)))


def test_bytes_of_numbers() -> None:
    """240 and 2288 are the first of two and of three bytes (SPOE documentation, 3.1)."""
    assert [varint.number(n) for n in (239, 240, 2287, 2288)] == [b"\xef", b"\xf0\x00", b"\xff\x7f", b"\xf0\x80\x00"]
