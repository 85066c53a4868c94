"""Converters of JSON Web Tokens (manual 7.3.1 "jwt_…"; RFC 7515, 7516): their parts, their signatures, what encrypted ones hold.

Signatures by a shared secret need nothing; everything with keys in files, and encrypted tokens, need the optional package cryptography.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from forkproxy.registry import Type, converter
from forkproxy.rules.args import Context, OneOf, Str
from forkproxy.rules.base64url import decoded
from forkproxy.rules.context import RuleContext
from forkproxy.rules.converters.strings import json_lookup, json_path
from forkproxy.rules.expr import Pure
from forkproxy.rules.extras import need
from forkproxy.rules.variables import check_name, getter
from forkproxy.rules.words import to_text

_UNKNOWN, _UNMANAGED, _INVALID, _NO_KEY = -1, -2, -3, -5
_SIZES = ("256", "384", "512")
_BY_KEY = ("RS", "PS", "ES")


def _part(name: str, index: int, counts: tuple[int, ...]) -> None:
    def factory(path: bytes, kind: str) -> Pure:
        steps = json_path(to_text(path)) if path else []

        def convert(value: bytes) -> Any:
            parts = value.split(b".")
            text = decoded(parts[index]) if len(parts) in counts else None
            if text is None or not path:
                return text
            return json_lookup(text, steps, kind == "int")

        return Pure(convert)

    factory.__doc__ = f"The {name} of a token, or what its JSON has at a path; numbers as text, or as integers with \"int\"."
    args = (Str(optional=True, default=b""), OneOf("string", optional=True, default="", words=("int",)))
    converter(f"jwt_{name}_query", args=args, into=Type.BIN, out=Type.ANY)(factory)


_part("header", 0, (3, 5))
_part("payload", 1, (3,))


# -- signatures ------------------------------------------------------------------------------------------------------------


def verify(token: bytes, algorithm: str, secret: bytes | None, key: Any) -> int:
    """1: the signature is good; 0: it is not; a negative number as the manual lists them. ``secret`` None: there can be none."""
    family, size = algorithm[:2], algorithm[2:]
    if algorithm != "none" and (family not in ("HS", *_BY_KEY) or size not in _SIZES):
        return _UNKNOWN
    signed, dot, last = token.rpartition(b".")
    signature = decoded(last)
    if not dot or signed.count(b".") != 1:
        return _INVALID
    if algorithm == "none":
        return int(not last)
    if not signature:
        return _INVALID
    if family == "HS":
        if secret is None:
            return _UNMANAGED
        return int(hmac.compare_digest(hmac.digest(secret, signed, f"sha{size}"), signature))
    if key is None:
        return _NO_KEY
    from forkproxy.rules.jws import good  # whoever has a key has imported it

    found = good(key, algorithm, signed, signature)
    return _INVALID if found is None else int(found)


def _known(name: str, *families: str) -> bool:
    """Is it an algorithm of one of ``families``? Raises ValueError for what is no algorithm of a signature."""
    if name != "none" and (name[:2] not in families or name[2:] not in _SIZES):
        raise ValueError(f"the algorithm '{name}' is not supported, one of none, {', '.join(families)} with {', '.join(_SIZES)} is")
    return name[:2] in _BY_KEY


@converter("jwt_verify", args=(Str(), Str(), Context()), into=Type.BIN, out=Type.SINT)
def jwt_verify(algorithm: bytes, key: bytes, ctx: RuleContext) -> Any:
    """Is a token's signature good? 1 yes, 0 no, negative: an error. The algorithm (HS256 … RS256 … PS256 … ES256 … none) and the secret,
    or the file of the public key, may be variables; a key's file must be named by some rule, so that it is read with the configuration."""
    name, source = _of(algorithm), _of(key)
    if isinstance(name, str) and _known(name, "HS", *_BY_KEY):
        if isinstance(source, str):
            with_key = ctx.keyring.public_key(source)
            return Pure(lambda value: verify(value, name, None, with_key))
        need("cryptography", "crypto")
    elif not isinstance(name, str) and isinstance(source, str) and source.startswith(("/", "./")):
        ctx.keyring.public_key(source)
    files = ctx.keyring.public

    def convert(value: bytes, txn: Any) -> int:
        chosen = name if isinstance(name, str) else _text(name(txn))
        held = source if isinstance(source, str) else _text(source(txn))
        return verify(value, chosen, held.encode("utf-8", "surrogateescape"), files.get(held))

    return convert


