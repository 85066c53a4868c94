"""The protocol of distcc, as far as a balancer looks at it: tokens of four letters with a number, some with as many bytes behind them.

Sans I/O. Source: distcc's doc/protocol-1.txt.
"""

from __future__ import annotations

#: a token and its number in hexadecimal digits
_HEADER = 12
_WITH_BODY = frozenset({b"ARGV", b"DOTI", b"DOTO", b"SERR", b"SOUT"})


def find(data: bytes, token: bytes, occurrence: int) -> tuple[int, int, int] | None:
    """(number, where its body begins, the body's length) of a token; ``occurrence`` 1 is the first. None: there are not enough bytes.

    Raises ValueError for what is no message of distcc."""
    at = 0
    while at + _HEADER <= len(data):
        name = data[at : at + 4]
        digits = data[at + 4 : at + _HEADER]
        if not digits.isalnum():  # int() takes signs, too
            raise ValueError(digits)
        number = int(digits, 16)
        at += _HEADER
        length = number if name in _WITH_BODY else 0
        if name == token:
            occurrence -= 1
            if not occurrence:
                return number, at, length
        at += length
    return None
