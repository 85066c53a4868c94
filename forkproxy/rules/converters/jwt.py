"""Converters of JSON Web Tokens (manual 7.3.1 "jwt_…"; RFC 7515, 7518): their parts, and signatures by HMAC and RSA.

Theory. An RSA signature is a number that the public exponent turns back into what was signed: for RS* a fixed prefix and the digest (RFC
8017 8.2), for PS* a digest mixed with a salt under a mask (8.1). Both need nothing but ``pow``, 0.1 ms for a key of 2048 bits. Elliptic
curves would take milliseconds that way, which no worker has: they are answered with -2, "unmanaged".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

from forkproxy.registry import Type, converter
from forkproxy.rules.args import OneOf, Str
from forkproxy.rules.converters.strings import json_lookup, json_path
from forkproxy.rules.expr import Pure
from forkproxy.rules.variables import check_name, getter
from forkproxy.rules.words import to_text

_UNKNOWN, _UNMANAGED, _INVALID, _NO_KEY = -1, -2, -3, -5
#: what stands before a digest in an RS* signature: DER of DigestInfo (RFC 8017 9.2)
_PREFIX = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
#: (modulus, exponent)
Key = tuple[int, int]


def _decoded(part: bytes) -> bytes | None:
    try:
        return binascii.a2b_base64(part.translate(bytes.maketrans(b"-_", b"+/")) + b"=" * (-len(part) % 4), strict_mode=True)
    except binascii.Error:
        return None


def _part(name: str, index: int, counts: tuple[int, ...]) -> None:
    def factory(path: bytes, kind: str) -> Pure:
        steps = json_path(to_text(path)) if path else []

        def convert(value: bytes) -> Any:
            parts = value.split(b".")
            text = _decoded(parts[index]) if len(parts) in counts else None
            if text is None or not path:
                return text
            return json_lookup(text, steps, kind == "int")

        return Pure(convert)

    factory.__doc__ = f"The {name} of a token, or what its JSON has at a path; numbers as text, or as integers with \"int\"."
    args = (Str(optional=True, default=b""), OneOf("string", optional=True, default="", words=("int",)))
    converter(f"jwt_{name}_query", args=args, into=Type.BIN, out=Type.ANY)(factory)


_part("header", 0, (3, 5))
_part("payload", 1, (3,))


# -- keys ------------------------------------------------------------------------------------------------------------------


def _element(data: bytes, at: int) -> tuple[int, bytes, int]:
    """(tag, contents, offset after it) of a DER element. Raises ValueError."""
    try:
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 128:
            size = length & 127
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        if at + length > len(data):
            raise IndexError
    except IndexError:
        raise ValueError("the key is cut off") from None
    return tag, data[at : at + length], at + length


def read_key(pem: bytes) -> Key | None:
    """The RSA key of a PEM text, PKCS#1 or SubjectPublicKeyInfo; None for a key of another kind. Raises ValueError for no key at all."""
    lines = [line.strip() for line in pem.splitlines()]
    try:
        start = next(i for i, line in enumerate(lines) if line in (b"-----BEGIN PUBLIC KEY-----", b"-----BEGIN RSA PUBLIC KEY-----"))
        end = next(i for i in range(start, len(lines)) if lines[i].startswith(b"-----END"))
        data = base64.b64decode(b"".join(lines[start + 1 : end]), validate=True)
    except (StopIteration, binascii.Error):
        raise ValueError("there is no public key in it") from None
    _, body, _ = _element(data, 0)
    if b"RSA" not in lines[start]:
        _, algorithm, at = _element(body, 0)
        if bytes.fromhex("06092a864886f70d0101") not in algorithm:  # the object identifiers of PKCS#1
            return None
        _, bits, _ = _element(body, at)
        _, body, _ = _element(bits, 1)
    _, modulus, at = _element(body, 0)
    _, exponent, _ = _element(body, at)
    return int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")


# -- signatures ------------------------------------------------------------------------------------------------------------


def _opened(key: Key, signature: bytes) -> bytes | None:
    size = (key[0].bit_length() + 7) // 8
    number = int.from_bytes(signature, "big")
    return pow(number, key[1], key[0]).to_bytes(size, "big") if len(signature) == size and number < key[0] else None


def _is_rs(key: Key, signed: bytes, signature: bytes, name: str) -> bool:
    block = _opened(key, signature)
    if block is None:
        return False
    tail = _PREFIX[name] + hashlib.new(name, signed).digest()
    return hmac.compare_digest(block, b"\0\1" + b"\xff" * (len(block) - len(tail) - 3) + b"\0" + tail)


