"""Converters that encrypt and decrypt with AES (manual 7.3.1 "aes_…"). They need the optional package cryptography."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from forkproxy.registry import Type, converter
from forkproxy.rules.args import Int, Str, Var
from forkproxy.rules.base64url import exact
from forkproxy.rules.extras import need
from forkproxy.rules.variables import check_name, getter, setter
from forkproxy.rules.words import to_text

_BIN: dict[str, Any] = {"into": Type.BIN, "out": Type.BIN}
#: ``read(txn) -> bytes | None``
Read = Callable[[Any], bytes | None]


def held(text: bytes, what: str, lengths: tuple[int, ...] = ()) -> Read:
    """How an argument is read that is base64 or a variable that holds base64; ``lengths`` are the bytes it may have. Raises ValueError
    for one that is written out and wrong."""
    try:
        get = getter(check_name(to_text(text)))
    except ValueError:
        value = exact(text)
        if value is None:
            raise ValueError(f"the {what} is neither base64 nor the name of a variable") from None
        if lengths and len(value) not in lengths:
            raise ValueError(f"the {what} has {len(value)} bytes and must have {' or '.join(map(str, lengths))}") from None
        return lambda txn: value

    def read(txn: Any) -> bytes | None:
        found = get(txn)
        plain = exact(found) if isinstance(found, bytes) else None
        return plain if plain is not None and (not lengths or len(plain) in lengths) else None

    return read


def _key(bits: int, key: bytes) -> Read:
    need("cryptography", "crypto")
    if bits not in (128, 192, 256):
        raise ValueError("key size must be 128, 192 or 256 (bits)")
    return held(key, "key", (bits // 8,))


def _no_aad(aad: bytes | None) -> None:
    if aad is not None:
        raise ValueError("CBC authenticates nothing, so there is no place for an <aad>; 'aes_gcm' has one")


_TEXTS = (Int(), Str(), Str())


@converter("aes_gcm_dec", args=(*_TEXTS, Str(), Str(optional=True)), **_BIN)
def aes_gcm_dec(bits: int, nonce: bytes, key: bytes, tag: bytes, aad: bytes | None) -> Any:
    """Decrypt by AES in Galois/Counter Mode: bits of the key, nonce, key, tag and what the tag vouches for as well, in base64 or variables
    with base64. Nothing is found where the tag does not fit; tags of less than 12 bytes never do."""
    with_key, with_nonce, with_tag = _key(bits, key), held(nonce, "nonce"), held(tag, "tag", tuple(range(12, 17)))
    with_aad = held(aad, "aad") if aad is not None else lambda txn: b""
    from cryptography.exceptions import InvalidTag

    from forkproxy.rules.aes import gcm_open

    def convert(value: bytes, txn: Any) -> bytes | None:
        parts = with_key(txn), with_nonce(txn), with_tag(txn), with_aad(txn)
        if any(part is None for part in parts):
            return None
        k, n, t, a = parts
        try:
            return gcm_open(k, n, value, t, a)  # type: ignore[arg-type]  # none of them is None
        except (InvalidTag, ValueError):
            return None

    return convert


@converter("aes_gcm_enc", args=(*_TEXTS, Var(), Str(optional=True)), **_BIN)
def aes_gcm_enc(bits: int, nonce: bytes, key: bytes, tag: str, aad: bytes | None) -> Any:
    """Encrypt by AES in Galois/Counter Mode: bits of the key, nonce, key, the variable that gets the tag in base64, and what the tag shall
    vouch for as well. A nonce must never be used twice with a key."""
    with_key, with_nonce, store = _key(bits, key), held(nonce, "nonce"), setter(tag)
    with_aad = held(aad, "aad") if aad is not None else lambda txn: b""
    from forkproxy.rules.aes import gcm_seal

    def convert(value: bytes, txn: Any) -> bytes | None:
        k, n, a = with_key(txn), with_nonce(txn), with_aad(txn)
        if k is None or n is None or a is None:
            return None
        try:
            text, made = gcm_seal(k, n, value, a)
        except ValueError:
            return None
        store(txn, base64.b64encode(made))
        return text

    return convert


@converter("aes_cbc_dec", args=(*_TEXTS, Str(optional=True)), **_BIN)
def aes_cbc_dec(bits: int, nonce: bytes, key: bytes, aad: bytes | None) -> Any:
    """Decrypt by AES in Cipher Block Chaining mode: bits of the key, initialization vector and key, in base64 or variables with base64.
    Nothing is found where the padding (PKCS#7) is wrong; nothing vouches for the rest: use ``aes_gcm_dec`` where you may choose."""
    return _cbc(bits, nonce, key, aad, opening=True)


@converter("aes_cbc_enc", args=(*_TEXTS, Str(optional=True)), **_BIN)
def aes_cbc_enc(bits: int, nonce: bytes, key: bytes, aad: bytes | None) -> Any:
    """Encrypt by AES in Cipher Block Chaining mode: bits of the key, initialization vector and key, in base64 or variables with base64."""
    return _cbc(bits, nonce, key, aad, opening=False)


def _cbc(bits: int, nonce: bytes, key: bytes, aad: bytes | None, opening: bool) -> Any:
    with_key, with_nonce = _key(bits, key), held(nonce, "nonce", (16,))
    _no_aad(aad)
    from forkproxy.rules.aes import cbc_open, cbc_seal

    work = cbc_open if opening else cbc_seal

    def convert(value: bytes, txn: Any) -> bytes | None:
        k, n = with_key(txn), with_nonce(txn)
        if k is None or n is None:
            return None
        try:
            return work(k, n, value)
        except ValueError:
            return None

    return convert
