"""A response from its head to the client's side: response rules, the head that goes out, its body.

A body that came whole with its head leaves with it in one call; any other is moved by a flow (states :func:`body_ready` of the server's
side, ``client.busy`` of the client's). Knows heads and flows.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from forkproxy.errors import ERRORS, ProtocolError
from forkproxy.http.body import Chunks
from forkproxy.http.framing import reconcile_response
from forkproxy.http.grammar import elements
from forkproxy.http.message import BodyKind
from forkproxy.http.upgrade import check_switch
from forkproxy.net.loop import ERR, INF, WRITE
from forkproxy.proxy import captures, client, finish, flow, holding, marks, pacing, persistence, relay, reply, request, tracking, upstream
from forkproxy.proxy.sides import pause
from forkproxy.rules.verdict import ALLOW, WAIT, Pause, Reply
from forkproxy.rules.web import split_values

if TYPE_CHECKING:
    from forkproxy.http.message import ResponseHead
    from forkproxy.plan import Frontend, Steps
    from forkproxy.proxy.backend import BackendRt
    from forkproxy.proxy.frontend import FrontendRt
    from forkproxy.proxy.stream import Stream
    from forkproxy.proxy.upstream import Upstream

# Members of an enum are found by a slow road (0.1 µs in 3.11), and these are asked for in every exchange.
_CHUNKED: Final = BodyKind.CHUNKED
_CLOSE: Final = BodyKind.CLOSE
_LENGTH: Final = BodyKind.LENGTH
_NONE: Final = BodyKind.NONE
_TUNNEL: Final = BodyKind.TUNNEL

CRLF: Final = b"\r\n"
#: level of the log (RFC 5424)
ALERT = 1
CLOSE_END: Final = b"connection: close\r\n\r\n"
KEEP_ALIVE_END: Final = b"connection: keep-alive\r\n\r\n"


def interim(s: Stream, head: ResponseHead) -> bool:
    """Pass a 1xx on; False when the stream ended over it."""
    data = head.start_line() + head.block() + CRLF
    if s.fe.adjust is not None:
        data = s.fe.adjust(data)
    return finish.say(s, data)


def run(s: Stream, steps: Steps) -> bool:
    """Walk one set of response rules; False when the stream was answered otherwise."""
    if steps is not None:
        for step in steps:
            verdict = step(s)
            if verdict is not None:
                if verdict is ALLOW:
                    return True
                reply.response_verdict(s, verdict)
                return False
    return True


def heard(s: Stream, steps: Steps) -> bool:
    """As :func:`run`, for sets whose rules may hold the answer back: then ``s.step`` is where to go on."""
    if steps is None:
        return True
    done = s.step
    for step in steps[done:] if done else steps:
        verdict = step(s)
        if verdict is not None:
            if verdict is ALLOW:
                break
            if verdict is WAIT or isinstance(verdict, Pause):
                s.step = done
                holding.hold(s, verdict)
                return False
            reply.response_verdict(s, verdict)
            return False
        done += 1
    s.step = 0
    return True


def begin(up: Upstream, s: Stream, head: ResponseHead, body: bytes) -> None:
    """The answer's head is complete; ``body`` is what came with it. Called again for an answer that rules have held back."""
    c = s.client
    rt = up.rt
    be: BackendRt = s.be
    fe: FrontendRt = s.fe
    if s.res is not head:
        s.res = head
        s.t_response = rt.clock.now
        s.status = head.status
        if up.srv.watch is not None:
            up.srv.watch.answered(head.status)
        if head.status in fe.verdicts:
            tracking.answered(s, head.status)
        if be.stick is not None:
            be.stick.store(s)
        if (head.status == 401 or head.status == 407) and challenges(head):
            up.private = True
    if not (be.plain_response and fe.plain_response):
        up.inbuf = body  # where rules that look at a response's bytes find them
        if not rules(up, s, head):
            return
        s.status = head.status
        if s.marks is not None and pacing.is_limited(s) and head.body is not _TUNNEL:
            body = b""  # stays where it is
        else:
            up.inbuf = b""
    kind = head.body
    if kind is _TUNNEL:
        tunnel(up, s, head, body)
        return
    if kind is _CLOSE or head.close_peer or (rt.leaving and rt.parting(s.client)):
        s.close_client = True
    if not head.keep_alive or head.close_after or not s.req_done:
        s.keep_server = False
    # What the client may assume of its connection follows from the version that it reads, or that it speaks.
    if s.close_client:
        tail = CLOSE_END if head.version >= 11 else CRLF
    elif s.req.version < 11 or head.version < 11:  # type: ignore[union-attr]  # who is answered has asked
        tail = KEEP_ALIVE_END
    else:
        tail = CRLF
    if fe.adjust is not None:
        head.fields_raw, head.added, tail = fe.adjust(head.block()), b"", fe.adjust(tail)
    length = head.length  # 0 where there is no body
    if kind is _NONE or (kind is _LENGTH and len(body) >= length):
        if len(body) > length:  # surplus bytes are never delivered, and nobody trusts that connection any more
            body = body[:length]
            s.keep_server = False
        if head.version >= 11:
            data = b"HTTP/1.1 %d %b\r\n%b%b%b%b" % (head.status, head.reason, head.fields_raw, head.added, tail, body)
        else:
            data = b"".join((head.start_line(), head.block(), tail, body))
        s.bytes_out += len(data)
        if s.req_done and not c.out:
            rt.outbox.answer(s, data)
            return
        if finish.say(s, data):
            finish.complete(s)
        return
    chunks = Chunks(drops_trailers=fe.drops_trailers) if kind is _CHUNKED else None
    f = flow.Flow(up, None, flow.framing(kind, length), chunks, rt.bufsize, rt.pipes)
    outcome = flow.MORE
    if body:
        # What came with the head is looked at before the head goes: a body that is wrong from its beginning still becomes a 502, and head
        # and first bytes leave in one call.
        f.sink = bytearray()
        outcome = flow.feed(f, body)
        if outcome == flow.BAD:
            s.unanswer()
            finish.fail(s, ERRORS["bad-response"])
            return
        body = bytes(f.sink)
        f.sink = None
    f.dst = c
    s.res_flow = f
    if s.marks is not None:
        pacing.answer(s, f)
    up.ready = _BODY_READY
    up.expire = _BODY_TIMEOUT
    lead = b"".join((head.start_line(), head.block(), tail, body))
    if len(lead) >= f.bufsize:
        f.full = 1  # a full buffer came: it may be the beginning of bulk
    s.bytes_out += len(lead) - len(body)
    if not finish.say(s, lead):
        return
    if f.pace is not None and up.inbuf:
        outcome = f.pace.move(f)
    body_moved(up, s, flow.BLOCKED if c.out and outcome == flow.MORE else outcome)


