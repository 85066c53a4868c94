"""The client's side in HTTP mode: reads heads, one request after the other, and sees the client go.

States (functions in ``ready``): :func:`await_head` (nothing is being served), :func:`busy` (a request is being served: its body,
pipelined bytes and the client's end arrive here), :func:`drain_body` (an answer went out before the request's body was complete).
Pipelined bytes wait in ``inbuf`` up to one buffer, then in the kernel. Knows the reader and the stream's life, not servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from forkproxy.errors import ERRORS, ProtocolError
from forkproxy.http.body import Chunks
from forkproxy.http.message import BodyKind
from forkproxy.http.reader import parse_request
from forkproxy.net import carry
from forkproxy.net.loop import ERR, HUP, INF, READ, WRITE
from forkproxy.proxy import captures, finish, flow, marks, request
from forkproxy.proxy.sides import Side, flush, pause, resume
from forkproxy.proxy.stream import Stream

if TYPE_CHECKING:
    from forkproxy.http.message import RequestHead
    from forkproxy.proxy.backend import ServerRt
    from forkproxy.proxy.frontend import BindRt
    from forkproxy.proxy.runtime import Runtime
    from forkproxy.proxy.upstream import Upstream
    from forkproxy.rules.txn import Origin

# Members of an enum are found by a slow road (0.1 µs in 3.11), and these are asked for in every exchange.
_CHUNKED: Final = BodyKind.CHUNKED
_LENGTH: Final = BodyKind.LENGTH
_NONE: Final = BodyKind.NONE


class Client(Side):
    """One accepted connection. ``served`` counts its requests; ``t_base`` is the accept or the end of the last exchange, ``t_first``
    the first byte of the request being read (0.0: none yet); ``own`` idle connections that are
    this client's alone, one to a server; ``at`` the bind line where it arrived."""

    __slots__ = ("at", "fe", "last_srv", "origin", "own", "served", "t_base", "t_first", "wall_base")

    def __init__(self, rt: Runtime, sock: Any, at: BindRt, origin: Origin) -> None:
        self.fd = sock.fileno()
        self.sock = sock
        self.via = carry.best.via(sock)
        self.rt = rt
        self.loop = rt.loop
        self.at = at
        self.fe = at.fe
        self.origin = origin
        self.inbuf = b""
        self.out = b""
        self.eof = False
        self.stream = None
        self.served = 0
        self.t_base = rt.clock.now
        self.wall_base = rt.clock.wall
        self.t_first = 0.0
        self.own: dict[ServerRt, Upstream] | None = None
        self.last_srv: ServerRt | None = None
        self.peer = self.flow = None
        self.limit_s = None
        self.deadline = INF
        self.armed = INF
        self.behind = at.fe.http
        self.mask = 0
        self.ready = _AWAIT_HEAD
        self.expire = _HEAD_TIMEOUT


def start(c: Client) -> None:
    """Begin with a fresh connection: its first request must be complete within ``timeout http-request``."""
    limit = c.fe.head_timeout
    if limit is not None:
        c.loop.set_deadline(c, c.t_base + limit)
    if c.inbuf:
        c.loop.call_soon(next_head, c)


def await_head(c: Client, mask: int) -> None:
    """The client may send a request, the rest of one, or go."""
    if mask & WRITE:
        try:
            flush(c)
        except OSError:
            gone(c)
            return
        if not mask & ~WRITE:
            return
    try:
        data: bytes = _RECEIVE(c.via, c.fd, c.rt.bufsize)
    except (BlockingIOError, InterruptedError):
        return
    except OSError:
        gone(c)
        return
    if not data:
        c.eof = True
        gone(c)
        return
    if c.inbuf:
        data = c.inbuf + data
    read_head(c, data)


def idle(c: Client) -> bool:
    """Whether nothing is being served on it."""
    return c.fd >= 0 and c.stream is None


