"""One direction of bytes between two sides: a body of an HTTP message or half of a TCP session.

Small transfers are copied (two system calls); a direction that keeps filling its buffer is spliced through a pooled pipe,
where the framing allows it (a known length, or until the end), so that bulk never enters Python. A flow never holds more
than one buffer or one pipe: when the destination is slow the source is not read. Knows framing from ``http.body``, sockets and pipes;
what the outcome means is its caller's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forkproxy.errors import ProtocolError
from forkproxy.http.message import BodyKind
from forkproxy.net import carry
from forkproxy.net import pipes as net_pipes
from forkproxy.net.loop import WRITE
from forkproxy.proxy.sides import Side, flush, pause

if TYPE_CHECKING:
    from forkproxy.errors import StreamError
    from forkproxy.http.body import Chunks
    from forkproxy.net.pipes import Pipe, PipePool
    from forkproxy.proxy.pacing import Pace

# Members of an enum are found by a slow road (0.1 µs in 3.11), and these are asked for in every exchange.
_LENGTH: Final = BodyKind.LENGTH
_SEND: Final = carry.best.send

# What a move came to.
MORE: Final = 0  # go on when the source is readable again
DONE: Final = 1  # the last byte was taken from the source (it may still wait in the destination's ``out``)
BLOCKED: Final = 2  # the destination is slow: the source is paused until it drained
HELD: Final = 3  # a bandwidth limit says "not now": the source is paused, and read again by itself
ENDED: Final = 4  # the source ended (a mistake for a length or chunks, the normal end otherwise)
SRC_GONE: Final = 5  # the source's connection broke
DST_GONE: Final = 6  # the destination's connection broke
BAD: Final = 7  # malformed chunks

#: Consecutive full buffers after which a direction is spliced. Below it two calls per buffer are cheaper than four.
SPLICE_AFTER: Final = 2


class Flow:
    """``left`` counts the bytes still expected (-1: until the end), ``moved`` counts those forwarded.

    ``dst`` None discards (draining a body that nobody wants), or gathers in ``sink`` where that is a bytearray (a body that rules want to
    see). Bytes behind the end stay in ``src.inbuf``. ``full`` counts consecutive full buffers; ``pipe`` is held from the first splice to
    the end (or is a file, whose bytes nobody has to read). ``refresh``: bytes that go out count as activity of the destination, too
    (always but under ``option independent-streams``). ``copy`` keeps what was forwarded, as
    long as it fits a buffer, for a second attempt elsewhere; None: nobody wants it, or it became too much. ``pace``: limits of its
    bandwidth.
    """

    __slots__ = (
        "bufsize", "chunks", "copy", "done", "dst", "full", "last", "left", "moved", "pace", "pipe", "pipes", "refresh", "rest", "sink",
        "spliced", "src", "why",
    )  # fmt: skip

    def __init__(
        self, src: Side, dst: Side | None, left: int, chunks: Chunks | None, bufsize: int, pipes: PipePool | None
    ) -> None:
        self.src = src
        self.dst = dst
        self.left = left
        self.chunks = chunks
        self.bufsize = bufsize
        self.pipes = pipes
        self.pipe: Pipe | None = None
        self.rest = b""  # the unfinished beginning of a chunk line
        self.sink: bytearray | None = None
        self.copy: bytearray | None = None
        self.moved = 0
        self.last = 0.0  # when a relay's small exchange moved something
        self.spliced = 0
        self.full = 0
        self.done = False
        self.refresh = True
        self.pace: Pace | None = None
        self.why: StreamError | None = None  # a relay's direction that was ended by a timer: which

    def free(self) -> None:
        """Give the pipe back and let the sides go; the flow is over."""
        if self.pace is not None:
            self.pace.close()
        pipe, self.pipe = self.pipe, None
        if pipe is not None and self.pipes is not None:
            self.pipes.put(pipe)


def framing(kind: BodyKind, length: int) -> int:
    """The ``left`` of a flow for a body kind other than chunked."""
    return length if kind is _LENGTH else -1


def blocked(flow: Flow) -> bool:
    """True while the destination has not taken what was read."""
    dst = flow.dst
    return dst is not None and (bool(dst.out) or (flow.pipe is not None and flow.pipe.held > 0))


def move(flow: Flow) -> int:
    """Read once from the source and forward; returns one of the outcomes above."""
    if flow.pace is not None:
        return flow.pace.move(flow)
    src, dst, pipe = flow.src, flow.dst, flow.pipe
    if dst is not None:
        if dst.out or (pipe is not None and pipe.held):
            pause(src)
            return BLOCKED
        if flow.full >= SPLICE_AFTER and flow.chunks is None and flow.pipes is not None:
            if pipe is None:
                pipe = flow.pipe = flow.pipes.get()
            if pipe is not None:
                return _splice(flow, pipe, src, dst)
    try:
        data = src.sock.recv(flow.bufsize)
    except (BlockingIOError, InterruptedError):
        return MORE
    except OSError:
        return SRC_GONE
    if not data:
        src.eof = True
        return ENDED
    return feed(flow, data)


def feed(flow: Flow, data: bytes) -> int:
    """Forward bytes that were already read from the source."""
    size = len(data)
    flow.full = flow.full + 1 if size >= flow.bufsize else 0
    left = flow.left
    if flow.chunks is not None:
        if flow.rest:
            data = flow.rest + data
        try:
            good, used, done = flow.chunks.feed(data)
        except ProtocolError:
            return BAD
        if done:
            flow.src.inbuf = data[used:]
            flow.rest = b""
        else:
            flow.rest = data[used:]
        data = good
    elif left < 0:
        done = False
    else:
        done = size >= left
        if size > left:
            flow.src.inbuf = data[left:]
            data = data[:left]
        flow.left = left - len(data)
    flow.moved += len(data)
    flow.done = done
    dst = flow.dst
    if flow.copy is not None:
        flow.copy = flow.copy + data if len(flow.copy) + len(data) <= flow.bufsize else None
    if dst is None:
        if flow.sink is not None:
            flow.sink += data
    elif data:
        if dst.out:
            dst.out = bytes(dst.out) + data
        else:
            try:
                sent: int = _SEND(dst.via, dst.fd, data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                return DST_GONE
            if sent < len(data):
                dst.out = memoryview(data)[sent:]
                dst.loop.modify(dst, dst.mask | WRITE)
        if dst.out and not done:
            pause(flow.src)
            return BLOCKED
    return DONE if done else MORE


def _splice(flow: Flow, pipe: Pipe, src: Side, dst: Side) -> int:
    """Move what the source has through the pipe, in the kernel."""
    left = flow.left
    moved = net_pipes.fill(pipe, src.fd, left) if left >= 0 else net_pipes.fill(pipe, src.fd)
    if moved == net_pipes.END:
        src.eof = True
        return ENDED
    if moved == net_pipes.AGAIN:
        return MORE
    if moved == net_pipes.GONE:
        return SRC_GONE
    if moved > 0:
        flow.moved += moved
        flow.spliced += moved
        if left >= 0:
            flow.left = left = left - moved
    done = flow.done = left == 0
    # Never "more follows" (SPLICE_F_MORE): when it does not follow at once, the kernel keeps the last segment for 200 ms.
    if net_pipes.drain(pipe, dst.fd) == net_pipes.GONE:
        return DST_GONE
    if pipe.held:
        dst.loop.modify(dst, dst.mask | WRITE)
        if not done:
            pause(src)
            return BLOCKED
    return DONE if done else MORE


def drain_to(flow: Flow | None, side: Side) -> bool:
    """A write event of a destination: send what waits in ``out``, then what the pipe holds. True when nothing is left.

    Raises OSError when the connection is gone."""
    if side.out and not flush(side):
        return False
    if flow is not None and flow.pipe is not None and flow.pipe.held and flow.dst is side:
        if net_pipes.drain(flow.pipe, side.fd) == net_pipes.GONE:
            raise ConnectionResetError
        if flow.pipe.held:
            if not side.mask & WRITE:
                side.loop.modify(side, side.mask | WRITE)
            return False
    if side.mask & WRITE:
        side.loop.modify(side, side.mask & ~WRITE)
    return True
