"""Converters of the Forwarded field (manual 7.3.1 "rfc7239_…"; RFC 7239)."""

from __future__ import annotations

import re
from typing import Any

from forkproxy.registry import Type, converter
from forkproxy.rules.args import OneOf
from forkproxy.rules.expr import Pure
from forkproxy.rules.types import Addr, parse_addr

_OBFUSCATED = re.compile(rb"_[A-Za-z0-9._-]+")
_PORT = re.compile(rb"\d{1,5}|_[A-Za-z0-9._-]+")
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%\[\]-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")
_TOKEN = rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_PAIR = re.compile(rb"(" + _TOKEN + rb')=(?:(' + _TOKEN + rb')|"((?:[^"\\\x00-\x1f]|\\.)*)")')


def split_node(text: bytes) -> tuple[Addr | bytes, bytes] | None:
    """A node as (address, b"unknown" or obfuscated name; its port or b""); None when it is none (RFC 7239 section 6)."""
    if text.startswith(b"["):
        inner, closed, rest = text[1:].partition(b"]")
        name: Addr | bytes | None = parse_addr(inner) if closed else None
        if name is None or not isinstance(name, Addr) or not name.is_v6:
            return None
    else:
        host, colon, rest = text.partition(b":")
        rest = colon + rest
        if host == b"unknown" or _OBFUSCATED.fullmatch(host):
            name = host
        else:
            name = parse_addr(host)
            if name is None or not name.is_v4:
                return None
    if not rest:
        return name, b""
    port = rest[1:]
    if rest[:1] != b":" or not _PORT.fullmatch(port) or (port.isdigit() and int(port) > 65535):
        return None
    return name, port


def fields(value: bytes) -> dict[bytes, bytes] | None:
    """The parameters of one element; None when it is not valid: each at most once, and no other than the four of the RFC."""
    found: dict[bytes, bytes] = {}
    at = 0
    while True:
        match = _PAIR.match(value, at)
        if match is None:
            return None
        name = match[1].lower()
        text = match[2] if match[2] is not None else re.sub(rb"\\(.)", rb"\1", match[3])
        if name in found or not _valid(name, text):
            return None
        found[name] = text
        at = match.end()
        if at == len(value):
            return found
        if value[at : at + 1] != b";":
            return None
        at += 1


def _valid(name: bytes, text: bytes) -> bool:
    if name in (b"for", b"by"):
        return split_node(text) is not None
    if name == b"host":
        return _HOST.fullmatch(text) is not None
    return name == b"proto" and text.lower() in (b"http", b"https")


@converter("rfc7239_is_valid", into=Type.STR, out=Type.BOOL)
def is_valid() -> Pure:
    """Is it a valid element of a Forwarded field?"""
    return Pure(lambda value: fields(value) is not None)


@converter("rfc7239_field", args=(OneOf("string", words=("proto", "host", "for", "by")),), into=Type.STR, out=Type.STR)
def field(name: str) -> Pure:
    """One parameter of a Forwarded field: proto, host, for or by."""
    wanted = name.encode()
    return Pure(lambda value: found.get(wanted) if (found := fields(value)) is not None else None)


@converter("rfc7239_n2nn", into=Type.STR, out=Type.ANY)
def node_name() -> Pure:
    """The name of a node: an address, "unknown" or an obfuscated name."""
    return Pure(lambda value: None if (node := split_node(value)) is None else node[0])


@converter("rfc7239_n2np", into=Type.STR, out=Type.ANY)
def node_port() -> Pure:
    """The port of a node: a number, or an obfuscated one."""

    def convert(value: bytes) -> int | bytes | None:
        node = split_node(value)
        if node is None or not node[1]:
            return None
        return int(node[1]) if node[1].isdigit() else node[1]

    return Pure(convert)


@converter("rfc7239_nn", into=Type.ANY, out=Type.STR)
def to_name() -> Pure:
    """An address or a text as the name of a node: IPv6 in brackets, texts behind an underscore, an empty one as "unknown"."""

    def convert(value: Any) -> bytes | None:
        if isinstance(value, Addr):
            text = bytes(value)
            return b"[" + text + b"]" if value.is_v6 else text if value.is_v4 else None
        text = value if isinstance(value, bytes) else b"%d" % value
        if not text:
            return b"unknown"
        return b"_" + text if _OBFUSCATED.fullmatch(b"_" + text) else None

    return Pure(convert)


@converter("rfc7239_np", into=Type.ANY, out=Type.STR)
def to_port() -> Pure:
    """A number or a text as the port of a node; texts stand behind an underscore."""

    def convert(value: Any) -> bytes | None:
        if isinstance(value, int):
            return b"%d" % value if 0 <= value <= 65535 else None
        return b"_" + value if isinstance(value, bytes) and _OBFUSCATED.fullmatch(b"_" + value) else None

    return Pure(convert)
