"""Sockets of connections: accepting, dialling, and the options they may need. System calls and nothing else.

Everything here is non-blocking and close-on-exec. ``Address`` is described by a protocol: the plan's class fits, and this room need not
know the plan. Listening sockets are made in ``listening``.
"""

from __future__ import annotations

import _socket
import errno
import os
import socket
import struct
from typing import Any, Final, Protocol

from forkproxy.net.connection import Connection
from forkproxy.net.namespaces import Namespace


class AddressLike(Protocol):
    """What of ``plan.Address`` is used here."""

    @property
    def family(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def kind(self) -> str: ...


# Constants that the socket module of 3.11 does not have (linux/in.h, linux/in6.h, linux/tcp.h).
_IP_BIND_ADDRESS_NO_PORT = 24
_TCP_REPAIR = 19
_TCP_FASTOPEN_CONNECT = 30
_TRANSPARENT = (socket.IPPROTO_IP, socket.IP_TRANSPARENT)
_TRANSPARENT6 = (socket.IPPROTO_IPV6, 75)
SUN_PATH_BYTES = 107  # of 108, one for the final NUL

#: The kernel's number of each family of addresses.
FAMILIES = {
    "ipv4": socket.AF_INET,
    "ipv6": socket.AF_INET6,
    "unix": socket.AF_UNIX,
    "abns": socket.AF_UNIX,
    "abnsz": socket.AF_UNIX,
}

# The attribute of the C socket: the Python class wraps it in a property that builds an enum member (0.5 µs).
_family_of: Any = _socket.socket.family.__get__


_Socket: Final[Any] = Connection  # to whom it is given it is a socket.socket

_IN_PROGRESS: Final = errno.EINPROGRESS

#: accept(2): errors of the new connection, which is gone; the listener is fine.
_LOST = frozenset(
    (
        errno.EAGAIN, errno.EINTR, errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET,
        errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.EPERM, errno.ETIMEDOUT,
    )
)  # fmt: skip


def sockaddr(address: AddressLike) -> Any:
    """The address in the form that the socket module wants. ``*`` and an empty host are the wildcard.

    An abstract name is padded with NULs to the whole of ``sun_path``, as HAProxy does ("abns"), or stands as it is ("abnsz"): to the
    kernel these are two names. Source: manual 4.2 "bind"; the padding seen in /proc/net/unix.
    """
    family = address.family
    if family == "unix":
        return address.host
    if family == "abns":
        return (b"\0" + address.host.encode()).ljust(SUN_PATH_BYTES + 1, b"\0")
    if family == "abnsz":
        return b"\0" + address.host.encode()
    host = address.host
    if host in ("", "*"):
        host = "::" if family == "ipv6" else "0.0.0.0"
    return (host, address.port)


# -- accepting


def accept(lsock: socket.socket) -> tuple[socket.socket, Any] | None:
    """The next connection, non-blocking, and its peer's address as the socket module gives it; None: nobody waits (any more).

    ``lsock`` must be non-blocking. Raises OSError only when the process is out of something (descriptors, memory): then it should
    stop accepting for a while.
    """
    return accept_as(lsock, kind(lsock))


def kind(lsock: socket.socket) -> tuple[int, int, int]:
    """Family, type and protocol of what a listening socket accepts."""
    return int(lsock.family), int(lsock.type), lsock.proto


def accept_as(lsock: socket.socket, of: tuple[int, int, int]) -> tuple[socket.socket, Any] | None:
    """:func:`accept` for who knows its :func:`kind`."""
    try:
        fd, peer = lsock._accept()  # type: ignore[attr-defined]  # accept() without its enums and checks
    except BlockingIOError:
        return None
    except OSError as exc:
        if exc.errno in _LOST:
            return None
        raise
    family, type_, proto = of
    sock: socket.socket = _Socket(family, type_, proto, fd)
    sock.setblocking(False)
    return sock, peer


# -- dialling


class Way:
    """How to connect to ``address``: what can be known before is found out once, not for each connection.

    ``source`` is the local address (port 0: the kernel picks one at connect time, so that ports may be shared between destinations),
    which need not be this machine's when it is ``foreign``; ``interface`` the device, ``namespace`` the network namespace that it
    belongs to. ``tfo``: the first bytes sent travel with the SYN and the connection stands at once; a failure shows in the first send.
    ``quickack`` False saves the separate acknowledgement (``option tcp-smart-connect``); ``keepalive`` is what :func:`keepalive` is told,
    if at all, ``nolinger`` whether it is to :func:`reset_on_close`. ``address.kind`` "dgram" is for connected datagram sockets."""

    __slots__ = ("address", "family", "how", "name", "namespace", "options", "source")

    def __init__(
        self,
        address: AddressLike,
        *,
        source: AddressLike | None = None,
        foreign: bool = False,
        interface: str = "",
        tfo: bool = False,
        user_timeout_ms: int = 0,
        quickack: bool = True,
        rcvbuf: int = 0,
        sndbuf: int = 0,
        namespace: str = "",
        keepalive: dict[str, Any] | None = None,
        nolinger: bool = False,
    ) -> None:
        self.address = address
        self.family = family = FAMILIES[address.family]
        dgram = address.kind == "dgram"
        # Born non-blocking: a call less than setblocking().
        self.how = (socket.SOCK_DGRAM if dgram else socket.SOCK_STREAM) | socket.SOCK_NONBLOCK
        self.name = sockaddr(address)
        self.namespace = namespace
        self.source: Any = None
        options: list[tuple[Any, Any, Any]] = []
        tcp = socket.IPPROTO_TCP
        if family != socket.AF_UNIX:
            if not dgram:
                options.append((tcp, socket.TCP_NODELAY, 1))
                if tfo:
                    options.append((tcp, _TCP_FASTOPEN_CONNECT, 1))
                if user_timeout_ms:
                    options.append((tcp, socket.TCP_USER_TIMEOUT, user_timeout_ms))
                if not quickack:
                    options.append((tcp, socket.TCP_QUICKACK, 0))
            if interface:
                options.append((socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode()))
            if source is not None:
                if foreign:
                    options.append((*(_TRANSPARENT6 if family == socket.AF_INET6 else _TRANSPARENT), 1))
                if not source.port and not dgram:
                    options.append((socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1))
                options.append((socket.SOL_SOCKET, socket.SO_REUSEADDR, 1))
                self.source = sockaddr(source)
            if keepalive:
                options += _keepalive(**keepalive)
        if nolinger:
            options.append(_RESET_ON_CLOSE)
        if rcvbuf:
            options.append((socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf))
        if sndbuf:
            options.append((socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf))
        self.options = options


def connect(way: Way) -> tuple[socket.socket, bool]:
    """Start a connection; returns the non-blocking socket (the caller's) and whether it is connected already. If not, it becomes
    writable when it is, or failed: :func:`outcome` tells. Raises OSError when the attempt failed right away."""
    if way.namespace:
        with Namespace(way.namespace):
            sock: socket.socket = _Socket(way.family, way.how)
    else:
        sock = _Socket(way.family, way.how)
    try:
        for level, option, value in way.options:
            sock.setsockopt(level, option, value)
        if way.source is not None:
            sock.bind(way.source)
        code = sock.connect_ex(way.name)
        # A unix socket with a full backlog says EAGAIN, and that is a failure: nothing will report progress.
        if code and code != _IN_PROGRESS:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock, not code


def dial(address: AddressLike, **options: Any) -> tuple[socket.socket, bool]:
    """:func:`connect` by a :class:`Way` that is gone but once."""
    return connect(Way(address, **options))


def outcome(sock: socket.socket) -> int:
    """What became of a connection that was in progress: 0 connected, else the errno. Clears the socket's error."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


# -- options of a connection


def keepalive(sock: socket.socket, *, count: int = 0, idle_s: float = 0.0, interval_s: float = 0.0) -> None:
    """Turn TCP keep-alive on (``option clitcpka``, ``srvtcpka``); 0 leaves the system's value. A listener passes it on to what it
    accepts."""
    if _family_of(sock) != socket.AF_UNIX:
        for option in _keepalive(count, idle_s, interval_s):
            sock.setsockopt(*option)


def _keepalive(count: int = 0, idle_s: float = 0.0, interval_s: float = 0.0) -> list[tuple[int, int, int]]:
    tcp = socket.IPPROTO_TCP
    options: list[tuple[int, int, int]] = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    if count:
        options.append((tcp, socket.TCP_KEEPCNT, count))
    if idle_s:
        options.append((tcp, socket.TCP_KEEPIDLE, max(1, round(idle_s))))
    if interval_s:
        options.append((tcp, socket.TCP_KEEPINTVL, max(1, round(interval_s))))
    return options


def buffers(sock: socket.socket, rcvbuf: int, sndbuf: int) -> None:
    """Ask the kernel for buffers of these sizes in bytes (``tune.rcvbuf.client``, ``tune.sndbuf.client`` …); 0 leaves one as it is."""
    if rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    if sndbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)


def quickack_off(sock: socket.socket) -> None:
    """Let the next acknowledgement travel with data, if some comes within 40 ms (``option tcp-smart-accept``, ``-connect``)."""
    if _family_of(sock) != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)


_RESET_ON_CLOSE = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_on_close(sock: socket.socket) -> None:
    """Make ``close`` throw away what is unsent and send a RST (``option nolinger``, killed connections)."""
    sock.setsockopt(*_RESET_ON_CLOSE)


def silent_drop(sock: socket.socket, rst_ttl: int = 0) -> None:
    """Make ``close`` tell the peer nothing (manual 4.4 "silent-drop"). The caller closes.

    Without ``rst_ttl`` by TCP_REPAIR; where that is not permitted, or with ``rst_ttl``, by a RST that dies after so many hops (1).
    """
    if _family_of(sock) == socket.AF_UNIX:
        return
    if not rst_ttl:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
        except OSError:
            pass  # needs CAP_NET_ADMIN
        else:
            return
    ttl = rst_ttl or 1
    if _family_of(sock) == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)  # for IPv6 sockets too: they may carry IPv4
    reset_on_close(sock)


def half_close(sock: socket.socket) -> bool:
    """Say that nothing more will be sent; False when the connection is gone already."""
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        return False
    return True
