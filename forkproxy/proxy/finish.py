"""How streams end: completely, or with a row of ``errors.ERRORS``. Counters, the log line, and what becomes of both connections.

Every stream comes through :func:`account` exactly once. Knows everybody; nobody below knows what it decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkproxy.errors import ERRORS, StreamError
from forkproxy.net.loop import READ
from forkproxy.proxy import client, dispatch, flow, marks, pool, queue, reply
from forkproxy.proxy.sides import close, resume, send

if TYPE_CHECKING:
    from forkproxy.proxy.backend import ServerRt
    from forkproxy.proxy.client import Client
    from forkproxy.proxy.stream import Stream

#: the flags of a stream that is held in the tarpit
TARPIT = b"PT"
#: How long a connection that is closed with unread input is kept half open, so that the client can read the answer, seconds.
LINGER_S = 2.0


def complete(s: Stream) -> None:
    """The whole answer was handed to the client's side."""
    c = s.client
    up = s.up
    if up is not None:
        s.up = None
        if c.rt.keeps_ends:
            s.ends = up.named
        if s.keep_server and s.req_done and not up.out and not up.eof:
            pool.give(up, s)
        else:
            close(up)
        srv: ServerRt = s.srv
        c.last_srv = srv
        if srv.end(s):
            c.loop.call_soon(queue.serve, srv.backend)  # after our line is written: whoever comes next is not counted in it
    f = s.res_flow
    if f is not None and f.pipe is not None and not f.pipe.held:
        f.free()
    if c.out or (f is not None and f.pipe is not None):
        s.answered = True
        limit = marks.timeout(s, "client", c.fe.client_s)
        if limit is not None:
            c.expire = client.client_timeout
            c.loop.set_deadline(c, c.rt.clock.now + limit)
        return
    if f is None and s.req_flow is None and not s.close_client and not s.logged:
        # How most exchanges end, in two calls less (0.15 µs of 11): what account and after come to without flows.
        s.logged = True
        s.t_end = c.rt.clock.now
        c.fe.account(s)
        client.next_request(c)
        if c.rt.leaving:
            c.rt.idle_soon(c)
        return
    account(s)
    after(s)


def ended(s: Stream) -> None:
    """The client has everything (as far as the kernel is concerned)."""
    account(s)
    after(s)


def after(s: Stream) -> None:
    """Where the client's connection goes from here."""
    c = s.client
    if s.req_flow is not None or s.res_flow is not None:
        if not s.req_done and not s.close_client:
            drain(s, c)
            return
        for f in (s.req_flow, s.res_flow):
            if f is not None and (f.pipe is not None or f.pace is not None):
                f.free()
        s.req_flow = s.res_flow = None
    if s.close_client:
        c.stream = None
        if (not s.req_done or c.inbuf or (not s.t_response and s.req is not None and s.req.keep_alive)) and not c.eof:
            linger(c)  # what is unread, or comes from a client that expected to go on, must not become a reset that eats our answer
        else:
            close_client(c)
    else:
        client.next_request(c)
        if c.rt.leaving:  # the client was not told that its connection ends here: another worker goes on with it, or it is closed late
            c.rt.idle_soon(c)


def drain(s: Stream, c: Client) -> None:
    """Read the rest of a request's body that nobody wants, so that the connection can go on."""
    f = s.req_flow
    assert f is not None
    f.dst = f.sink = None
    c.ready = client.drain_body
    c.expire = client.client_timeout
    limit = marks.timeout(s, "client", c.fe.client_s)
    c.loop.set_deadline(c, None if limit is None else c.rt.clock.now + limit)
    resume(c)
    if c.inbuf:
        data, c.inbuf = c.inbuf, b""
        client.drained(s, flow.feed(f, data))


def linger(c: Client) -> None:
    """Close, but let the client read what was sent: a close with unread input would make the kernel send a reset."""
    try:
        c.sock.shutdown(1)
    except OSError:
        close_client(c)
        return
    c.ready = lingering
    c.expire = close_client
    c.inbuf = b""
    c.loop.set_deadline(c, c.rt.clock.now + LINGER_S)
    c.loop.modify(c, READ)


