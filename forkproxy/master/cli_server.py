"""The sockets of the runtime CLI on the master's loop: ``stats socket`` and ``-S``. What is said is the session's business.

Bounded: so many sessions, so long without a word (``stats timeout``, ``stats maxconn``); an answer is made slice by slice as the client
takes it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

from forkproxy.master.cli_session import Session
from forkproxy.net import sockets as net_sockets
from forkproxy.net.loop import READ, WRITE, Loop, Watched
from forkproxy.plan import Bind

if TYPE_CHECKING:
    from forkproxy.master.master import Master

#: Slices are gathered up to this size before they are sent.
_SEND_BYTES = 65536
_READ_BYTES = 16384
#: So many sessions of the master's sockets at a time; those of ``stats socket`` have ``stats maxconn``.
MASTER_SESSIONS = 64


class _Listener(Watched):
    __slots__ = ("bind", "mastercli", "server", "sock")

    def __init__(self, server: CliServer, bind: Bind, sock: socket.socket, mastercli: bool) -> None:
        super().__init__(sock.fileno(), _on_accept)
        self.server = server
        self.bind = bind
        self.sock = sock
        self.mastercli = mastercli


class _Client(Watched):
    """One connection; ``outgoing`` is what the kernel has not taken yet, ``ended`` tells that the client says no more."""

    __slots__ = ("ended", "outgoing", "server", "session", "sock")

    def __init__(self, server: CliServer, sock: socket.socket, session: Session) -> None:
        super().__init__(sock.fileno(), _on_ready, _on_late)
        self.server = server
        self.sock = sock
        self.session = session
        self.outgoing = b""
        self.ended = False


class CliServer:
    """Serves ``listeners`` (bind, socket, whether it is a master socket; the caller's) until :meth:`stop`."""

    __slots__ = ("_clients", "_listeners", "_loop", "_master", "maxconn", "timeout_s")

    def __init__(
        self,
        loop: Loop,
        master: Master,
        listeners: Iterable[tuple[Bind, socket.socket, bool]],
        *,
        timeout_s: float,
        maxconn: int,
    ) -> None:
        self._loop = loop
        self._master = master
        self._clients: set[_Client] = set()
        self.timeout_s = timeout_s
        self.maxconn = maxconn
        self._listeners = [_Listener(self, bind, sock, mastercli) for bind, sock, mastercli in listeners]
        for listener in self._listeners:
            loop.add(listener, READ)

    def stop(self, *, clients: bool = True) -> None:
        """Accept no more; close sessions too unless told otherwise. Listening sockets are the caller's."""
        for listener in self._listeners:
            self._loop.remove(listener)
        self._listeners.clear()
        if clients:
            for client in list(self._clients):
                self._drop(client)

    def adopt(self, other: CliServer) -> None:
        """Take over the sessions of a server that was stopped (a reload must not cut off who asked for it)."""
        for client in other._clients:
            client.server = self
        self._clients |= other._clients
        other._clients = set()

    def accept(self, listener: _Listener) -> None:
        """A connection waits."""
        try:
            found = net_sockets.accept(listener.sock)
        except OSError:
            return
        if found is None:
            return
        sock = found[0]
        alike = sum(client.session.mastercli is listener.mastercli for client in self._clients)
        own, most = sum(client.session.bind is listener.bind for client in self._clients), listener.bind.maxconn
        if alike >= (MASTER_SESSIONS if listener.mastercli else self.maxconn) or 0 < most <= own:
            sock.close()
            return
        session = Session(self._master, listener.bind, mastercli=listener.mastercli, sock=sock)
        client = _Client(self, sock, session)
        session.wake = lambda: client.server.push(client)  # the server of the moment: a reload makes a new one
        self._clients.add(client)
        client.deadline = self._loop.clock.now + self.timeout_s
        self._loop.add(client, READ)

    def read(self, client: _Client) -> None:
        """The client says something."""
        try:
            data = client.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        if data:
            client.session.feed(data)
        else:
            client.ended = True
            client.session.end()
        self.push(client)

    def push(self, client: _Client) -> None:
        """Say what there is to say, as far as the client takes it."""
        if client not in self._clients:
            return
        session = client.session
        self._loop.set_deadline(client, self._loop.clock.now + (session.timeout_s or self.timeout_s))
        while True:
            while len(client.outgoing) < _SEND_BYTES:
                piece = session.next_slice()
                if piece is None:
                    break
                client.outgoing += piece.encode(errors="surrogateescape")
            if not client.outgoing:
                break
            try:
                sent = client.sock.send(client.outgoing)
            except BlockingIOError:
                self._loop.modify(client, WRITE)
                return
            except OSError:
                self._drop(client)
                return
            client.outgoing = client.outgoing[sent:]
        if session.closing:
            self._drop(client)
        else:
            self._loop.modify(client, 0 if client.ended or session.crowded else READ)

    def _drop(self, client: _Client) -> None:
        self._clients.discard(client)
        self._loop.remove(client)
        client.sock.close()
        client.session.interrupt()

    def late(self, client: _Client) -> None:
        """Nothing was said for too long."""
        if client.session.idle or client.outgoing:
            self._drop(client)
        else:  # a deferred answer is awaited
            self._loop.set_deadline(client, self._loop.clock.now + (client.session.timeout_s or self.timeout_s))


def _on_accept(w: _Listener, _mask: int) -> None:
    w.server.accept(w)


def _on_ready(w: _Client, mask: int) -> None:
    if mask & WRITE:
        w.server.push(w)
    elif mask & READ:
        w.server.read(w)
    else:
        w.server._drop(w)


def _on_late(w: _Client) -> None:
    w.server.late(w)
