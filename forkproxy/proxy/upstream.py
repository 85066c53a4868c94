"""A server's connection in HTTP mode: connecting, sending the request, waiting for the answer's head, idle.

States (functions in ``ready``): :func:`connecting`, :func:`await_answer`, ``response.body_ready`` and ``pool.idle_ready``. The
first bytes are tried at once after ``connect``: on a near network the connection stands already and a turn of the loop is saved;
otherwise the kernel says EAGAIN and the write event tells both, connected and writable. Knows the reader of responses.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

from forkproxy.errors import ERRORS, ProtocolError
from forkproxy.http.reader import parse_response
from forkproxy.net import carry
from forkproxy.net.loop import INF, READ, WRITE
from forkproxy.net.sockets import outcome
from forkproxy.proxy import captures, dispatch, finish, flow, greeting, marks, relay, response
from forkproxy.proxy.sides import Side, close, pause, resume

if TYPE_CHECKING:
    from forkproxy.proxy.backend import BackendRt, ServerRt
    from forkproxy.proxy.client import Client
    from forkproxy.proxy.runtime import Runtime
    from forkproxy.proxy.stream import Ends, Stream


_CUT: Final = frozenset({errno.ECONNRESET, errno.EPIPE})


class Upstream(Side):
    """``uses`` counts the requests it carried, ``reused`` tells whether the current one is not its first; ``owner`` the client whose it
    is while idle; ``private``: nobody else's requests may ever use it. ``named`` are its :meth:`ends`, where a log asks for them when it is
    gone."""

    __slots__ = ("named", "owner", "private", "reused", "srv", "uses")

    def __init__(self, rt: Runtime, sock: Any, srv: ServerRt) -> None:
        self.fd = sock.fileno()
        self.sock = sock
        self.via = carry.best.via(sock)
        self.rt = rt
        self.loop = rt.loop
        self.srv = srv
        self.stream = None
        self.peer = self.flow = None
        self.limit_s = None
        self.inbuf = b""
        self.out = b""
        self.eof = False
        self.uses = 0
        self.reused = self.private = False
        self.owner: Client | None = None
        self.named: Ends | None = None
        self.deadline = INF
        self.armed = INF
        self.behind = False
        self.mask = 0
        self.ready = _CONNECTING
        self.expire = _CONNECT_TIMEOUT

    def ends(self) -> tuple[tuple[str, int], tuple[str, int]] | None:
        """Our address and the server's, (host, port) each; None when the connection is gone."""
        try:
            ours, its = self.sock.getsockname(), self.sock.getpeername()
        except OSError:
            return None
        return _end(ours), _end(its)


def _end(name: Any) -> tuple[str, int]:
    return (name[0], name[1]) if isinstance(name, tuple) else ("unix", 0)


def dial_for(s: Stream, srv: ServerRt) -> None:
    """Open a new connection to ``srv`` for ``s``."""
    up = dial(s, srv)
    if up is not None:
        try_at_once(up, s)


def dial(s: Stream, srv: ServerRt) -> Upstream | None:
    """Begin to connect; None: that has failed already, and dispatch decides. :func:`try_at_once` is next."""
    s.reused = False
    srv.count_connect()
    try:
        sock, _ = s.client.rt.connect(srv.way or srv.way_for(s))
    except OSError as exc:
        marks.broke(s, exc.errno)
        dispatch.failed(s, dispatch.classify(exc))
        return None
    up = Upstream(s.client.rt, sock, srv)
    up.stream = s
    s.up = up
    return up


def try_at_once(up: Upstream, s: Stream) -> None:
    """Send the first bytes, which on a near network can be done at once; else wait until the connection stands."""
    srv = up.srv
    if (s.sending or srv.greets or not (s.mode_http or srv.tfo)) and established(up, s):
        return
    be: BackendRt = s.be
    limit = marks.timeout(s, "connect", be.connect_s)
    if limit is not None:
        up.deadline = up.rt.clock.now + limit
    up.loop.add(up, READ | WRITE)


def connecting(up: Upstream, mask: int) -> None:
    """The connection stands, or failed."""
    s = up.stream
    if not s.sending and not up.srv.greets:
        error = outcome(up.sock)
        if error:
            broken(up, s, OSError(error, "connect"))
            return
    established(up, s)


def broken(up: Upstream, s: Stream, exc: OSError) -> None:
    """The attempt failed: close it, and let dispatch decide."""
    s.up = None
    close(up)
    marks.broke(s, exc.errno)
    dispatch.failed(s, dispatch.classify(exc))


