"""Fetches of what the kernel measures of a connection (manual 7.3.3, tcp(7) TCP_INFO), of its SYN, and of its PROXY protocol header."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from forkproxy.registry import Needs, Type, fetch
from forkproxy.rules import phases
from forkproxy.rules.args import OneOf, Str
from forkproxy.rules.expr import FetchFn
from forkproxy.wire import proxy_protocol

_CLIENT: dict[str, Any] = {"needs": Needs.L4, "uses": phases.CLIENT}
_UNIT = OneOf("string", optional=True, default="ms", words=("ms", "us"))

#: struct tcp_info: eight single bytes, then words of 32 bits; the place of each in bytes
_UNACKED, _SACKED, _LOST, _RETRANS, _FACKETS, _RTT, _RTTVAR, _REORDERING = 24, 28, 32, 36, 40, 68, 72, 88


def _word(side: str, at: int) -> Callable[[Any], int | None]:
    def get(txn: Any) -> int | None:
        info: bytes = txn.tcp_info(side)
        return struct.unpack_from("=I", info, at)[0] if len(info) >= at + 4 else None

    return get


def _time(name: str, doc: str, side: str, at: int) -> None:
    def factory(unit: str) -> FetchFn:
        get = _word(side, at)
        if unit == "us":
            return get
        return lambda txn: None if (value := get(txn)) is None else value // 1000

    factory.__doc__ = doc
    fetch(name, out=Type.SINT, args=(_UNIT,), **_CLIENT)(factory)


_time("fc_rtt", "The round-trip time of the client's connection, in ms or us.", "client", _RTT)
_time("fc_rttvar", "How much the round-trip time of the client's connection varies, in ms or us.", "client", _RTTVAR)
_time("bc_rtt", "The round-trip time of the server's connection, in ms or us.", "server", _RTT)
_time("bc_rttvar", "How much the round-trip time of the server's connection varies, in ms or us.", "server", _RTTVAR)


def _count(name: str, doc: str, at: int) -> None:
    def factory(ignored: bytes) -> FetchFn:
        return _word("client", at)

    factory.__doc__ = doc
    fetch(name, out=Type.SINT, args=(Str(optional=True, default=b""),), **_CLIENT)(factory)


_count("fc_unacked", "Packets to the client that are under way.", _UNACKED)
_count("fc_sacked", "Packets of which the client said that it has them out of order.", _SACKED)
_count("fc_lost", "Packets to the client that the kernel takes for lost.", _LOST)
_count("fc_retrans", "Packets to the client that were sent again and are not acknowledged.", _RETRANS)
_count("fc_fackets", "The kernel's count of forward acknowledgements of the client's connection.", _FACKETS)
_count("fc_reordering", "How far packets to the client may get out of order.", _REORDERING)


@fetch("fc_saved_syn", out=Type.BIN, **_CLIENT)
def fc_saved_syn() -> FetchFn:
    """The packet that began the connection, as the kernel kept it (bind … tcp-ss); it gives it once, so keep it in a variable."""
    return lambda txn: txn.saved_syn() or None


# -- PROXY protocol ------------------------------------------------------------------------------------------------------

_TLVS = {
    b"ALPN": 0x01, b"AUTHORITY": 0x02, b"CRC32C": 0x03, b"NOOP": 0x04, b"UNIQUE_ID": 0x05, b"SSL": 0x20, b"SSL_VERSION": 0x21,
    b"SSL_CN": 0x22, b"SSL_CIPHER": 0x23, b"SSL_SIG_ALG": 0x24, b"SSL_KEY_ALG": 0x25, b"NETNS": 0x30, b"CRC32": 0x03,
}  # fmt: skip


def _tlv(kind: int) -> FetchFn:
    return lambda txn: txn.origin.connection().tlv(kind)


@fetch("fc_pp_tlv", out=Type.STR, args=(Str(),), needs=Needs.L4, uses=phases.SESSION)
def fc_pp_tlv(name: bytes) -> FetchFn:
    """A value that the connection's PROXY protocol header carried, by number (0 to 255) or name (ALPN, AUTHORITY, UNIQUE_ID …)."""
    kind = int(name) if name.isdigit() else _TLVS.get(name, -1)
    if not 0 <= kind <= 255:
        raise ValueError(f"'{name.decode('utf-8', 'replace')}' is not a number from 0 to 255, nor one of {b', '.join(_TLVS).decode()}")
    return _tlv(kind)


@fetch("fc_pp_authority", out=Type.STR, **_CLIENT)
def fc_pp_authority() -> FetchFn:
    """The host name that the connection's PROXY protocol header carried."""
    return _tlv(proxy_protocol.TYPE_AUTHORITY)


@fetch("fc_pp_unique_id", out=Type.STR, **_CLIENT)
def fc_pp_unique_id() -> FetchFn:
    """The identifier that the connection's PROXY protocol header carried."""
    return _tlv(proxy_protocol.TYPE_UNIQUE_ID)
