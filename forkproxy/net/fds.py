"""Descriptors from process to process over unix sockets, each with a few bytes that say what it is.

The kernel takes at most 253 descriptors per message, so they travel in batches. A batch is a header, the texts, and the descriptors
as ancillary data of its first byte. On a stream socket the kernel may hand out the end of one batch together with the beginning of the
next, descriptors included; so the receiver asks for exactly the bytes of one batch.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Iterable, Sequence

#: Descriptors per batch (SCM_MAX_FD is 253) and bytes of text in it, small enough for one packet.
_BATCH = 250
_BATCH_BYTES = 65536
_MAGIC = 0x66647331  # "fds1"
_HEADER = struct.Struct("!IIHH")  # magic, length of the texts, number of descriptors, 1: more batches follow
_LENGTH = struct.Struct("!H")
_ROOM = socket.CMSG_SPACE(253 * 4)


def send_fds(sock: socket.socket, items: Sequence[tuple[int, bytes]]) -> None:
    """Send descriptors with their texts (at most 65,000 bytes each); the sender keeps its own. Blocks as long as ``sock`` does.

    ``sock`` is a connected unix socket, SOCK_STREAM or SOCK_SEQPACKET. An empty list is sent too. Raises OSError, ValueError.
    """
    batches = _batches(items)
    for number, batch in enumerate(batches):
        texts = b"".join(_LENGTH.pack(len(text)) + text for _, text in batch)
        data = _HEADER.pack(_MAGIC, len(texts), len(batch), number + 1 < len(batches)) + texts
        fds = array.array("i", [fd for fd, _ in batch])
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if batch else []
        sent = sock.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)
        if sent < len(data):
            sock.sendall(data[sent:], socket.MSG_NOSIGNAL)


def recv_fds(sock: socket.socket) -> list[tuple[int, bytes]]:
    """What one :func:`send_fds` sent: (descriptor, text) in order, close-on-exec, the caller's. Blocks as long as ``sock`` does.

    Raises EOFError when the peer ended before, OSError, and ValueError for anything that is not such a message; what had
    arrived until then is closed.
    """
    got: list[int] = []
    items: list[tuple[int, bytes]] = []
    try:
        more = 1
        while more:
            packet = sock.type == socket.SOCK_SEQPACKET
            data = _receive(sock, _BATCH_BYTES * 2 if packet else _HEADER.size, got, packet)
            if len(data) < _HEADER.size:
                raise ValueError("not a message with descriptors")
            magic, length, count, more = _HEADER.unpack_from(data)
            if magic != _MAGIC or length > _BATCH_BYTES * 2:
                raise ValueError("not a message with descriptors")
            texts = data[_HEADER.size :] if packet else _receive(sock, length, got, False)
            found = list(_texts(texts, count))
            if len(got) - len(items) != count:
                raise ValueError("descriptors were lost on the way")
            items += zip(got[len(items) :], found, strict=True)
    except BaseException:
        for fd in got:
            os.close(fd)
        raise
    return items


def _batches(items: Sequence[tuple[int, bytes]]) -> list[list[tuple[int, bytes]]]:
    batches: list[list[tuple[int, bytes]]] = [[]]
    room = _BATCH_BYTES
    for item in items:
        need = len(item[1]) + _LENGTH.size
        if need > 65_000:
            raise ValueError("the text of a descriptor is too long")
        if len(batches[-1]) == _BATCH or need > room:
            batches.append([])
            room = _BATCH_BYTES
        batches[-1].append(item)
        room -= need
    return batches


def _receive(sock: socket.socket, size: int, got: list[int], packet: bool) -> bytes:
    """One packet, or exactly ``size`` bytes of a stream; descriptors that come along go to ``got``."""
    data = b""
    while len(data) < size:
        part, ancillary, flags, _ = sock.recvmsg(size - len(data), _ROOM, socket.MSG_CMSG_CLOEXEC)
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                got += fds
        if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
            raise ValueError("descriptors were lost on the way")
        if not part:
            raise EOFError("the peer ended before the descriptors had come")
        data += part
        if packet:
            break
    return data


def _texts(data: bytes, count: int) -> Iterable[bytes]:
    at = 0
    for _ in range(count):
        if at + _LENGTH.size > len(data):
            raise ValueError("a text is missing")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + length > len(data):
            raise ValueError("a text is cut off")
        yield data[at : at + length]
        at += length
