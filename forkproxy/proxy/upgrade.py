"""A TCP session that becomes HTTP: a rule says so (``switch-mode http``), or the backend that was chosen speaks HTTP (manual 4).

What rules did on the raw bytes stays done: the stream goes on with its variables and counters, and its connection's next requests
come as in HTTP mode. State: :func:`await_head`. Knows the reader of requests and both modes' ways.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from forkproxy.errors import ERRORS, ProtocolError
from forkproxy.http.message import BodyKind
from forkproxy.http.reader import parse_request
from forkproxy.net.loop import INF
from forkproxy.proxy import captures, client, finish, request, tracking

if TYPE_CHECKING:
    from forkproxy.proxy.backend import BackendRt
    from forkproxy.proxy.client import Client
    from forkproxy.proxy.stream import Stream

_NONE = BodyKind.NONE


def begin(s: Stream, then: Callable[[Stream], None]) -> None:
    """``s`` is HTTP from now on; ``then(s)`` when its head is there."""
    c = s.client
    s.mode_http = True
    s.then = then
    c.ready = await_head
    c.expire = head_timeout
    limit = c.fe.head_timeout
    c.loop.set_deadline(c, None if limit is None else c.t_base + limit)
    look(c, s)


def ruled(s: Stream) -> None:
    """A frontend's rule has switched: its HTTP rules are next, those on content have spoken."""
    started(s)
    s.stage = 1
    request.frontend_rules(s)


def to_backend(s: Stream, be: BackendRt) -> None:
    """``be``, which was chosen for a session, speaks HTTP."""
    begin(s, lambda s: chosen(s, be))


def chosen(s: Stream, be: BackendRt) -> None:
    """A backend in HTTP mode was chosen: first what the frontend has to say about requests, if anything (observed), then the backend."""

    def ruled(s: Stream) -> None:
        if request.rules(s, s.fe, ruled):
            s.be = be
            request.enter_backend(s)

    started(s)
    s.stage = 1
    ruled(s)


def started(s: Stream) -> None:
    """What ``request.begin`` does before the first rule. Slots that rules have filled already stay so."""
    fe = s.fe
    if fe.tracks_connections:
        tracking.connection_request(s)
    kept = s.captures_req
    if fe.captures:
        request.capture(s, fe.plan)
        for i, value in enumerate(kept or ()):
            if value is not None and s.captures_req is not None:
                s.captures_req[i] = value
    if fe.log_steps is not None and "request" in fe.log_steps:
        fe.log_step(s, "request")


def await_head(c: Client, _mask: int) -> None:
    """The rest of the first request's head, or the client's end."""
    s = c.stream
    data = client.receive(c, s, c.rt.bufsize)
    if data is None:
        return
    if data:
        c.inbuf += data
    else:
        c.eof = True
    look(c, s)


def look(c: Client, s: Stream) -> None:
    """Parse the head when it is whole."""
    rt = c.rt
    try:
        parsed = parse_request(c.inbuf, 0, c.fe.limits)
    except ProtocolError as error:
        captures.remember(rt, s, True, c.inbuf, error)
        over(s)
        finish.fail(s, ERRORS["bad-request"], status=error.status)
        return
    if parsed is None:
        if c.eof:
            over(s)
            s.status = 400
            finish.fail(s, ERRORS["client-abort-request"])
        return
    head, used = parsed
    s.req = head
    s.bytes_in = used
    s.t_request = rt.clock.now
    s.body = b""
    s.body_done = False
    c.inbuf = c.inbuf[used:]
    c.ready = client.busy
    c.expire = client.client_timeout
    c.deadline = INF
    c.served += 1
    then, s.then = s.then, None
    if head.body is not _NONE and not client.open_body(s, c, head):
        return
    assert then is not None
    then(s)


def head_timeout(c: Client) -> None:
    """``timeout http-request``."""
    over(c.stream)
    finish.fail(c.stream, ERRORS["client-timeout-request"])


def over(s: Stream) -> None:
    """It never became a request."""
    c = s.client
    s.then = None
    s.t_request = 0.0
    s.bytes_in = len(c.inbuf)
    s.close_client = True
    c.ready = client.busy
    c.expire = client.client_timeout
    c.deadline = INF
