"""Headers whole, byte by byte and with trailing data; everything the specification forbids."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkproxy.errors import ProtocolError
from forkproxy.wire.proxy_protocol import (
    LOCAL_V2,
    SIGNATURE,
    TYPE_AUTHORITY,
    TYPE_CRC32C,
    TYPE_NOOP,
    Header,
    build_v1,
    build_v2,
    crc32c,
    parse,
)

GOOD = [
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", Header(1, False, "ipv4", "192.168.0.1", 56324, "192.168.0.11", 443)),
    (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        Header(1, False, "ipv4", "255.255.255.255", 65535, "255.255.255.255", 65535),
    ),
    (b"PROXY TCP6 2001:DB8::1 ::1 1 0\r\n", Header(1, False, "ipv6", "2001:db8::1", 1, "::1", 0)),
    (b"PROXY UNKNOWN\r\n", Header(1, True)),
    (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", Header(1, True)),
    (LOCAL_V2, Header(2, True)),
    (SIGNATURE + b"\x20\x11\x00\x0c" + b"x" * 12, Header(2, True)),
    (SIGNATURE + b"\x21\x00\x00\x03abc", Header(2, True)),
    (
        SIGNATURE + b"\x21\x11\x00\x0c" + bytes([10, 0, 0, 1, 10, 0, 0, 2]) + b"\x12\x34\x00\x50",
        Header(2, False, "ipv4", "10.0.0.1", 4660, "10.0.0.2", 80),
    ),
    (
        SIGNATURE + b"\x21\x12\x00\x12" + bytes([1, 2, 3, 4, 5, 6, 7, 8]) + b"\x00\x01\x00\x02" + b"\x02\x00\x03a.b",
        Header(2, False, "ipv4", "1.2.3.4", 1, "5.6.7.8", 2, True, ((TYPE_AUTHORITY, b"a.b"),)),
    ),
    (
        SIGNATURE
        + b"\x21\x21\x00\x24"
        + socket.inet_pton(socket.AF_INET6, "2001:db8::5")
        + socket.inet_pton(socket.AF_INET6, "::2")
        + b"\0\x07\0\x08",
        Header(2, False, "ipv6", "2001:db8::5", 7, "::2", 8),
    ),
    (SIGNATURE + b"\x21\x31\x00\xd8" + b"/a/b".ljust(108, b"\0") + b"/c".ljust(108, b"\0"), Header(2, False, "unix", "/a/b", 0, "/c", 0)),
]


@pytest.mark.parametrize(("wire", "header"), GOOD)
def test_whole_by_byte_and_with_more_behind(wire: bytes, header: Header) -> None:
    assert parse(wire) == (header, len(wire))
    assert parse(bytearray(wire + b"GET / HTTP/1.1\r\n\r\n")) == (header, len(wire))
    for n in range(len(wire)):
        assert parse(wire[:n]) is None


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXX",
        b"\r\n\r\nG",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        b"PROXY TCP4 1.2.3.4\r5.6.7.8 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 ::1 ::2 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP6 1::2::3 ::2 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8  2\r\n",
        b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY\r\n",
        b"PROXY TCP4 " + b"1" * 96 + b"\r\n",
        SIGNATURE + b"\x11",
        SIGNATURE + b"\x22",
        SIGNATURE + b"\x21\x41",
        SIGNATURE + b"\x21\x13",
        SIGNATURE + b"\x21\x11\x00\x0b" + b"x" * 11,
        SIGNATURE + b"\x21\x21\x00\x0c" + b"x" * 12,
        SIGNATURE + b"\x21\x31\x00\xd7" + b"x" * 215,
        SIGNATURE + b"\x21\x11\xff\xff",
        SIGNATURE + b"\x21\x11\x00\x0e" + b"x" * 12 + b"\x01\x00",
        SIGNATURE + b"\x21\x11\x00\x10" + b"x" * 12 + b"\x01\x00\x02a",
        SIGNATURE + b"\x21\x11\x00\x13" + b"x" * 12 + b"\x03\x00\x04abcd",
        SIGNATURE + b"\x21\x11\x00\x10" + b"x" * 12 + b"\x03\x00\x01a",
    ],
)
def test_refused_as_soon_as_it_is_complete(wire: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(wire)


def test_unfinished_line_is_refused_at_its_limit() -> None:
    assert parse(b"PROXY UNKNOWN " + b"x" * 92) is None
    with pytest.raises(ProtocolError):
        parse(b"PROXY UNKNOWN " + b"x" * 93)


def test_limit_of_the_caller() -> None:
    wire = build_v2("1.2.3.4", 1, "5.6.7.8", 2, tlvs=[(TYPE_NOOP, b"x" * 200)])
    assert parse(wire, 215) is not None
    with pytest.raises(ProtocolError):
        parse(wire, 214)


def test_checksum() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value that catalogues of checksums give
    wire = build_v2("1.2.3.4", 1, "5.6.7.8", 2, tlvs=[(TYPE_AUTHORITY, b"h")], checksum=True)
    found = parse(wire)
    assert found is not None
    assert found[0].tlv(TYPE_AUTHORITY) == b"h"
    assert len(found[0].tlv(TYPE_CRC32C) or b"") == 4
    assert found[0].tlv(TYPE_NOOP) is None
    for n in (*range(16, 28), len(wire) - 1):
        with pytest.raises(ProtocolError):
            parse(wire[:n] + bytes([wire[n] ^ 1]) + wire[n + 1 :])


def test_build_mixed_and_unknown() -> None:
    assert build_v1("1.2.3.4", 5, "6.7.8.9", 10) == b"PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\n"
    assert build_v1("1.2.3.4", 5, "::9", 10) == b"PROXY TCP6 ::ffff:1.2.3.4 ::9 5 10\r\n"
    assert build_v1("unix", 0, "1.2.3.4", 5) == b"PROXY UNKNOWN\r\n"
    mixed = parse(build_v2("::1", 5, "1.2.3.4", 6))
    assert mixed == (Header(2, False, "ipv6", "::1", 5, "::ffff:1.2.3.4", 6), 52)
    assert parse(build_v2("unix", 0, "", 0)) == (Header(2, False, "unix", "unix", 0, "", 0), 232)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 65535), st.integers(0, 65535))
def test_round_trip(src: object, dst: object, src_port: int, dst_port: int) -> None:
    for version, wire in ((1, build_v1(str(src), src_port, str(dst), dst_port)), (2, build_v2(str(src), src_port, str(dst), dst_port))):
        assert parse(wire) == (Header(version, False, "ipv4", str(src), src_port, str(dst), dst_port), len(wire))


@given(st.binary(max_size=60))
def test_any_bytes_after_the_signature_are_read_or_refused(tail: bytes) -> None:
    for wire in (SIGNATURE + tail, SIGNATURE + b"\x21\x11" + struct.pack(">H", len(tail)) + tail, b"PROXY " + tail):
        try:
            found = parse(wire)
        except ProtocolError:
            continue
        assert found is None or found[1] <= len(wire)
