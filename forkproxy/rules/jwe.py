"""Encrypted tokens (RFC 7516, RFC 7518 chapters 4 and 5): opening the compact form. Needs the package cryptography.

Theory. A token has five parts: header, encrypted key, initialization vector, ciphertext, tag. ``alg`` in the header says how the key of
the content (CEK) is found, ``enc`` how that opens the content; the header as it stands is what the tag vouches for as well. Whatever is
wrong with a token has one answer, None: who sends tokens learns nothing of why one was refused.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash

from forkproxy.rules.aes import cbc_open, gcm_open
from forkproxy.rules.base64url import decoded
from forkproxy.rules.keyring import ASYMMETRIC, SYMMETRIC, Keyring

#: bytes of the key of each ``enc``
_CEK = {"A128CBC-HS256": 32, "A192CBC-HS384": 48, "A256CBC-HS512": 64, "A128GCM": 16, "A192GCM": 24, "A256GCM": 32}
_CURVES: dict[str, Callable[[], ec.EllipticCurve]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}
_SHA1, _SHA256 = hashes.SHA1(), hashes.SHA256()
_OAEP = {
    "RSA-OAEP": padding.OAEP(padding.MGF1(_SHA1), _SHA1, None),
    "RSA-OAEP-256": padding.OAEP(padding.MGF1(_SHA256), _SHA256, None),
}


class _Wrong(ValueError):
    """A token that is not what it should be."""


def _part(value: object) -> bytes:
    found = decoded(value.encode()) if isinstance(value, str) and "=" not in value else None
    if found is None:
        raise _Wrong
    return found


def _number(value: object) -> int:
    return int.from_bytes(_part(value), "big")


@lru_cache(16)
def read_jwk(text: bytes) -> Any:
    """The key of a JSON Web Key (RFC 7517): bytes of an "oct" one, a private key of an "EC" or "RSA" one. Raises ValueError.

    The last few are kept, as making an RSA key of its numbers takes a millisecond.
    """
    try:
        jwk = json.loads(text)
        kind = jwk["kty"]
        if kind == "oct":
            return _part(jwk["k"])
        if kind == "EC":
            public = ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), _CURVES[jwk["crv"]]())
            return ec.EllipticCurvePrivateNumbers(_number(jwk["d"]), public).private_key()
        if kind == "RSA":
            n, e, d = (_number(jwk[name]) for name in ("n", "e", "d"))
            p, q = (_number(jwk["p"]), _number(jwk["q"])) if "p" in jwk else rsa.rsa_recover_prime_factors(n, e, d)
            third = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
            return rsa.RSAPrivateNumbers(p, q, d, *third, rsa.RSAPublicNumbers(e, n)).private_key()
    except (KeyError, TypeError, ValueError, RecursionError, UnsupportedAlgorithm):
        raise ValueError("the JWK is not a private key of type 'oct', 'EC' or 'RSA'") from None
    raise ValueError("the 'kty' of the JWK is not one of 'oct', 'EC', 'RSA'")


def opened(token: bytes, key: Any, ring: Keyring) -> bytes | None:
    """The content of ``token``; ``key`` is what :func:`read_jwk` gives. None: it is no token, not for this key, changed on its way, or of
    an algorithm that ``ring`` does not allow."""
    try:
        parts = token.split(b".")
        header, wrapped, nonce, text, tag = (_part(part.decode("ascii")) for part in parts)
        fields = json.loads(header)
        if not isinstance(fields, dict) or "crit" in fields or "zip" in fields:
            return None  # extensions that must be understood, and compression
        algorithm, encryption = fields.get("alg"), fields.get("enc")
        if algorithm not in ring.algorithms or encryption not in ring.encryptions:
            return None
        size = _CEK[encryption]
        cek = _shared(algorithm, key, wrapped, fields, size, encryption)
        if len(cek) != size:
            return None
        if encryption.endswith("GCM"):
            return gcm_open(cek, nonce, text, tag, parts[0]) if len(tag) == 16 and len(nonce) == 12 else None
        return _with_hmac(cek, nonce, text, tag, parts[0])
    except (ValueError, TypeError, InvalidTag, keywrap.InvalidUnwrap, RecursionError):
        return None


def _with_hmac(cek: bytes, nonce: bytes, text: bytes, tag: bytes, aad: bytes) -> bytes | None:
    """RFC 7518 5.2.2.2: the first half of the key authenticates, the second one encrypts."""
    half = len(cek) // 2
    whole = hmac.digest(cek[:half], aad + nonce + text + (8 * len(aad)).to_bytes(8, "big"), f"sha{16 * half}")
    return cbc_open(cek[half:], nonce, text) if hmac.compare_digest(whole[:half], tag) else None


def _shared(algorithm: str, key: Any, wrapped: bytes, header: dict[str, Any], size: int, encryption: str) -> bytes:
    """The key of the content. Raises ValueError, InvalidTag, InvalidUnwrap."""
    if algorithm in SYMMETRIC:
        if not isinstance(key, bytes):
            raise _Wrong
        if algorithm == "dir":
            if wrapped:
                raise _Wrong
            return key
        return _unwrapped(algorithm, key, wrapped, header)
    assert algorithm in ASYMMETRIC
    if algorithm.startswith("RSA"):
        if not isinstance(key, rsa.RSAPrivateKey):
            raise _Wrong
        if algorithm in _OAEP:
            return key.decrypt(wrapped, _OAEP[algorithm])
        spare = os.urandom(size)  # nobody may learn whether the padding was good (RFC 7516 11.5)
        try:
            found = key.decrypt(wrapped, padding.PKCS1v15())
        except ValueError:
            return spare
        return found if len(found) == size else spare
    direct = algorithm == "ECDH-ES"
    length = size if direct else int(algorithm[-5:-2]) // 8
    found = _agreed(key, header, length, encryption if direct else algorithm)
    if not direct:
        return keywrap.aes_key_unwrap(found, wrapped)
    if wrapped:
        raise _Wrong
    return found


def _unwrapped(algorithm: str, key: bytes, wrapped: bytes, header: dict[str, Any]) -> bytes:
    if len(key) * 8 != int(algorithm[1:4]):
        raise _Wrong
    if algorithm.endswith("GCMKW"):
        nonce, tag = _part(header.get("iv")), _part(header.get("tag"))
        if len(nonce) != 12 or len(tag) != 16:
            raise _Wrong
        return gcm_open(key, nonce, wrapped, tag, b"")
    return keywrap.aes_key_unwrap(key, wrapped)


def _agreed(key: Any, header: dict[str, Any], length: int, name: str) -> bytes:
    """RFC 7518 4.6.2: what both sides derive of the sender's ephemeral key and ours."""
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _Wrong
    theirs = header.get("epk")
    if not isinstance(theirs, dict) or theirs.get("kty") != "EC":
        raise _Wrong
    curve = _CURVES.get(str(theirs.get("crv")))
    if curve is None or curve().name != key.curve.name:
        raise _Wrong
    public = ec.EllipticCurvePublicNumbers(_number(theirs.get("x")), _number(theirs.get("y")), curve()).public_key()
    names = (name.encode(), *(_part(header.get(field, "")) for field in ("apu", "apv")))
    other = b"".join(len(part).to_bytes(4, "big") + part for part in names) + (8 * length).to_bytes(4, "big")
    return ConcatKDFHash(hashes.SHA256(), length, other).derive(key.exchange(ec.ECDH(), public))