def next_head(c: Client) -> None:
    """Look at what was pipelined behind the last request."""
    if c.inbuf and idle(c):
        read_head(c, c.inbuf)
        if c.eof and idle(c):
            gone(c)  # the rest of it will never come


def read_head(c: Client, data: bytes) -> None:
    """Parse a head when it is whole; otherwise wait for the rest, no longer than ``timeout http-request``."""
    rt = c.rt
    now = rt.clock.now
    first = c.t_first
    try:
        parsed = parse_request(data, 0, c.fe.limits)
    except ProtocolError as error:
        c.inbuf = data
        bad_request(c, error)
        return
    if parsed is None:
        c.inbuf = data
        if not first:
            c.t_first = now
            limit = c.fe.head_timeout
            c.loop.set_deadline(c, None if limit is None else (now if c.served else c.t_base) + limit)
        return
    head, used = parsed
    s = c.stream = Stream(c, head, first or now, now, used)
    c.inbuf = data[used:] if used < len(data) else b""
    if first:
        c.t_first = 0.0
    c.ready = _BUSY
    c.deadline = INF  # what is armed comes too early at most, and is armed again then
    c.served += 1
    if head.body is not _NONE and not open_body(s, c, head):
        return
    request.begin(s)


def open_body(s: Stream, c: Client, head: RequestHead) -> bool:
    """Prepare the request's body and take what came with its head into the flow's ``sink``, where it waits for a server (at most
    what one read brought). False: it is malformed from the beginning, and the client was told."""
    kind = head.body
    chunks = Chunks() if kind is _CHUNKED else None
    f = s.req_flow = flow.Flow(c, None, flow.framing(kind, head.length), chunks, c.rt.bufsize, c.rt.pipes)
    f.sink = bytearray()
    s.req_done = False
    if c.inbuf:
        data, c.inbuf = c.inbuf, b""
        outcome = flow.feed(f, data)
        if outcome == flow.BAD:
            f.free()
            s.req_flow = None
            c.inbuf = data
            bad_request(c, ProtocolError("malformed chunk"))
            return False
        s.req_done = outcome == flow.DONE
    return True


def busy(c: Client, mask: int) -> None:
    """Events of the client while its request is served."""
    s = c.stream
    if mask & WRITE:
        try:
            empty = flush_response(c, s)
        except OSError:
            finish.client_gone(s)
            return
        if not empty:
            touch(c, s)
        elif s.res_flow is not None and s.up is not None:
            resume(s.res_flow.src)
            c.loop.set_deadline(c, None)
        if empty and s.answered:
            finish.ended(s)
            return
        if not mask & ~WRITE:
            return
    f = s.req_flow
    if f is not None and not s.req_done:
        if f.dst is None and s.then is None:
            pause(c)  # no server yet (or none any more): the body waits in the kernel
            if mask & (HUP | ERR):
                finish.client_gone(s)
            return
        request.body_arrived(s, f)
        return
    data = receive(c, s, c.rt.bufsize)
    if data is None:
        return
    if not data:
        c.eof = True
        pause(c)
        finish.client_half_closed(s)
        return
    c.inbuf += data
    if len(c.inbuf) >= c.rt.bufsize:
        pause(c)


def receive(c: Client, s: Stream, most: int) -> bytes | None:
    """What the client of ``s`` sent, b"" for its end; None: nothing is there, or it is gone and ``s`` has ended."""
    try:
        return c.sock.recv(most)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        finish.client_gone(s)
        return None


def flush_response(c: Client, s: Stream) -> bool:
    """Send what waits for the client, the pipe's content after the buffer; True when nothing is left."""
    return flow.drain_to(s.res_flow, c)


def touch(c: Client, s: Stream) -> None:
    """The client took bytes, and more waits for it: its inactivity timer starts anew."""
    limit = marks.timeout(s, "client", c.fe.client_s)
    c.expire = client_timeout
    c.loop.set_deadline(c, None if limit is None else c.rt.clock.now + limit)


