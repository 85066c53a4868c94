"""A request from its head to the server's choice: rules of the frontend, choice of the backend, its rules, the head that goes out.

Each step hands over to the next by a plain call; a rule that needs the request's body makes the stream wait
(:func:`buffer_body`) and the interrupted step is called again. Knows verdicts and heads, no sockets but the client's body.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from forkproxy.errors import ERRORS
from forkproxy.http.body import payload
from forkproxy.http.framing import reconcile_request
from forkproxy.net.loop import INF
from forkproxy.plan import Steps
from forkproxy.proxy import client, dispatch, finish, flow, marks, pacing, reply, tracking
from forkproxy.proxy.sides import pause
from forkproxy.rules.errors import NotYet
from forkproxy.rules.verdict import ALLOW, Pause, Reply, Verdict

if TYPE_CHECKING:
    from forkproxy.http.message import RequestHead
    from forkproxy.plan import Frontend
    from forkproxy.proxy.backend import BackendRt
    from forkproxy.proxy.flow import Flow
    from forkproxy.proxy.frontend import FrontendRt
    from forkproxy.proxy.stream import Stream

CRLF: Final = b"\r\n"


def begin(s: Stream) -> None:
    """The head is complete: what the frontend has to say about it."""
    fe: FrontendRt = s.fe
    if fe.plain:
        be: BackendRt = fe.default  # type: ignore[assignment]  # that there is one is a part of being plain
        s.be = be
        be.enter(s)
        if be.plain or fe.twin is be:
            forward(s)
        else:
            backend_entered(s)
        return
    head = s.req
    plan = fe.plan
    if fe.tracks_connections:
        tracking.connection_request(s)
    if fe.captures:
        capture(s, plan)
    if fe.log_connect:
        fe.log_begin(s)
    if plan.monitor_uri and head is not None and head.target == plan.monitor_uri:
        reply.monitor(s, any(failed(s) for failed in plan.monitor_fail))
        return
    if fe.buffer_body:
        buffer_body(s, frontend_rules)
        return
    frontend_rules(s)


def capture(s: Stream, plan: Frontend) -> None:
    """Keep the header values and the cookie that logs want (manual 8.7, 8.8). Every declared slot is there from now on, for rules, too."""
    head = s.req
    assert head is not None
    if plan.capture_request:
        last = head.last
        s.captures_req = kept = []
        for name, length in plan.capture_request:
            value = last(name)
            kept.append(None if value is None else value[:length])
    if plan.capture_response:
        s.captures_res = [None] * len(plan.capture_response)
    if plan.capture_cookie:
        name, length, prefix = plan.capture_cookie
        s.cookie_req = find_cookie(head.get_all(b"cookie"), name, length, prefix)


def find_cookie(lines: list[bytes], name: bytes, length: int, prefix: bool) -> bytes:
    """The first ``name=value`` of the cookie lines whose name is (or begins with) ``name``, cut to ``length``."""
    for line in lines:
        for part in line.split(b";"):
            part = part.strip()
            found, eq, _ = part.partition(b"=")
            if eq and (found.startswith(name) if prefix else found == name):
                return part[:length]
    return b""


def run(s: Stream, steps: Steps, again: Callable[[Stream], None]) -> bool:
    """Walk one rule set; True: go on, False: the stream was answered, closed, or waits and ``again`` will be called."""
    if steps is None:
        return True
    done = s.step
    for step in steps[done:] if done else steps:
        verdict = step(s)
        done += 1
        if verdict is not None:
            if verdict is ALLOW:
                break
            s.step = done - 1
            if s.marks is not None:
                marks.apply(s)
            return settle(s, verdict, again)
    s.step = 0
    return s.marks is None or marked(s)


def marked(s: Stream) -> bool:
    """A set of rules left marks: those that concern the client's side take effect now. False: the client is gone."""
    marks.apply(s)
    hints = marks.take_hints(s)
    return not hints or finish.say(s, hints)


def settle(s: Stream, verdict: Verdict, again: Callable[[Stream], None]) -> bool:
    """Carry out what a rule decided."""
    kind = verdict.kind
    if kind == "wait":
        if s.body_done:  # nothing more will come: the rule had its chance
            s.step += 1
            again(s)
        else:
            buffer_body(s, again)
        return False
    if isinstance(verdict, Pause):
        s.step += 1
        s.timer = s.client.loop.call_later(verdict.delay_s, paused, s, again)
        return False
    s.step = 0
    reply.verdict(s, verdict)
    return False


