"""The listening sockets of the service and who accepts from which.

Theory. A TCP address gets one SO_REUSEPORT socket per worker: the kernel spreads new connections over the group by a hash, and
each worker has an accept queue of its own, which the master holds open too, so that the queue of a worker that died waits for
its replacement. Unix, abstract and inherited sockets exist once and all workers accept from them (EPOLLEXCLUSIVE). A
:class:`Shelf` is what belongs to one ``bind``; a :class:`Rack` is all shelves of one configuration.

A reload makes a new rack out of an old one: shelves with the same key move over with their sockets and queues, new addresses
are bound, and what is left over is closed by the caller once nobody accepts from it any more. When fewer workers are wanted
the surplus sockets of a group stay, shared out over the workers that remain, because closing one would reset the connections
in its queue; a small BPF program on the group sends new connections to the wanted ones only, so that the surplus run dry and
can be closed a little later.

Knows plan and sockets; knows no process and no loop.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Callable, Iterable, Mapping

from forkproxy.net.listening import listen as listen_on
from forkproxy.plan import Bind, Frontend, Plan
from forkproxy.values import field, record

#: Names one listening socket across processes and reloads: (key of the shelf, index in the shelf).
SocketId = tuple[str, int]

_SO_ATTACH_REUSEPORT_CBPF = 51
_SO_DETACH_REUSEPORT_BPF = 68

Listen = Callable[..., socket.socket]


@record
class Shelf:
    """The sockets of one bind line: one per worker (``spread``), or one for all."""

    key: str
    bind: Bind
    frontend: Frontend
    spread: bool
    sockets: list[socket.socket] = field(default_factory=list)
    wanted: int = 1  # how many of the sockets get new connections

    def indices(self, worker: int, workers: int) -> list[int]:
        """Which sockets worker number ``worker`` (from 0) of ``workers`` accepts from."""
        if not self.spread:
            return list(range(len(self.sockets)))
        return [i for i in range(len(self.sockets)) if i % workers == worker]

    def close(self) -> None:
        """Close the master's descriptors."""
        for sock in self.sockets:
            sock.close()
        self.sockets.clear()


class ListenError(Exception):
    """A listening socket could not be made; the text says which and why, in HAProxy's form."""


