"""A worker's runtime without a network: sockets that are not there, a loop that is driven by hand, a clock that stands still.

A test reads like a transcript: the client says, the server says, time passes; then what either side was sent, what was closed, and the log.
"""

from __future__ import annotations

import errno
import os
import types
from typing import Any

import pytest

from forkproxy.clock import ManualClock
from forkproxy.net import carry
from forkproxy.net.loop import ERR, HUP, READ, WRITE, Loop
from forkproxy.net.sockets import Way
from forkproxy.plan import Address, Backend, Bind, Frontend, Global, Plan, Server, Timeouts
from forkproxy.proxy import listener
from forkproxy.proxy.accesslog import Target
from forkproxy.proxy.frontend import BindRt
from forkproxy.proxy.runtime import Runtime
from forkproxy.state.counters import Rows
from forkproxy.state.limits import LIMIT, Area
from forkproxy.state.names import NameTable, backend_key, frontend_key, listener_key
from forkproxy.state.segment import Segment
from forkproxy.state.servers import RUNNING, SCALE, ServerTable
from forkproxy.state.stickspec import TableRef

#: descriptors that are open: ``conftest`` closes what a test left
OPEN: set[int] = set()


def opened(fd: int) -> int:
    """Note that ``fd`` is to be closed when the test is over."""
    OPEN.add(fd)
    return fd


def unexpected(w: object, exc: Exception) -> None:
    """A handler raised: no test is passed that way (who expects it sets something else)."""
    pytest.fail(f"a fault of {w}: {exc!r}")


class Wire:
    """One of our sockets. ``said`` waits to be received by us (b"" in it is the end, an exception a break), ``got`` is what we sent;
    ``room`` how much more the peer takes."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.fd = opened(os.open("/dev/null", os.O_RDWR))  # a number of our own; nobody reads from it
        self.said: list[bytes | OSError] = []
        self.got = b""
        self.room = 1 << 30
        self.ended = self.closed = False
        self.error = 0
        self.family, self.type, self.proto = 2, 1, 6

    def fileno(self) -> int:
        return self.fd

    def recv(self, size: int) -> bytes:
        if not self.said:
            raise BlockingIOError
        first = self.said[0]
        if isinstance(first, OSError):
            raise OSError(first.errno, first.strerror)  # not the same one: it would keep its traceback's frames
        if len(first) > size:
            self.said[0] = first[size:]
            return first[:size]
        if first:
            del self.said[0]
        return first

    def send(self, data: Any) -> int:
        if self.error:
            raise OSError(self.error, "send")
        taken = bytes(data[: self.room])
        if not taken:
            raise BlockingIOError
        self.room -= len(taken)
        self.got += taken
        return len(taken)

    def shutdown(self, how: int) -> None:
        self.ended = True

    def getsockopt(self, *args: int) -> int:
        error, self.error = self.error, 0
        return error

    def setsockopt(self, *args: Any) -> None:
        pass

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 80)

    def getpeername(self) -> tuple[str, int]:
        return ("192.0.2.9", 90)

    def close(self) -> None:
        self.closed = True
        OPEN.remove(self.fd)
        os.close(self.fd)


class Epoll:
    """Instead of the kernel's."""

    def register(self, fd: int, mask: int) -> None: ...
    def modify(self, fd: int, mask: int) -> None: ...
    def unregister(self, fd: int) -> None: ...
    def close(self) -> None: ...


