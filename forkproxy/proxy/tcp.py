"""TCP mode: one session per connection. Content rules if there are any, the choice of backend and server, then ``relay``.

States: :func:`inspect` (waiting for the first bytes that rules want to see, at most ``inspect-delay``), :func:`waiting` (no server yet).
Knows the same dispatch as HTTP; no message is ever parsed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from forkproxy.errors import ERRORS
from forkproxy.net.loop import ERR, HUP, INF, READ, WRITE
from forkproxy.net.sockets import silent_drop
from forkproxy.proxy import client, dispatch, finish, relay, upgrade
from forkproxy.proxy.sides import pause
from forkproxy.proxy.stream import Stream
from forkproxy.rules.verdict import ALLOW, SWITCH, WAIT, Verdict

if TYPE_CHECKING:
    from forkproxy.plan import Steps
    from forkproxy.proxy.backend import BackendRt
    from forkproxy.proxy.client import Client
    from forkproxy.proxy.upstream import Upstream


def start(c: Client) -> None:
    """A connection arrived on a TCP frontend."""
    s = c.stream = Stream(c, None, c.t_base, c.t_base)
    fe = c.fe
    if fe.log_connect:
        fe.log_begin(s)
    if fe.content_rules is None:
        choose(s)
    else:
        content(s)


def content(s: Stream) -> None:
    """The frontend's content rules."""
    if run(s, s.fe.content_rules, content):
        choose(s)


def choose(s: Stream) -> None:
    """use_backend rules, else default_backend."""
    fe = s.client.fe
    s.body_done = True  # what is not there by now does not match
    be = fe.default if fe.choose is None else fe.backend_for(s)
    if be is None:
        finish.fail(s, ERRORS["no-backend"])
        return
    s.then = None
    if be.http:
        upgrade.to_backend(s, be)
        return
    s.be = be
    be.enter(s)
    backend_content(s)


def backend_content(s: Stream) -> None:
    """The backend's content rules, then a server."""
    c = s.client
    be: BackendRt = s.be
    if be.content_rules is not None and c.fe.twin is not be:
        s.body_done = c.eof or len(c.inbuf) >= c.rt.bufsize
        if not run(s, be.content_rules, backend_content):
            return
    s.then = None
    s.t_request = c.rt.clock.now
    c.ready = _WAITING
    limit = c.fe.client_s
    c.expire = _CLIENT_TIMEOUT
    c.deadline = when = INF if limit is None else s.t_request + limit
    if when < c.armed:
        c.loop.arm(c)
    if len(c.inbuf) >= c.rt.bufsize:
        pause(c)
    dispatch.assign(s)


def run(s: Stream, steps: Steps, again: Any) -> bool:
    """Walk a content rule set; False: the session ended or waits for more bytes. With more bytes all rules are looked at anew: an
    earlier one may match now."""
    if steps is None:
        return True
    s.body = s.client.inbuf
    for step in steps:
        verdict = step(s)
        if verdict is WAIT and not s.body_done:
            delay = (s.fe if s.be is None else s.be).plan.inspect_delay_s
            if delay:
                await_bytes(s, again, delay)
                return False
            s.body_done = True  # nobody wants to wait: the rules must do with what is there
            verdict = step(s)
        if verdict is None or verdict is WAIT:
            continue  # nothing more will come: what is missing does not match
        if verdict is ALLOW:
            break
        if verdict is SWITCH:
            upgrade.begin(s, upgrade.ruled)
        else:
            refuse(s, verdict)
        return False
    return True


def refuse(s: Stream, verdict: Verdict) -> None:
    """A rule does not want this session."""
    s.fe.rt.count_denied(s)
    if verdict.kind == "silent-drop":
        silent_drop(s.client.sock)
    finish.fail(s, ERRORS["request-rejected"], silent=True, counted=True)


def await_bytes(s: Stream, again: Any, delay: float) -> None:
    """Rules want to see more bytes: wait for them, no longer than ``tcp-request inspect-delay``."""
    c = s.client
    c.ready = inspect
    if s.then is None:  # the delay counts from the first look
        s.then = again
        c.expire = inspected
        c.loop.set_deadline(c, c.rt.clock.now + delay)


