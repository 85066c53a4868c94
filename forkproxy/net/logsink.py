"""Where log lines go: datagrams to a syslog server (UDP, unix, abstract), or a descriptor such as standard output. Never blocks.

A line that the receiver does not take at once is dropped and counted: a proxy must not wait for its own log. A datagram socket is connected
once; a unix socket whose server was restarted is connected again, at most once a second. Knows neither plan nor formats: a line arrives
complete (``wire.syslog``). One sink serves everybody in a process who logs to the same place.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable

from forkproxy.clock import Clock
from forkproxy.net.sockets import AddressLike, sockaddr

#: How often an unreachable unix socket is tried again, seconds.
RETRY_S = 1.0
_GONE = frozenset((errno.ECONNREFUSED, errno.ENOTCONN, errno.ENOENT, errno.ECONNRESET, errno.EPIPE, errno.EDESTADDRREQ))
_FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6, "unix": socket.AF_UNIX, "abns": socket.AF_UNIX}


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

    def _drop(self) -> None:
        self.dropped += 1
        if self.on_drop is not None:
            self.on_drop()


class DatagramSink(Sink):
    """Datagrams to one address. Owns its socket."""

    __slots__ = ("_clock", "_out", "_sock", "_target", "_unix", "_wait_until")

    def __init__(self, address: AddressLike, clock: Clock, on_drop: Callable[[], object] | None = None) -> None:
        super().__init__(on_drop)
        family = _FAMILIES[address.family]
        self._unix = family == socket.AF_UNIX
        self._target = sockaddr(address)
        self._clock = clock
        self._wait_until = 0.0
        self._sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._out = self._sock.send
        self._connect()

    def _connect(self) -> bool:
        try:
            self._sock.connect(self._target)
        except OSError:
            self._wait_until = self._clock.now + RETRY_S
            return False
        self._wait_until = 0.0
        return True

    def send(self, level: int, line: bytes) -> None:
        """One datagram per line."""
        if self._wait_until and (self._clock.now < self._wait_until or not self._connect()):
            self._drop()
            return
        try:
            self._out(line)
            return
        except OSError as exc:
            code = exc.errno
        # A refusal on UDP speaks of an earlier datagram and is over once told; a unix socket has to be connected anew.
        if code in _GONE and (not self._unix or self._connect()):
            try:
                self._sock.send(line)
                return
            except OSError:
                pass
        self._drop()

    def close(self) -> None:
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


def open_sink(address: AddressLike | None, stream: str, clock: Clock, on_drop: Callable[[], object] | None = None) -> Sink:
    """The sink for one target: ``stream`` is "stdout" or "stderr", else ``address`` says where ("fd" family: a descriptor number).

    Raises ValueError for a target that no sink exists for, OSError when there is no socket to be had.
    """
    if stream in ("stdout", "stderr"):
        return DescriptorSink(1 if stream == "stdout" else 2, on_drop)
    if address is None:
        raise ValueError(f"no sink for '{stream}'")
    if address.family == "fd":
        return DescriptorSink(int(address.host), on_drop)
    return DatagramSink(address, clock, on_drop)
