"""Listening sockets from and for a process that is not of our family: ``-x`` and ``_getsocks``, HAProxy's own exchange, so that either can
follow the other without a refused connection.

On a CLI socket with ``expose-fd listeners`` the successor says ``_getsocks``; the answer is a native int with the number of descriptors,
then messages of at most 252 descriptors (SCM_RIGHTS), whose bytes are for each of them: length and name of the name space, length
and name of the interface, a native int of flags. The receiver acknowledges each but the last with one byte. What a socket listens to is
asked of the socket itself.
"""

from __future__ import annotations

import os
import socket
import struct

from forkproxy.master.listeners import Rack
from forkproxy.plan import Address, Bind

_BATCH = 252
_PATIENCE_S = 2.0
_INT = struct.Struct("i")


def give(sock: socket.socket, rack: Rack) -> None:
    """Pass all sockets of ``rack`` over the connection. Blocks shortly: the other side waits for nothing else."""
    found = [(s, shelf.bind) for shelf in rack.shelves.values() for s in shelf.sockets]
    if sock.family != socket.AF_UNIX:
        return
    sock.settimeout(_PATIENCE_S)
    try:
        sock.sendall(_INT.pack(len(found)))
        for start in range(0, len(found), _BATCH):
            batch = found[start : start + _BATCH]
            data = b"".join(_text(bind.namespace) + _text(bind.interface) + _INT.pack(0) for _s, bind in batch)
            socket.send_fds(sock, [data], [s.fileno() for s, _bind in batch])
            if len(batch) == _BATCH:
                sock.recv(1)
    except OSError:
        return
    finally:
        sock.setblocking(False)


def _text(value: str) -> bytes:
    raw = value.encode()[:255]
    return bytes((len(raw),)) + raw


def fetch(path: str) -> dict[str, list[socket.socket]]:
    """Get the listening sockets of the process behind the CLI socket ``path``, by the keys of ``listeners``.

    Raises OSError when it cannot be reached or gives none. ``/dev/null`` means: do not ask.
    """
    if path == os.devnull:
        return {}
    sockets: dict[str, list[socket.socket]] = {}
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_PATIENCE_S)
        sock.connect(path.removeprefix("unix@"))
        sock.sendall(b"_getsocks\n")
        head = sock.recv(_INT.size)
        if len(head) < _INT.size:
            raise ConnectionError("the old process gives no sockets; does its stats socket say 'expose-fd listeners'?")
        (count,) = _INT.unpack(head)
        received = 0
        while received < count:
            data, fds, _flags, _addr = socket.recv_fds(sock, _BATCH * 520, _BATCH)
            if not fds:
                raise ConnectionError(f"the old process ended after {received} of {count} sockets")
            received += len(fds)
            at = 0
            for fd in fds:
                namespace, at = _read(data, at)
                interface, at = _read(data, at)
                at += _INT.size
                _keep(sockets, fd, namespace, interface)
            if received < count:  # nobody waits for the last acknowledgement
                sock.send(b"\n")
    return sockets


def _read(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(), end


def _keep(sockets: dict[str, list[socket.socket]], fd: int, namespace: str, interface: str) -> None:
    os.set_inheritable(fd, False)
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    address = _address(sock)
    if address is None:
        sock.close()
        return
    key = Bind(address=address, namespace=namespace, interface=interface).key
    sockets.setdefault(key, []).append(sock)


def _address(sock: socket.socket) -> Address | None:
    """What the socket listens to, as a configuration would name it."""
    name = sock.getsockname()
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return None
    if sock.family == socket.AF_INET:
        return Address("ipv4", name[0], name[1])
    if sock.family == socket.AF_INET6:
        return Address("ipv6", name[0], name[1])
    if isinstance(name, bytes) and name.startswith(b"\0"):
        return Address("abns", name[1:].rstrip(b"\0").decode(errors="surrogateescape"))
    return Address("unix", os.fsdecode(name)) if name else None