def inspect(c: Client, mask: int) -> None:
    """Bytes that content rules wait for."""
    s = c.stream
    room = c.rt.bufsize - len(c.inbuf)
    try:
        data = c.sock.recv(room)
    except (BlockingIOError, InterruptedError):
        return
    except OSError:
        finish.fail(s, ERRORS["client-abort-request"], silent=True)
        return
    if data:
        c.inbuf += data
        if len(c.inbuf) < c.rt.bufsize:
            resume_rules(s)
            return
    else:
        c.eof = True
        pause(c)
    s.body_done = True
    resume_rules(s)


def inspected(c: Client) -> None:
    """The inspection's time is up: rules decide with what is there."""
    s = c.stream
    s.body_done = True
    resume_rules(s)


def resume_rules(s: Stream) -> None:
    """Call the interrupted rule set again."""
    then = s.then
    if then is not None:
        then(s)


def waiting(c: Client, mask: int) -> None:
    """The client sends, or goes, before there is a server: one buffer is kept, the rest waits in the kernel."""
    s = c.stream
    if mask & (HUP | ERR) and not mask & READ:
        finish.client_gone(s)
        return
    room = c.rt.bufsize - len(c.inbuf)
    if room <= 0:
        pause(c)
        return
    data = client.receive(c, s, room)
    if data is None:
        return
    if data:
        c.inbuf += data
        return
    c.eof = True
    pause(c)
    if not c.inbuf or "abortonclose" in s.be_options():
        c.loop.call_soon(unwanted, s)  # not now: the server's connection may turn out to stand in this very turn


def first_bytes(s: Stream) -> None:
    """What the client sent since it was accepted, for the server's connection that was begun just now. ``s`` may have ended then."""
    c = s.client
    if c.ready is _WAITING and not c.inbuf and not c.eof:
        c.inbuf = client.receive(c, s, c.rt.bufsize) or b""  # an end is seen again, by who knows what it means then


def unwanted(s: Stream) -> None:
    """The client ended and wants nothing of a server (any more)."""
    if not s.t_connect and not s.logged:
        finish.client_gone(s)


def inspect_answer(s: Stream, up: Upstream) -> None:
    """The session is established, and rules want to see what the server says before the client does."""
    s.res_done = False
    up.ready = answering
    delay = s.be.plan.capabilities.get("tcp-response-inspect-delay-s")
    if delay:
        s.timer = up.loop.call_later(delay, answer_inspected, s)
    else:
        s.res_done = True


def answering(up: Upstream, mask: int) -> None:
    """The first bytes of a server under ``tcp-response content`` rules; the client's bytes go on meanwhile."""
    s = up.stream
    if mask & WRITE and not relay.drained(up):
        return
    if not mask & ~WRITE:
        return
    try:
        data = up.sock.recv(up.rt.bufsize - len(up.inbuf))
    except (BlockingIOError, InterruptedError):
        return
    except OSError:
        data, reset = b"", True
    else:
        reset = False
    up.inbuf += data
    if not data or len(up.inbuf) >= up.rt.bufsize:
        s.res_done = True
    judge_answer(s, up)
    if reset and not s.logged:  # the kernel tells it only once
        relay.broken(s, up)


def answer_inspected(s: Stream) -> None:
    """The time to inspect is up."""
    s.timer = None
    s.res_done = True
    if s.up is not None:
        judge_answer(s, s.up)


def judge_answer(s: Stream, up: Upstream) -> None:
    """Walk the rules; when they are through, the relay takes over (an end that was seen is seen again by it)."""
    s.res_body = up.inbuf
    for step in s.be.answer_rules:
        verdict = step(s)
        if verdict is None:
            continue
        if verdict is ALLOW:
            break
        if verdict.kind == "wait":
            if s.res_done:
                continue
            return
        s.bytes_out += len(up.inbuf)
        s.fe.rt.count_response_denied(s)
        if verdict.kind == "silent-drop":
            silent_drop(s.client.sock)
        finish.fail(s, ERRORS["response-rejected"], silent=True, counted=True)
        return
    if s.timer is not None:
        s.timer.cancel()
        s.timer = None
    relay.passed(up)


def client_timeout(c: Client) -> None:
    """``timeout client`` before the relay began."""
    s = c.stream
    if s is not None:
        finish.fail(s, ERRORS["client-timeout-request"] if s.srv is None else ERRORS["client-timeout-headers"])


# States as values: see ``sides``.
_WAITING: Final = waiting
_CLIENT_TIMEOUT: Final = client_timeout
