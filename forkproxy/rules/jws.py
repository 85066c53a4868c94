"""Signatures of tokens by keys of two halves (RFC 7518 3.3 to 3.5), and the PEM files that hold them. Needs the package cryptography.

Imported when a rule names such a key (``rules/keyring.py``), never otherwise.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

_HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
#: the curve of an ES algorithm, and the bytes of each of its two numbers
_CURVES = {"256": ("secp256r1", 32), "384": ("secp384r1", 48), "512": ("secp521r1", 66)}
_BLOCK = rb"-----BEGIN %b-----\r?\n.*?-----END [A-Z0-9 ]+-----"
_PUBLIC = re.compile(_BLOCK % rb"(?:RSA )?PUBLIC KEY", re.S)
_CERTIFICATE = re.compile(_BLOCK % rb"(?:X509 |TRUSTED )?CERTIFICATE", re.S)
_PRIVATE = re.compile(_BLOCK % rb"(?:[A-Z]+ )*PRIVATE KEY", re.S)


def _usable(key: Any) -> Any:
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ValueError("it is neither an RSA nor an EC key")
    return key


def _loaded(load: Any, pem: bytes, *more: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about short keys and odd certificates: what the operator has, the operator has
            return load(pem, *more)
    except (ValueError, TypeError, UnsupportedAlgorithm) as err:
        raise ValueError(f"it cannot be used : {err}") from None


def read_public(pem: bytes) -> Any:
    """The RSA or EC key of a PEM text, PKCS#1 or SubjectPublicKeyInfo. Raises ValueError."""
    found = _PUBLIC.search(pem)
    if found is None:
        raise ValueError("there is no public key in it")
    return _usable(_loaded(serialization.load_pem_public_key, found[0]))


def read_certificate(pem: bytes) -> Any:
    """The public key of the first certificate of a PEM text. Raises ValueError."""
    found = _CERTIFICATE.search(pem)
    if found is None:
        raise ValueError("there is no certificate in it")
    return _usable(_loaded(lambda text: x509.load_pem_x509_certificate(text).public_key(), found[0]))


def read_private(pem: bytes) -> Any:
    """The first private key of a PEM text, None where there is none. Raises ValueError, also for one behind a passphrase."""
    found = _PRIVATE.search(pem)
    return None if found is None else _usable(_loaded(serialization.load_pem_private_key, found[0], None))


def good(key: Any, algorithm: str, signed: bytes, signature: bytes) -> bool | None:
    """Did the owner of ``key`` sign? ``algorithm`` is a family of RS, PS, ES and a size. None: it is no signature of that algorithm
    at all. A key of another kind, or of another curve than the algorithm's, has signed nothing."""
    family, size = algorithm[:2], algorithm[2:]
    digest = _HASHES[size]
    try:
        if family == "ES":
            curve, half = _CURVES[size]
            if len(signature) != 2 * half:
                return None
            if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != curve:
                return False
            numbers = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
            key.verify(encode_dss_signature(*numbers), signed, ec.ECDSA(digest))
        elif not isinstance(key, rsa.RSAPublicKey):
            return False
        elif family == "PS":
            key.verify(signature, signed, padding.PSS(padding.MGF1(digest), padding.PSS.AUTO), digest)
        else:
            key.verify(signature, signed, padding.PKCS1v15(), digest)
    except (InvalidSignature, ValueError):
        return False
    return True
