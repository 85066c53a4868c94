"""Fetches of the connections themselves: addresses, ports, names of proxies (manual 7.3.3)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from forkproxy.registry import Needs, Type, fetch
from forkproxy.rules import phases, world
from forkproxy.rules.expr import Const, FetchFn, Texted
from forkproxy.rules.types import Addr, addr_of

if TYPE_CHECKING:
    from forkproxy.rules.txn import Txn

_CLIENT: dict[str, Any] = {"needs": Needs.L4, "uses": phases.CLIENT}
_SERVER: dict[str, Any] = {"needs": Needs.SERVER, "uses": phases.SERVER}


def _marked(name: str) -> FetchFn:
    """What a rule (set-src, set-dst …) put in the place of an address, None mostly."""
    return lambda txn: marks.get(name) if (marks := txn.marks) is not None else None


@fetch("src", out=Type.ADDR, **_CLIENT)
def src() -> Texted:
    """The client's address, or what set-src put in its place."""

    def get(txn: Txn) -> Addr | None:
        return txn.source()

    def as_text(txn: Txn) -> bytes | None:
        if txn.marks is not None:
            found = get(txn)
            return None if found is None else found.text.encode()
        text = txn.origin.src
        return text.encode() if text != "unix" else None

    return Texted(get, as_text)


@fetch("fc_src", out=Type.ADDR, **_CLIENT)
def fc_src() -> FetchFn:
    """The client's address as the connection has it."""
    return lambda txn: addr_of(text) if (text := txn.origin.connection().src) != "unix" else None


@fetch("src_port", out=Type.SINT, **_CLIENT)
def src_port() -> FetchFn:
    """The client's port."""
    moved = _marked("src_port")
    return lambda txn: txn.origin.src_port if (port := moved(txn)) is None else port


@fetch("fc_src_port", out=Type.SINT, **_CLIENT)
def fc_src_port() -> FetchFn:
    """The client's port as the connection has it."""
    return lambda txn: txn.origin.connection().src_port


def _local(txn: Txn) -> Addr | None:
    text = txn.origin.connection().local()[0]
    return addr_of(text) if text != "unix" else None


@fetch("dst", out=Type.ADDR, **_CLIENT)
def dst() -> FetchFn:
    """The address that the client connected to, or what set-dst put in its place."""
    moved = _marked("dst")
    return lambda txn: _local(txn) if (addr := moved(txn)) is None else addr


@fetch("fc_dst", out=Type.ADDR, **_CLIENT)
def fc_dst() -> FetchFn:
    """The address that the client connected to."""
    return _local


@fetch("dst_port", out=Type.SINT, **_CLIENT)
def dst_port() -> FetchFn:
    """The port that the client connected to."""
    moved = _marked("dst_port")
    return lambda txn: txn.origin.local()[1] if (port := moved(txn)) is None else port


@fetch("fc_dst_port", out=Type.SINT, **_CLIENT)
def fc_dst_port() -> FetchFn:
    """The port that the client connected to as the connection has it."""
    return lambda txn: txn.origin.connection().local()[1]


