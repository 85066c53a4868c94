"""``balance rdp-cookie[(<name>)]``: by the cookie at the beginning of an RDP session (MS-RDPBCGR 2.2.1.1: X.224 connection request)."""

from __future__ import annotations

from typing import Any

from forkproxy import plan
from forkproxy.balance.keyed import hasher, keyed
from forkproxy.balance.picker import Picker, View
from forkproxy.registry import Needs, algorithm


def cookie(data: bytes, name: bytes) -> bytes | None:
    """The value of RDP cookie ``name`` in a session's first bytes; None while incomplete or when it is none.

    Eleven bytes of TPKT and X.224 headers, then ``Cookie: name=value`` up to CRLF; the name's case does not matter.
    """
    if data[11:18].lower() != b"cookie:":
        return None
    text = data[18:].lstrip(b" ")
    if text[: len(name) + 1].lower() != name.lower() + b"=":
        return None
    end = text.find(b"\r")
    return text[len(name) + 1 : end] if end >= 0 and text[end + 1 : end + 2] == b"\n" else None


@algorithm("rdp-cookie", synopsis="rdp-cookie[(<name>)]", needs=Needs.L6)
def rdp_cookie(backend: plan.Backend, view: View) -> Picker:
    """The same RDP cookie (``mstshash`` unless named) goes to the same server; round robin without one."""
    hash_key = hasher(backend.balance)
    name = (backend.balance.args[0] if backend.balance.args else "mstshash").encode()

    def hash_of(txn: Any) -> int | None:
        value = cookie(bytes(txn.body[:512]), name)
        return hash_key(value) if value else None

    return keyed(backend, view, hash_of)
