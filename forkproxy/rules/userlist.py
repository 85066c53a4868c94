"""User lists (manual 12.2): names, passwords in clear or as crypt(3) hashes, groups; and the credentials of a request.

A password that was right once is remembered (as a keyed digest), since crypt(3) hashes are slow on purpose.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Any


def basic_credentials(value: bytes | None) -> tuple[bytes, bytes] | None:
    """User and password of an ``Authorization: Basic …`` value, or None (RFC 7617)."""
    if not value:
        return None
    scheme, _, token = value.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = binascii.a2b_base64(token.strip(), strict_mode=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None


@lru_cache(1)
def _libcrypt() -> Any:
    import ctypes.util  # and with it half of the standard library: only lists with hashes pay for it

    name = ctypes.util.find_library("crypt") or "libcrypt.so.1"
    try:
        lib = ctypes.CDLL(name)
    except OSError:
        return None
    lib.crypt.restype = ctypes.c_char_p
    lib.crypt.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    return lib


def crypt_available() -> bool:
    """Can crypt(3) hashes be checked on this machine?"""
    return _libcrypt() is not None


class Userlist:
    """``users`` maps a name to (password, is it in clear?); ``groups_of`` a name to its groups."""

    __slots__ = ("_good", "_key", "groups_of", "name", "users")

    def __init__(self, name: str) -> None:
        self.name = name
        self.users: dict[bytes, tuple[bytes, bool]] = {}
        self.groups_of: dict[bytes, list[bytes]] = {}
        self._good: dict[bytes, bytes] = {}
        self._key = os.urandom(16)

    def add(self, user: bytes, password: bytes, clear: bool, groups: Iterable[bytes] = ()) -> None:
        """Add a user. Raises ValueError for a name that is there already, or a hash that cannot be checked here."""
        if user in self.users:
            raise ValueError(f"user '{user.decode()}' already exists in userlist '{self.name}'")
        if not clear and not crypt_available():
            raise ValueError("crypt(3) is not available on this machine, encrypted passwords cannot be checked")
        self.users[user] = (password, clear)
        self.groups_of.setdefault(user, []).extend(groups)

    def add_group(self, group: bytes, users: Iterable[bytes] = ()) -> None:
        """Add ``users`` to a group."""
        for user in users:
            mine = self.groups_of.setdefault(user, [])
            if group not in mine:
                mine.append(group)

    def groups(self, user: bytes) -> list[bytes]:
        """The groups that ``user`` is in."""
        return self.groups_of.get(user, [])

    def check(self, user: bytes, password: bytes) -> bool:
        """Is this the user's password?"""
        known = self.users.get(user)
        if known is None:
            return False
        secret, clear = known
        if clear:
            return hmac.compare_digest(secret, password)
        digest = hashlib.blake2s(password, key=self._key).digest()
        good = self._good.get(user)
        if good is not None and hmac.compare_digest(good, digest):
            return True
        lib = _libcrypt()
        made: bytes | None = lib.crypt(password.partition(b"\0")[0], secret) if lib is not None else None
        if made is None or not hmac.compare_digest(made, secret):
            return False
        self._good[user] = digest
        return True
