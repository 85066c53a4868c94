"""The PROXY protocol, versions 1 and 2: parse what a trusted peer sends first, build what a server wants first.

Source: "The PROXY protocol" 2.1 (text), 2.2 (binary); the numbers in comments are its sections. Sans I/O and without state: the
parser looks at everything received so far and asks for more until a header is complete, so that a caller only keeps a buffer.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from forkproxy.errors import ProtocolError
from forkproxy.values import frozen

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

#: The longest version 1 line, its CRLF included (2.1).
V1_LIMIT = 107
#: The longest version 2 header accepted by default; the length field could announce 64 KiB.
V2_LIMIT = 16384

TYPE_ALPN, TYPE_AUTHORITY, TYPE_CRC32C, TYPE_NOOP, TYPE_UNIQUE_ID, TYPE_SSL, TYPE_NETNS = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30

_FAMILIES = {1: ("ipv4", socket.AF_INET, 4), 2: ("ipv6", socket.AF_INET6, 16)}
_UNIX_BYTES = 108


@frozen
class Header:
    """What a header says. ``local`` (LOCAL, UNKNOWN, an unspecified family): the connection's own addresses hold.

    ``family`` is "ipv4", "ipv6", "unix" or "" for none; addresses are text (paths for unix), ports integers.
    ``tlvs`` are (type, value) in order.
    """

    version: int
    local: bool
    family: str = ""
    src: str = ""
    src_port: int = 0
    dst: str = ""
    dst_port: int = 0
    datagram: bool = False
    tlvs: tuple[tuple[int, bytes], ...] = ()

    def tlv(self, kind: int) -> bytes | None:
        """The value of the first element of a type."""
        for k, value in self.tlvs:
            if k == kind:
                return value
        return None


def parse(data: bytes | bytearray, limit: int = V2_LIMIT) -> tuple[Header, int] | None:
    """Read the header at the beginning of ``data``: (header, its length in bytes), or None when more bytes are needed.

    Raises ProtocolError as soon as the bytes cannot become a valid header any more; the connection is to be closed without a word.
    """
    start = bytes(data[:12])
    if start[:5] == b"PROXY":
        return _parse_v1(bytes(data[:V1_LIMIT]))
    if start == SIGNATURE:
        return _parse_v2(bytes(data[: 16 + limit]), limit)
    if SIGNATURE.startswith(start) or b"PROXY".startswith(start):
        return None
    raise ProtocolError("not a PROXY protocol header", offset=0)


def _parse_v1(data: bytes) -> tuple[Header, int] | None:
    end = data.find(b"\r\n")
    if end < 0:
        # A CR may be the last byte so far; any other CR or LF cannot be part of a line.
        if len(data) >= V1_LIMIT or b"\n" in data or b"\r" in data[:-1]:
            raise ProtocolError("PROXY line without CRLF", offset=len(data))
        return None
    line, used = data[:end], end + 2
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return Header(1, True), used
    words = line.split(b" ")
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise ProtocolError("malformed PROXY line", offset=0)
    family, number = ("ipv4", socket.AF_INET) if words[1] == b"TCP4" else ("ipv6", socket.AF_INET6)
    try:
        src, dst = (socket.inet_ntop(number, socket.inet_pton(number, word.decode("ascii"))) for word in words[2:4])
    except (OSError, ValueError):
        raise ProtocolError("bad address in PROXY line", offset=0) from None
    src_port, dst_port = _port(words[4]), _port(words[5])
    return Header(1, False, family, src, src_port, dst, dst_port), used


def _port(word: bytes) -> int:
    if not (word.isdigit() and len(word) <= 5 and (word == b"0" or word[0] != 0x30)) or int(word) > 65535:
        raise ProtocolError("bad port in PROXY line", offset=0)
    return int(word)


def _parse_v2(data: bytes, limit: int) -> tuple[Header, int] | None:
    if len(data) > 12:
        if data[12] >> 4 != 2:
            raise ProtocolError("unknown PROXY protocol version", offset=12)
        if data[12] & 15 > 1:
            raise ProtocolError("unknown PROXY protocol command", offset=12)
    if len(data) > 13 and (data[13] >> 4 > 3 or data[13] & 15 > 2):
        raise ProtocolError("unknown family or transport in PROXY header", offset=13)
    if len(data) < 16:
        return None
    length = int.from_bytes(data[14:16], "big")
    used = 16 + length
    if length > limit:
        raise ProtocolError("PROXY header too long", offset=14)
    if len(data) < used:
        return None
    block = data[16:used]
    local, family, transport = data[12] & 15 == 0, data[13] >> 4, data[13] & 15
    if local or not family or not transport:
        return Header(2, True), used
    if family == 3:
        size = 2 * _UNIX_BYTES
        _demand(length >= size)
        src, dst = (block[k : k + _UNIX_BYTES].partition(b"\0")[0].decode("utf-8", "surrogateescape") for k in (0, _UNIX_BYTES))
        kind, src_port, dst_port = "unix", 0, 0
    else:
        kind, number, wide = _FAMILIES[family]
        size = 2 * wide + 4
        _demand(length >= size)
        src, dst = socket.inet_ntop(number, block[:wide]), socket.inet_ntop(number, block[wide : 2 * wide])
        src_port, dst_port = struct.unpack_from(">HH", block, 2 * wide)
    return Header(2, False, kind, src, src_port, dst, dst_port, transport == 2, _tlvs(data[:used], 16 + size)), used


def _demand(condition: bool) -> None:
    if not condition:
        raise ProtocolError("PROXY header too short for what it announces", offset=14)


def _tlvs(header: bytes, at: int) -> tuple[tuple[int, bytes], ...]:
    """The elements after the addresses; a checksum among them is verified (2.2.3)."""
    found: list[tuple[int, bytes]] = []
    while at < len(header):
        _demand(at + 3 <= len(header))
        size = int.from_bytes(header[at + 1 : at + 3], "big")
        value = header[at + 3 : at + 3 + size]
        _demand(len(value) == size)
        if header[at] == TYPE_CRC32C:
            _demand(size == 4)
            blank = header[: at + 3] + b"\0\0\0\0" + header[at + 7 :]
            if crc32c(blank) != int.from_bytes(value, "big"):
                raise ProtocolError("wrong checksum in PROXY header", offset=at)
        found.append((header[at], value))
        at += 3 + size
    return tuple(found)


def _crc_row(n: int) -> int:
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    return n


_CRC32C = tuple(map(_crc_row, range(256)))


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum (RFC 4960 appendix B)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def _pack(address: str) -> tuple[bytes, bool]:
    """(packed address, whether it is IPv6); raises OSError for anything else."""
    if ":" in address:
        return socket.inet_pton(socket.AF_INET6, address.partition("%")[0]), True
    return socket.inet_pton(socket.AF_INET, address), False


def build_v1(src: str, src_port: int, dst: str, dst_port: int) -> bytes:
    """The line for a connection between two textual addresses. An IPv4 one beside an IPv6 one is written as IPv4-mapped.

    Addresses that are no IP addresses (unix sockets) give ``PROXY UNKNOWN``.
    """
    try:
        (_, six), (_, also) = _pack(src), _pack(dst)
    except OSError:
        return b"PROXY UNKNOWN\r\n"
    if six or also:
        src, dst = (a if wide else f"::ffff:{a}" for a, wide in ((src.partition("%")[0], six), (dst.partition("%")[0], also)))
        return f"PROXY TCP6 {src} {dst} {src_port} {dst_port}\r\n".encode()
    return f"PROXY TCP4 {src} {dst} {src_port} {dst_port}\r\n".encode()


#: For connections that nobody is behind, health checks for example (2.2: LOCAL).
LOCAL_V2 = SIGNATURE + b"\x20\x00\x00\x00"


def build_v2(
    src: str,
    src_port: int,
    dst: str,
    dst_port: int,
    *,
    datagram: bool = False,
    tlvs: Iterable[tuple[int, bytes]] = (),
    checksum: bool = False,
) -> bytes:
    """The binary header; ``tlvs`` are (type, value), ``checksum`` puts a CRC32C element before them.

    Two addresses that are not IP addresses are written as unix paths, of which both may be empty.
    """
    transport = 2 if datagram else 1
    try:
        (a, six), (b, also) = _pack(src), _pack(dst)
    except OSError:
        family = 3
        block = b"".join(path.encode("utf-8", "surrogateescape")[:_UNIX_BYTES].ljust(_UNIX_BYTES, b"\0") for path in (src, dst))
    else:
        if six or also:
            mapped = b"\0" * 10 + b"\xff\xff"
            a, b = (a if six else mapped + a), (b if also else mapped + b)
        family = 2 if six or also else 1
        block = a + b + struct.pack(">HH", src_port, dst_port)
    extra = b"".join(struct.pack(">BH", kind, len(value)) + value for kind, value in tlvs)
    return _sealed(0x21, family << 4 | transport, block, extra, checksum)


def local_v2(checksum: bool = False) -> bytes:
    """The header of a connection that is on nobody's behalf."""
    return _sealed(0x20, 0, b"", b"", checksum)


def _sealed(command: int, family: int, block: bytes, extra: bytes, checksum: bool) -> bytes:
    if not checksum:
        return SIGNATURE + struct.pack(">BBH", command, family, len(block) + len(extra)) + block + extra
    start = SIGNATURE + struct.pack(">BBH", command, family, len(block) + 7 + len(extra)) + block + struct.pack(">BH", TYPE_CRC32C, 4)
    return start + struct.pack(">I", crc32c(start + b"\0\0\0\0" + extra)) + extra
