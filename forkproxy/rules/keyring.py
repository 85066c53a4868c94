"""The keys that the rules of a configuration name by their files, each read once, and what tokens may be encrypted with.

Knows no cryptography: ``rules/jws.py`` makes the keys and is imported for the first one only. A key is read when the configuration
is, never while traffic runs: what a variable names must be named by some rule as well (manual 7.3.1 "jwt_verify").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from forkproxy.rules.extras import need

_WRAPS = ("A128KW", "A192KW", "A256KW")
_AGREES = ("ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A192KW", "ECDH-ES+A256KW")
#: how the key of a token's content may be encrypted (RFC 7518 4.1), for each kind of key, and how the content (5.1)
SYMMETRIC = frozenset((*_WRAPS, "A128GCMKW", "A192GCMKW", "A256GCMKW", "dir"))
ASYMMETRIC = frozenset(("RSA1_5", "RSA-OAEP", "RSA-OAEP-256", *_AGREES))
ALGORITHMS = SYMMETRIC | ASYMMETRIC
ENCRYPTIONS = frozenset(("A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512", "A128GCM", "A192GCM", "A256GCM"))
#: what is off unless a configuration asks for it (RFC 8725 3.2)
WEAK = frozenset(("RSA1_5",))


class Keyring:
    """Keys by the names of their files: ``public`` for signatures, ``certificates`` as (public, private or None).

    ``algorithms`` and ``encryptions`` are what tokens may use to be decrypted, None: all that are not weak.
    """

    __slots__ = ("algorithms", "certificates", "encryptions", "public")

    def __init__(self, algorithms: frozenset[str] | None = None, encryptions: frozenset[str] | None = None) -> None:
        self.public: dict[str, Any] = {}
        self.certificates: dict[str, tuple[Any, Any]] = {}
        self.algorithms = ALGORITHMS - WEAK if algorithms is None else algorithms
        self.encryptions = ENCRYPTIONS if encryptions is None else encryptions

    def public_key(self, path: str) -> Any:
        """The public key in the file ``path``. Raises ValueError when there is none, or without the package that reads it."""
        if path not in self.public:
            need("cryptography", "crypto")
            from forkproxy.rules.jws import read_public

            self.public[path] = _made("public key", path, read_public)
        return self.public[path]

    def certificate(self, path: str) -> tuple[Any, Any]:
        """The public key of the certificate in the file ``path``, and the private key in it or in ``path``.key, or None. Raises
        ValueError."""
        if path not in self.certificates:
            need("cryptography", "crypto")
            from forkproxy.rules.jws import read_certificate, read_private

            public = _made("certificate", path, read_certificate)
            private = _made("certificate", path, read_private)
            if private is None:
                try:
                    private = _made("private key", f"{path}.key", read_private)
                except _Unreadable:
                    pass
            self.certificates[path] = public, private
        return self.certificates[path]


class _Unreadable(ValueError):
    """A file that is not there, or not for us."""


def _made(what: str, path: str, read: Any) -> Any:
    try:
        with open(path, "rb") as f:
            return read(f.read())
    except OSError as err:
        raise _Unreadable(f"the {what} '{path}' cannot be read : {err.strerror}") from None
    except ValueError as err:
        raise ValueError(f"the {what} '{path}' : {err}") from None


def chosen(text: str, names: Iterable[str]) -> frozenset[str]:
    """Which of ``names`` a list such as ``ALL:!RSA1_5`` allows (manual 3.1 "jwt.decrypt_alg_list"). Raises ValueError."""
    allowed: set[str] = set()
    for word in text.split(":"):
        name = word.removeprefix("!")
        if word == "ALL":
            allowed.update(names)
        elif name not in names:
            raise ValueError(f"'{name}' is not one of ALL, {', '.join(sorted(names))}")
        elif word == name:
            allowed.add(name)
        else:
            allowed.discard(name)
    return frozenset(allowed)
