"""AES in two modes, over whole values (NIST SP 800-38A and 38D). Needs the package cryptography."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

#: the shortest tag that is believed: shorter ones, which the standard leaves to special uses, can be guessed
SHORTEST_TAG = 12
_PADDING = PKCS7(128)


def gcm_open(key: bytes, nonce: bytes, text: bytes, tag: bytes, aad: bytes) -> bytes:
    """What was sealed. Raises InvalidTag when text, tag, ``aad`` or key are not those that were, ValueError for odd lengths."""
    opener = Cipher(algorithms.AES(key), modes.GCM(nonce, tag, SHORTEST_TAG)).decryptor()
    opener.authenticate_additional_data(aad)
    return opener.update(text) + opener.finalize()


def gcm_seal(key: bytes, nonce: bytes, plain: bytes, aad: bytes) -> tuple[bytes, bytes]:
    """(ciphertext, tag of 16 bytes). Raises ValueError for a nonce or key of an odd length."""
    sealer = Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor()
    sealer.authenticate_additional_data(aad)
    text = sealer.update(plain) + sealer.finalize()
    return text, sealer.tag


def cbc_open(key: bytes, nonce: bytes, text: bytes) -> bytes:
    """What was encrypted, without its padding (PKCS#7). Raises ValueError when the padding or a length is wrong."""
    opener = Cipher(algorithms.AES(key), modes.CBC(nonce)).decryptor()
    padded = opener.update(text) + opener.finalize()
    strip = _PADDING.unpadder()
    return strip.update(padded) + strip.finalize()


def cbc_seal(key: bytes, nonce: bytes, plain: bytes) -> bytes:
    """``plain`` with its padding, encrypted. Raises ValueError for a nonce or key of an odd length."""
    pad = _PADDING.padder()
    padded = pad.update(plain) + pad.finalize()
    sealer = Cipher(algorithms.AES(key), modes.CBC(nonce)).encryptor()
    return sealer.update(padded) + sealer.finalize()
