"""Hash functions of converters (manual 7.3.1) and balancing (``hash-type``, 4.2): bytes to a 32-bit number, the same as HAProxy's.

sdbm and djb2 are polynomials in 65599 and 33 over the key's bytes modulo 2**32 (djb2 begins with 5381), so a key costs one multiplication
per byte inside C; crc32 is that of Ethernet and zlib, crc32c that of iSCSI; wt6 mixes two words with rotations that the key itself chooses.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from operator import mul
from zlib import crc32 as crc32

_M = 0xFFFFFFFF


class _Powers(dict[int, tuple[int, ...]]):
    """Powers of one base modulo 2**32 for the bytes of a key, highest first, by the key's length; made on first use."""

    def __init__(self, base: int) -> None:
        self._base = base

    def __missing__(self, length: int) -> tuple[int, ...]:
        powers = [1]
        for _ in range(length - 1):
            powers.append(powers[-1] * self._base & _M)
        row = tuple(reversed(powers[:length]))
        if length <= 256:
            self[length] = row
        return row


_SDBM = _Powers(65599)
_DJB2 = _Powers(33)


def sdbm(key: bytes) -> int:
    """h = h * 65599 + byte, from 0."""
    total: int = sum(map(mul, key, _SDBM[len(key)]))
    return total & _M


def djb2(key: bytes) -> int:
    """h = h * 33 + byte, from 5381."""
    total: int = sum(map(mul, key, _DJB2[len(key)]), 5381 * pow(33, len(key), _M + 1))
    return total & _M


def server_cookie(key: bytes, address: str, port: int) -> bytes:
    """The value of a dynamic cookie (manual 4.2 "dynamic-cookie-key"): the xxh64 of key, address and port; b"" where ``address`` is no
    IP address. Raises ImportError without the package xxhash."""
    import xxhash

    try:
        packed = ipaddress.ip_address(address).packed
    except ValueError:
        return b""
    return b"%016x" % xxhash.xxh64_intdigest(key + packed + port.to_bytes(4, "big"))


def wt6(key: bytes) -> int:
    """HAProxy's own function: two words, complemented and rotated by amounts taken from themselves."""
    a, b = 0xA53C965A, 0x5CA6953A
    left, right = 6, 18
    for byte in key:
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
    """Bob Jenkins' 4-byte full avalanche hash, spread over the whole range by a multiplication."""
    h = (h + 0x7ED55D16 + (h << 12)) & _M
    h = h ^ 0xC761C23C ^ h >> 19
    h = (h + 0x165667B1 + (h << 5)) & _M
    h = (h + 0xD3A2646C ^ h << 9) & _M
    h = (h + 0xFD7046C5 + (h << 3)) & _M
    h = h ^ 0xB55A4F09 ^ h >> 16
    return h * 3221225473 & _M
