"""Listening sockets: one for a bind line, with every option of it. System calls and nothing else.

Options that Linux copies from a listening socket to what it accepts (TCP_NODELAY, keep-alive, buffer sizes, TCP_USER_TIMEOUT,
TCP_QUICKACK) are set once here, so that accepting costs the calls it must: accept4, the getsockname that Python's socket makes of itself,
and FIONBIO. ``Bind`` is described by a protocol: the plan's class fits, and this room need not know the plan.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import Any, Protocol

from forkproxy.net.namespaces import Namespace
from forkproxy.net.sockets import FAMILIES, SUN_PATH_BYTES, AddressLike, buffers, sockaddr

# Constants that the socket module of 3.11 does not have (linux/in.h, linux/in6.h).
_IP_FREEBIND = 15
_IPV6_TRANSPARENT = 75

_LOCAL = ("unix", "abns", "abnsz")


#: tcp(7), not in Python's socket module
TCP_SAVE_SYN = 27


class BindLike(Protocol):
    """What of ``plan.Bind`` is used here."""

    @property
    def address(self) -> AddressLike: ...
    @property
    def backlog(self) -> int: ...
    @property
    def interface(self) -> str: ...
    @property
    def v4v6(self) -> bool: ...
    @property
    def v6only(self) -> bool: ...
    @property
    def transparent(self) -> bool: ...
    @property
    def defer_accept(self) -> bool: ...
    @property
    def tfo(self) -> bool: ...
    @property
    def save_syn(self) -> int: ...
    @property
    def mss(self) -> int: ...
    @property
    def tcp_ut_ms(self) -> int: ...
    @property
    def mode(self) -> int | None: ...
    @property
    def uid(self) -> int | None: ...
    @property
    def gid(self) -> int | None: ...
    @property
    def namespace(self) -> str: ...


class BindError(OSError):
    """A listening socket could not be made. ``str()`` is the part of HAProxy's message that follows the place, e.g.
    ``cannot bind socket (Address already in use) for [127.0.0.1:80]``; ``errno`` the cause (0: none from the kernel)."""

    def __init__(self, what: str, where: str, cause: OSError | None = None, reason: str = "") -> None:
        self.errno = cause.errno if cause is not None else 0
        reason = reason or (os.strerror(self.errno) if self.errno else str(cause or ""))
        self.strerror = reason
        self.message = f"{what} ({reason}) {where}" if reason else f"{what} {where}"
        super().__init__(self.errno, self.message)

    def __str__(self) -> str:
        return self.message


def show(address: AddressLike) -> str:
    """The address as it stands in messages, without the brackets around."""
    family, host = address.family, address.host
    if family == "unix":
        return host
    if family in ("ipv4", "ipv6"):
        return f"{host or ('::' if family == 'ipv6' else '0.0.0.0')}:{address.port}"
    return f"{family}@{host}"


def listen(bind: BindLike, *, reuseport: bool, backlog: int = 0, quickack: bool = True, rcvbuf: int = 0, sndbuf: int = 0) -> socket.socket:
    """A listening socket for one bind line with every option of it, non-blocking; the caller closes it.

    ``reuseport`` sets SO_REUSEPORT (several sockets on one address share its connections, and a new process can bind beside
    the old). ``backlog`` beats the bind's own; none at all: 4096 (the kernel lowers it to its limit). ``quickack`` False: no early
    acknowledgement of the request (``option tcp-smart-accept``). ``rcvbuf``/``sndbuf`` in bytes, 0: the system's. An inherited
    ``fd@N`` must be bound and is taken over as it is, listening or not yet: the result owns N. Raises :class:`BindError`.
    """
    address = bind.address
    family = address.family
    if family == "fd":
        return _adopt(bind, backlog or bind.backlog or 4096)
    sock = _open(bind)
    try:
        if family in ("ipv4", "ipv6"):
            _prepare_inet(sock, bind, reuseport)
        queue = backlog or bind.backlog or 4096
        if family == "unix":
            _bind_path(sock, bind, queue)
        else:
            where = _where(bind)
            _try(f"cannot bind {_kind(bind)}socket", where, sock.bind, sockaddr(address))
            _try(f"cannot listen to {_kind(bind)}socket", where, sock.listen, queue)
        _after_bind(sock, bind, queue, quickack, rcvbuf, sndbuf)
    except BaseException:
        sock.close()
        raise
    return sock


def _kind(bind: BindLike) -> str:
    return "UNIX " if bind.address.family in _LOCAL else ""


def _where(bind: BindLike) -> str:
    # The two forms are HAProxy's: "for" stands before inet addresses only.
    place = f"[{show(bind.address)}]"
    return place if bind.address.family in _LOCAL else f"for {place}"


def _try(what: str, where: str, call: Any, *args: Any) -> None:
    try:
        call(*args)
    except OSError as exc:
        raise BindError(what, where, exc) from exc


def _open(bind: BindLike) -> socket.socket:
    family = FAMILIES[bind.address.family]
    where = _where(bind)
    try:
        if bind.namespace:
            with Namespace(bind.namespace):
                sock = socket.socket(family, socket.SOCK_STREAM)
        else:
            sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as exc:
        raise BindError(f"cannot create {_kind(bind)}listening socket", where, exc) from exc
    sock.setblocking(False)
    return sock


def _prepare_inet(sock: socket.socket, bind: BindLike, reuseport: bool) -> None:
    """What must be set before bind()."""
    where = _where(bind)
    v6 = bind.address.family == "ipv6"
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuseport:
        _try("cannot share the port of listening socket", where, sock.setsockopt, socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if v6 and (bind.v4v6 or bind.v6only):
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if bind.v6only else 0)
    if bind.interface:
        device = bind.interface.encode()
        _try("cannot bind listener to device", where, sock.setsockopt, socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
    if bind.transparent:
        _transparent(sock, v6, where)
    if bind.mss > 0:
        _try("cannot set MSS", where, sock.setsockopt, socket.IPPROTO_TCP, socket.TCP_MAXSEG, bind.mss)
    elif bind.mss < 0:
        normal = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        _try("cannot set MSS", where, sock.setsockopt, socket.IPPROTO_TCP, socket.TCP_MAXSEG, max(88, normal + bind.mss))
    if bind.tcp_ut_ms:
        _try("cannot set TCP User Timeout", where, sock.setsockopt, socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, bind.tcp_ut_ms)


def _transparent(sock: socket.socket, v6: bool, where: str) -> None:
    level, option = (socket.IPPROTO_IPV6, _IPV6_TRANSPARENT) if v6 else (socket.IPPROTO_IP, socket.IP_TRANSPARENT)
    try:
        sock.setsockopt(level, option, 1)
    except OSError as exc:
        try:  # binding to a foreign address at least needs no privilege
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        except OSError:
            raise BindError("cannot make listening socket transparent", where, exc) from exc


def _after_bind(sock: socket.socket, bind: BindLike, queue: int, quickack: bool, rcvbuf: int, sndbuf: int) -> None:
    if bind.address.family in ("ipv4", "ipv6"):
        tcp = socket.IPPROTO_TCP
        where = _where(bind)
        sock.setsockopt(tcp, socket.TCP_NODELAY, 1)
        if not quickack:
            sock.setsockopt(tcp, socket.TCP_QUICKACK, 0)
        if bind.defer_accept:
            _try("cannot enable DEFER_ACCEPT", where, sock.setsockopt, tcp, socket.TCP_DEFER_ACCEPT, 1)
        if bind.save_syn:
            _try("cannot save SYN packets", where, sock.setsockopt, tcp, TCP_SAVE_SYN, bind.save_syn)
        if bind.tfo:
            _try("cannot enable TCP_FASTOPEN", where, sock.setsockopt, tcp, socket.TCP_FASTOPEN, queue)
    buffers(sock, rcvbuf, sndbuf)


def _bind_path(sock: socket.socket, bind: BindLike, queue: int) -> None:
    """Bind a temporary name, set owner and permissions, listen, then rename over the path: whoever connects finds either the old
    socket or the complete new one, and a stale file of a dead process is simply replaced."""
    path = bind.address.host
    where = _where(bind)
    temp = f"{path}.{os.getpid()}.tmp"
    if len(os.fsencode(temp)) > SUN_PATH_BYTES:
        limit = SUN_PATH_BYTES - len(temp) + len(path)
        raise BindError("cannot bind UNIX socket", where, reason=f"path too long, limit is {limit} bytes")
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise BindError("cannot bind UNIX socket", where, reason="the path exists and is not a socket")
    except FileNotFoundError:
        pass
    except OSError as exc:
        raise BindError("cannot bind UNIX socket", where, exc) from exc
    try:
        try:
            os.unlink(temp)
        except FileNotFoundError:
            pass
        _try("cannot bind UNIX socket", where, sock.bind, temp)
        if bind.uid is not None or bind.gid is not None:
            owner = (-1 if bind.uid is None else bind.uid, -1 if bind.gid is None else bind.gid)
            _try("cannot change UNIX socket ownership", where, os.chown, temp, *owner)
        if bind.mode is not None:
            _try("cannot change UNIX socket ownership", where, os.chmod, temp, bind.mode)
        _try("cannot listen to UNIX socket", where, sock.listen, queue)
        _try("cannot switch final and temporary UNIX sockets", where, os.rename, temp, path)
    except BaseException:
        try:
            os.unlink(temp)
        except OSError:
            pass
        raise


def _adopt(bind: BindLike, queue: int) -> socket.socket:
    where = _where(bind)
    number = bind.address.host
    if not number.isdecimal():
        raise BindError("cannot use inherited socket", where, reason="not a descriptor number")
    fd = int(number)
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise BindError("cannot use inherited socket", where, reason="not a socket")
        sock = socket.socket(fileno=fd)
    except BindError:
        raise
    except OSError as exc:
        raise BindError("cannot use inherited socket", where, exc) from exc
    reason = "" if sock.type == socket.SOCK_STREAM else "not a stream socket"
    if not reason and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        name = sock.getsockname()
        if name[1] if isinstance(name, tuple) else name:  # a port, a path
            try:
                sock.listen(queue)
            except OSError as exc:  # connected, for one
                reason = os.strerror(exc.errno or 0)
        else:
            reason = "neither bound nor listening"
    if reason:
        sock.detach()
        raise BindError("cannot use inherited socket", where, reason=reason)
    sock.setblocking(False)
    sock.set_inheritable(False)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
