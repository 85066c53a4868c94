"""The hash functions of converters (manual 7.3.1), the same numbers as HAProxy's: bytes to a 32-bit integer.

sdbm and djb2 are polynomials (65599 and 33) modulo 2**32, evaluated in C by a sum of products; crc32 is that of zip, crc32c that of
iSCSI; wt6 mixes two words with rotations that the key itself chooses.
"""

from __future__ import annotations

from functools import lru_cache
from operator import mul
from zlib import crc32 as crc32

_M = 0xFFFFFFFF


@lru_cache(512)
def _powers(base: int, count: int) -> tuple[int, ...]:
    """base**(count-1) … base**0 modulo 2**32."""
    row = [1]
    for _ in range(count - 1):
        row.append(row[-1] * base & _M)
    return tuple(reversed(row))


def sdbm(data: bytes) -> int:
    """hash = hash * 65599 + byte, from 0 on."""
    total: int = sum(map(mul, data, _powers(65599, len(data)))) if data else 0
    return total & _M


def djb2(data: bytes) -> int:
    """hash = hash * 33 + byte, from 5381 on."""
    row = _powers(33, len(data) + 1)
    total: int = sum(map(mul, data, row[1:]), 5381 * row[0])
    return total & _M


def wt6(data: bytes) -> int:
    """HAProxy's own function."""
    a, b, left, right = 0xA53C965A, 0x5CA6953A, 6, 18
    for byte in data:
        a = ~(a ^ byte) & _M
        b = ~(b + byte) & _M
        a, b = (b << left | b >> (32 - left)) & _M, (a << right | a >> (32 - right)) & _M
        mixed = (a >> 16 ^ b) & 0xFFFF
        left, right = mixed & 31, mixed >> 11
    return a ^ b


@lru_cache(1)
def _table_c() -> tuple[int, ...]:
    table = []
    for i in range(256):
        for _ in range(8):
            i = (i >> 1) ^ (0x82F63B78 if i & 1 else 0)
        table.append(i)
    return tuple(table)


def crc32c(data: bytes) -> int:
    """CRC-32 with Castagnoli's polynomial."""
    h = _M
    table = _table_c()
    for byte in data:
        h = table[(h ^ byte) & 0xFF] ^ (h >> 8)
    return h ^ _M


def avalanche(h: int) -> int:
    """Bob Jenkins' full avalanche, then one multiplication: each bit of the input changes half of the output's."""
    h = (h + 0x7ED55D16 + (h << 12)) & _M
    h = h ^ 0xC761C23C ^ h >> 19
    h = (h + 0x165667B1 + (h << 5)) & _M
    h = (h + 0xD3A2646C ^ h << 9) & _M
    h = (h + 0xFD7046C5 + (h << 3)) & _M
    h = h ^ 0xB55A4F09 ^ h >> 16
    return h * 3221225473 & _M
