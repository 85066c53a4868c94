"""The control channel between the master and one worker: small messages in order, descriptors beside them.

One SOCK_SEQPACKET pair per worker, made before the fork: a message is a packet, order is kept, and the end of one side is
an end of file on the other (that is how a worker learns that its master died). A message is a JSON object whose ``op``
names it; the vocabulary is written down here, because both roles import this file:

====================  =============================================================================================
master → worker
``drain``             accept no more, finish what there is; ``spread_s`` (None: idle connections now), ``hard_s`` (None: no
                      bound), ``grace_s`` (go on accepting that long first)
``stop``              end at once
``heirs``             idle clients go through the inbox to the workers that serve, but for those of some addresses (``without``: keys of
                      binds; None: nobody takes any); followed by ``drain``, or a change while draining
``pause`` ``resume``  accept nothing for a while; answered by ``paused`` / ``resumed``
``adopt``             also accept from these sockets of the escrow (``sockets``: list of [key, index])
``release``           stop accepting from these sockets again; with ``forget`` true close them for good
``refresh``           the state of a server changed: wake up and look at the epoch
``order``             carry out ``what`` (a name of ``registry.ORDERS``) with ``fields``; answered by ``answer`` with the same ``id``
``managed``           what became of the ``form`` with the same ``id`` (``status``: one of ``stats.forms.MEANING``)
worker → master
``ready``             the worker accepts
``stopped``           the worker accepts no more (answer to ``drain``)
``changed``           rules changed lists of patterns: ``ops`` (``rules.patternfiles``), or process-wide variables: ``variables`` (ops of
                      ``rules.variables``), which the master passes on to all as an order
``answer``            to an order: ``slice`` is a part of a text, ``value`` or ``error`` the end of it
``form``              have a form of the statistics page carried out (``action``, ``backend``, ``servers``); answered by ``managed``
``paused`` ``resumed`` ``released``
====================  =============================================================================================

Knows the loop; knows nothing of what the messages do.
"""

from __future__ import annotations

import json
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from forkproxy.net.loop import READ, WRITE, Loop, Watched

Message = dict[str, Any]

#: One packet is read whole; larger than any message that is sent.
PACKET_BYTES = 256 * 1024


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected, non-blocking ends: (master's, worker's)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    return ours, theirs


class Channel(Watched):
    """One end of a control channel, attached to a loop.

    ``on_message(message)`` is called for every message in order, ``on_close()`` once when the other side is gone. Sending never
    blocks: what the kernel does not take waits here in order. Owns the socket.
    """

    __slots__ = ("_loop", "_on_close", "_on_message", "_waiting", "sock")

    def __init__(
        self, sock: socket.socket, loop: Loop, on_message: Callable[[Message], None], on_close: Callable[[], None]
    ) -> None:
        super().__init__(sock.fileno(), _ready)
        self.sock = sock
        self._loop = loop
        self._on_message = on_message
        self._on_close = on_close
        self._waiting: deque[bytes] = deque()
        loop.add(self, READ)

    def send(self, op: str, **fields: Any) -> None:
        """Send one message; to a side that is gone it is dropped, since ``on_close`` tells."""
        packet = json.dumps({"op": op, **fields}).encode()
        if self.fd < 0:
            return
        if self._waiting:
            self._waiting.append(packet)
            return
        try:
            self.sock.send(packet, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            self._waiting.append(packet)
            self._loop.modify(self, READ | WRITE)
        except OSError:
            pass

    def close(self) -> None:
        """Let go of the channel; ``on_close`` is not called. Idempotent."""
        if self.fd >= 0:
            self._loop.remove(self)
            self.sock.close()
            self.fd = -1

    @property
    def backlog(self) -> bool:
        """Whether the other side is slower than we are."""
        return bool(self._waiting)

    def flush(self) -> None:
        """Send what waits, as far as the kernel takes it."""
        while self._waiting:
            try:
                self.sock.send(self._waiting[0], socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                self._waiting.clear()
                break
            self._waiting.popleft()
        self._loop.modify(self, READ)

    def receive(self) -> None:
        """Deliver every message that has arrived."""
        while self.fd >= 0:
            try:
                packet = self.sock.recv(PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self.close()
                self._on_close()
                return
            self._on_message(json.loads(packet))


def _ready(channel: Watched, mask: int) -> None:
    assert isinstance(channel, Channel)
    if mask & WRITE:
        channel.flush()
    if mask & ~WRITE:
        channel.receive()
