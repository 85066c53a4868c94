"""Handing the listening sockets to another master without one of them ever being closed.

A unix SOCK_SEQPACKET socket in the abstract name space, named after the user and the real paths of the configuration files. The
master listens on it and its workers inherit it, so it answers as long as one of them lives: after a ``kill -9`` of the master,
a new one that is started with the same files connects, gets every listening socket (SCM_RIGHTS), the rendezvous itself and the
eventfd that tells the orphans that their successor serves, the inbox through which they then pass their idle clients on, and the memory
in which everything is counted. A living master hands over (all but that memory, which it goes on using) only to a process that names it in
``-sf``/``-st``; for others it answers that it is alive.

Packets: the request is ``{"op": "takeover", "pids": [...]}``; the answer is any number of ``{"op": "sockets", "names": [[key, index], …]}``
with one descriptor per name, of ``{"op": "tables", "names": […]}`` with the memory of a stick table per name, which is to be copied, then
``{"op": "end"}`` with rendezvous, eventfd, both ends of the inbox and, where the memory goes along, two memory files: the segment and the
table of names. Or ``{"op": "alive"}``.
Peers are believed when they run as root or as the same user.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import struct
from collections.abc import Callable, Iterable, Mapping

from forkproxy.values import field, record
from forkproxy.worker.inbox import Ends

SocketId = tuple[str, int]

#: The kernel takes at most 253 descriptors per message (SCM_MAX_FD).
_BATCH = 200  # names are keys of binds and labels of tables: less than 600 bytes
_PACKET_BYTES = 128 * 1024
#: How long a new master waits for an answer; a stopped or hung process must not keep it from starting.
_PATIENCE_S = 1.0
#: How many masters of the same files may live beside each other and still be succeeded.
PLACES = 4


@record
class Estate:
    """What is handed over: the listening sockets by name, the rendezvous, the eventfd, the inbox; ``memory``: descriptor of the segment and
    the dumped table of names, or None; ``tables``: descriptors of stick tables by ``state.sticktables.label``, to be copied."""

    sockets: dict[SocketId, socket.socket]
    rendezvous: socket.socket
    successor: int
    inbox: Ends
    memory: tuple[int, bytes] | None = None
    tables: Mapping[str, int] = field(default_factory=dict)


def name_of(files: Iterable[str]) -> str:
    """The abstract name for these configuration files and this user."""
    paths = "\0".join(os.path.realpath(path) for path in files)
    digest = hashlib.sha256(paths.encode(errors="surrogateescape")).hexdigest()[:24]
    return f"\0forkproxy/{os.geteuid()}/{digest}"


def open_rendezvous(name: str) -> socket.socket | None:
    """Listen there, or at the next place when another master of the same files does; None when all are taken (then this master can be
    replaced, but not be succeeded)."""
    for place in _places(name):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            sock.bind(place)
            sock.listen(16)
            return sock
        except OSError:
            sock.close()
    return None


def _places(name: str) -> list[str]:
    return [f"{name}/{number}" for number in range(PLACES)]


def _trusted(sock: socket.socket) -> bool:
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return uid in (0, os.getuid(), os.geteuid())


def serve(rendezvous: socket.socket, granted: Callable[[list[int]], bool], estate: Estate) -> bool:
    """Answer one request that waits at ``rendezvous``; True when the estate went out.

    ``granted(pids)`` decides with the process ids that the asking master was started to replace. The request is there already or
    comes within milliseconds; nobody else is served meanwhile, so the wait is short.
    """
    try:
        client, _ = rendezvous.accept()
    except OSError:
        return False
    with client, contextlib.suppress(OSError, ValueError):
        if not _trusted(client):
            return False
        client.settimeout(0.05)
        request = json.loads(client.recv(_PACKET_BYTES))
        if not granted([int(pid) for pid in request.get("pids", ())]):
            client.send(b'{"op": "alive"}')
            return False
        names = list(estate.sockets)
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            packet = json.dumps({"op": "sockets", "names": batch}).encode()
            socket.send_fds(client, [packet], [estate.sockets[name].fileno() for name in batch])
        tables = list(estate.tables)
        for start in range(0, len(tables), _BATCH):
            some = tables[start : start + _BATCH]
            packet = json.dumps({"op": "tables", "names": some}).encode()
            socket.send_fds(client, [packet], [estate.tables[name] for name in some])
        last = [estate.rendezvous.fileno(), estate.successor, *(end.fileno() for end in estate.inbox)]
        if estate.memory is None:
            socket.send_fds(client, [b'{"op": "end"}'], last)
            return True
        fd, table = estate.memory
        with os.fdopen(os.memfd_create("forkproxy-names", os.MFD_CLOEXEC), "w+b") as file:
            file.write(table)
            file.flush()
            socket.send_fds(client, [b'{"op": "end"}'], [*last, fd, file.fileno()])
        return True
    return False


def ask(name: str, pids: Iterable[int]) -> Estate | None:
    """Get the estate from the first who grants it at ``name``; None when nobody does (living masters keep theirs).

    Blocks at most about a second per process that hangs. The caller owns everything in the result.
    """
    wanted = list(pids)
    for place in _places(name):
        if (estate := _ask(place, wanted)) is not None:
            return estate
    return None


def _ask(name: str, pids: list[int]) -> Estate | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(_PATIENCE_S)
        received: dict[SocketId, socket.socket] = {}
        tables: dict[str, int] = {}
        try:
            sock.connect(name)
            if not _trusted(sock):
                return None
            sock.send(json.dumps({"op": "takeover", "pids": pids}).encode())
            while True:
                data, fds, _flags, _addr = socket.recv_fds(sock, _PACKET_BYTES, _BATCH + 8)
                if not data:
                    break
                message = json.loads(data)
                if message["op"] == "sockets":
                    for (key, index), fd in zip(message["names"], fds, strict=True):
                        received[(key, index)] = _adopt(fd)
                elif message["op"] == "tables":
                    for fd in fds:
                        os.set_inheritable(fd, False)
                    tables.update(zip(message["names"], fds, strict=True))
                elif message["op"] == "end":
                    for fd in fds:
                        os.set_inheritable(fd, False)
                    rendezvous = socket.socket(fileno=fds[0])
                    rendezvous.setblocking(False)
                    inbox = (socket.socket(fileno=fds[2]), socket.socket(fileno=fds[3]))
                    return Estate(received, rendezvous, fds[1], inbox, _memory(fds[4:]), tables)
                else:
                    break
        except (OSError, ValueError):
            pass
        for orphan in received.values():
            orphan.close()
        for fd in tables.values():
            os.close(fd)
        return None


def _memory(fds: list[int]) -> tuple[int, bytes] | None:
    if len(fds) != 2:
        return None
    with os.fdopen(fds[1], "rb") as file:
        file.seek(0)
        return fds[0], file.read()


def _adopt(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock
