"""Converters of a saved SYN: Ethernet, IP and TCP headers (manual 7.3.1 "eth.…", "ip.…", "tcp.…"; RFC 791, 8200, 9293)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from forkproxy.registry import Type, converter
from forkproxy.rules.args import Int
from forkproxy.rules.expr import Pure
from forkproxy.rules.types import Addr

#: types of an Ethernet frame that are followed by a VLAN tag
_TAGS = (0x8100, 0x88A8)
_EOL, _NOP, _MSS, _WSCALE, _SACK, _TIMESTAMP = 0, 1, 2, 3, 4, 8
#: IPv6 extension headers that say how long they are
_EXTENSIONS = (0, 43, 60)


def _short(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


# -- Ethernet --------------------------------------------------------------------------------------------------------------


def _eth_size(frame: bytes) -> int | None:
    """How long the header is, VLAN tags included; None when it is cut off."""
    at = 12
    while _short(frame, at) in _TAGS:
        at += 4
    return at + 2 if len(frame) >= at + 2 else None


def _eth_vlan(frame: bytes) -> int | None:
    size = _eth_size(frame)
    return _short(frame, size - 4) & 0xFFF if size is not None and size > 14 else None


# -- IP --------------------------------------------------------------------------------------------------------------------


def _ip_size(packet: bytes) -> tuple[int, int] | None:
    """(length of the headers, number of the protocol behind them); None when they are cut off."""
    if not packet:
        return None
    if packet[0] >> 4 == 4:
        size = (packet[0] & 15) * 4
        return (size, packet[9]) if 20 <= size <= len(packet) else None
    if packet[0] >> 4 != 6 or len(packet) < 40:
        return None
    size, kind = 40, packet[6]
    while kind in _EXTENSIONS:
        if size + 2 > len(packet):
            return None
        kind, size = packet[size], size + (packet[size + 1] + 1) * 8
    return (size, kind) if size <= len(packet) else None


def _of_ip(read: Callable[[bytes, bool], Any]) -> Callable[[bytes], Any]:
    """``read(packet, is it IPv4?)`` for packets whose header is whole."""
    return lambda packet: read(packet, packet[0] >> 4 == 4) if _ip_size(packet) is not None else None


def _address(packet: bytes, v4: bool, last: bool) -> Addr:
    start, size = (12, 4) if v4 else (8, 16)
    start += size * last
    return Addr(packed=bytes(packet[start : start + size]))


def _tos(packet: bytes, v4: bool) -> int:
    return packet[1] if v4 else (packet[0] << 4 | packet[1] >> 4) & 0xFF


def _ip_data(packet: bytes) -> bytes | None:
    found = _ip_size(packet)
    return packet[found[0] :] if found is not None else None


def _ip_header(packet: bytes) -> bytes | None:
    found = _ip_size(packet)
    return packet[: found[0]] if found is not None else None


# -- TCP -------------------------------------------------------------------------------------------------------------------


def _tcp_size(segment: bytes) -> int | None:
    size = (segment[12] >> 4) * 4 if len(segment) >= 20 else 0
    return size if 20 <= size <= len(segment) else None


def _options(segment: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, contents) of the options in order, without the end."""
    size = _tcp_size(segment) or 0
    at = 20
    while at < size and segment[at] != _EOL:
        if segment[at] == _NOP:
            yield _NOP, b""
            at += 1
            continue
        length = segment[at + 1] if at + 1 < size else 0
        if length < 2 or at + length > size:
            return
        yield segment[at], segment[at + 2 : at + length]
        at += length


def _option(segment: bytes, kind: int, length: int) -> bytes | None:
    return next((data for found, data in _options(segment) if found == kind and len(data) == length), None)


