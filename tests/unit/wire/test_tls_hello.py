"""The ClientHello parser on hellos that a real TLS library makes: whole, byte by byte, cut into records, broken."""

from __future__ import annotations

import ssl

import pytest

from forkproxy.wire.tls_hello import Incomplete, NotTls, hello_type, parse_client_hello


def hello(name: str = "www.example.com") -> bytes:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_whole_and_with_trailing_bytes() -> None:
    for data in (hello(), hello() + b"more"):
        found = parse_client_hello(data)
        assert found.sni == b"www.example.com" and found.alpn == (b"h2", b"http/1.1")
        assert found.version == 0x0303 and 0x0304 in found.versions
        assert found.ciphers and found.groups and found.sigalgs and found.keyshares and 10 in found.extensions


def test_every_prefix_is_incomplete() -> None:
    data = hello()
    for end in range(len(data)):
        with pytest.raises(Incomplete):
            parse_client_hello(data[:end])


def test_cut_into_records() -> None:
    data = hello()
    body = data[5:]
    cut = b"".join(data[:3] + len(body[i : i + 50]).to_bytes(2, "big") + body[i : i + 50] for i in range(0, len(body), 50))
    assert parse_client_hello(cut).sni == b"www.example.com"


#: records without content cost the sender five bytes each: nobody waits for the end of them
EMPTY_RECORDS = b"\x16\x03\x01\x00\x00\x01"


def test_other_protocols() -> None:
    for data in (b"GET / HTTP/1.1\r\n", b"\x16\x02", b"\x15\x03\x01\x00\x02\x01\x00", b"SSH-2.0", EMPTY_RECORDS):
        with pytest.raises(NotTls):
            parse_client_hello(data)
    assert hello_type(b"\x16\x03\x03\x00\x10\x02") == 2


def test_damaged_hellos_are_refused_or_read() -> None:
    data = bytearray(hello())
    for at in range(5, len(data)):
        broken = bytes(data[:at]) + bytes([data[at] ^ 0xFF]) + bytes(data[at + 1 :])
        try:
            parse_client_hello(broken)
        except (Incomplete, NotTls):
            pass
