"""One end of a stream: a watched socket with what could not be sent yet.

A side is a client's or a server's connection. It is registered for reading once; it asks for writing only after a short write, and
reading is taken away only while its peer is slow (back-pressure). Handlers are plain functions kept in ``ready`` and ``expire``: the
state of a side *is* the function that stands there. Those that every request passes have a ``Final`` name at the end of their file: a
compiled module looks a function that it does not call up by its name (140 instructions), but not such a value. Knows sockets and the
loop, not HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from forkproxy.net import carry
from forkproxy.net.loop import RDHUP, READ, WRITE, Watched

if TYPE_CHECKING:
    import socket

    from forkproxy.net.loop import Loop
    from forkproxy.proxy.runtime import Runtime

_SEND: Final = carry.best.send


class Side(Watched):
    """``out`` holds bytes accepted for sending that the kernel did not take yet (never more than about one buffer:
    who writes here stops reading its source while ``out`` is not empty); ``inbuf`` bytes received and not consumed; ``eof`` the end was
    seen; ``via`` is what ``net.carry`` wants to know of ``sock``."""

    __slots__ = ("eof", "flow", "inbuf", "limit_s", "loop", "out", "peer", "rt", "sock", "stream", "via")

    eof: bool
    rt: Runtime
    stream: Any
    sock: socket.socket
    via: Any
    loop: Loop
    inbuf: bytes
    out: bytes | memoryview
    #: while bytes pass both ways (``relay``): the other side, the flow that leaves this one, and its inactivity limit
    peer: Any
    flow: Any
    limit_s: float | None


def send(side: Side, data: bytes) -> bool:
    """Send now, keep what the kernel refuses; True when all went out. Raises OSError when the connection is gone."""
    if side.out:
        side.out = bytes(side.out) + data
        return False
    try:
        sent: int = _SEND(side.via, side.fd, data)
    except (BlockingIOError, InterruptedError):
        sent = 0
    if sent == len(data):
        return True
    side.out = memoryview(data)[sent:]
    side.loop.modify(side, side.mask | WRITE)
    return False


def flush(side: Side) -> bool:
    """Send what waits, at a write event; True when nothing is left. Raises OSError when the connection is gone."""
    out = side.out
    if out:
        try:
            sent: int = _SEND(side.via, side.fd, out)
        except (BlockingIOError, InterruptedError):
            return False
        if sent < len(out):
            side.out = memoryview(out)[sent:]
            return False
        side.out = b""
    if side.mask & WRITE:
        side.loop.modify(side, side.mask & ~WRITE)
    return True


def pause(side: Side) -> None:
    """Stop reading (the peer is slow, or the end was seen)."""
    if side.mask & READ:
        side.loop.modify(side, side.mask & ~(READ | RDHUP))


def resume(side: Side) -> None:
    """Read again."""
    if not side.mask & READ and not side.eof:
        side.loop.modify(side, side.mask | READ)


def close(side: Side) -> None:
    """Forget and close; safe to call twice."""
    if side.fd >= 0:
        side.loop.forget(side)
        side.fd = -1
        side.out = side.inbuf = b""
        side.peer = side.flow = side.stream = None
        try:
            side.sock.close()
        except OSError:
            pass  # a reset that arrived first; the descriptor is gone all the same