def rules(s: Stream, party: FrontendRt | BackendRt, again: Callable[[Stream], None]) -> bool:
    """tcp-request content, http-request, then the statistics page of a frontend or a backend; the rest as :func:`run`."""
    if s.stage == 0:
        if not run(s, party.content_rules, again):
            return False
        s.stage = 1
    if s.stage == 1:
        if not run(s, party.request_rules, again):
            return False
        s.stage = 2
    statistics = party.plan.statistics
    if statistics is not None and not run(s, statistics, again):
        return False
    if party.restrict and not restrict(s, party.restrict):
        return False
    s.stage = 0
    return True


def paused(s: Stream, again: Callable[[Stream], None]) -> None:
    """A pause is over: the next rule, unless the client went meanwhile."""
    s.timer = None
    if not s.logged:
        marks.waited(s)
        again(s)


def frontend_rules(s: Stream) -> None:
    """What the frontend has to say, then the choice of the backend."""
    if rules(s, s.fe, frontend_rules):
        choose_backend(s)


def choose_backend(s: Stream) -> None:
    """use_backend rules in order, else default_backend."""
    fe: FrontendRt = s.fe
    try:
        be = fe.backend_for(s)
    except NotYet:
        if not s.req_done and not s.body_done:
            buffer_body(s, choose_backend)
            return
        be = fe.default  # nothing more will come
    if be is None:
        finish.fail(s, ERRORS["no-backend"])
        return
    s.be = be
    if not (be.http or fe.http):  # a session that became HTTP cannot become TCP again
        finish.fail(s, ERRORS["internal-request"], silent=True)
        return
    enter_backend(s)


def enter_backend(s: Stream) -> None:
    """The backend's own rules, unless it is the other half of the same ``listen`` section and they ran already."""
    be: BackendRt = s.be
    fe: FrontendRt = s.fe
    be.enter(s)
    if be.plain or fe.twin is be:
        ready(s)
    else:
        backend_entered(s)


def backend_entered(s: Stream) -> None:
    """A backend that has something to say: buffer the body first where it wants to see it."""
    be: BackendRt = s.be
    if be.buffer_body and not s.body_done:
        buffer_body(s, backend_rules)
    else:
        backend_rules(s)


def backend_rules(s: Stream) -> None:
    """What the backend has to say."""
    if rules(s, s.be, backend_rules):
        ready(s)


_unusual_names = re.compile(rb"(?m)^([^:\r]*[^A-Za-z0-9\-:\r][^:\r]*):").findall
_FORBIDDEN = Reply("deny", status=403, denied=True, default_error=True)


def restrict(s: Stream, policy: str) -> bool:
    """Names of fields with unusual characters: "delete" them, or "reject" the request, and then False (manual: option
    http-restrict-req-hdr-names)."""
    head: Any = s.req
    names = _unusual_names(head.block())
    if names and policy == "reject":
        reply.verdict(s, _FORBIDDEN)
        return False
    for name in names:
        head.remove(name.lower())
    return True


def ready(s: Stream) -> None:
    """All rules have spoken: what they changed is made consistent before the request goes out."""
    head: RequestHead = s.req  # type: ignore[assignment]  # nobody comes here without one
    if head.changed:
        if marks.too_long(s, head, s.client.rt.bufsize):
            finish.fail(s, ERRORS["rewrite-failed"])
            return
        if head.reframed:
            if head.upgrade is not None and head.get(b"upgrade") is None:
                head.upgrade = None
                head.remove(b"connection")
            if not reconcile_request(head):
                drop_body(s)
    forward(s)


def drop_body(s: Stream) -> None:
    """A rule took away what announced the body: the server gets none, and what the client still sends of it is never looked at."""
    f = s.req_flow
    if f is not None:
        s.req_flow = None
        f.free()
    if not s.req_done:
        s.close_client = True
        s.req_done = True
        s.client.inbuf = b""


def buffer_body(s: Stream, then: Callable[[Stream], None]) -> None:
    """Read the request's body into ``s.body`` until it is whole or one buffer is full, then call ``then(s)``.

    Bounded in time by ``timeout http-request`` (manual: option http-buffer-request)."""
    c = s.client
    f = s.req_flow
    if s.body_done or f is None:
        s.body_done = True
        then(s)
        return
    if s.req_done:
        gather(s, f, flow.DONE, then)
        return
    if f.sink is not None and enough(s, f.sink):
        gather(s, f, flow.MORE, then)
        return
    s.then = then
    limit = marks.timeout(s, "body", s.fe.head_timeout if s.be is None else s.be.plan.timeouts.http_request_s)
    if c.deadline == INF and limit is not None:
        c.expire = client.client_timeout
        c.loop.set_deadline(c, s.t_request + limit)
    if s.req is not None and s.req.expect_continue:
        reply.go_on(s)


