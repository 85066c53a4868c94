"""Base64 as tokens and arguments have it: both alphabets, with padding or without (RFC 4648 chapter 5, RFC 7515 chapter 2)."""

from __future__ import annotations

import binascii

_PLAIN = bytes.maketrans(b"-_", b"+/")


def decoded(text: bytes) -> bytes | None:
    """The bytes of base64url ``text`` without padding; None for what is none."""
    try:
        return binascii.a2b_base64(text.translate(_PLAIN) + b"=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        return None


def exact(text: bytes) -> bytes | None:
    """The bytes of plain base64 with its padding, as the converters of HAProxy take it; None for what is none."""
    try:
        return binascii.a2b_base64(text, strict_mode=True) if not len(text) % 4 else None
    except binascii.Error:
        return None