def _of_tcp(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """``read`` for segments whose header is whole."""
    return lambda segment: read(segment) if _tcp_size(segment) is not None else None


def _number(segment: bytes, kind: int, length: int) -> int | None:
    data = _option(segment, kind, length)
    return int.from_bytes(data[:4], "big") if data is not None else None


# -- the fingerprint -------------------------------------------------------------------------------------------------------


#: bits of a fingerprint's mode: what is appended
_TTL, _KINDS, _SOURCE = 1, 2, 4


def fingerprint(packet: bytes, mode: int = 0) -> bytes | None:
    """What of a SYN's headers stays the same for a host, 8 bytes, and what ``mode`` adds (manual 7.3.1 "ip.fp")."""
    found = _ip_size(packet)
    segment = packet[found[0] :] if found is not None and found[1] == 6 else b""
    head = _tcp_size(segment)
    if found is None or head is None:
        return None
    four = packet[0] >> 4 == 4
    ttl = packet[8] if four else packet[7]
    level = 0 if ttl <= 32 else 1 if ttl <= 64 else 2 if ttl <= 128 else 3
    dont = packet[6] >> 6 & 1 if four else 1
    bits = ((not four) << 7) | dont << 6 | level << 4 | (found[0] > (20 if four else 40)) << 3 | (len(segment) > head) << 2
    scale = _number(segment, _WSCALE, 1)
    kinds = [kind for kind, _ in _options(segment)]
    present = 0
    for kind in kinds:
        if kind > _NOP:
            present |= 1 << min(kind - 2, 7)
    made = struct.pack(
        ">BBBHHB", _tos(packet, four), bits | segment[13] >> 6, head // 4 << 4 | (0 if scale is None else min(scale + 1, 15)),
        _short(segment, 14), _number(segment, _MSS, 2) or 0, present,
    )  # fmt: skip
    made += bytes((ttl,)) if mode & _TTL else b""
    made += bytes(kinds) if mode & _KINDS else b""
    return made + (_address(packet, four, False).packed if mode & _SOURCE else b"")


@converter("ip.fp", args=(Int(optional=True, default=0, lo=0, hi=7),), into=Type.BIN, out=Type.BIN)
def ip_fp(mode: int) -> Pure:
    """A fingerprint of what stays the same in a host's SYN packets; 1 adds the time to live, 2 the kinds of options, 4 the source."""
    return Pure(lambda packet: fingerprint(packet, mode))


def _register(name: str, doc: str, out: Type, read: Callable[[bytes], Any]) -> None:
    def factory() -> Pure:
        return Pure(read)

    factory.__doc__ = doc
    converter(name, into=Type.BIN, out=out)(factory)


_INT, _BIN, _ADDR = Type.SINT, Type.BIN, Type.ADDR
for _name, _doc, _out, _read in (
    ("eth.hdr", "The Ethernet header with its VLAN tags.", _BIN, lambda v: v[:size] if (size := _eth_size(v)) else None),
    ("eth.data", "What follows the Ethernet header.", _BIN, lambda v: v[size:] if (size := _eth_size(v)) else None),
    ("eth.dst", "The destination address of an Ethernet frame, six bytes.", _BIN, lambda v: v[:6] if len(v) >= 6 else None),
    ("eth.src", "The source address of an Ethernet frame, six bytes.", _BIN, lambda v: v[6:12] if len(v) >= 12 else None),
    ("eth.proto", "The protocol number of an Ethernet frame.", _INT, lambda v: _short(v, size - 2) if (size := _eth_size(v)) else None),
    ("eth.vlan", "The last VLAN identifier of an Ethernet frame.", _INT, _eth_vlan),
    ("ip.hdr", "The IP header with its options.", _BIN, _ip_header),
    ("ip.data", "What follows the IP header.", _BIN, _ip_data),
    ("ip.ver", "The version of an IP packet.", _INT, _of_ip(lambda v, four: v[0] >> 4)),
    ("ip.df", "May the IP packet not be fragmented? 1 for IPv6.", _INT, _of_ip(lambda v, four: v[6] >> 6 & 1 if four else 1)),
    ("ip.tos", "The TOS byte or traffic class of an IP packet.", _INT, _of_ip(_tos)),
    ("ip.ttl", "The time to live or hop limit of an IP packet.", _INT, _of_ip(lambda v, four: v[8] if four else v[7])),
    ("ip.proto", "The protocol number of an IP packet.", _INT, lambda v: found[1] if (found := _ip_size(v)) is not None else None),
    ("ip.src", "The source address of an IP packet.", _ADDR, _of_ip(lambda v, four: _address(v, four, False))),
    ("ip.dst", "The destination address of an IP packet.", _ADDR, _of_ip(lambda v, four: _address(v, four, True))),
    ("tcp.src", "The source port of a TCP segment.", _INT, _of_tcp(lambda v: _short(v, 0))),
    ("tcp.dst", "The destination port of a TCP segment.", _INT, _of_tcp(lambda v: _short(v, 2))),
    ("tcp.seq", "The sequence number of a TCP segment.", _INT, _of_tcp(lambda v: int.from_bytes(v[4:8], "big"))),
    ("tcp.flags", "The eight flags of a TCP segment.", _INT, _of_tcp(lambda v: v[13])),
    ("tcp.win", "The window of a TCP segment.", _INT, _of_tcp(lambda v: _short(v, 14))),
    ("tcp.options.mss", "The maximum segment size that a TCP segment tells.", _INT, _of_tcp(lambda v: _number(v, _MSS, 2))),
    ("tcp.options.wsopt", "1 where a TCP segment tells a window scale.", _INT, _of_tcp(lambda v: int(_option(v, _WSCALE, 1) is not None))),
    ("tcp.options.wscale", "The window scale that a TCP segment tells, or 0.", _INT, _of_tcp(lambda v: _number(v, _WSCALE, 1) or 0)),
    ("tcp.options.sack", "1 where a TCP segment permits selective acknowledgements.", _INT,
     _of_tcp(lambda v: int(_option(v, _SACK, 0) is not None))),
    ("tcp.options.tsopt", "1 where a TCP segment has a timestamp.", _INT, _of_tcp(lambda v: int(_option(v, _TIMESTAMP, 8) is not None))),
    ("tcp.options.tsval", "The timestamp of a TCP segment.", _INT, _of_tcp(lambda v: _number(v, _TIMESTAMP, 8))),
    ("tcp.options_list", "The kinds of a TCP segment's options in order, a byte each.", _BIN,
     _of_tcp(lambda v: bytes(kind for kind, _ in _options(v)))),
):  # fmt: skip
    _register(_name, _doc, _out, _read)
