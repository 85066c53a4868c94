"""Client connections that change the worker while nothing is being served on them: a reload closes none of them.

The leaving worker gives the descriptor away with a note that says what the next one must know: whose connection it is, how many
requests it had, how long it may stay idle. Bytes that the client sends meanwhile wait in the kernel, so there is no moment in which a
request could meet a close. What cannot be told in a note stays and is closed late (``Runtime.idle_soon``): variables of the session, a
server's connection that is private to the client, a bind address that nobody serves any more.

Knows clients and frontends; nothing of the way that descriptors travel (``worker.inbox``).
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from forkproxy.net.loop import INF
from forkproxy.proxy import client, finish
from forkproxy.proxy.stream import ClientOrigin

if TYPE_CHECKING:
    from forkproxy.proxy.client import Client
    from forkproxy.proxy.runtime import Runtime

#: ``give(sock, note)``: False when nobody can take it just now; the descriptor stays the giver's.
Give = Callable[[socket.socket, dict[str, Any]], bool]

#: How many connections are given away in one turn: the streams that are left must not wait long.
SLICE = 64
#: When nobody could take one, the next attempt.
RETRY_S = 0.005
#: How long a connection may be under way.
TRAVEL_S = 0.2


class Moving:
    """The way out of one leaving worker: ``binds`` are the keys of the addresses whose connections find a new owner."""

    __slots__ = ("_awake", "_give", "_rt", "_waiting", "binds")

    def __init__(self, rt: Runtime, give: Give, binds: frozenset[str]) -> None:
        self._rt = rt
        self._give = give
        self.binds = binds
        self._waiting: deque[Client] = deque()
        self._awake = False

    def takes(self, c: Client) -> bool:
        """Whether ``c`` can move as soon as nothing is served on it."""
        origin = c.origin
        if origin.vars or origin.tracked or not isinstance(origin, ClientOrigin):
            return False  # what rules keep about a connection stays in this process
        return c.fe.http and not c.own and origin.bind.key in self.binds

    def offer(self, c: Client) -> None:
        """Give ``c`` away in this turn or a later one, unless it asks something before; it is served here until then."""
        self._waiting.append(c)
        self._wake()

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self._rt.loop.call_soon(self._work)

    def _work(self) -> None:
        self._awake = False
        waiting = self._waiting
        for _ in range(min(SLICE, len(waiting))):
            c = waiting.popleft()
            if not idle(c):
                continue  # it is being served, and comes back afterwards
            if not self.takes(c):
                self._rt.idle_soon(c)
            elif self._give(c.sock, note(c)):
                # What it counts for is ours for a moment yet, so that its place is not given away on the way.
                door = c.at.door
                door.force()
                c.loop.call_later(TRAVEL_S, door.leave)
                c.loop.remove(c)  # before it is closed: the open file lives on, and epoll would go on telling of it
                finish.close_client(c)
            else:
                waiting.appendleft(c)
                self._awake = True
                self._rt.loop.call_later(RETRY_S, self._work)
                return
        if waiting:
            self._wake()


def idle(c: Client) -> bool:
    """Nothing is being served, nothing has arrived, nothing waits to be sent."""
    return client.idle(c) and c.ready is client.await_head and not c.inbuf and not c.out and not c.eof


def note(c: Client) -> dict[str, Any]:
    """What the next owner must know. Times are monotonic, which all processes of a machine share, but for ``wall…``."""
    origin = c.origin
    return {
        "bind": origin.bind.key,
        "src": origin.src,
        "port": origin.src_port,
        "family": origin.family,
        "wall": origin.wall_accept,
        "local": origin.local() if origin.bind.accept_proxy else None,
        "served": c.served,
        "t_base": c.t_base,
        "wall_base": c.wall_base,
        "deadline": None if c.deadline == INF else c.deadline,
        "last": "" if c.last_srv is None else c.last_srv.key,
    }


def adopt(rt: Runtime, sock: socket.socket, told: dict[str, Any]) -> None:
    """Go on with a connection that another worker gave away; owns ``sock``. Without a frontend for its address it is closed."""
    at = rt.binds.get(told["bind"])
    if at is None or not at.fe.http:
        sock.close()
        return
    sock.setblocking(False)
    origin = ClientOrigin(sock, at.bind, told["src"], told["port"], told["family"], told["wall"])
    if told["local"] is not None:
        origin.claim(*told["local"])
    c = client.Client(rt, sock, at, origin)
    c.served = told["served"]
    c.t_base = told["t_base"]
    c.wall_base = told["wall_base"]
    backend, _, server = told["last"].partition("/")
    if backend in rt.backends:
        c.last_srv = rt.backends[backend].by_name.get(server)
    at.fe.resumed(at)
    rt.clients.add(c)
    rt.loop.add(c)
    rt.loop.set_deadline(c, told["deadline"])
    if rt.leaving:
        rt.idle_soon(c)
