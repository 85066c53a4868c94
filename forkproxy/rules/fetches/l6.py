"""Fetches of the first bytes of a connection (manual 7.3.5): lengths, payload, TLS ClientHello, RDP cookie.

While the bytes are not all there, and more may come, they raise NotYet and the rule set waits (``tcp-request inspect-delay``).
``txn.body_done`` tells that no more will come: the delay is over, the buffer full or the client silent.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from forkproxy.registry import Needs, Type, acl_alias, fetch
from forkproxy.rules import phases
from forkproxy.rules.args import Int, Str
from forkproxy.rules.errors import NotYet
from forkproxy.rules.expr import FetchFn
from forkproxy.wire import distcc, rdp, tls_hello

_REQ: dict[str, Any] = {"needs": Needs.L6, "uses": phases.REQUEST}
_HELLO: dict[str, Any] = {"needs": Needs.L6, "uses": phases.CLIENT}
_RES: dict[str, Any] = {"needs": Needs.RES_L6, "uses": phases.RESPONSE}
_EITHER: dict[str, Any] = {"needs": Needs.L6, "uses": phases.EITHER}


def _request_bytes(txn: Any) -> tuple[Any, bool]:
    """The bytes at hand and whether they are all."""
    return txn.body, txn.body_done


def _response_bytes(txn: Any) -> tuple[Any, bool]:
    return txn.res_body, txn.res_done


@fetch("req.len", "req_len", out=Type.SINT, **_REQ)
def req_len() -> FetchFn:
    """How many bytes of the request are there now; of an HTTP request its head counts, too."""

    def get(txn: Any) -> int:
        head = txn.req
        return len(txn.body) + (len(head.start_line()) + len(head.block()) + 2 if head is not None else 0)

    return get


@fetch("res.len", out=Type.SINT, **_RES)
def res_len() -> FetchFn:
    """How many bytes of the response are there now."""
    return lambda txn: len(txn.res_body)


def _distcc(name: str, out: Type, doc: str) -> None:
    def factory(token: bytes, occurrence: int) -> FetchFn:
        def get(txn: Any) -> Any:
            data, whole = bytes(txn.body), txn.body_done
            try:
                found = distcc.find(data, token, max(1, occurrence))
            except ValueError:
                return None
            if found is not None:
                number, start, length = found
                if out == Type.SINT:
                    return number
                if whole or len(data) >= start + length:
                    return data[start : start + length]
            if not whole:
                raise NotYet
            return None

        return get

    factory.__doc__ = doc
    fetch(name, out=out, args=(Str(), Int(optional=True, default=0)), **_EITHER)(factory)


_distcc("distcc_param", Type.SINT, "The number behind a token of a distcc message; an occurrence may be given.")
_distcc("distcc_body", Type.BIN, "The bytes that belong to a token of a distcc message; an occurrence may be given.")


@fetch("wait_end", out=Type.BOOL, needs=Needs.L6, uses=phases.RUNNING)
def wait_end() -> FetchFn:
    """True when the inspection is over; until then the rules wait."""

    def get(txn: Any) -> bool:
        if not txn.body_done:
            raise NotYet
        return True

    return get


def _payload(source: Callable[[Any], tuple[Any, bool]]) -> Callable[[int, int], FetchFn]:
    def factory(offset: int, length: int) -> FetchFn:
        """Bytes from an offset on; a length of 0 means all that are there."""
        if offset < 0 or length < 0:
            raise ValueError("offset and length cannot be negative")

        def get(txn: Any) -> bytes | None:
            data, done = source(txn)
            if len(data) < offset + (length or 1):
                if not done:
                    raise NotYet
                return None
            return bytes(data[offset : offset + length] if length else data[offset:])

        return get

    return factory


def _payload_lv(source: Callable[[Any], tuple[Any, bool]]) -> Callable[[int, int, bytes | None], FetchFn]:
    def factory(offset1: int, size: int, offset2: bytes | None) -> FetchFn:
        """Bytes whose length stands in front of them: ``size`` bytes at the first offset give the length, the second offset the
        start (with a sign: relative to the end of the length)."""
        if not 1 <= size <= 8:
            raise ValueError("the size of the length must be from 1 to 8")
        start = offset1 + size
        if offset2:
            try:
                start = start + int(offset2) if offset2[:1] in b"+-" else int(offset2)
            except ValueError:
                raise ValueError(f"'{offset2.decode('utf-8', 'replace')}' is not an offset") from None
            if start < 0:
                raise ValueError("the offset is before the start")

        def get(txn: Any) -> bytes | None:
            data, done = source(txn)
            if len(data) >= offset1 + size:
                length = int.from_bytes(bytes(data[offset1 : offset1 + size]), "big")
                if not length:
                    return None
                if len(data) >= start + length:
                    return bytes(data[start : start + length])
            if not done:
                raise NotYet
            return None

        return get

    return factory


_LV_ARGS = (Int(), Int(), Str(optional=True))
fetch("req.payload", out=Type.BIN, args=(Int(), Int()), **_REQ)(_payload(_request_bytes))
fetch("payload", out=Type.BIN, args=(Int(), Int()), **_EITHER)(_payload(_request_bytes))
fetch("res.payload", out=Type.BIN, args=(Int(), Int()), **_RES)(_payload(_response_bytes))
fetch("req.payload_lv", out=Type.BIN, args=_LV_ARGS, **_REQ)(_payload_lv(_request_bytes))
fetch("payload_lv", out=Type.BIN, args=_LV_ARGS, **_EITHER)(_payload_lv(_request_bytes))
fetch("res.payload_lv", out=Type.BIN, args=_LV_ARGS, **_RES)(_payload_lv(_response_bytes))


# -- TLS -----------------------------------------------------------------------------------------------------------------


def _hello(txn: Any) -> tls_hello.ClientHello | None:
    try:
        return tls_hello.parse_client_hello(txn.body)
    except tls_hello.NotTls:
        return None
    except tls_hello.Incomplete:
        if not txn.body_done:
            raise NotYet from None
        return None


def _from_hello(read: Callable[[tls_hello.ClientHello], Any]) -> FetchFn:
    return lambda txn: read(hello) if (hello := _hello(txn)) is not None else None


@fetch("req.ssl_sni", "req_ssl_sni", out=Type.STR, **_REQ)
def req_ssl_sni() -> FetchFn:
    """The server name in a TLS ClientHello that is passed on."""
    return _from_hello(lambda hello: hello.sni or None)


@fetch("req.ssl_alpn", out=Type.STR, **_REQ)
def req_ssl_alpn() -> FetchFn:
    """The protocols in a ClientHello's ALPN extension, joined by commas."""
    return _from_hello(lambda hello: b",".join(hello.alpn) or None)