def challenges(head: ResponseHead) -> bool:
    """Whether a 401 or 407 asks for a scheme that authenticates the connection, not the request (RFC 4559)."""
    name = b"www-authenticate" if head.status == 401 else b"proxy-authenticate"
    schemes = (scheme.lower() for line in head.get_all(name) for scheme in split_values(line))
    return any(scheme.startswith((b"negotiate", b"ntlm")) for scheme in schemes)


_LEAKED = Reply("deny", status=502, denied=True, default_error=True)


def complain(s: Stream) -> None:
    """Tell the operator of an answer that was refused for its cookie."""
    text = f"Blocking cacheable cookie in response from instance {s.be.name}, server {s.srv.name}."
    s.fe.log.say(ALERT, s.clock.wall, text.encode())


#: ``s.stage`` of an answer: the set of rules that is being walked
_TCP: Final = 1
_BACKEND: Final = 2
_FRONTEND: Final = 3


def rules(up: Upstream, s: Stream, head: ResponseHead) -> bool:
    """Captures and every rule set that looks at a response; False when the stream was answered otherwise, or is held back."""
    be: BackendRt = s.be
    fe: FrontendRt = s.fe
    if not s.stage:
        if head.status in be.retry_statuses and upstream.repeat(up, s, str(head.status)):
            return False
        if fe.plan.capture_response or fe.plan.capture_cookie:
            capture(s, head)
        if be.reads_answers or fe.reads_answers:
            holding.look(up, s, head)
        s.stage = _TCP
    if s.stage == _TCP:
        if not heard(s, be.answer_rules):
            return False
        s.stage = _BACKEND
    if s.stage == _BACKEND:
        if not heard(s, be.response_rules):
            return False
        s.stage = _FRONTEND
    if fe.twin is not be and not heard(s, fe.response_rules):
        return False
    if s.kept is not None:
        s.kept.rule.response(s, s.kept, head)
    if be.checks_cache and persistence.leaks(s.req.method, head):  # type: ignore[union-attr]
        complain(s)
        reply.response_verdict(s, _LEAKED)
        return False
    if not run_after(s):
        return False
    if s.marks is not None:
        marks.apply(s)
    if head.changed and not settled(s, head):
        return False
    if fe.log_early:
        fe.log_now(s)
    if (fe.tunnels or be.tunnels) and stays_open(s, head):
        head.body = _TUNNEL  # option http-tunnel: this was the one exchange that is looked at
    return True


def stays_open(s: Stream, head: ResponseHead) -> bool:
    """Whether both connections outlive this exchange, as far as the request and the response's head tell."""
    ends = s.close_client or head.close_after or head.body is _CLOSE
    return head.keep_alive and s.keep_server and s.req_done and not ends


