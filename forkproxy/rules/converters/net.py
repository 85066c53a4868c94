"""Converters of addresses, hosts and names of proxies (manual 7.3.1)."""

from __future__ import annotations

from typing import Any

from forkproxy.registry import Type, converter
from forkproxy.rules import world
from forkproxy.rules.args import Mask
from forkproxy.rules.expr import Pure
from forkproxy.rules.types import Addr
from forkproxy.rules.words import to_text


@converter("ipmask", args=(Mask(), Mask("IPv6 mask", optional=True, bits=128)), into=Type.ADDR, out=Type.ADDR)
def ipmask(mask4: int, mask6: int | None) -> Pure:
    """The network that an address is in; the second mask is for IPv6, without it an IPv6 address fails."""

    def convert(value: Addr) -> Addr | None:
        raw = value.packed
        if len(raw) == 4:
            return Addr(packed=(int.from_bytes(raw, "big") & mask4).to_bytes(4, "big"))
        if len(raw) == 16 and mask6 is not None:
            return Addr(packed=(int.from_bytes(raw, "big") & mask6).to_bytes(16, "big"))
        return None

    return Pure(convert)


def split_host(value: bytes) -> tuple[bytes, int]:
    """Host (an IPv6 address with its brackets) and port (0 without one) of a Host field's value."""
    if value[:1] == b"[":
        end = value.find(b"]")
        host, rest = (value[: end + 1], value[end + 1 :]) if end >= 0 else (value, b"")
    elif value.count(b":") > 1:
        return value, 0
    else:
        host, colon, digits = value.partition(b":")
        rest = colon + digits
    port = rest[1:] if rest[:1] == b":" else b""
    return host, int(port) if port.isdigit() and len(port) < 10 else 0


@converter("host_only", into=Type.STR, out=Type.STR)
def host_only() -> Pure:
    """The host of a Host field's value, without its port."""
    return Pure(lambda value: split_host(value)[0])


@converter("port_only", into=Type.STR, out=Type.SINT)
def port_only() -> Pure:
    """The port of a Host field's value, 0 when there is none."""
    return Pure(lambda value: split_host(value)[1])


@converter("nbsrv", into=Type.STR, out=Type.SINT)
def nbsrv() -> Any:
    """How many servers of the backend with that name can take traffic."""
    return lambda value, txn: world.view().usable_servers(to_text(value))


def _server(value: bytes, txn: Any) -> tuple[str, str]:
    backend, slash, server = to_text(value).rpartition("/")
    return (backend if slash else (txn.be or txn.fe).name), server


@converter("srv_is_up", into=Type.STR, out=Type.BOOL)
def srv_is_up() -> Any:
    """Can the server with that name (backend/server) take traffic?"""
    return lambda value, txn: world.view().server_up(*_server(value, txn))


@converter("srv_queue", into=Type.STR, out=Type.SINT)
def srv_queue() -> Any:
    """Streams in the queue of the server with that name (backend/server)."""
    return lambda value, txn: world.view().server_queue(*_server(value, txn))


@converter("fe_exists", into=Type.STR, out=Type.BOOL)
def fe_exists() -> Any:
    """Is there a frontend with that name?"""
    return lambda value, txn: to_text(value) in world.view().certain_names()
