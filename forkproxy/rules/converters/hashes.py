"""Converters that hash (manual 7.3.1): for keys and for integrity. The xxh family needs the optional package xxhash."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac as _hmac
from collections.abc import Callable
from typing import Any

from forkproxy.registry import Type, converter
from forkproxy.rules import hashing
from forkproxy.rules.args import Int, Str
from forkproxy.rules.expr import Pure
from forkproxy.rules.extras import need
from forkproxy.rules.types import wrap64
from forkproxy.rules.variables import check_name, getter
from forkproxy.rules.words import to_text

_INT: dict[str, Any] = {"into": Type.BIN, "out": Type.SINT}
_BIN: dict[str, Any] = {"into": Type.BIN, "out": Type.BIN}


def _number(name: str, compute: Callable[[bytes], int]) -> None:
    def factory(spread: int) -> Pure:
        if spread:
            return Pure(lambda value: hashing.avalanche(compute(value)))
        return Pure(compute)

    factory.__doc__ = f"The {name} hash as an integer; with the argument 1 its bits are spread by an avalanche."
    converter(name, args=(Int(optional=True, default=0),), **_INT)(factory)


for _name, _fn in (
    ("sdbm", hashing.sdbm), ("djb2", hashing.djb2), ("wt6", hashing.wt6), ("crc32", hashing.crc32), ("crc32c", hashing.crc32c),
):  # fmt: skip
    _number(_name, _fn)


def _xxh(name: str, function: str, signed: bool) -> None:
    def factory(seed: int) -> Pure:
        need("xxhash", "xxh")
        import xxhash

        compute = getattr(xxhash, function)
        if signed:
            return Pure(lambda value: wrap64(compute(value, seed)))
        return Pure(lambda value: compute(value, seed))

    factory.__doc__ = f"The {name} hash as an integer, with an optional seed."
    converter(name, args=(Int(optional=True, default=0),), **_INT)(factory)


_xxh("xxh32", "xxh32_intdigest", False)
_xxh("xxh64", "xxh64_intdigest", True)
_xxh("xxh3", "xxh3_64_intdigest", True)


@converter("sha1", **_BIN)
def sha1() -> Pure:
    """The SHA-1 digest, 20 bytes."""
    return Pure(lambda value: hashlib.sha1(value, usedforsecurity=False).digest())


@converter("sha2", args=(Int(optional=True, default=256),), **_BIN)
def sha2(bits: int) -> Pure:
    """The SHA-2 digest of 224, 256, 384 or 512 bits."""
    functions = {224: hashlib.sha224, 256: hashlib.sha256, 384: hashlib.sha384, 512: hashlib.sha512}
    if bits not in functions:
        raise ValueError("unsupported number of bits, expected 224, 256, 384 or 512")
    compute = functions[bits]
    return Pure(lambda value: compute(value).digest())


def _algorithm(name: bytes) -> str:
    text = to_text(name).lower()
    if text not in hashlib.algorithms_available or text.startswith("shake"):
        raise ValueError(f"'{text}' is not a digest algorithm that this machine has")
    return text


@converter("digest", args=(Str(),), **_BIN)
def digest(name: bytes) -> Pure:
    """The digest by a named algorithm (md5, sha256 …)."""
    algorithm = _algorithm(name)
    return Pure(lambda value: hashlib.new(algorithm, value).digest())


@converter("hmac", args=(Str(), Str()), **_BIN)
def hmac(name: bytes, key: bytes) -> Any:
    """The keyed digest by a named algorithm; the key is base64 or a variable that holds base64."""
    algorithm = _algorithm(name)
    try:
        get = getter(check_name(to_text(key)))
    except ValueError:
        try:
            secret = base64.b64decode(key, validate=True)
        except binascii.Error:
            raise ValueError("the key is neither base64 nor the name of a variable") from None
        return Pure(lambda value: _hmac.digest(secret, value, algorithm))

    def convert(value: bytes, txn: Any) -> bytes | None:
        held = get(txn)
        if not isinstance(held, bytes):
            return None
        try:
            return _hmac.digest(base64.b64decode(held, validate=True), value, algorithm)
        except binascii.Error:
            return None

    return convert