def settled(s: Stream, head: ResponseHead) -> bool:
    """Rules changed the head: its framing says again what the body is, and their wish to close is heard. False: it became too long."""
    if marks.too_long(s, head, s.client.rt.bufsize):
        s.unanswer()
        finish.fail(s, ERRORS["response-rewrite-failed"])
        return False
    if not head.reframed:
        return True
    reconcile_response(head, head.status == 304 or (s.req is not None and s.req.method == b"HEAD"))
    if head.body is not _TUNNEL and head.get(b"connection") is not None:
        if b"close" in elements(head.get_all(b"connection")):
            s.close_client = True
        head.remove(b"connection")
    return True


def capture(s: Stream, head: ResponseHead) -> None:
    """Keep the header values that logs want (manual 8.8)."""
    values = s.captures_res or []
    plan: Frontend = s.fe.plan
    for i, (name, length) in enumerate(plan.capture_response):
        found = head.last(name)
        if found is not None:
            values[i] = found[:length]
    if plan.capture_cookie:
        name, length, prefix = plan.capture_cookie
        s.cookie_res = request.find_cookie(head.get_all(b"set-cookie"), name, length, prefix)


def run_after(s: Stream) -> bool:
    """http-after-response of backend and frontend."""
    be: BackendRt | None = s.be
    fe: FrontendRt = s.fe
    if be is None:
        return run(s, fe.after_rules)
    return run(s, be.after_rules) and (fe.twin is be or run(s, fe.after_rules))


def body_ready(up: Upstream, mask: int) -> None:
    """More of the answer's body, or its end."""
    s = up.stream
    f = s.res_flow
    if mask & ERR and flow.blocked(f):  # reported whether or not we read: what the kernel held is gone with the reset
        body_moved(up, s, flow.SRC_GONE)
        return
    if mask & WRITE:
        rest_of_request(up, s)
        if not mask & ~WRITE:
            return
    body_moved(up, s, flow.move(f))


def rest_of_request(up: Upstream, s: Stream) -> None:
    """The server takes more of a request whose answer came early."""
    try:
        flow.drain_to(s.req_flow, up)
    except OSError:
        up.loop.modify(up, up.mask & ~WRITE)
        up.out = b""


def body_moved(up: Upstream, s: Stream, outcome: int) -> None:
    """What a move of the response's body came to."""
    now = up.rt.clock.now
    if outcome == flow.MORE:
        limit = up.srv.server_timeout
        if s.marks is not None:
            limit = marks.timeout(s, "server", limit)
        if limit is not None:
            up.deadline = when = now + limit
            if when < up.armed:
                up.loop.arm(up)
        if s.client.deadline != INF and s.req_done:
            s.client.deadline = INF
    elif outcome == flow.BLOCKED:
        up.deadline = INF
        pause(up)
        limit = marks.timeout(s, "client", s.client.fe.client_s)
        if limit is not None:
            s.client.expire = client.client_timeout
            s.client.loop.set_deadline(s.client, now + limit)
    elif outcome == flow.HELD:
        up.deadline = INF
        if s.client.deadline != INF and s.req_done:
            s.client.deadline = INF
    elif outcome == flow.DONE:
        if up.inbuf:
            up.inbuf = b""
            s.keep_server = False
        finish.complete(s)
    elif outcome == flow.ENDED and s.res is not None and s.res.body is _CLOSE:
        finish.complete(s)
    elif outcome in (flow.ENDED, flow.SRC_GONE):
        if outcome == flow.SRC_GONE:
            marks.broke(s, errno.ECONNRESET)
        finish.fail(s, ERRORS["server-abort-data"])
    elif outcome == flow.DST_GONE:
        finish.client_gone(s)
    else:
        finish.fail(s, ERRORS["bad-response-data"])


def body_timeout(up: Upstream) -> None:
    """``timeout server`` in the middle of an answer's body."""
    finish.fail(up.stream, ERRORS["server-timeout-data"])


def tunnel(up: Upstream, s: Stream, head: ResponseHead, body: bytes) -> None:
    """101 or a successful CONNECT: from here on bytes pass both ways until the end (timeout tunnel)."""
    s.keep_server = False
    if head.status == 101:
        assert s.req is not None
        try:
            check_switch(s.req, head, s.be.relaxed)
        except ProtocolError as error:
            captures.remember(up.rt, s, False, head.start_line() + head.block(), error)
            s.unanswer()
            finish.fail(s, ERRORS["bad-response"])
            return
    s.close_client = True
    block = head.block()
    if s.fe.adjust is not None:
        block = s.fe.adjust(block)
    data = b"".join((head.start_line(), block, CRLF, body))
    s.bytes_out += len(data)
    if finish.say(s, data):
        relay.join(s, up)


# States as values: see ``sides``.
_BODY_READY: Final = body_ready
_BODY_TIMEOUT: Final = body_timeout