class Rack:
    """All listening sockets of one configuration, by key, in the order of the file."""

    __slots__ = ("shelves",)

    def __init__(self, shelves: dict[str, Shelf]) -> None:
        self.shelves = shelves

    @classmethod
    def build(
        cls,
        plan: Plan,
        workers: int,
        *,
        old: Rack | None = None,
        inherited: Mapping[str, list[socket.socket]] | None = None,
        listen: Listen = listen_on,
    ) -> Rack:
        """Bind what ``plan`` asks for; sockets of ``old`` and ``inherited`` (by key) with the same key are used instead of new ones.

        ``old`` itself is not changed. Raises ListenError after closing every socket that this call made, so that a failure
        changes nothing.
        """
        made: list[socket.socket] = []
        shelves: dict[str, Shelf] = {}
        try:
            for frontend in plan.frontends:
                if frontend.disabled:
                    continue
                for bind in frontend.binds:
                    key = bind.key
                    while key in shelves:  # the same address twice in one file is legal with SO_REUSEPORT
                        key += " again"
                    kept = old.shelves.get(key) if old is not None else None
                    spread = bind.address.family in ("ipv4", "ipv6") and not plan.global_.options.get("noreuseport")
                    if kept is not None and not kept.spread:
                        spread = False  # bound without SO_REUSEPORT: nothing can be bound beside it
                    shelf = Shelf(key, bind, frontend, spread, wanted=workers if spread else 1)
                    if kept is not None:
                        shelf.sockets = list(kept.sockets)
                    elif inherited is not None and key in inherited:
                        shelf.sockets = list(inherited[key])
                    while len(shelf.sockets) < shelf.wanted:
                        sock = _listen(listen, frontend, bind, spread)
                        made.append(sock)
                        shelf.sockets.append(sock)
                    shelves[key] = shelf
        except ListenError:
            for sock in made:
                sock.close()
            raise
        rack = cls(shelves)
        for shelf in shelves.values():
            steer(shelf)
        return rack

    def sockets(self) -> dict[SocketId, socket.socket]:
        """Every socket under its name."""
        return {(shelf.key, i): sock for shelf in self.shelves.values() for i, sock in enumerate(shelf.sockets)}

    def leftovers(self, new: Rack) -> list[Shelf]:
        """The shelves of this rack that ``new`` does not have."""
        return [shelf for key, shelf in self.shelves.items() if key not in new.shelves]

    def surplus(self) -> list[SocketId]:
        """Sockets beyond the number of workers, which run dry."""
        return [(s.key, i) for s in self.shelves.values() for i in range(s.wanted, len(s.sockets))]

    def drop_surplus(self) -> None:
        """Close the surplus sockets; to be called when nobody accepts from them any more."""
        for shelf in self.shelves.values():
            for sock in shelf.sockets[shelf.wanted :]:
                sock.close()
            del shelf.sockets[shelf.wanted :]
            steer(shelf)

    def share(self, worker: int, workers: int) -> list[SocketId]:
        """The sockets that one worker accepts from."""
        return [(s.key, i) for s in self.shelves.values() for i in s.indices(worker, workers)]

    def pause(self, frontend: str = "") -> None:
        """Stop listening ("": everywhere): new connections are refused, the addresses stay ours. Nobody may be accepting. Again: nothing
        happens.

        (The kernel takes a second shutdown of a socket that does not listen any more as one of its connections to come: after the
        next listen() all of them would be born half closed.)"""
        for shelf in self._of(frontend):
            for sock in shelf.sockets:
                with contextlib.suppress(OSError):
                    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        sock.shutdown(socket.SHUT_RDWR)

    def resume(self, frontend: str = "") -> None:
        """Listen again after :meth:`pause`."""
        for shelf in self._of(frontend):
            for sock in shelf.sockets:
                with contextlib.suppress(OSError):
                    sock.listen(_backlog(shelf.frontend, shelf.bind))

    def remove(self, frontend: str) -> list[SocketId]:
        """Close all sockets of one frontend; returns their names."""
        names = []
        for shelf in self._of(frontend):
            names += [(shelf.key, i) for i in range(len(shelf.sockets))]
            shelf.close()
            del self.shelves[shelf.key]
        return names

    def _of(self, frontend: str) -> list[Shelf]:
        return [shelf for shelf in self.shelves.values() if frontend in ("", shelf.frontend.name)]

    def close(self) -> None:
        """Close everything."""
        for shelf in self.shelves.values():
            shelf.close()


def _listen(listen: Listen, frontend: Frontend, bind: Bind, spread: bool) -> socket.socket:
    try:
        return listen(bind, backlog=_backlog(frontend, bind), reuseport=spread)
    except OSError as exc:
        raise ListenError(f"Binding [{bind.place}] for proxy {frontend.name}: {exc}") from exc


def _backlog(frontend: Frontend, bind: Bind) -> int:
    """Manual 4.2 "backlog": the bind's own, else the frontend's, else the number of connections it may have."""
    return bind.backlog or frontend.backlog or bind.maxconn or frontend.maxconn or 1024


def pending(socks: Iterable[socket.socket]) -> bool:
    """Whether a connection waits in the queue of one of them."""
    poller = select.poll()
    for sock in socks:
        if sock.fileno() >= 0:
            poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))


def steer(shelf: Shelf) -> None:
    """Send new connections of a group to its first ``wanted`` sockets only, or to all when there are no others.

    The program is ``return random() % wanted``: the kernel takes the result as an index into the group in the order of
    binding (socket(7), SO_ATTACH_REUSEPORT_CBPF). On a kernel that refuses it the surplus sockets just keep their share.
    """
    if not shelf.sockets or shelf.bind.address.family not in ("ipv4", "ipv6"):
        return
    sock = shelf.sockets[0]
    try:
        if len(shelf.sockets) == shelf.wanted:
            sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)
            return
        import ctypes  # a reload with fewer workers is rare

        code = b"".join(
            struct.pack("HBBI", *instruction)
            for instruction in (
                (0x20, 0, 0, 0xFFFFF000 + 56),  # A = random word (SKF_AD_OFF + SKF_AD_RANDOM)
                (0x94, 0, 0, shelf.wanted),  # A %= wanted
                (0x16, 0, 0, 0),  # return A
            )
        )
        buffer = ctypes.create_string_buffer(code)
        program = struct.pack("@HP", 3, ctypes.addressof(buffer))  # struct sock_fprog
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, program)
    except OSError:
        pass
