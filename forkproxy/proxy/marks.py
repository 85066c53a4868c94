"""What rules decided about a stream's treatment (``txn.marks``), carried out: addresses, timeouts, packet marks, early hints.

``apply`` and ``on_server`` are for streams that have marks, callers look first; the others serve any stream. Which names there are is told
by ``rules.actions.connection.MARKS``; what each one means to sockets is told here. Knows streams and sockets, no rules.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from forkproxy.proxy.stream import Claimed
from forkproxy.rules import connerrors
from forkproxy.state import layout, queues

if TYPE_CHECKING:
    from forkproxy.http.message import Head
    from forkproxy.proxy.stream import Stream
    from forkproxy.proxy.upstream import Upstream

#: marks that put something in the place of an address
_ADDRESSES = ("src", "src_port", "dst", "dst_port")
_ADDRESS_SET = frozenset(_ADDRESSES)


def timeout(s: Stream, name: str, configured: float | None) -> float | None:
    """Timeout ``name`` (client, connect, queue, server, tarpit, tunnel) of ``s`` in seconds: the rules' or the ``configured`` one."""
    marks = s.marks
    return configured if marks is None else marks.get(f"timeout.{name}", configured)


def retries(s: Stream) -> int:
    """How often a failed connection is tried again for ``s``."""
    configured: int = s.be.plan.retries
    marks = s.marks
    return configured if marks is None else marks.get("retries", configured)


def apply(s: Stream) -> None:
    """After a set of rules that left marks: what they say of the client's side takes effect."""
    marks = s.marks
    assert marks is not None
    if not _ADDRESS_SET.isdisjoint(marks):
        s.origin = Claimed(s.origin.connection(), *(marks.get(name) for name in _ADDRESSES))
    sock = s.client.sock
    if "fc_tos" in marks:
        set_tos(sock, marks.pop("fc_tos"))
    if "fc_mark" in marks:
        set_mark(sock, marks.pop("fc_mark"))


def on_server(s: Stream, up: Upstream) -> None:
    """The connection ``up`` to the server stands and serves ``s`` from now on."""
    marks = s.marks
    assert marks is not None
    if "bc_tos" in marks:
        set_tos(up.sock, marks["bc_tos"])
    if "bc_mark" in marks:
        set_mark(up.sock, marks["bc_mark"])
    marks.pop("bc_err", None)  # of an attempt before
    if "log_connect" in marks:
        s.fe.log_step(s, "connect")


def broke(s: Stream, code: int | None) -> None:
    """The connection to the server, or the attempt to make it, failed with this error of the system."""
    s.marks = {**(s.marks or {}), "bc_err": connerrors.number(code)}


def waited(s: Stream) -> None:
    """A pause is over: nobody waits for that rule any more."""
    if s.marks is not None:
        s.marks.pop("waiting_rule", None)


def set_tos(sock: socket.socket, value: int) -> None:
    """The TOS byte (or traffic class) of packets that leave by ``sock``."""
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, value & 255)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, value & 255)  # of IPv6 sockets too: they may carry IPv4
    except OSError:
        pass  # the connection is gone, or the system does not have it: nobody else is told either


def set_mark(sock: socket.socket, value: int) -> None:
    """The netfilter mark of packets that leave by ``sock``; needs CAP_NET_ADMIN, and is let be without."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, value & 0xFFFFFFFF)
    except OSError:
        pass


def take_hints(s: Stream) -> bytes:
    """The 103 response that rules asked for, once; empty for none, and for a client that would not understand it (RFC 8297)."""
    marks = s.marks
    fields: list[tuple[bytes, bytes]] = marks.pop("early_hints", []) if marks is not None else []
    if not fields or s.req is None or s.req.version < 11:
        return b""
    return b"HTTP/1.1 103 Early Hints\r\n" + b"".join([b"%b: %b\r\n" % field for field in fields]) + b"\r\n"


def rank(s: Stream) -> int:
    """The place of ``s`` among streams that wait (``state.queues``): manual, set-priority-class and set-priority-offset."""
    marks: dict[str, Any] | None = s.marks
    if marks is None:
        return queues.rank(0, s.t_request)
    level = max(-2047, min(2047, marks.get("priority_class", 0)))
    offset_ms = max(-524287, min(524287, marks.get("priority_offset_ms", 0)))
    return queues.rank(level, s.t_request + offset_ms / 1000)


def too_long(s: Stream, head: Head, bufsize: int) -> bool:
    """Whether rules made ``head`` longer than a buffer and want to be strict about it (manual: strict-mode)."""
    if len(head.fields_raw) + len(head.added) <= bufsize:
        return False
    for party in (s.fe, s.be, s.srv):
        if party is not None:
            party.count.row[layout.FAILED_REWRITES] += 1
    marks = s.marks
    return marks is None or marks.get("strict", True)
