"""Log lines over connections: a bounded buffer, and for each server behind it a connection that takes lines from its own copy (manual 12.5,
4.2 "log"; RFC 6587 for the two framings). Never blocks.

Nobody is connected to before there is a line to send; after a failure the next attempt is :data:`RETRY_S` later, and lines wait meanwhile.
What does not fit any more is dropped and counted. A line that a broken connection took in part goes whole to the next one. Knows the loop;
neither plan nor formats: a line arrives complete.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from forkproxy.net.logsink import RETRY_S, Sink
from forkproxy.net.loop import ERR, HUP, READ, WRITE, Loop, Watched
from forkproxy.net.sockets import AddressLike, dial, outcome

#: lines in one call
AT_ONCE = 256


class Ring(Sink):
    """``size`` bounds the bytes that wait for each server. ``kept``: the newest lines, as many as fit ``size``, of a ring with a name;
    ``total`` is how many lines there have been."""

    __slots__ = ("_held", "_keeps", "forwards", "kept", "size", "total")

    def __init__(
        self,
        loop: Loop,
        size: int,
        servers: Iterable[tuple[AddressLike, bool]],
        connect_s: float | None,
        server_s: float | None,
        keeps: bool,
        on_drop: Callable[[], object] | None = None,
    ) -> None:
        """``servers``: address, and whether lines are framed by their length instead of their line feed."""
        super().__init__(on_drop)
        self.size = size
        self.kept: deque[bytes] = deque()
        self.total = 0
        self._held = 0
        self._keeps = keeps
        self.forwards = [Forward(loop, size, address, counted, connect_s, server_s) for address, counted in servers]

    def send(self, level: int, line: bytes) -> None:
        if self._keeps:
            kept = self.kept
            kept.append(line)
            self.total += 1
            self._held += len(line)
            while self._held > self.size:
                self._held -= len(kept.popleft())
        for forward in self.forwards:
            if not push(forward, line):
                self._drop()

    def close(self) -> None:
        for forward in self.forwards:
            for _ in forward.waiting:
                self._drop()
            leave(forward)


class Forward(Watched):
    """The way to one server. ``waiting`` are framed lines, ``held`` their bytes; of the first ``taken`` bytes went out already.

    ``fd`` is -1 while there is no connection; ``timer`` then is the next attempt's, or None when nobody waits for one.
    States (functions in ``ready``): :func:`connecting`, :func:`flowing`."""

    __slots__ = ("address", "connect_s", "counted", "held", "loop", "server_s", "size", "sock", "taken", "timer", "waiting")

    def __init__(
        self, loop: Loop, size: int, address: AddressLike, counted: bool, connect_s: float | None, server_s: float | None
    ) -> None:
        super().__init__(-1, connecting, failed)
        self.loop = loop
        self.size = size
        self.address = address
        self.counted = counted
        self.connect_s = connect_s
        self.server_s = server_s
        self.sock: Any = None
        self.timer: Any = None
        self.waiting: deque[bytes] = deque()
        self.held = self.taken = 0


def push(f: Forward, line: bytes) -> bool:
    """Take a line, if there is room, and send it now where that is possible."""
    if f.counted:
        line = b"%d %b" % (len(line) - 1, line[:-1])
    if f.held + len(line) > f.size:
        return False
    f.waiting.append(line)
    f.held += len(line)
    if f.fd < 0:
        if f.timer is None:
            connect(f)
    elif f.ready is flowing and not f.mask & WRITE:
        pump(f)
    return True


def connect(f: Forward) -> None:
    """Begin a connection."""
    f.timer = None
    try:
        f.sock, stands = dial(f.address)
    except OSError:
        retry(f)
        return
    f.fd = f.sock.fileno()
    f.ready = connecting
    f.loop.add(f, READ | WRITE)
    if stands:
        stand(f)
    else:
        f.loop.set_deadline(f, None if f.connect_s is None else f.loop.clock.now + f.connect_s)


def connecting(f: Any, _mask: int) -> None:
    """The connection stands, or failed."""
    if outcome(f.sock):
        failed(f)
    else:
        stand(f)


def stand(f: Forward) -> None:
    """What waits goes out."""
    f.ready = flowing
    pump(f)


def flowing(f: Any, mask: int) -> None:
    """There is room again, or the server went; what it says is not for us."""
    if mask & (READ | HUP | ERR):
        try:
            if not f.sock.recv(4096):
                failed(f)
                return
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            failed(f)
            return
    if mask & WRITE:
        pump(f)


def pump(f: Forward) -> None:
    """Send what waits, as far as the server takes it."""
    waiting = f.waiting
    try:
        sent = f.taken + f.sock.send(memoryview(b"".join(islice(waiting, AT_ONCE)))[f.taken :]) if waiting else 0
    except (BlockingIOError, InterruptedError):
        sent = f.taken
    except OSError:
        failed(f)
        return
    while waiting and sent >= len(waiting[0]):
        size = len(waiting.popleft())
        sent -= size
        f.held -= size
    f.taken = sent
    mask = READ | WRITE if waiting else READ
    if f.mask != mask:
        f.loop.modify(f, mask)
    f.loop.set_deadline(f, None if not waiting or f.server_s is None else f.loop.clock.now + f.server_s)


def failed(f: Any) -> None:
    """No connection could be made, it broke, or it was too slow."""
    leave(f)
    retry(f)


def retry(f: Forward) -> None:
    """Try again later, if anything waits."""
    if f.waiting:
        f.timer = f.loop.call_later(RETRY_S, connect, f)


def leave(f: Forward) -> None:
    """Close the connection, or forget the next attempt. Idempotent."""
    f.taken = 0
    if f.timer is not None:
        f.timer.cancel()
        f.timer = None
    if f.fd >= 0:
        f.loop.forget(f)
        f.fd = -1
        f.sock.close()
        f.sock = None