def connect_timeout(up: Upstream) -> None:
    """``timeout connect``."""
    s = up.stream
    s.up = None
    close(up)
    dispatch.failed(s, ERRORS["connect-timeout"])


def established(up: Upstream, s: Stream) -> bool:
    """Send what begins the exchange; False: the kernel says EAGAIN, the connection does not stand yet.

    Right after ``connect`` the side is not in the loop yet: it goes there with the mask that it needs, which saves two calls. In TCP mode
    what the client sent already tells whether it stands, or sending nothing at all: that saves an event, and asking the socket for its
    error."""
    data = s.sending
    if up.srv.greets:
        data = greeting.header(s, up.srv.greets, up.srv.plan.proxy_options) + data
    early = 0
    if data or not up.mask:
        if not data and s.marks is None:
            data = s.client.inbuf
            early = len(data)
        try:
            sent: int = _SEND(up.via, up.fd, data)
        except (BlockingIOError, InterruptedError):
            return False  # the write event comes when the connection stands
        except OSError as exc:
            if data and not early and exc.errno in _CUT:  # it stood, and the server cut it before anything could be sent
                marks.broke(s, exc.errno)
                s.t_connect = up.rt.clock.now
                answer_missing(up, s)
            else:
                broken(up, s, exc)
            return True
        if sent < len(data):
            up.out = memoryview(data)[sent:]
        if early:
            s.client.inbuf = b""
    s.t_connect = up.rt.clock.now
    if up.rt.keeps_ends:
        up.named = up.ends()
    if up.srv.watch is not None:
        up.srv.watch.connected()
    if s.marks is not None:
        marks.on_server(s, up)
    if not s.mode_http:
        relay.join(s, up, early)
        return True
    mask = READ | WRITE if up.out else READ
    if up.mask:
        up.loop.modify(up, mask)
    else:
        up.loop.add(up, mask)
    launch(up, s)
    return True


def transmit(up: Upstream, s: Stream) -> None:
    """Send the request over a connection that stands already."""
    up.stream = s
    up.reused = s.reused = True
    s.up = up
    s.t_connect = now = up.rt.clock.now
    up.ready = _AWAIT_ANSWER
    up.expire = _ANSWER_TIMEOUT
    up.uses += 1
    if s.req_flow is not None:
        if s.marks is not None:
            marks.on_server(s, up)
        if ask(up, s):
            send_body(up, s)
        return
    limit = up.srv.server_timeout
    if s.marks is not None:
        marks.on_server(s, up)
        limit = marks.timeout(s, "server", limit)
    if limit is None:
        up.deadline = INF
    else:
        up.deadline = when = now + limit
        if when < up.armed:
            up.loop.arm(up)
    up.rt.outbox.request(up, s)


def ask(up: Upstream, s: Stream) -> bool:
    """Hand what is to be sent first to the kernel, over a connection that stood before; False: it is broken, which was dealt with."""
    data = s.sending
    try:
        sent: int = _SEND(up.via, up.fd, data)
    except (BlockingIOError, InterruptedError):
        sent = 0
    except OSError:
        answer_missing(up, s)
        return False
    if sent < len(data):
        up.out = memoryview(data)[sent:]
        up.loop.modify(up, READ | WRITE)
    return True


def launch(up: Upstream, s: Stream) -> None:
    """The head is on its way over a new connection: await the answer, and let the body follow."""
    up.ready = _AWAIT_ANSWER
    up.expire = _ANSWER_TIMEOUT
    up.uses += 1
    if s.req_flow is not None:
        send_body(up, s)
        return
    limit = marks.timeout(s, "server", up.srv.server_timeout)
    up.loop.set_deadline(up, None if limit is None else up.rt.clock.now + limit)


def send_body(up: Upstream, s: Stream) -> None:
    """Let the rest of the body follow."""
    f = s.req_flow
    if s.req_done or f is None:
        request_sent(s)
        return
    f.dst = up
    f.sink = None
    if s.be.keeps_requests:
        f.copy = bytearray()
    else:
        s.body_sent = True
    if up.out:
        pause(s.client)
    else:
        resume(s.client)
    dispatch.touch_body(s)


def request_sent(s: Stream) -> None:
    """The whole request was handed over: only the server's timer runs now."""
    c, up = s.client, s.up
    if c.deadline != INF and s.res is None:
        c.deadline = INF
    if not s.res_flow:
        resume(c)
    if up is not None and s.res is None:
        limit = marks.timeout(s, "server", up.srv.server_timeout)
        up.loop.set_deadline(up, None if limit is None else up.rt.clock.now + limit)


