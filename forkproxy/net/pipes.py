"""Pooled pipes that carry bytes from socket to socket without passing through Python (splice(2)).

A pipe costs two descriptors and kernel pages, so there is a limit (``maxpipes``), and a stream that gets none copies instead.
Bytes in a pipe have left the source and exist nowhere else: whoever holds a pipe with ``held`` > 0 must either get them out or
drop the stream, and the pool closes such a pipe instead of handing somebody else's bytes to the next stream.
"""

from __future__ import annotations

import errno
import fcntl
import os

#: Results of :func:`fill` and :func:`drain` that are not a number of bytes moved (those are > 0).
END = 0
AGAIN = -1  # the socket has nothing to read, or takes nothing
FULL = -2  # the pipe takes nothing more: drain it first
GONE = -3  # the connection broke

_MOVE, _NONBLOCK, _MORE = 1, 2, 4  # SPLICE_F_*; in os from 3.12 on only
#: What one splice may move: as much as the pipe takes.
_PLENTY = 1 << 30


class Pipe:
    """A pipe: ``r`` and ``w`` ends, ``held`` bytes inside, ``size`` bytes it may hold at most (fewer when they come in small pieces:
    every piece takes a page slot)."""

    __slots__ = ("held", "r", "size", "w")

    def __init__(self, r: int, w: int, size: int) -> None:
        self.r = r
        self.w = w
        self.size = size
        self.held = 0

    def close(self) -> None:
        """Close both ends; what is held is lost. Again: nothing happens."""
        if self.r >= 0:
            os.close(self.r)
            os.close(self.w)
            self.r = self.w = -1
            self.held = 0


class File(Pipe):
    """Bytes that leave by sendfile(2): a pipe for :func:`drain` alone, of nobody's pool, whose descriptor is the :class:`Content`'s."""

    __slots__ = ("content", "sent")

    def __init__(self, content: Content) -> None:
        super().__init__(content.descriptor(), -1, len(content.data))
        self.held = self.size
        self.content = content  # it lives as long as this
        self.sent = 0


class Content:
    """Large constant bytes that are sent again and again. In a file of their own in memory from the first time on, which each process makes
    for itself: descriptors of before the fork do not reach workers."""

    __slots__ = ("_fd", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._fd = -1

    def descriptor(self) -> int:
        """The file. Raises OSError when there is none to be had."""
        if self._fd < 0:
            fd = os.memfd_create("answer", os.MFD_CLOEXEC)
            try:
                rest = memoryview(self.data)
                while rest:
                    rest = rest[os.write(fd, rest) :]
            except OSError:
                os.close(fd)
                raise
            self._fd = fd
        return self._fd

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


class PipePool:
    """At most ``limit`` pipes of ``size`` bytes (0: the kernel's 64 KiB), kept for reuse.

    ``used`` and ``free`` are counts for the metrics.
    """

    __slots__ = ("_idle", "limit", "size", "used")

    def __init__(self, limit: int, size: int = 0) -> None:
        self.limit = limit
        self.size = size
        self.used = 0
        self._idle: list[Pipe] = []

    @property
    def free(self) -> int:
        """Pipes that wait in the pool."""
        return len(self._idle)

    def get(self) -> Pipe | None:
        """An empty pipe, or None: the limit is reached or descriptors are out. Give it back with :meth:`put`."""
        if self._idle:
            self.used += 1
            return self._idle.pop()
        if self.used >= self.limit:
            return None
        try:
            r, w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        size = 65536
        try:
            size = fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, self.size) if self.size else fcntl.fcntl(w, fcntl.F_GETPIPE_SZ)
        except OSError:
            pass  # over the system's limit for unprivileged pipes: the default size serves
        self.used += 1
        return Pipe(r, w, size)

    def put(self, pipe: Pipe) -> None:
        """Take ``pipe`` back. One that still holds bytes is closed."""
        self.used -= 1
        if pipe.held or pipe.r < 0 or self.used + len(self._idle) >= self.limit:
            pipe.close()
        else:
            self._idle.append(pipe)

    def close(self) -> None:
        """Close the idle pipes (those out are closed by their holders)."""
        while self._idle:
            self._idle.pop().close()


def fill(pipe: Pipe, fd: int, limit: int = _PLENTY) -> int:
    """Move up to ``limit`` bytes from socket ``fd`` into the pipe.

    Returns the bytes moved, END (the peer sent its end), AGAIN (nothing to read), FULL (the pipe takes no more; drained, it will) or GONE.
    ``pipe.held`` is kept up to date.
    """
    try:
        moved = os.splice(fd, pipe.w, limit, flags=_MOVE | _NONBLOCK)
    except BlockingIOError:
        # One errno for both sides. A pipe that holds something may be the one that is full: with bytes inside, draining is right anyway.
        return FULL if pipe.held else AGAIN
    except OSError as exc:
        return AGAIN if exc.errno == errno.EINTR else GONE
    pipe.held += moved
    return moved


def drain(pipe: Pipe, fd: int, more: bool = False) -> int:
    """Move what the pipe (or file) holds to socket ``fd``; ``more`` tells the kernel that further data follows at once (fewer segments).

    Returns the bytes moved, AGAIN (the socket takes nothing: wait until it is writable) or GONE; END when nothing was held.
    """
    if not pipe.held:
        return END
    try:
        if isinstance(pipe, File):
            moved = os.sendfile(fd, pipe.r, pipe.sent, pipe.held)
            pipe.sent += moved
        else:
            moved = os.splice(pipe.r, fd, pipe.held, flags=_MOVE | _NONBLOCK | _MORE if more else _MOVE | _NONBLOCK)
    except BlockingIOError:
        return AGAIN
    except OSError as exc:
        return AGAIN if exc.errno == errno.EINTR else GONE
    pipe.held -= moved
    return moved
