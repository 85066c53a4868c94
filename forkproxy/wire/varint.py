"""Lists of names and values in one block of bytes, each text behind its length (manual: req.hdrs_bin; lengths as in SPOP's documentation).

A length below 240 is one byte. Of a larger one the first byte has its upper four bits set and takes the lowest four; each further byte
takes seven, all but the last with their upper bit set. Every step subtracts what the steps before can express.
"""

from __future__ import annotations

from collections.abc import Iterable


def number(value: int) -> bytes:
    """``value`` in that notation."""
    if value < 240:
        return bytes((value,))
    made = bytearray(((value & 15) | 240,))
    value = (value - 240) >> 4
    while value >= 128:
        made.append((value & 127) | 128)
        value = (value - 128) >> 7
    made.append(value)
    return bytes(made)


def read(data: bytes, at: int) -> tuple[int, int]:
    """The number at ``at`` and the offset after it. Raises IndexError when it is cut off."""
    value = data[at]
    at += 1
    if value < 240:
        return value, at
    shift = 4
    while True:
        byte = data[at]
        at += 1
        value += byte << shift
        shift += 7
        if byte < 128:
            return value, at


def pack(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """``pairs`` and the two empty texts that end a list."""
    return b"".join(number(len(text)) + text for pair in pairs for text in pair) + b"\0\0"


def unpack(data: bytes) -> list[tuple[bytes, bytes]]:
    """The pairs of a list. Raises ValueError when it is cut off."""
    texts = names(data, ended=False)
    pairs = list(zip(texts[::2], texts[1::2], strict=False))
    return pairs[: pairs.index((b"", b""))] if (b"", b"") in pairs else pairs


def names(data: bytes, ended: bool = True) -> list[bytes]:
    """The texts of a list, where ``ended`` up to the first empty one. Raises ValueError when it is cut off."""
    texts: list[bytes] = []
    at = 0
    try:
        while at < len(data):
            length, at = read(data, at)
            if at + length > len(data):
                raise IndexError
            texts.append(data[at : at + length])
            at += length
            if ended and not length:
                return texts[:-1]
    except IndexError:
        raise ValueError("the list is cut off") from None
    return texts