def _is_local(addr: Addr | None) -> bool | None:
    """Can a socket be bound to it? That is what makes an address one of this machine."""
    if addr is None or not addr.packed:
        return None
    try:
        with socket.socket(socket.AF_INET if addr.is_v4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind((addr.text, 0))
    except OSError:
        return False
    return True


@fetch("dst_is_local", "fc_dst_is_local", out=Type.BOOL, **_CLIENT)
def dst_is_local() -> FetchFn:
    """Is the address that the client connected to one of this machine?"""
    return lambda txn: _is_local(_local(txn))


@fetch("src_is_local", "fc_src_is_local", out=Type.BOOL, **_CLIENT)
def src_is_local() -> FetchFn:
    """Is the client's address one of this machine?"""
    return lambda txn: _is_local(addr_of(txn.origin.src)) if txn.origin.src != "unix" else None


@fetch("fc_http_major", out=Type.SINT, **_CLIENT)
def fc_http_major() -> FetchFn:
    """The major version of HTTP on the client's connection; 0 in TCP mode."""
    return lambda txn: 1 if txn.req is not None or txn.fe.plan.mode == "http" else 0


@fetch("bc_http_major", out=Type.SINT, **_SERVER)
def bc_http_major() -> FetchFn:
    """The major version of HTTP on the server's connection."""
    return lambda txn: 1


@fetch("fc_rcvd_proxy", out=Type.BOOL, **_CLIENT)
def fc_rcvd_proxy() -> FetchFn:
    """Did the connection begin with a PROXY protocol header?"""
    return lambda txn: bool(txn.origin.bind is not None and txn.origin.bind.accept_proxy)


@fetch("dst_conn", out=Type.SINT, needs=Needs.L4, uses=phases.CLIENT_STREAM)
def dst_conn() -> FetchFn:
    """Connections on the same listening address."""
    return lambda txn: world.view().listener_connections(txn.origin.bind)


@fetch("so_id", out=Type.SINT, needs=Needs.L4, uses=phases.CLIENT_STREAM)
def so_id() -> FetchFn:
    """The number of the listener."""
    return lambda txn: txn.origin.bind.id


@fetch("so_name", out=Type.STR, needs=Needs.L4, uses=phases.CLIENT_STREAM)
def so_name() -> FetchFn:
    """The name of the listener, if it has one."""
    return lambda txn: txn.origin.bind.name.encode() or None


@fetch("fc_nb_streams", out=Type.SINT, **_CLIENT)
def fc_nb_streams() -> Const:
    """How many streams the client's connection carries: one at a time in HTTP/1."""
    return Const(1)


@fetch("bc_nb_streams", out=Type.SINT, **_SERVER)
def bc_nb_streams() -> FetchFn:
    """How many streams the server's connection carries: one at a time in HTTP/1; 0 without one."""
    return lambda txn: int(txn.server_addresses() is not None)


@fetch("bc_reused", out=Type.BOOL, **_SERVER)
def bc_reused() -> FetchFn:
    """Had the server's connection carried requests before?"""
    return lambda txn: txn.reused_server()


@fetch("prio_class", out=Type.SINT, uses=phases.RUNNING)
def prio_class() -> FetchFn:
    """The stream's class in queues, as set-priority-class set it."""
    moved = _marked("priority_class")
    return lambda txn: moved(txn) or 0


@fetch("prio_offset", out=Type.SINT, uses=phases.RUNNING)
def prio_offset() -> FetchFn:
    """The stream's offset in queues in milliseconds, as set-priority-offset set it."""
    moved = _marked("priority_offset_ms")
    return lambda txn: moved(txn) or 0


@fetch("bc_src", out=Type.ADDR, **_SERVER)
def bc_src() -> FetchFn:
    """Our address on the server's connection."""
    return lambda txn: addr_of(ends[0][0]) if (ends := txn.server_addresses()) is not None else None


@fetch("bc_src_port", out=Type.SINT, **_SERVER)
def bc_src_port() -> FetchFn:
    """Our port on the server's connection."""
    return lambda txn: ends[0][1] if (ends := txn.server_addresses()) is not None else None


@fetch("bc_dst", out=Type.ADDR, **_SERVER)
def bc_dst() -> FetchFn:
    """The server's address."""
    return lambda txn: addr_of(ends[1][0]) if (ends := txn.server_addresses()) is not None else None


@fetch("bc_dst_port", out=Type.SINT, **_SERVER)
def bc_dst_port() -> FetchFn:
    """The server's port."""
    return lambda txn: ends[1][1] if (ends := txn.server_addresses()) is not None else None


# -- the proxies on the way ------------------------------------------------------------------------------------------------


@fetch("fe_id", out=Type.SINT, needs=Needs.L4, uses=phases.CLIENT_STREAM)
def fe_id() -> FetchFn:
    """The frontend's number."""
    return lambda txn: txn.fe.plan.id


@fetch("fe_name", out=Type.STR, needs=Needs.L4, uses=phases.CLIENT_STREAM)
def fe_name() -> FetchFn:
    """The frontend's name."""
    return lambda txn: txn.fe.name.encode()


@fetch("fe_defbe", out=Type.STR, needs=Needs.L4, uses=phases.CLIENT_STREAM)
def fe_defbe() -> FetchFn:
    """The frontend's default backend."""
    return lambda txn: txn.fe.plan.default_backend.encode() or None


def _timeout(side: str, name: str) -> FetchFn:
    """A timeout of the frontend or backend in milliseconds."""
    if side == "fe":
        return lambda txn: int(value * 1000) if (value := getattr(txn.fe.plan.timeouts, name)) is not None else None
    return lambda txn: (
        int(value * 1000) if txn.be is not None and (value := getattr(txn.be.plan.timeouts, name)) is not None else None
    )


def _current(mark: str, side: str, name: str) -> FetchFn:
    """The timeout in force for the stream in milliseconds: what set-timeout put there, or the configured one."""
    moved, configured = _marked(mark), _timeout(side, name)
    return lambda txn: configured(txn) if (value := moved(txn)) is None else int(value * 1000)


def _register_timeouts() -> None:
    for side, name in (
        ("fe", "client"), ("fe", "tarpit"), ("be", "connect"), ("be", "queue"), ("be", "server"), ("be", "tarpit"), ("be", "tunnel"),
    ):  # fmt: skip

        def configured(side: str = side, name: str = name) -> FetchFn:
            return _timeout(side, f"{name}_s")

        configured.__doc__ = f"The {name} timeout of the {'frontend' if side == 'fe' else 'backend'} in milliseconds."
        uses = phases.CLIENT_STREAM if side == "fe" else phases.BACKEND
        fetch(f"{side}_{name}_timeout", out=Type.SINT, needs=Needs.L4, uses=uses)(configured)
    for side, name in (("fe", "client"), ("be", "connect"), ("be", "queue"), ("be", "server"), ("fe", "tarpit"), ("be", "tunnel")):

        def current(side: str = side, name: str = name) -> FetchFn:
            return _current(f"timeout.{name}", side, f"{name}_s")

        current.__doc__ = f"The {name} timeout in force for the stream, in milliseconds."
        uses = phases.CLIENT if name == "tarpit" else phases.CLIENT_STREAM if side == "fe" else phases.BACKEND
        fetch(f"cur_{name}_timeout", out=Type.SINT, needs=Needs.L4, uses=uses)(current)


_register_timeouts()


@fetch("be_id", out=Type.SINT, needs=Needs.L4, uses=phases.BACKEND)
def be_id() -> FetchFn:
    """The backend's number."""
    return lambda txn: txn.be.plan.id if txn.be is not None else None


@fetch("be_name", out=Type.STR, needs=Needs.L4, uses=phases.BACKEND)
def be_name() -> FetchFn:
    """The backend's name."""
    return lambda txn: txn.be.name.encode() if txn.be is not None else None


@fetch("srv_id", out=Type.SINT, needs=Needs.SERVER, uses=phases.CHOSEN)
def srv_id() -> FetchFn:
    """The server's number."""
    return lambda txn: txn.srv.plan.id if txn.srv is not None else None


@fetch("srv_name", out=Type.STR, needs=Needs.SERVER, uses=phases.CHOSEN)
def srv_name() -> FetchFn:
    """The server's name."""
    return lambda txn: txn.srv.plan.name.encode() if txn.srv is not None else None


@fetch("bc_be_queue", out=Type.SINT, **_SERVER)
def bc_be_queue() -> FetchFn:
    """How many streams were ahead in the backend's queue."""
    return lambda txn: txn.queue_be


@fetch("bc_srv_queue", out=Type.SINT, **_SERVER)
def bc_srv_queue() -> FetchFn:
    """How many streams were ahead in the server's queue."""
    return lambda txn: txn.queue_srv