def next_request(c: Client) -> None:
    """The exchange is over and the connection stays: wait for the next one (or read what was pipelined)."""
    rt = c.rt
    now = rt.clock.now
    c.stream = None
    c.t_base = now
    c.wall_base = rt.clock.wall
    c.ready = _AWAIT_HEAD
    c.expire = _HEAD_TIMEOUT
    limit = c.fe.idle_timeout
    if limit is None:
        c.deadline = INF
    else:
        c.deadline = when = now + limit
        if when < c.armed:
            c.loop.set_deadline(c, when)
    if not c.mask & READ:
        resume(c)
    if c.inbuf:
        c.loop.call_soon(next_head, c)
    elif c.eof:
        gone(c)


def head_timeout(c: Client) -> None:
    """Nothing, or not the whole of a head, in time: 408 when a request had begun or none ever came, else a silent close."""
    if c.out:
        gone(c)
        return
    if c.served and not c.inbuf:
        gone(c)
        return
    if not c.inbuf and "http-ignore-probes" in c.fe.plan.options:
        gone(c)
        return
    s = headless(c)
    finish.fail(s, ERRORS["client-timeout-request"])


def bad_request(c: Client, error: ProtocolError) -> None:
    """Answer a request that must not be forwarded."""
    s = headless(c)
    captures.remember(c.rt, s, True, c.inbuf, error)
    finish.fail(s, ERRORS["bad-request"], status=error.status)


def headless(c: Client) -> Stream:
    """A stream for a request whose head never became one, so that it is answered, counted and logged like any other."""
    s = Stream(c, None, c.t_first, 0.0, len(c.inbuf))
    s.mode_http = True
    s.close_client = True
    if not c.inbuf and "dontlognull" in c.fe.plan.options:
        s.log_level = -1
    c.stream = s
    c.ready = busy
    c.expire = client_timeout
    c.deadline = INF
    return s


def gone(c: Client) -> None:
    """The client left between requests, or before its first one was complete."""
    if c.inbuf or (not c.served and "dontlognull" not in c.fe.plan.options and "http-ignore-probes" not in c.fe.plan.options):
        s = headless(c)
        if not c.eof:  # nobody is there to be told, but logs and counters are
            s.status = 400
        finish.fail(s, ERRORS["client-abort-request"])
        return
    finish.close_client(c)


def client_timeout(c: Client) -> None:
    """``timeout client`` while a request is served: the client neither sends its body nor takes the answer."""
    s = c.stream
    if s is None:
        finish.close_client(c)
    else:
        finish.client_timeout(s)


def drain_body(c: Client, mask: int) -> None:
    """The answer is out; the rest of the request's body is read and thrown away, then the next request may come."""
    if mask & WRITE:
        try:
            flush(c)
        except OSError:
            finish.close_client(c)
            return
        if not mask & ~WRITE:
            return
    s = c.stream
    f = s.req_flow
    outcome = flow.move(f)
    drained(s, outcome)


def drained(s: Stream, outcome: int) -> None:
    """What a move of the draining flow came to."""
    if outcome == flow.DONE:
        s.req_done = True
        finish.after(s)
    elif outcome not in (flow.MORE, flow.BLOCKED):
        s.close_client = True
        finish.after(s)


def last_look(c: Client) -> None:
    """Before an idle connection of a draining worker is closed: a request that arrived this very moment is served."""
    if idle(c) and not c.inbuf:
        try:
            data = c.sock.recv(c.rt.bufsize)
        except (BlockingIOError, InterruptedError):
            finish.close_client(c)
            return
        except OSError:
            data = b""
        if not data:
            finish.close_client(c)
            return
        c.expire = head_timeout
        read_head(c, data)


# States as values: see ``sides``.
_AWAIT_HEAD: Final = await_head
_RECEIVE: Final = carry.best.receive
_HEAD_TIMEOUT: Final = head_timeout
_BUSY: Final = busy
