"""Where the workers of a service pass idle client connections to each other.

One SOCK_SEQPACKET pair for the whole life of the service, made by the first master and handed to its successors: every worker holds both
ends. A leaving worker stops reading and writes; whoever serves reads, each packet goes to exactly one. What nobody has read yet waits
in the kernel, descriptors included, so no change of generations loses a connection. A packet is one descriptor with a note
(JSON; ``proxy.moving`` writes and reads it).

Knows descriptors and the loop, not what is passed.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

from forkproxy.net import fds
from forkproxy.net.loop import EXCLUSIVE, READ, Loop, Timer, Watched

#: How many connections a worker takes at a time, and how long it leaves the next ones to the others: whoever happens to run first must not
#: take all of them. (Without the pause one of two workers sometimes got all 200 on a busy machine.)
BATCH = 8
REST_S = 0.002

#: The two ends: (to read from, to write to).
Ends = tuple[socket.socket, socket.socket]


def pair() -> Ends:
    """A new inbox, non-blocking."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)


class Inbox(Watched):
    """One worker's view of it; reads from now on. ``adopt(sock, note)`` owns the socket that it is given."""

    __slots__ = ("_adopt", "_loop", "_read", "_rest", "_write")

    def __init__(self, ends: Ends, loop: Loop, adopt: Callable[[socket.socket, dict[str, Any]], None]) -> None:
        self._read, self._write = ends
        super().__init__(self._read.fileno(), _ready)
        self._loop = loop
        self._adopt = adopt
        self._rest: Timer | None = None
        self._listen()

    def give(self, sock: socket.socket, note: dict[str, Any]) -> bool:
        """Pass a connection on; the caller keeps its own descriptor. False: no room just now."""
        try:
            fds.send_fds(self._write, [(sock.fileno(), json.dumps(note).encode())])
        except OSError:  # full, or too many descriptors under way
            return False
        return True

    def take(self, limit: int) -> bool:
        """Adopt at most ``limit`` connections that wait; False when none is left."""
        for _ in range(limit):
            try:
                items = fds.recv_fds(self._read)
            except (OSError, EOFError):
                return False
            for fd, text in items:
                self._adopt(socket.socket(fileno=fd), json.loads(text))
        return True

    def rest(self) -> None:
        """Leave what comes next to others for a moment."""
        self._loop.remove(self)
        self._rest = self._loop.call_later(REST_S, self._listen)

    def _listen(self) -> None:
        self._loop.add(self, READ | EXCLUSIVE)

    def stop(self) -> None:
        """Read no more."""
        self._loop.remove(self)
        if self._rest is not None:
            self._rest.cancel()


def _ready(inbox: Watched, _mask: int) -> None:
    assert isinstance(inbox, Inbox)
    if inbox.take(BATCH):
        inbox.rest()