@fetch("req.ssl_ver", "req_ssl_ver", out=Type.SINT, **_REQ)
def req_ssl_ver() -> FetchFn:
    """The version that a ClientHello offers, major number times 65536 plus minor (3.1 is TLS 1.0)."""
    return _from_hello(lambda hello: (hello.version >> 8) << 16 | hello.version & 0xFF)


@fetch("req.ssl_hello_type", "req_ssl_hello_type", out=Type.SINT, **_REQ)
def req_ssl_hello_type() -> FetchFn:
    """The type of the TLS handshake message that the client sent: 1 is a ClientHello. The message must be there as a whole, so that rules
    behind this one find its server name."""

    def get(txn: Any) -> int | None:
        try:
            kind = tls_hello.hello_type(txn.body)
            if kind == 1:
                tls_hello.parse_client_hello(txn.body)
            return kind
        except tls_hello.NotTls:
            return None
        except tls_hello.Incomplete:
            if not txn.body_done:
                raise NotYet from None
            return None

    return get


@fetch("res.ssl_hello_type", "rep_ssl_hello_type", out=Type.SINT, **_RES)
def res_ssl_hello_type() -> FetchFn:
    """The type of the TLS handshake message that the server sent: 2 is a ServerHello."""

    def get(txn: Any) -> int | None:
        try:
            return tls_hello.hello_type(txn.res_body)
        except tls_hello.NotTls:
            return None
        except tls_hello.Incomplete:
            if not txn.res_done:
                raise NotYet from None
            return None

    return get


