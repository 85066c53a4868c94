"""Answers that the balancer makes by itself: what rules return, errors, redirects, services, monitor-uri, 100-continue.

Turns verdicts and status codes into bytes for the client and ends the stream. Knows the writer of messages and the custom errors of
the plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkproxy.errors import ERRORS
from forkproxy.http import writer
from forkproxy.http.message import BodyKind, ResponseHead
from forkproxy.http.reader import parse_response
from forkproxy.net import pipes
from forkproxy.net.sockets import silent_drop
from forkproxy.proxy import dispatch, finish, flow, marks, response, tracking
from forkproxy.proxy.sides import send
from forkproxy.rules.verdict import Reply, Service, Verdict

if TYPE_CHECKING:
    from forkproxy.net.pipes import Content
    from forkproxy.plan import ErrorReply
    from forkproxy.proxy.backend import ServerRt
    from forkproxy.proxy.stream import Stream

#: After these the request's framing, or the client's patience, cannot be trusted: the connection ends with the answer.
CLOSING = frozenset({400, 408, 414, 431})

CLOSE = (b"connection", b"close")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Fields = list[tuple[bytes, bytes]]


def go_on(s: Stream) -> None:
    """Tell a client that waits for it to send the body that a rule wants to see."""
    finish.say(s, CONTINUE)


def verdict(s: Stream, v: Verdict) -> None:
    """Carry out a request rule's verdict."""
    kind = v.kind
    if isinstance(v, Service):
        serve(s, v)
    elif isinstance(v, Reply):
        if kind == "tarpit":
            tarpit(s, v)
        elif v.denied:
            s.fe.rt.count_denied(s)
            answer(s, v, b"PR")
        else:
            s.fe.count_intercepted()
            if kind == "auth" and s.fe.tracks:
                tracking.client_error(s)
            answer(s, v, b"LR")
    else:
        s.t_request = 0.0
        if kind == "silent-drop":
            silent_drop(s.client.sock)
        finish.fail(s, ERRORS["request-rejected"], silent=True)


def response_verdict(s: Stream, v: Verdict) -> None:
    """Carry out a response rule's verdict: the server's answer is thrown away."""
    if s.srv is not None and s.res is not None:
        s.srv.count.answered(s.res.status)
    s.unanswer()
    s.keep_server = False
    if isinstance(v, Reply):
        dispatch.abandon(s)
        if v.denied:
            s.fe.rt.count_response_denied(s)
            answer(s, v, b"PH", default_status=502)
        else:
            answer(s, v, b"LH")
        return
    finish.fail(s, ERRORS["response-denied"], silent=v.kind in ("reject", "silent-drop"))


def answer(s: Stream, v: Reply, flags: bytes, default_status: int = 0) -> None:
    """Send what a rule wants to be answered."""
    s.flags = flags
    if v.close:
        s.close_client = True
    if v.raw is not None:
        whole(s, v.status, v.raw)
        return
    if v.default_error or (v.body is None and v.headers is None and v.denied):
        error(s, v.status or default_status, keep=not v.close, extra=v.headers(s) if v.headers is not None else None)
        return
    headers = list(v.headers(s)) if v.headers is not None else []
    body = v.body(s) if v.body is not None else b""
    if v.body is not None and v.status != 204:  # behind the rule's own fields
        headers.append((b"content-length", b"%d" % len(body)))
    if v.content_type and body:
        headers.append((b"content-type", v.content_type))
    local(s, v.status, headers, body, v.reason, large=v.large)


def serve(s: Stream, v: Service) -> None:
    """Let a service answer (http-request use-service, the statistics page): now, or later by calling :func:`local` itself."""
    if s.be is None:
        s.fe.count_intercepted()
    s.flags = b"LR"
    assert v.handler is not None
    made = v.handler(s)
    if made is not None:
        local(s, *made)


def to_server(s: Stream, srv: ServerRt) -> None:
    """Send the client to a server that it can reach by itself (manual 5.2 "redir")."""
    assert s.req is not None
    s.server_id = srv.label
    s.t_queue = s.clock.now
    s.flags = b"LC"
    target = s.req.target
    path = target if target[:1] == b"/" else b"/" + target.partition(b"://")[2].partition(b"/")[2]
    local(s, 302, [(b"cache-control", b"no-cache"), (b"content-length", b"0"), (b"location", srv.redirect + path)], b"")


def monitor(s: Stream, failed: bool) -> None:
    """monitor-uri: the service's own state, never logged as traffic of a server."""
    s.flags = b"LR"
    s.log_level = -1
    s.fe.count_intercepted()
    if failed:
        error(s, 503)
    else:
        fields = [(b"cache-control", b"no-cache"), (b"content-type", b"text/html")]
        local(s, 200, fields, b"<html><body><h1>200 OK</h1>\nService ready.\n</body></html>\n")


def tarpit(s: Stream, v: Reply) -> None:
    """Hold the client for ``timeout tarpit``, then deny."""
    s.fe.rt.count_denied(s)
    s.flags = finish.TARPIT
    delay = marks.timeout(s, "tarpit", (s.be or s.fe).plan.timeouts.tarpit_s)
    s.timer = s.client.loop.call_later(delay if delay is not None else 1.0, tarpit_over, s, v)