def gather(s: Stream, f: Flow, outcome: int, then: Callable[[Stream], None] | None = None) -> None:
    """A piece of a body that is being buffered arrived; ``s.body`` becomes its payload (chunks unwrapped)."""
    c = s.client
    held = f.sink if f.sink is not None else b""
    if outcome == flow.MORE and len(held) < c.rt.bufsize and not enough(s, held):
        return
    s.t_request = c.rt.clock.now  # the body that somebody waits for is a part of the request
    if outcome in (flow.DONE, flow.MORE):
        s.req_done = s.req_done or outcome == flow.DONE
        s.body = payload(bytes(held)) if f.chunks is not None else bytes(held)
    elif outcome == flow.ENDED or outcome == flow.SRC_GONE:
        finish.client_gone(s)
        return
    elif outcome == flow.BAD:
        s.t_request = 0.0
        finish.fail(s, ERRORS["bad-request"])
        return
    if not s.req_done:
        pause(c)
    c.deadline = INF
    s.body_done = True
    then, s.then = then or s.then, None
    if then is not None:
        then(s)


def enough(s: Stream, held: bytes | bytearray) -> bool:
    """Whether a rule asked for no more of the body than this (wait-for-body … at-least)."""
    least = s.marks.get("body_least", 0) if s.marks is not None else 0
    return 0 < least <= len(held)


def body_arrived(s: Stream, f: Flow) -> None:
    """The client sent a piece of its body: buffered, or on to the server."""
    outcome = flow.move(f)
    if f.dst is None:
        gather(s, f, outcome)
    else:
        dispatch.body_moved(s, outcome)


def forward(s: Stream) -> None:
    """Make the head that the server gets, then look for one."""
    head: RequestHead = s.req  # type: ignore[assignment]  # nobody comes here without one
    be: BackendRt = s.be
    fe: FrontendRt = s.fe
    if s.kept is not None:
        s.kept.rule.request(s, s.kept, head)
    extra = address_lines(s) if be.addresses or fe.addresses else b""
    if fe.unique_id_line:
        extra += fe.unique_id_line % unique_id(s)
    if head.close_peer:
        s.keep_server = False
    if be.close_server or fe.close_server:
        s.keep_server = False
    if head.version >= 11:
        if not s.keep_server and head.upgrade is None and not be.pretends:
            extra += b"connection: close\r\n"
        s.sending = b"%b %b HTTP/1.1\r\n%b%b%b\r\n" % (head.method, head.target, head.fields_raw, head.added, extra)
    else:
        if head.upgrade is None and (s.keep_server or be.pretends):
            extra += b"connection: keep-alive\r\n"
        s.sending = b"".join((head.start_line(), head.block(), extra, CRLF))
    if be.adjust is not None:
        s.sending = be.adjust(s.sending)
    if not head.keep_alive or head.close_after or fe.close_client:
        s.close_client = True
    f = s.req_flow
    if f is not None:
        if be.drops_trailers:
            drop_trailers(f)
        body = f.sink
        if body:
            # Head and what there is of the body leave together, and can be sent again together.
            s.sending += body
            f.sink = None
        if s.marks is not None and pacing.request(s, f, body or b""):
            return
    dispatch.assign(s)


def drop_trailers(f: Flow) -> None:
    """Take the trailers out of a body, also where they came before it was known to whom the request goes."""
    chunks = f.chunks
    if chunks is not None:
        chunks.drops_trailers = True
        if chunks.trailers and f.sink:
            del f.sink[-2 - chunks.trailers : -2]


def unique_id(s: Stream) -> bytes:
    """The stream's identifier, made once on first use (unique-id-format)."""
    if s.unique_id is None:
        s.unique_id = s.fe.plan.unique_id(s) if s.fe.plan.unique_id is not None else b""
    return s.unique_id


def address_lines(s: Stream) -> bytes:
    """Forwarded, X-Forwarded-For and X-Original-To (options forwarded, forwardfor, originalto): the backend's settings prevail where both
    have them."""
    be: BackendRt = s.be
    fe: FrontendRt = s.fe
    origin = s.origin
    told = b"" if be.forwarded is None else be.forwarded(s)
    lines = b"forwarded: " + told + CRLF if told else b""
    if not origin.family:
        return lines
    rule = be.forwardfor or fe.forwardfor
    if rule is not None:
        lines += rule(s, origin.src)
    rule = be.originalto or fe.originalto
    return lines if rule is None else lines + rule(s, origin.local()[0])