@fetch("req.ssl_ec_ext", out=Type.BOOL, **_REQ)
def req_ssl_ec_ext() -> FetchFn:
    """Does the ClientHello name supported elliptic curves?"""
    return _from_hello(lambda hello: 10 in hello.extensions)


@fetch("req.ssl_st_ext", out=Type.SINT, **_REQ)
def req_ssl_st_ext() -> FetchFn:
    """0 without a session ticket extension in the ClientHello, 1 with an empty one, 2 with a ticket."""
    return _from_hello(lambda hello: 0 if hello.session_ticket is None else 2 if hello.session_ticket else 1)


@fetch("req.ssl_cipherlist", out=Type.BIN, **_HELLO)
def req_ssl_cipherlist() -> FetchFn:
    """The ciphers of a ClientHello as on the wire."""
    return _from_hello(lambda hello: hello.ciphers or None)


@fetch("req.ssl_supported_groups", out=Type.BIN, **_HELLO)
def req_ssl_supported_groups() -> FetchFn:
    """The groups of a ClientHello as on the wire."""
    return _from_hello(lambda hello: hello.groups or None)


@fetch("req.ssl_sigalgs", out=Type.BIN, **_HELLO)
def req_ssl_sigalgs() -> FetchFn:
    """The signature algorithms of a ClientHello as on the wire."""
    return _from_hello(lambda hello: hello.sigalgs or None)


@fetch("req.ssl_keyshare_groups", out=Type.BIN, **_HELLO)
def req_ssl_keyshare_groups() -> FetchFn:
    """The groups for which a ClientHello has key shares, two bytes each."""
    return _from_hello(lambda hello: struct.pack(f">{len(hello.keyshares)}H", *hello.keyshares) or None)


# -- RDP -----------------------------------------------------------------------------------------------------------------


def _rdp(txn: Any, name: bytes) -> bytes | None:
    try:
        return rdp.rdp_cookie(txn.body, name)
    except rdp.Incomplete:
        if not txn.body_done:
            raise NotYet from None
        return None


@fetch("req.rdp_cookie", "rdp_cookie", "req_rdp_cookie", out=Type.STR, args=(Str(optional=True, default=b""),), **_REQ)
def req_rdp_cookie(name: bytes) -> FetchFn:
    """The value of a cookie in a Remote Desktop connection request; without a name any."""
    return lambda txn: _rdp(txn, name)


@fetch("req.rdp_cookie_cnt", "rdp_cookie_cnt", "req_rdp_cookie_cnt", out=Type.SINT, args=(Str(optional=True, default=b""),), **_REQ)
def req_rdp_cookie_cnt(name: bytes) -> FetchFn:
    """1 when there is such a cookie, else 0."""
    return lambda txn: int(_rdp(txn, name) is not None)


for _alias, _fetch, _match in (
    ("payload", "req.payload", "bin"), ("payload_lv", "req.payload_lv", "bin"), ("req.ssl_ver", "req.ssl_ver", "int"),
    ("req_ssl_ver", "req.ssl_ver", "int"), ("req_ssl_sni", "req.ssl_sni", "str"), ("req_rdp_cookie", "req.rdp_cookie", "str"),
    ("req_rdp_cookie_cnt", "req.rdp_cookie_cnt", "int"),
):  # fmt: skip
    acl_alias(_alias, _fetch, _match)