def _mask(seed: bytes, length: int, name: str) -> bytes:
    made = b""
    counter = 0
    while len(made) < length:
        made += hashlib.new(name, seed + counter.to_bytes(4, "big")).digest()
        counter += 1
    return made[:length]


def _is_ps(key: Key, signed: bytes, signature: bytes, name: str) -> bool:
    block = _opened(key, signature)
    if block is None:
        return False
    bits = key[0].bit_length() - 1
    block = block[-((bits + 7) // 8) :]
    digest = hashlib.new(name, signed).digest()
    size = len(digest)
    masked, found = block[: -size - 1], block[-size - 1 : -1]
    if len(block) < 2 * size + 2 or block[-1] != 0xBC or (masked[0] >> (8 - (8 * len(block) - bits)) and 8 * len(block) > bits):
        return False
    plain = bytearray(a ^ b for a, b in zip(masked, _mask(found, len(masked), name), strict=True))
    plain[0] &= 0xFF >> (8 * len(block) - bits)
    salt = len(masked) - size - 1
    if salt < 0 or any(plain[:salt]) or plain[salt] != 1:
        return False
    return hmac.compare_digest(found, hashlib.new(name, b"\0" * 8 + digest + bytes(plain[salt + 1 :])).digest())


_RSA: dict[str, Callable[[Key, bytes, bytes, str], bool]] = {"RS": _is_rs, "PS": _is_ps}
_SIZES = ("256", "384", "512")


def verify(token: bytes, algorithm: str, secret: bytes | None, key: Key | None) -> int:
    """1: the signature is good; 0: it is not; a negative number as the manual lists them."""
    family, size = algorithm[:2], algorithm[2:]
    if algorithm != "none" and (family not in ("HS", "RS", "PS", "ES") or size not in _SIZES):
        return _UNKNOWN
    if family == "ES":
        return _UNMANAGED
    signed, dot, last = token.rpartition(b".")
    signature = _decoded(last)
    if not dot or signed.count(b".") != 1 or signature is None:
        return _INVALID
    if algorithm == "none":
        return int(not signature)
    if family == "HS":
        made = hmac.digest(secret, signed, f"sha{size}") if secret is not None else None
        return int(made is not None and hmac.compare_digest(made, signature))
    return _NO_KEY if key is None else int(_RSA[family](key, signed, signature, f"sha{size}"))


@converter("jwt_verify", args=(Str(), Str()), into=Type.BIN, out=Type.SINT)
def jwt_verify(algorithm: bytes, key: bytes) -> Any:
    """Is a token's signature good? 1 yes, 0 no, negative: an error. The algorithm (HS256 … RS256 … PS256 … none) and the secret, or the
    file of the public key, may be variables; a key's file must be there when the configuration is read."""
    name = _of(algorithm)
    if isinstance(name, str):
        if verify(b"", name, None, None) in (_UNKNOWN, _UNMANAGED):
            raise ValueError(f"the algorithm '{name}' is not supported, one of none, HS, RS or PS with {', '.join(_SIZES)} is")
        if name[:2] in _RSA:
            with_key = _read(to_text(key))
            return Pure(lambda value: verify(value, name, None, with_key))
    source = _of(key)
    files: dict[str, Key | None] = {}
    if isinstance(source, str) and source.startswith(("/", "./")):
        files[source] = _read(source)

    def convert(value: bytes, txn: Any) -> int:
        chosen = name if isinstance(name, str) else _text(name(txn))
        held = source if isinstance(source, str) else _text(source(txn))
        return verify(value, chosen, held.encode("utf-8", "surrogateescape"), files.get(held))

    return convert


def _of(text: bytes) -> str | Callable[[Any], Any]:
    """A text, or how a variable of that name is read."""
    try:
        return getter(check_name(to_text(text)))
    except ValueError:
        return to_text(text)


def _text(value: Any) -> str:
    return to_text(value) if isinstance(value, bytes) else ""


def _read(path: str) -> Key | None:
    try:
        with open(path, "rb") as f:
            key = read_key(f.read())
    except OSError as err:
        raise ValueError(f"the public key '{path}' cannot be read : {err.strerror}") from None
    except ValueError as err:
        raise ValueError(f"the public key '{path}' : {err}") from None
    if key is None:
        raise ValueError(f"the public key '{path}' is not an RSA key, others are not supported")
    return key