@converter("jwt_verify_cert", args=(Str(), Str(), Context()), into=Type.BIN, out=Type.SINT)
def jwt_verify_cert(algorithm: bytes, cert: bytes, ctx: RuleContext) -> Any:
    """Is a token's signature good? As ``jwt_verify``, with the file of a certificate, and without the algorithms of shared secrets."""
    need("cryptography", "crypto")
    name, source = _of(algorithm), _of(cert)
    if isinstance(name, str):
        _known(name, *_BY_KEY)
    files = ctx.keyring.certificates
    if isinstance(source, str):
        ctx.keyring.certificate(source)

    def convert(value: bytes, txn: Any) -> int:
        chosen = name if isinstance(name, str) else _text(name(txn))
        held = files.get(source if isinstance(source, str) else _text(source(txn)))
        return verify(value, chosen, None, held and held[0])

    return convert


def _of(text: bytes) -> str | Callable[[Any], Any]:
    """A text, or how a variable of that name is read."""
    try:
        return getter(check_name(to_text(text)))
    except ValueError:
        return to_text(text)


def _text(value: Any) -> str:
    return to_text(value) if isinstance(value, bytes) else ""


# -- encrypted tokens ------------------------------------------------------------------------------------------------------


def _decrypt(source: str | Callable[[Any], Any], read: Callable[[bytes], Any], ctx: RuleContext) -> Any:
    """The converter that opens tokens with what ``read`` makes of a text, or of a variable's value; what is wrong gives an empty text,
    a variable without a value nothing."""
    from forkproxy.rules.jwe import opened

    ring = ctx.keyring
    if isinstance(source, str):
        key = read(source.encode("utf-8", "surrogateescape"))
        return Pure(lambda value: opened(value, key, ring) or b"")

    def convert(value: bytes, txn: Any) -> bytes | None:
        held = source(txn)
        if not isinstance(held, bytes):
            return None
        try:
            return opened(value, read(held), ring) or b""
        except ValueError:
            return b""

    return convert


def _secret(text: bytes) -> bytes:
    found = decoded(text.rstrip(b"="))
    if not found:
        raise ValueError("the secret is neither base64 nor the name of a variable")
    return found


@converter("jwt_decrypt_secret", args=(Str(), Context()), into=Type.BIN, out=Type.BIN)
def jwt_decrypt_secret(secret: bytes, ctx: RuleContext) -> Any:
    """What an encrypted token holds, empty where it cannot be opened: with a secret in base64, or in a variable, for the algorithms
    A128KW, A192KW, A256KW, A128GCMKW, A192GCMKW, A256GCMKW and dir."""
    need("cryptography", "crypto")
    return _decrypt(_of(secret), _secret, ctx)


@converter("jwt_decrypt_jwk", args=(Str(), Context()), into=Type.BIN, out=Type.BIN)
def jwt_decrypt_jwk(jwk: bytes, ctx: RuleContext) -> Any:
    """What an encrypted token holds, empty where it cannot be opened: with a JSON Web Key of type oct, RSA or EC, or a variable that has
    one. The algorithms are those of ``jwt_decrypt_secret``, RSA-OAEP, RSA-OAEP-256, ECDH-ES with and without A…KW, and RSA1_5 where
    ``jwt.decrypt_alg_list`` allows it."""
    need("cryptography", "crypto")
    from forkproxy.rules.jwe import read_jwk

    return _decrypt(_of(jwk), read_jwk, ctx)


@converter("jwt_decrypt_cert", args=(Str(), Context()), into=Type.BIN, out=Type.BIN)
def jwt_decrypt_cert(cert: bytes, ctx: RuleContext) -> Any:
    """What an encrypted token holds, empty where it cannot be opened: with the private key that belongs to a certificate, in its file or
    beside it as .key; a variable may name a file that some rule names, too. The algorithms are RSA-OAEP, RSA-OAEP-256, ECDH-ES …"""
    need("cryptography", "crypto")
    source, files = _of(cert), ctx.keyring.certificates
    if isinstance(source, str) and ctx.keyring.certificate(source)[1] is None:
        raise ValueError(f"there is no private key in '{source}' or '{source}.key'")
    return _decrypt(source, lambda name: files.get(to_text(name), (None, None))[1], ctx)