def tarpit_over(s: Stream, v: Reply) -> None:
    """The tarpit's time is up."""
    s.timer = None
    if not s.logged:
        s.t_queue = s.clock.now  # the wait is shown as one in a queue, and no time for the request
        s.t_request = 0.0
        answer(s, v, finish.TARPIT, default_status=500)


def local(
    s: Stream, status: int, headers: Fields, body: bytes, reason: bytes = b"", shown: int = 0, large: Content | None = None
) -> None:
    """Send a message made here, through the rules of http-after-response; ``shown`` is the status for logs and counters, if another one;
    ``large`` holds ``body`` where sendfile may carry it."""
    c = s.client
    request = s.req
    if request is not None and (not request.keep_alive or request.close_after):
        s.close_client = True
    if s.fe.close_client or (c.rt.leaving and c.rt.parting(c)):
        s.close_client = True
    is_head = request is not None and request.method == b"HEAD"
    if ruled(s):
        head = ResponseHead.create(status, reason or writer.phrase(status), headers, body=BodyKind.LENGTH, length=len(body))
        s.res = head
        s.res_body = body
        if not response.run_after(s):
            return
        headers, status, reason = head.items(), head.status, head.reason
    if s.close_client:
        if not any(name == b"connection" for name, _ in headers):
            headers.append(CLOSE)
    elif request is not None and request.version < 11:
        headers.append((b"connection", b"keep-alive"))
    data = writer.response(status, headers, body, head=is_head or large is not None, reason=reason)
    deliver(s, shown or status, data, None if is_head or status in (204, 304) else large)


def ruled(s: Stream) -> bool:
    """Whether there are http-after-response rules for ``s``."""
    return s.fe.plan.http_after_response is not None or (s.be is not None and s.be.plan.http_after_response is not None)


def deliver(s: Stream, status: int, data: bytes, large: Content | None = None) -> None:
    """Give a complete message, its body perhaps in ``large``, to the client and end the stream."""
    s.status = status
    if s.fe.adjust is not None:
        fields, end, body = data.partition(b"\r\n\r\n")
        data = s.fe.adjust(fields) + end + body
    if s.req is not None:  # pages for what never became a request do not count as traffic of a stream
        s.bytes_out += len(data)
    try:
        send(s.client, data)
        if large is not None:
            attach(s, large)
    except OSError:
        finish.client_gone(s)
        return
    finish.complete(s)


def attach(s: Stream, large: Content) -> None:
    """Let a body leave by sendfile, behind what waits for the client already. Raises OSError when that is gone."""
    c = s.client
    f = s.res_flow = flow.Flow(c, c, 0, None, c.rt.bufsize, None)
    f.pipe = pipes.File(large)
    f.moved = f.pipe.held
    flow.drain_to(f, c)


def error(s: Stream, status: int, keep: bool = True, extra: Fields | None = None) -> None:
    """Answer with the page for ``status``: the backend's, the frontend's, or the built-in one; ``extra`` fields are added to a built-in
    one."""
    if s.req is None or status in CLOSING or not keep:
        s.close_client = True
    custom: ErrorReply | None = None
    if s.be is not None:
        custom = s.be.plan.errors.get(status)
    if custom is None:
        custom = s.fe.plan.errors.get(status)
    if custom is not None:
        if custom.raw is not None:
            whole(s, status, custom.raw)
            return
        if custom.location:
            fields = [(b"cache-control", b"no-cache"), (b"content-length", b"0"), (b"location", custom.location.encode())]
            local(s, custom.location_code, fields, b"", shown=status)
            return
        if custom.reply is not None and not custom.reply.default_error:
            answer(s, custom.reply, s.flags)
            return
    builtin(s, status, extra or [])


def whole(s: Stream, status: int, raw: bytes) -> None:
    """Send a message as it was written (errorfile), then close; an empty one (/dev/null) closes without a word."""
    s.close_client = True
    if raw and ruled(s):
        parsed = parse_response(raw, 0, s.fe.limits, b"GET")
        if parsed is not None:
            s.res, end = parsed
            if not response.run_after(s):
                return
            raw = b"".join((s.res.start_line(), s.res.block(), b"\r\n", raw[end:]))
    if raw:
        deliver(s, status, headless_raw(s, raw))
    else:
        s.status = status
        finish.complete(s)


def builtin(s: Stream, status: int, extra: Fields) -> None:
    """The built-in page for ``status``, finished for this client: its connection's fate, no body to HEAD, rules of http-after-response."""
    page = writer.error_page(status)
    if s.req is None:  # what never became a request gets the page as it is; that the connection ends is always said
        ends = CLOSE in page.fields
        deliver(s, status, writer.response(page.status, page.fields, page.body, close=not ends, reason=page.reason))
        return
    local(s, page.status, [field for field in page.fields if field != CLOSE] + extra, page.body, page.reason)


def headless_raw(s: Stream, raw: bytes) -> bytes:
    """An error file as it is sent: it says that the connection ends; without its body to a HEAD request."""
    end = raw.find(b"\r\n\r\n")
    if raw.startswith(b"HTTP/1.1 ") and b"\nconnection:" not in raw[:end].lower():
        raw = raw[:end] + b"\r\nconnection: close" + raw[end:]
    if s.req is not None and s.req.method == b"HEAD":
        end = raw.find(b"\r\n\r\n")
        return raw[: end + 4] if end >= 0 else raw
    return raw

