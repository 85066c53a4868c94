"""Where log lines go: datagrams to a syslog server (UDP, unix, abstract), or a descriptor such as standard output. Never blocks.

Datagrams leave at the end of the turn, several of them together: each one sent by itself would wake the receiver by itself (together they
save a busy proxy a tenth of its system time or more). More than :data:`TOGETHER` do not wait for the end: in a turn with hundreds of
requests the receiver's queue would overflow before it is looked at (with 512 busy clients half the lines were lost, now none). What a full
receiver does not take (a unix socket often holds ten datagrams only) waits for it, up to :data:`WAITING` lines; a line more is dropped and
counted: a proxy must not wait for its own log. A datagram socket is connected once; a unix socket whose server was restarted is connected
again, at most once a second. Knows neither plan nor formats: a line arrives complete (``wire.syslog``). One sink serves everybody in a
process who logs to the same place.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from forkproxy.compiled import mypyc_attr
from forkproxy.net import carry
from forkproxy.net.connection import Connection
from forkproxy.net.loop import Loop, Timer
from forkproxy.net.sockets import AddressLike, sockaddr

#: How often an unreachable unix socket is tried again, seconds.
RETRY_S = 1.0
#: How many lines wait at most for a receiver that is full, and how soon it is asked again, seconds.
WAITING = 1000
_ASK_S = 0.005
#: How many lines leave together; a unix socket's queue has room for ten where nobody changed net.unix.max_dgram_qlen.
TOGETHER = 8
_SEND_EACH: Final = carry.best.send_each
_GONE = frozenset((errno.ECONNREFUSED, errno.ENOTCONN, errno.ENOENT, errno.ECONNRESET, errno.EPIPE, errno.EDESTADDRREQ))
_FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6, "unix": socket.AF_UNIX, "abns": socket.AF_UNIX}


@mypyc_attr(allow_interpreted_subclasses=True)
class Sink(ABC):
    """``send(level, line)`` takes one complete line or drops it; ``dropped`` counts, ``on_drop`` is called for each.

    ``level`` is the syslog level, for sinks that care; ``line`` ends with a line feed.
    """

    __slots__ = ("dropped", "on_drop")

    def __init__(self, on_drop: Callable[[], object] | None = None) -> None:
        self.dropped = 0
        self.on_drop = on_drop

    @abstractmethod
    def send(self, level: int, line: bytes) -> None:
        """Send one line, or drop it."""

    @abstractmethod
    def close(self) -> None:
        """Give descriptors back that this sink opened. Idempotent."""

    def _drop(self, lines: int = 1) -> None:
        self.dropped += lines
        if self.on_drop is not None:
            for _ in range(lines):
                self.on_drop()


class DatagramSink(Sink):
    """Datagrams to one address, one per line. Owns its socket."""

    __slots__ = ("_asking", "_due", "_enough", "_lines", "_local", "_loop", "_sock", "_target", "_wait_until")

    def __init__(self, address: AddressLike, loop: Loop, on_drop: Callable[[], object] | None = None) -> None:
        super().__init__(on_drop)
        family = _FAMILIES[address.family]
        self._local = family == socket.AF_UNIX
        self._target = sockaddr(address)
        self._loop = loop
        self._lines: list[bytes] = []
        self._due = False  # flush is called at the end of this turn
        self._enough = TOGETHER  # with so many lines it is called before
        self._asking: Timer | None = None  # flush is called again because the receiver was full
        self._wait_until = 0.0
        self._sock = Connection(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._connect()

    def _connect(self) -> bool:
        try:
            self._sock.connect(self._target)
        except OSError:
            self._wait_until = self._loop.clock.now + RETRY_S
            return False
        self._wait_until = 0.0
        return True

    def send(self, level: int, line: bytes) -> None:
        """To be sent soon: at the end of this turn at the latest."""
        lines = self._lines
        lines.append(line)
        if not self._due:
            self._due = True
            self._loop.call_soon(self._end_of_turn)
        elif len(lines) >= self._enough:
            self.flush()

    def _end_of_turn(self) -> None:
        self._due = False
        self.flush()

    def flush(self) -> None:
        """Send what waits; what the receiver does not take goes on waiting."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        lines, self._lines = self._lines, []
        self._enough = TOGETHER
        sock = self._sock
        done = 0
        while done < len(lines):
            if self._wait_until and (self._loop.clock.now < self._wait_until or not self._connect()):
                self._drop(len(lines) - done)
                return
            try:
                done += _SEND_EACH(sock, sock.fileno(), lines, done)
            except BlockingIOError:
                self._lines = lines[done : done + WAITING]
                self._drop(len(lines) - done - len(self._lines))
                self._enough = len(self._lines) + TOGETHER
                self._asking = self._loop.call_later(_ASK_S, self.flush)
                return
            except OSError as exc:
                # A refusal on UDP speaks of an earlier datagram and is over once told; a unix socket has to be connected anew.
                if exc.errno not in _GONE or (self._local and not self._connect()) or not self._again(lines[done]):
                    self._drop()
                done += 1

    def _again(self, line: bytes) -> bool:
        try:
            self._sock.send(line)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self.flush()
        if self._asking is not None:
            self._asking.cancel()
            self._drop(len(self._lines))
        self._sock.close()


class DescriptorSink(Sink):
    """A descriptor that was open before: standard output, standard error, ``fd@N``. Not closed, only what was opened anew for it."""

    __slots__ = ("_fd", "_own", "_socket")

    def __init__(self, fd: int, on_drop: Callable[[], object] | None = None) -> None:
        super().__init__(on_drop)
        self._socket: socket.socket | None = None
        self._fd, self._own = fd, False
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            self._fd = -1
            return
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(fd))
        elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            self._private(fd)

    def _private(self, fd: int) -> None:
        """A non-blocking open file of our own: O_NONBLOCK on a shared one would surprise whoever shares it (a shell's terminal)."""
        try:
            self._fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            self._own = True
        except OSError:
            flags = fcntl.fcntl(fd, fcntl.F_GETFL)
            fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)

    def send(self, level: int, line: bytes) -> None:
        """Written whole or not at all as far as the kernel promises (pipes: up to PIPE_BUF bytes)."""
        try:
            if self._socket is not None:
                self._socket.send(line, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            else:
                os.write(self._fd, line)
        except OSError:
            self._drop()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._own:
            os.close(self._fd)
            self._own = False
        self._fd = -1


def open_sink(address: AddressLike | None, stream: str, loop: Loop, on_drop: Callable[[], object] | None = None) -> Sink:
    """The sink for one target: ``stream`` is "stdout" or "stderr", else ``address`` says where ("fd" family: a descriptor number).

    Raises ValueError for a target that no sink exists for, OSError when there is no socket to be had.
    """
    if stream in ("stdout", "stderr"):
        return DescriptorSink(1 if stream == "stdout" else 2, on_drop)
    if address is None:
        raise ValueError(f"no sink for '{stream}'")
    if address.family == "fd":
        return DescriptorSink(int(address.host), on_drop)
    return DatagramSink(address, loop, on_drop)