def await_answer(up: Upstream, mask: int) -> None:
    """The server takes the rest of the request, answers, or goes."""
    s: Stream = up.stream
    if mask & WRITE:
        try:
            empty = flow.drain_to(s.req_flow, up)
        except OSError:
            empty = True
            s.keep_server = False
        if empty and not s.req_done and s.req_flow is not None and s.req_flow.dst is up:
            resume(s.client)
        if not mask & ~WRITE:
            return
    try:
        data: bytes = _RECEIVE(up.via, up.fd, up.rt.bufsize)
    except (BlockingIOError, InterruptedError):
        return
    except OSError as exc:
        marks.broke(s, exc.errno)
        answer_missing(up, s)
        return
    if not data:
        up.eof = True
        answer_missing(up, s)
        return
    if up.inbuf:
        data = up.inbuf + data
    # The head, when it is whole; interim answers pass at once.
    be: BackendRt = s.be
    limits = be.limits
    method = s.req.method  # type: ignore[union-attr]  # who is answered has asked
    start = 0
    while True:
        try:
            parsed = parse_response(data, start, limits, method)
        except ProtocolError as error:
            captures.remember(up.rt, s, False, data[start:], error)
            if not repeat(up, s, "junk-response"):
                finish.fail(s, ERRORS["bad-response"])
            return
        if parsed is None:
            up.inbuf = data[start:] if start else data
            return
        head, start = parsed
        if head.status >= 200 or head.status == 101:
            response.begin(up, s, head, data[start:] if start < len(data) else b"")
            return
        if not response.interim(s, head):
            return
        up.reused = False  # it answers: what happens now does not come from its having been idle


def answer_missing(up: Upstream, s: Stream) -> None:
    """The connection ended before a whole head came."""
    if up.inbuf:
        if not repeat(up, s, "empty-response"):  # the manual counts a part of a head as nothing
            finish.fail(s, ERRORS["server-abort-headers"])
        return
    if up.reused and resendable(s) and s.req is not None and s.req.method in IDEMPOTENT:
        drop(up, s)
        dial_for(s, s.srv)  # it was idle for too long: nobody's fault, so no retry that counts
        return
    if repeat(up, s, "empty-response"):
        return
    if up.reused:
        # It was idle and the server closed it while the request was under way: the client may repeat it by itself, a 502
        # would hide that (observed behaviour; RFC 9112 9.5).
        finish.fail(s, ERRORS["server-abort-headers"], silent=True)
        return
    finish.fail(s, ERRORS["server-abort-headers"])


#: Methods that RFC 9110 9.2.2 calls idempotent: sending them twice does what sending them once does.
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})


def resendable(s: Stream) -> bool:
    """Whether the whole of what a server got of the request is still here."""
    f = s.req_flow
    return not s.body_sent and not s.client.eof and (f is None or f.dst is None or f.copy is not None)


def drop(up: Upstream, s: Stream) -> None:
    """Close a connection whose stream goes on without it; what it took of the request's body goes to the next one with the head."""
    f = s.req_flow
    if f is not None:
        f.dst = None
        if f.copy:
            s.sending += f.copy
        f.copy = None
    s.up = None
    close(up)


def repeat(up: Upstream, s: Stream, why: str) -> bool:
    """Send the request again, if ``retry-on`` has ``why``, no rule forbids it, and nothing of it is lost (manual 4.2 "retry-on")."""
    if why not in s.be.plan.retry_on or not resendable(s) or s.retries >= marks.retries(s):
        return False
    if s.marks is not None and "no_l7_retry" in s.marks:
        return False
    drop(up, s)
    s.retries += 1
    dispatch.repeat(s)
    return True


def answer_timeout(up: Upstream) -> None:
    """``timeout server`` while the answer's head is awaited."""
    s = up.stream
    if not s.req_done and s.req_flow is not None and s.req_flow.dst is up and not up.out:
        # It is the client who owes the rest of the body; its own timer speaks for that.
        limit = marks.timeout(s, "server", up.srv.server_timeout)
        if limit is not None:
            up.loop.set_deadline(up, up.rt.clock.now + limit)
        return
    if not repeat(up, s, "response-timeout"):
        finish.fail(s, ERRORS["server-timeout-headers"])


# States as values: see ``sides``.
_CONNECTING: Final = connecting
_CONNECT_TIMEOUT: Final = connect_timeout
_AWAIT_ANSWER: Final = await_answer
_RECEIVE: Final = carry.best.receive
_SEND: Final = carry.best.send
_ANSWER_TIMEOUT: Final = answer_timeout
