"""Bytes from a socket, to a socket, and from one to another: the system calls that a request with its log line, or a small exchange in TCP
mode, consists of, and nothing else.

The compiled build has the same as ``_carry.pyx`` in C, without what Python adds to such a call: a method looked for, arguments read, the
interpreter's lock given back and taken: 0.2 µs each. Whoever changes one changes the other; ``tests/unit/net/test_carry.py`` holds them to
the same. Of a ``Connection`` the descriptor is enough there, so that its object is not looked at for each call: with thousands of them it
is not in the cache. What any other socket has as ``recv`` and ``send`` is called. :func:`via` tells which of both it is.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

#: Outcomes that are no number of bytes.
ENDED = 0  # nothing more will come
NOTHING = -1  # nothing is there now
SOURCE_GONE = -2  # its connection broke
TARGET_GONE = -3  # its connection broke, and what came is lost


def carry(source: int, target: int, size: int) -> int | tuple[int, bytes]:
    """Receive up to ``size`` bytes from one non-blocking descriptor and send them to the other: how many that were, or one of the outcomes
    above. When not all could be sent, how many came and what is left of them, which is the caller's. Raises nothing of the network."""
    try:
        data = os.read(source, size)
    except BlockingIOError:
        return NOTHING
    except OSError:
        return SOURCE_GONE
    if not data:
        return ENDED
    try:
        sent = os.write(target, data)
    except BlockingIOError:
        sent = 0
    except OSError:
        return TARGET_GONE
    came = len(data)
    return came if sent == came else (came, data[sent:])


def via(sock: socket.socket) -> Any:
    """How ``sock`` is received from and sent to, for those who ask :func:`receive` and :func:`send`: not to be used otherwise."""
    return sock


def receive(via: Any, fd: int, size: int) -> bytes:
    """Up to ``size`` > 0 bytes from a socket, which is not blocking, whose :func:`via` is ``via`` and whose descriptor is ``fd``; none at
    its end. Raises OSError. For heads: in C the bytes are copied once more, which a body of a megabyte would feel."""
    return via.recv(size)  # type: ignore[no-any-return]


def send(via: Any, fd: int, data: bytes | memoryview) -> int:
    """How many bytes of ``data`` the kernel takes for a socket (see :func:`receive`). Raises OSError, BlockingIOError for none."""
    return via.send(data)  # type: ignore[no-any-return]


def send_each(sock: socket.socket, fd: int, data: list[bytes], start: int) -> int:
    """Send a datagram for each of ``data`` from ``start`` on: how many the kernel took, or how many are sent at
    once. Raises OSError when it did not take the first."""
    done = 0
    try:
        for piece in data[start:]:
            sock.send(piece)
            done += 1
    except OSError:
        if not done:
            raise
    return done


#: the module that has these functions as fast as can be had
best: Any
try:
    from forkproxy.net import _carry as best
except ImportError:  # a checkout, or a wheel that was not compiled
    best = sys.modules[__name__]
