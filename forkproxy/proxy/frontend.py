"""Frontends as one worker sees them: the plan's values, what was derived from them once, limits and counters, the end of each stream.

``plain`` and ``plain_response`` say that nothing at all has to be decided for a request, or for its answer: the shortest ways are for
those. Knows plan and state; streams only by type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from forkproxy.net.sockets import buffers, keepalive, reset_on_close
from forkproxy.proxy import counting, tracking
from forkproxy.proxy.derived import BODY_FIRST, RELAY, address_field, case_adjuster, head_limits, keepalive_options, restriction
from forkproxy.proxy.persistence import Kept
from forkproxy.proxy.profiles import ProfiledLog
from forkproxy.proxy.tally import Sums, Tally
from forkproxy.registry import Needs
from forkproxy.rules.tables import VERDICTS
from forkproxy.state import doors
from forkproxy.state.doors import Door
from forkproxy.state.layout import CONN_CUR
from forkproxy.state.names import PROCESS, frontend_key, listener_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from forkproxy import plan as plans
    from forkproxy.proxy.accesslog import AccessLog
    from forkproxy.proxy.backend import BackendRt, ServerRt
    from forkproxy.proxy.client import Client
    from forkproxy.proxy.runtime import Runtime
    from forkproxy.proxy.stream import Stream


#: Of most streams no byte was counted before they ended.
_NOTHING: Final = (0, 0)


class BindRt:
    """One bind line of a frontend. ``door`` limits its connections; ``open`` of them there are now, ``went`` ended in this turn;
    ``greeted``: they begin with a PROXY header. ``row``: its counters (option socket-stats), or None."""

    __slots__ = ("bind", "door", "fe", "greeted", "open", "row", "went")

    def __init__(self, fe: FrontendRt, bind: plans.Bind) -> None:
        self.fe = fe
        self.bind = bind
        self.greeted = bind.accept_proxy
        label = listener_key(fe.name, bind.label)
        row = fe.rt.state.rows.names.row
        self.door = Door(fe.rt.area, (row(PROCESS), row(frontend_key(fe.name)), row(label)))
        self.open = self.went = 0
        self.row: memoryview | None = fe.rt.row(label) if "socket-stats" in fe.plan.options else None


class FrontendRt:
    """One frontend. ``default`` is the backend when no rule chooses, ``twin`` the backend half of the same ``listen`` section."""

    __slots__ = (
        "addresses", "adjust", "after_rules", "bare", "binds", "buffer_body", "came", "captures", "choose", "client_fin_s", "client_s",
        "close_client", "close_server", "connection_rules", "connections", "content_rules", "count", "default", "drops_trailers",
        "forwardfor", "head_timeout", "http", "idle_timeout", "keeps_ends", "kept", "limits", "listeners", "log", "log_connect",
        "log_early", "log_steps", "marked", "most_own", "name", "originalto", "peak", "plain", "plain_response", "plan", "reads_answers",
        "relay_options", "request_rules", "response_rules", "restrict", "rt", "session_rules", "sessions", "socket_options", "sums",
        "tallies", "tally", "told", "tracks", "tracks_connections", "tunnels", "twin", "unique_id_line", "verdicts", "went",
    )  # fmt: skip

    def __init__(self, rt: Runtime, plan: plans.Frontend, backends: dict[str, BackendRt], log: AccessLog) -> None:
        self.rt = rt
        self.plan = plan
        self.name = plan.name
        self.log = log
        self.http = plan.mode == "http"
        self.twin = backends.get(plan.name)
        #: what persistence says of streams that no backend has taken yet: only a ``listen`` section has an opinion
        self.kept: Kept | None = Kept(self.twin.persistence) if self.twin is not None and self.twin.persistence is not None else None
        self.default = backends.get(plan.default_backend)
        self.choose = plan.use_backend
        self.forwardfor = address_field(plan.forwardfor)
        self.originalto = address_field(plan.originalto)
        self.addresses = plan.forwardfor is not None or plan.originalto is not None
        self.buffer_body = plan.needs & BODY_FIRST == Needs.BODY or "http-buffer-request" in plan.options
        self.reads_answers = bool(plan.needs & Needs.RES_BODY)
        self.restrict = restriction(plan)
        self.adjust = case_adjuster(rt.plan.global_, plan, "h1-case-adjust-bogus-client")
        #: there are stick tables, and rules may track entries of them; rules of connections, too
        self.tracks = bool(rt.plan.tables)
        #: what servers' answers count as in their entries, by status; nothing without tables
        self.verdicts: Mapping[int, tuple[str, ...]] = rt.plan.global_.options.get("verdicts", VERDICTS) if self.tracks else {}
        self.tracks_connections = self.tracks and not (plan.tcp_request_connection is None and plan.tcp_request_session is None)
        self.captures = bool(plan.capture_request or plan.capture_response or plan.capture_cookie)
        #: the log asks for the addresses of the server's connection, which is gone by then
        self.keeps_ends = bool(plan.log_needs & Needs.SERVER)
        #: when lines are written instead of the one at the end (log-steps); None: nobody says
        self.log_steps: frozenset[str] | None = plan.capabilities.get("log-steps") if log.targets else None
        self.log_connect = plan.log_on_connect and bool(log.targets)
        self.log_early = "logasap" in plan.options
        self.tunnels = plan.connection_mode == "tunnel"
        if self.log_steps is not None:
            self.log_connect = not self.log_steps.isdisjoint(("accept", "request", "connect"))
            self.log_early = "response" in self.log_steps
        #: nothing has to be decided for a request but for the choice of a backend
        self.bare = (
            self.http
            and plan.tcp_request_content is None
            and plan.http_request is None
            and plan.statistics is None
            and not self.buffer_body
            and not self.captures
            and not self.tracks_connections
            and not self.log_connect
            and not plan.monitor_uri
            and not self.restrict
        )
        self.plain = self.bare and self.choose is None and self.default is not None
        self.plain_response = (
            plan.http_response is None
            and "bandwidth" not in plan.options
            and plan.http_after_response is None
            and not plan.capture_response
            and plan.capture_cookie is None
            and not self.log_early
            and not self.tunnels
        )
        self.close_server = plan.connection_mode in ("http-server-close", "httpclose")
        self.close_client = plan.connection_mode == "httpclose"
        name = plan.unique_id_header
        self.unique_id_line = name.replace(b"%", b"%%") + b": %b\r\n" if name else b""
        t = plan.timeouts
        self.head_timeout = t.http_request_s if t.http_request_s is not None else t.client_s
        self.idle_timeout = t.http_keep_alive_s if t.http_keep_alive_s is not None else self.head_timeout
        self.client_s, self.client_fin_s = t.client_s, t.client_fin_s
        self.relay_options = plan.options & RELAY
        self.connection_rules, self.session_rules = plan.tcp_request_connection, plan.tcp_request_session
        self.content_rules, self.request_rules = plan.tcp_request_content, plan.http_request
        self.response_rules, self.after_rules = plan.http_response, plan.http_after_response
        settings = rt.plan.global_
        self.limits = head_limits(settings, "accept-unsafe-violations-in-http-request" in plan.options)
        self.most_own: int = plan.capabilities.get("max-session-srv-conns", 5)
        self.drops_trailers = "http-drop-response-trailers" in plan.options
        self.connections = 0
        #: what moved in this turn: connections that came, those that became sessions, where some went; the most at a time
        self.came = self.sessions = 0
        self.went: list[BindRt] = []
        self.peak = 0
        self.marked = False
        #: by the number of their bind
        self.binds: dict[int, BindRt] = {bind.id: BindRt(self, bind) for bind in plan.binds}
        self.listeners: list[Any] = []
        self.socket_options = socket_options(plan, settings)
        #: option contstats: what was counted already of streams that still run, (bytes in, bytes out)
        self.told: dict[Stream, tuple[int, int]] | None = {} if "contstats" in plan.options else None
        self.tallies: dict[FrontendRt, Tally] = {}
        self.tally: Tally | None = None
        self.count = counting.FrontendCounters(rt.row(frontend_key(plan.name)))
        self.sums = Sums(self.count.row, rt.process)

    def backend_for(self, s: Stream) -> BackendRt | None:
        """The backend of ``s``: use_backend rules in order, else default_backend; None: there is none. Raises NotYet."""
        if self.choose is not None:
            name = self.choose(s)
            if name is not None:
                found = self.rt.backends.get(name)
                if found is not None:  # a name made at run time may be nobody's
                    return found
        return self.default

    def pass_over(self, names: frozenset[str]) -> None:
        """Choose none of these backends (disabled or unpublished), unless force-be-switch says so."""
        plan, backends = self.plan, self.rt.backends
        self.choose = plan.use_backend
        self.default = backends.get(plan.default_backend)
        if names:
            self._pass_over(names)
        self.plain = self.bare and self.choose is None and self.default is not None

    def _pass_over(self, names: frozenset[str]) -> None:
        plan = self.plan
        if plan.but_for is not None:
            self.choose = plan.but_for(names)
        if plan.default_backend in names:
            self.default = self.twin  # "processing will remain on the original proxy"
        if plan.force_switch:
            every, visible, usual = plan.use_backend, self.choose, plan.default_backend

            def choose(s: Stream) -> str | None:
                if any(test(s) for test in plan.force_switch):
                    return (every(s) if every is not None else None) or usual
                return visible(s) if visible is not None else None

            self.choose = choose

    # -- limits

    def _give_back(self) -> None:
        """The places of what went."""
        for at in self.went:
            at.door.leave(at.went)
            at.went = 0
        self.went.clear()

    def relimit(self) -> None:
        """A limit may have come that was not there: what is open counts in it."""
        self._give_back()
        own = self.rt.state.rows.names.row(frontend_key(self.name))
        for at in self.binds.values():
            for row in at.door.look():
                doors.align(self.rt.area, row, self.connections if row == own else at.open)

    # -- counters

    def accepted(self, at: BindRt, came: int = 1) -> None:
        """A connection was accepted at ``at``; its door was opened for it. ``came`` 0: not from outside."""
        rt = self.rt
        rt.connections += 1
        self.came += came
        self.connections = now = self.connections + 1
        if now > self.peak:
            self.peak = now
        at.open += 1
        if at.row is not None:
            counting.gauge(at.row, 0, at.open, at.open)
        if not self.marked:
            self.marked = True
            rt.marked.append(self)

    def resumed(self, at: BindRt) -> None:
        """There is a connection at ``at`` that another worker accepted."""
        at.door.force()
        self.accepted(at, 0)

    def session_started(self, at: BindRt) -> None:
        """It passed the rules of its connection."""
        self.sessions += 1
        if at.row is not None:
            counting.event(at.row, "sess_tot")

    def closed(self, c: Client) -> None:
        """A connection ended."""
        rt, at = self.rt, c.at
        rt.clients.discard(c)
        rt.connections -= 1
        self.connections -= 1
        at.open -= 1
        if at.row is not None:
            counting.gauge(at.row, 0, at.open, at.open)
        if not at.went:
            self.went.append(at)
        at.went += 1
        if not self.marked:
            self.marked = True
            rt.marked.append(self)
        if self.tracks_connections:
            tracking.connection_ended(c)

    def show(self) -> None:
        """Write what moved in a turn, at its end: cells and locks are touched once for all of its connections."""
        self.marked = False
        count, process = self.count, self.rt.process
        counting.gauge(count.row, 0, self.connections, self.peak)
        process[CONN_CUR] = self.rt.connections
        self.peak = self.connections
        if self.came:
            count.came(self.came, process)
            self.came = 0
        if self.sessions:
            count.sessions(self.sessions, self.http)
            self.sessions = 0
        self._give_back()

    def count_intercepted(self) -> None:
        """A request is answered by the proxy itself."""
        self.count.intercepted()

    def count_denied(self, session: bool, at: BindRt) -> None:
        """A connection or session was refused by a rule of layer 4."""
        self.count.denied(session)
        if at.row is not None:
            counting.event(at.row, "denied_sess" if session else "denied_conn")

    def account(self, s: Stream) -> None:
        """The stream ended: its tally, and its line in the log."""
        be: BackendRt | None = s.be
        srv: ServerRt | None = s.srv
        tally = (srv or be or self).tally
        if tally is None or tally.fe is not self.sums:
            tally = self.tally_for(be, srv)
        if tally.add(s):
            self.rt.poured.append(tally)
        counted = _NOTHING
        if self.told:
            counted = self.told.pop(s, _NOTHING)
            tally.forget(counted)
        log = self.log
        if log.on:
            # As in HAProxy, the stream itself does not count any more for its backend and server.
            here = 0 if be is None else be.streams - s.counted_be
            s.conn_counts = (self.rt.connections, self.connections, here, 0 if srv is None else srv.served)
            if log.plain and s.log_level is None:
                log.send(6, s.clock.wall, log.render(s))
            else:
                log.emit(s)
        if be is not None and s.counted_be:
            s.counted_be = False
            be.leave()
        if self.tracks:
            tracking.ended(s, counted)

    def progress(self, s: Stream) -> None:
        """``option contstats``: count what ``s`` moved since the last look."""
        told, be, srv = self.told, s.be, s.srv
        if told is None or be is None or srv is None or s.logged:
            return
        there, back = s.req_flow, s.res_flow
        bytes_in = s.bytes_in + (there.moved if there is not None else 0)
        bytes_out = s.bytes_out + (back.moved if back is not None else 0)
        had_in, had_out = told.get(s, (0, 0))
        if (bytes_in, bytes_out) != (had_in, had_out):
            told[s] = (bytes_in, bytes_out)
            tally = self.tally_for(be, srv)
            tally.forget((had_in - bytes_in, had_out - bytes_out))
            self.rt.poured.append(tally)
            if self.tracks:
                tracking.moved(s, bytes_in - had_in, bytes_out - had_out)

    def tally_for(self, be: BackendRt | None, srv: ServerRt | None) -> Tally:
        """The tally for streams of this frontend that ended at ``be`` and ``srv``; from now on the one that is looked at first there."""
        party = self if be is None else be if srv is None else srv
        tally = party.tallies.get(self)
        if tally is None:
            metered = self.rt.plan.global_.metered
            http = self.http or (be is not None and be.http)
            tally = party.tallies[self] = Tally(
                self.sums, None if be is None else be.sums, None if srv is None else srv.count.row,
                0 if srv is None else srv.base, http, metered,
                by_bind="socket-stats" in self.plan.options, elects=be is not None and not be.by_algorithm,
            )
        party.tally = tally
        return tally

    def log_begin(self, s: Stream) -> None:
        """A stream begins, and lines are written before its end."""
        steps = self.log_steps
        if steps is None:
            self.log.connected(s)
            return
        if "accept" in steps:
            self.log_step(s, "accept")
        if "request" in steps and s.req is not None:
            self.log_step(s, "request")
        if "connect" in steps:
            s.marks = {**(s.marks or {}), "log_connect": True}  # asked for when the server's connection stands

    def log_step(self, s: Stream, step: str) -> None:
        """Write the line of a step of ``log-steps``."""
        be, srv = s.be, s.srv
        s.conn_counts = (self.rt.connections, self.connections, be.streams if be else 0, srv.served if srv else 0)
        assert isinstance(self.log, ProfiledLog)  # nobody else has steps
        self.log.at(s, step)

    def log_now(self, s: Stream) -> None:
        """``option logasap``: the line is written as soon as the session is established. Of ``log-steps`` this is "response"."""
        be, srv, res = s.be, s.srv, s.res
        if self.log_steps is not None:
            if res is not None:
                self.log_step(s, "response")
            return
        if s.log_level is None and self.log.on:
            s.conn_counts = (self.rt.connections, self.connections, be.streams if be else 0, srv.served if srv else 0)
            counted = s.bytes_out
            if res is not None:
                s.bytes_out += len(res.fields_raw) + len(res.added)
            self.log.emit(s)
            s.bytes_out = counted
            s.log_level = -1


def socket_options(plan: plans.Frontend, settings: plans.Global) -> Callable[[Any], None] | None:
    """What every accepted socket of a frontend gets, or None when there is nothing to do."""
    tcpka = keepalive_options(plan, "clitcpka")
    nolinger = "nolinger" in plan.options
    rcvbuf, sndbuf = settings.rcvbuf_client_bytes, settings.sndbuf_client_bytes
    if not tcpka and not nolinger and not rcvbuf and not sndbuf:
        return None

    def apply(sock: Any) -> None:
        if rcvbuf or sndbuf:
            buffers(sock, rcvbuf, sndbuf)
        if tcpka:
            keepalive(sock, **tcpka)
        if nolinger:
            reset_on_close(sock)

    return apply
