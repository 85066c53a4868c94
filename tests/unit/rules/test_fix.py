"""What a client says of lengths in FIX messages never raises."""

from __future__ import annotations

import pytest

from forkproxy.rules.converters.fix import is_valid


@pytest.mark.parametrize("message", [b"8=FIX.4.4\x019=%b\x0135=A\x01", b"8=FIX.4.4\x019=5\x0135=A\x0110=%b\x01"])
def test_thousands_of_digits(message: bytes) -> None:
    assert is_valid(message % (b"1" * 5000)) is False