def lingering(c: Client, _mask: int) -> None:
    """Throw away what still comes."""
    try:
        if c.sock.recv(65536):
            return
    except (BlockingIOError, InterruptedError):
        return
    except OSError:
        pass
    close_client(c)


def close_client(c: Client) -> None:
    """The client's connection ends here."""
    c.stream = None
    own, c.own = c.own, None
    if own is not None:
        for up in own.values():
            up.owner = None
            close(up)
    if c.fd >= 0:
        close(c)
        c.fe.closed(c)
    c.last_srv = None


def fail(s: Stream, row: StreamError, *, status: int = 0, silent: bool = False, counted: bool = False) -> None:
    """``s`` cannot go on: answer the client if it has not been answered yet, otherwise close.

    ``status`` overrides the row's; ``silent`` closes without an answer."""
    c = s.client
    if s.error is not None or s.logged:  # it failed before, or is over, and now even the answer does not get through
        abort(s)
        return
    s.error = row
    s.flags = row.flags
    if not counted:
        s.fe.rt.count_error(s, row)
    dispatch.abandon(s)
    code = status or row.status
    if s.res is not None or s.status or silent or not s.mode_http or not code or c.fd < 0:
        abort(s)
    else:
        reply.error(s, code)


def abort(s: Stream) -> None:
    """End ``s`` and its client's connection at once, without another word."""
    c = s.client
    s.close_client = True
    dispatch.abandon(s)
    c.out = b""
    account(s)
    for f in (s.req_flow, s.res_flow):
        if f is not None:
            f.free()
    s.req_flow = s.res_flow = None
    close_client(c)


def say(s: Stream, data: bytes) -> bool:
    """Send ``data`` to the client of ``s``, now or when it takes it; False: the client is gone, and ``s`` has ended."""
    try:
        send(s.client, data)
    except OSError:
        client_gone(s)
        return False
    return True


def client_gone(s: Stream) -> None:
    """The client's connection broke (reset, or ended in the middle of its body)."""
    s.close_client = True
    fail(s, ERRORS[f"client-abort-{phase(s)}"], silent=True)


def client_half_closed(s: Stream) -> None:
    """The client sent its last byte while it waits: nothing more will come, but it may still read."""
    if s.status or "abortonclose" not in s.be_options():
        if not s.client.inbuf:  # else there are requests that it sent before
            s.close_client = True
        return
    s.close_client = True
    fail(s, ERRORS[f"client-abort-{phase(s)}"])


def client_timeout(s: Stream) -> None:
    """``timeout client`` in the middle of an exchange."""
    if s.then is not None:
        s.t_request = 0.0  # the body that somebody waits for is a part of the request
        fail(s, ERRORS["client-timeout-request"])
    elif s.status:
        fail(s, ERRORS["client-timeout-last" if s.answered else "client-timeout-data"])
    elif not s.req_done or s.up is not None:
        fail(s, ERRORS["client-timeout-headers"])
    else:
        fail(s, ERRORS["client-timeout-request"])


def kill(s: Stream, why: str, silent: bool = False) -> None:
    """End ``s`` for a reason that lies outside of it: "killed", "server-went-down", "better-server-up"."""
    where = place(s)
    if where == "data" and not s.mode_http:
        where = "session"
    fail(s, ERRORS[f"{why}-{where}"], silent=silent)


def place(s: Stream) -> str:
    """As :func:`phase`, but a request that is under way already waits for the answer's head."""
    where = phase(s)
    if not s.mode_http:
        return "data" if where == "headers" else where
    return "headers" if where == "data" and not s.status else where


def phase(s: Stream) -> str:
    """Where ``s`` stands, as errors.ERRORS names it."""
    if s.flags == TARPIT:
        return "tarpit"
    if s.status:
        return "last" if s.answered else "data"
    if s.up is None:
        if s.waiting is not None:
            return "queue"
        return "connect" if s.srv is not None else "request"
    if not s.t_connect:
        return "connect"
    return "headers" if s.req_done else "data"


def account(s: Stream) -> None:
    """Count and log, once."""
    if s.logged:
        return
    s.logged = True
    s.t_end = s.clock.now
    f = s.res_flow
    if f is not None:
        s.bytes_out += f.moved
    f = s.req_flow
    if f is not None:
        s.bytes_in += f.moved
    s.client.fe.account(s)
