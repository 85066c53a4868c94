"""Functions against their definitions, byte by byte, and against published values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkproxy.balance.hashing import FUNCTIONS, avalanche, djb2, number, sdbm, wt6


@given(st.binary(max_size=400))
def test_polynomials_equal_their_shifts(key: bytes) -> None:
    s, d = 0, 5381
    for byte in key:
        s = (byte + (s << 6) + (s << 16) - s) & 0xFFFFFFFF
        d = ((d << 5) + d + byte) & 0xFFFFFFFF
    assert sdbm(key) == s
    assert djb2(key) == d


def test_known_values() -> None:
    assert djb2(b"") == 5381
    assert djb2(b"a") == 177670
    assert FUNCTIONS["crc32"](b"123456789") == 0xCBF43926
    assert sdbm(b"") == 0


@given(st.binary(max_size=80))
def test_wt6_stays_in_32_bits(key: bytes) -> None:
    assert 0 <= wt6(key) < 1 << 32


def test_wt6_values() -> None:
    # as Debian's haproxy chooses with them (tests/system/test_balance_oracle.py compares whole series)
    assert wt6(b"") == 0xA53C965A ^ 0x5CA6953A
    assert wt6(b"a") == 0x714BF225
    assert wt6(b"haproxy") == 0x80713D93


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF))
def test_avalanche_stays_in_32_bits_and_is_reversible(a: int, b: int) -> None:
    assert 0 <= avalanche(a) < 1 << 32
    assert (avalanche(a) == avalanche(b)) == (a == b)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"", 0),
        (b"x", 0),
        (b"17", 17),
        (b"17abc", 17),
        (b"-1", 0xFFFFFFFF),
        (b"+5", 5),
        (b"-", 0),
        (b"4294967297", 1),
        (b"1" + b"0" * 6000, 0xFFFFFFFF),
        (b"-1" + b"0" * 6000, 0),
        (b"0" * 6000 + b"9", 9),
    ],
)
def test_none_reads_a_number(key: bytes, expected: int) -> None:
    assert number(key) == expected