class Stage:
    """One frontend ``f``, one backend ``b`` with ``servers``; ``dialled`` are the connections to servers, newest last.

    ``refuse`` holds the addresses (ports) that refuse at once, ``room`` is how much new connections to servers take. ``log`` gets
    (flags, retries, redispatched, server, bytes in, bytes out)."""

    def __init__(self, monkeypatch: Any, *, servers: int = 1, front: dict[str, Any] | None = None, back: dict[str, Any] | None = None,
                 server: dict[str, Any] | None = None, settings: dict[str, Any] | None = None,
                 tables: dict[str, TableRef] | None = None, **timeouts: float) -> None:  # fmt: skip
        times = Timeouts(**timeouts)
        plan_servers = tuple(
            Server(name=f"s{i}", address=Address("ipv4", "127.0.0.1", 1000 + i), backend="b", id=i + 1, cookie=b"c%d" % i, **(server or {}))
            for i in range(servers)
        )
        self.bind = Bind(address=Address("ipv4", "127.0.0.1", 80))
        self.log: list[tuple[str, int, bool, str, int, int]] = []
        own: dict[str, Any] = {"default_backend": "b", "timeouts": times} | (front or {})
        fe = Frontend(name="f", id=1, binds=(self.bind,), log_format=self._render, **own)
        be = Backend(name="b", id=2, timeouts=times, servers=plan_servers, **(back or {}))
        settings_ = Global(nosplice=True, maxconn=1000, options=settings or {})
        plan = Plan(global_=settings_, frontends=(fe,), backends={"b": be}, tables=tables or {})
        self.clock = ManualClock()
        self.loop = Loop(self.clock)
        self.loop.poller.close()
        self.loop.poller.epoll = self.loop.poller.behind = Epoll()  # type: ignore[assignment]
        segment, names = Segment.create(2, 16), NameTable(16)
        rows = Rows(segment, names, self.clock)
        for key in (frontend_key("f"), listener_key("f", str(self.bind.address)), backend_key("b"), *(s.key for s in plan_servers)):
            names.allocate(key)
        table = ServerTable(rows)
        for s in plan_servers:
            table.set(s.key, srv_op=RUNNING, weight=SCALE, uweight=1)
        opened(segment.fd)
        bell = opened(os.eventfd(0, os.EFD_NONBLOCK))
        area = Area(segment, [bell])
        area.place(0, 0)
        for key in (frontend_key("f"), listener_key("f", str(self.bind.address))):
            area.place(names.row(key), 0)
        for s in plan_servers:
            area.place(names.row(s.key), names.row(backend_key("b")))
            area.set(names.row(s.key), LIMIT, s.maxconn)
        segment.claim(0, os.getpid())
        state = types.SimpleNamespace(segment=segment, rows=rows, servers=table, limits=area)
        self.rt = Runtime(plan, self.loop, segment.slot(0), state, 1)
        opened(self.rt._bell.fd)
        monkeypatch.setattr(self.rt, "_others_fault", unexpected)
        self.fe = self.rt.frontends["f"]
        self.be = self.rt.backends["b"]
        self.fe.log.targets = [Target(7, 0, lambda level, wall, line: None)]
        self.fe.log.on = True
        self.dialled: list[Wire] = []
        self.ports: list[int] = []
        self.refuse: set[int] = set()
        self.room = 1 << 30
        self.rt.connect = self._connect
        self.rt.carry = carry.carry
        calls = types.SimpleNamespace(
            read=lambda fd, size: self.watcher(fd).sock.recv(size), write=lambda fd, data: self.watcher(fd).sock.send(data)
        )
        monkeypatch.setattr(carry, "os", calls)

    def limit(self, key: str, most: int) -> None:
        """The master sets the limit of a row."""
        area = self.rt.area
        area.set(self.rt.state.rows.names.row(key), LIMIT, most)
        area.ring_all()

    def rings(self) -> None:
        """The bell rings."""
        self.rt.ring()
        self.settle()

    def _render(self, s: Any) -> bytes:
        self.log.append((s.flags.decode(), s.retries, s.redispatched, s.server_id.decode(), s.bytes_in, s.bytes_out))
        return b""

    def _connect(self, way: Way) -> tuple[Any, bool]:
        address = way.address
        self.ports.append(address.port)
        if address.port in self.refuse:
            raise OSError(errno.ECONNREFUSED, "refused")
        wire = Wire(f"server {address.port}")
        wire.room = self.room
        self.dialled.append(wire)
        return wire, False

    # -- what happens

    @property
    def at(self) -> BindRt:
        """Where clients arrive."""
        return self.fe.binds[self.bind.id]

    def client(self) -> Wire:
        """A client connects."""
        return self.clients(None)[0]

    def clients(self, *firsts: bytes | OSError | None) -> list[Wire]:
        """So many clients connect in a turn, and say this first."""
        wires = [Wire("client") for _ in firsts]
        for wire, first in zip(wires, firsts, strict=True):
            if first is not None:
                wire.said.append(first)
            self.at.door.enter(self.clock.now)
            listener.admit(self.rt, self.at, wire, ("192.0.2.1", 40000))
        self.rt.outbox.send()
        return wires

    def watcher(self, wire: Wire | int) -> Any:
        """Whose connection it is, or whose descriptor: the client's or the server's side."""
        w = self.loop.watcher(wire if isinstance(wire, int) else wire.fd)
        assert w is not None
        return w

    def event(self, wire: Wire, mask: int) -> None:
        """The loop tells: dropped, as by the kernel, when nobody asked for it (errors and hang-ups always come)."""
        self._tell(wire, mask)
        self.settle()

    def _tell(self, wire: Wire, mask: int) -> None:
        watched = self.loop.watcher(wire.fd)
        if watched is not None and not wire.closed:
            mask &= watched.mask | ERR | HUP
            if mask:
                watched.ready(watched, mask)

    def turn(self, *said: tuple[Wire, bytes | OSError]) -> None:
        """Bytes (b"": the end) and resets from several peers in one turn, in this order."""
        for wire, data in said:
            wire.said.append(data)
        for wire, data in said:
            self._tell(wire, READ if isinstance(data, bytes) else READ | ERR | HUP)
        self.settle()

    def settle(self) -> None:
        """The end of the turn."""
        self.rt.outbox.send()
        for _ in range(len(self.loop._soon)):
            fn, args = self.loop._soon.popleft()
            fn(*args)
        self.rt.outbox.send()
        self.rt._turn()
        self.loop.turns += 1

    def says(self, wire: Wire, data: bytes) -> None:
        """Bytes from the peer of ``wire``; b"" is its end."""
        wire.said.append(data)
        while wire.said and self.reads(wire):
            self.event(wire, READ)

    def reads(self, wire: Wire) -> bool:
        """Whether we want to read from there."""
        watched = self.loop.watcher(wire.fd)
        return not wire.closed and watched is not None and bool(watched.mask & READ)

    def takes(self, wire: Wire, room: int = 1 << 30) -> None:
        """The peer of ``wire`` has room again."""
        wire.room = room
        self.event(wire, WRITE)

    def resets(self, wire: Wire) -> None:
        """The peer of ``wire`` resets."""
        wire.error = errno.ECONNRESET
        wire.said.append(ConnectionResetError(errno.ECONNRESET, "reset"))
        self.event(wire, READ | ERR | HUP)

    def stands(self, wire: Wire) -> None:
        """The connection is established."""
        self.event(wire, WRITE)

    def fails(self, wire: Wire, error: int = errno.ECONNREFUSED) -> None:
        """The connection attempt came to nothing."""
        wire.error = error
        self.event(wire, WRITE | ERR | HUP)

    def passes(self, seconds: float) -> None:
        """Time goes by."""
        self.clock.advance(seconds)
        self.loop._expire(self.clock.now)
        self.settle()
