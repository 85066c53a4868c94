"""The connection request of the Remote Desktop Protocol, as far as its cookie goes (MS-RDPBCGR 2.2.1.1). Sans I/O."""

from __future__ import annotations


class Incomplete(Exception):
    """More bytes are needed."""


_START = b"cookie: "


def rdp_cookie(data: bytes | bytearray, name: bytes = b"") -> bytes | None:
    """The value of the cookie in an X.224 connection request; None when there is none (or not called ``name``).

    ``name`` b"" takes any. Raises Incomplete while the request is not all there.
    """
    head = bytes(data[:11])
    if not b"\x03\x00".startswith(head[:2]):
        return None
    if len(head) < 11:
        raise Incomplete
    size = int.from_bytes(head[2:4], "big")
    if head[4] + 5 != size or head[5] != 0xE0 or head[6:8] != b"\0\0" or head[10] != 0:
        return None
    if len(data) < size:
        raise Incomplete
    body = bytes(data[11:size])
    if body[: len(_START)].lower() != _START:
        return None
    line, end, _ = body[len(_START) :].partition(b"\r\n")
    found, equals, value = line.partition(b"=")
    if not end or not equals or (name and found.lower() != name.lower()):
        return None
    return value
