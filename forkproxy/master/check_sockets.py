"""What a check's connection is: where it goes, how it begins, and what its errors say of the server (the runner makes and watches it)."""

from __future__ import annotations

import errno
import os
import socket

from forkproxy.health.conversation import Conversation, Hop, Result
from forkproxy.health.status import Status
from forkproxy.plan import Address, Check, Server
from forkproxy.values import replace
from forkproxy.wire.proxy_protocol import build_v1, local_v2

#: Errors of a connection that speak of the server or the network …
_SERVERS_FAULT = frozenset(
    (errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EAGAIN)
)
#: … and those that speak of this machine's resources: no verdict then, the next check will tell.
OUR_FAULT = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL))


def failed(code: int, established: bool, conversation: Conversation) -> Result:
    """What an errno says about the server."""
    text = os.strerror(code) + conversation.where()
    if established:
        return Result(Status.SOCKERR, 0, text)
    if code in _SERVERS_FAULT or code == errno.ECONNRESET:
        return Result(Status.L4CON, 0, text)
    return Result(Status.SOCKERR, 0, f"General socket error ({text})")


def target(server: Server, check: Check, hop: Hop) -> Address:
    """Where this connection goes: the hop's address, else the check's, else the server's; the same for the port."""
    address = hop.address or check.address or server.address
    if address.family not in ("ipv4", "ipv6"):
        return address
    port = hop.port or (hop.address.port if hop.address else 0) or check.port or address.port or server.address.port
    return address if port == address.port else replace(address, port=port, port_relative=False)


def proxy_line(sock: socket.socket) -> bytes:
    """The PROXY line of a check, which speaks for the balancer itself (PROXY protocol 2.1)."""
    if sock.family == socket.AF_UNIX:
        return build_v1("", 0, "", 0)
    here, there = sock.getsockname(), sock.getpeername()
    return build_v1(here[0], here[1], there[0], there[1])


def greeting(server: Server, sock: socket.socket) -> bytes:
    """The header with which a check begins, in the version that the server's own connections begin with (manual "check-send-proxy")."""
    return local_v2("crc32c" in server.proxy_options) if server.send_proxy == 2 else proxy_line(sock)
