"""Frontends, backends and servers as one worker sees them: the plan's values, what was derived from them once, and the counters.

Whatever a request would have to look up or decide again and again is an attribute here. A party's ``row`` is its slice of the worker's own
slot of the shared segment: only this worker writes it. Knows plan, balance and state; streams only by type.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from forkproxy import balance
from forkproxy.http.case import adjuster
from forkproxy.http.reader import Limits
from forkproxy.net.sockets import buffers, keepalive, reset_on_close
from forkproxy.proxy import counting
from forkproxy.registry import Needs
from forkproxy.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkproxy import plan as plans
    from forkproxy.proxy.accesslog import AccessLog
    from forkproxy.proxy.runtime import Runtime
    from forkproxy.proxy.stream import Stream
    from forkproxy.proxy.upstream import Upstream


class ServerRt:
    """One server. ``proven``/``fresh`` are its idle connections (``pool``), ``served`` the streams it has now in this worker,
    ``waiting`` its queue.

    ``usable`` and ``weight`` (sixteenths) mirror the master's table; ``refresh`` reads them anew."""

    __slots__ = (
        "backend", "count", "dial_options", "floor", "fresh", "greets", "idle_limit", "index", "key", "label", "limits",
        "marked", "maxconn", "maxed_reuse", "name", "peak", "plan", "pooled", "proven", "redirect", "rt", "served",
        "server_timeout", "share", "tallies", "told", "usable", "waiting", "weight",
    )  # fmt: skip

    def __init__(self, rt: Runtime, backend: BackendRt, plan: plans.Server, index: int) -> None:
        self.rt = rt
        self.backend = backend
        self.plan = plan
        self.index = index
        self.name = plan.name
        self.key = plan.key
        self.label = plan.name.encode()
        self.proven: list[Upstream] = []
        self.fresh: list[Upstream] = []
        self.served = 0
        self.waiting: deque[Stream] = deque()
        self.usable = not plan.disabled
        self.weight = plan.weight * balance.SCALE
        self.maxconn = plan.maxconn
        self.greets = plan.send_proxy  # version of the PROXY header that begins every connection; 0 none
        #: this worker's part of maxconn; sums up to it over all workers, at least one each
        self.share = max(1, -(-plan.maxconn // max(1, rt.plan.global_.nbproc))) if plan.maxconn else 0
        self.floor = max(1, -(-plan.minconn // max(1, rt.plan.global_.nbproc))) if 0 < plan.minconn < plan.maxconn else None
        self.idle_limit = max(plan.pool_purge_delay_s, 1.0) * 2
        self.maxed_reuse = plan.max_reuse == 0
        #: any of its idle connections may serve any client's second request, and any may stay
        self.pooled = backend.reuse != "never" and plan.pool_max_conn < 0 and plan.max_reuse < 0 and not plan.send_proxy
        self.server_timeout = backend.plan.timeouts.server_s
        self.redirect = plan.redir
        self.limits = backend.limits
        self.dial_options: dict[str, Any] = {}
        if plan.source is not None:
            self.dial_options["source"] = plan.source
        if plan.source_interface:
            self.dial_options["interface"] = plan.source_interface
        if plan.tfo:
            self.dial_options["tfo"] = True
        if plan.tcp_ut_ms:
            self.dial_options["user_timeout_ms"] = plan.tcp_ut_ms
        if "tcp-smart-connect" in backend.plan.options:
            self.dial_options["quickack"] = False
        settings = rt.plan.global_
        if settings.rcvbuf_server_bytes:
            self.dial_options["rcvbuf"] = settings.rcvbuf_server_bytes
        if settings.sndbuf_server_bytes:
            self.dial_options["sndbuf"] = settings.sndbuf_server_bytes
        self.peak = 0
        self.marked = False
        self.told = False  # whether the picker wants to hear of streams that begin and end
        self.tallies: dict[FrontendRt, counting.Tally] = {}
        self.count = counting.BackendCounters(rt.row(plan.key, "server"))

    def limit(self) -> int:
        """How many streams this worker may give to the server now: with ``minconn`` its limit grows with the load of the backend,
        up to ``maxconn`` at ``fullconn`` (manual 5.2 minconn)."""
        if self.floor is None:
            return self.share
        return max(self.floor, min(self.share, self.backend.streams * self.share // self.backend.fullconn))

    def target(self, s: Stream) -> plans.Address:
        """Where to connect: the server's address. What it leaves open is as the client asked for: the port (plus an offset), and with
        0.0.0.0 the address, too (manual 4.2 "server")."""
        address = self.plan.address
        meant = address.host in ("0.0.0.0", "::")
        if address.family not in ("ipv4", "ipv6") or (address.port and not address.port_relative and not meant):
            return address
        host, port = s.origin.local()
        if address.port and not address.port_relative:
            port = address.port
        else:
            port += address.port
        if not meant or not s.origin.family:
            return replace(address, port=port, port_relative=False)
        return replace(address, family="ipv6" if ":" in host else "ipv4", host=host, port=port, port_relative=False)

    def private(self, up: Upstream) -> bool:
        """Whether ``up`` must stay with its client."""
        return up.private or self.greets > 0  # its header told the server whose it is

    def begin(self, s: Stream) -> None:
        """``s`` was given to this server."""
        self.served = now = self.served + 1
        if now > self.peak:
            self.peak = now
        s.attempted = True
        if self.told:
            self.backend.picker.on_start(self.index)
        if not self.marked:
            self.marked = True
            self.rt.marked.append(self)

    def end(self, s: Stream) -> None:
        """``s`` left this server."""
        self.served -= 1
        s.attempted = False
        if self.told:
            self.backend.picker.on_end(self.index)
        if not self.marked:
            self.marked = True
            self.rt.marked.append(self)

    def show(self) -> None:
        """Write the gauges (end of a turn in which they moved)."""
        self.marked = False
        self.count.gauge(self.served, self.peak)

    def opened(self, up: Upstream) -> None:
        """A new connection is being made."""
        if self.backend.tcpka:
            keepalive(up.sock, **self.backend.tcpka)
        if self.backend.nolinger:
            reset_on_close(up.sock)

    def connected(self, s: Stream) -> None:
        """A new connection stands."""

    def forget(self, up: Upstream) -> None:
        """A connection was closed."""

    def count_connect(self) -> None:
        """A connection attempt begins."""
        self.count.connects()
        self.backend.count.connects()

    def count_connect_failure(self, s: Stream) -> None:
        """An attempt failed."""
        self.count.connect_failed()

    def count_abort(self, reused: bool) -> None:
        """The server closed before it answered."""


class BackendRt:
    """One backend. It is its picker's view of the servers, too (``balance.View``)."""

    __slots__ = (
        "addresses", "adjust", "buffer_body", "close_server", "count", "direct", "forwardfor", "fullconn", "keep_queue", "keeps_requests",
        "limits", "marked", "may_stay", "name", "nolinger", "offset", "originalto", "peak", "picker", "plain", "plain_response", "plan",
        "prefer_last", "pretends", "queue", "relaxed", "restrict", "retry_statuses", "reuse", "round_robin", "rt", "servers", "streams",
        "tallies", "tcpka", "use_server", "waiting",
    )  # fmt: skip

    def __init__(self, rt: Runtime, plan: plans.Backend) -> None:
        self.rt = rt
        self.plan = plan
        self.name = plan.name
        self.waiting: deque[Stream] = deque()
        self.queue = self.waiting
        self.reuse = plan.http_reuse
        self.prefer_last = "prefer-last-server" in plan.options
        #: the algorithm names no server for a request, so that a client that authenticated its connection may stay where it is
        self.may_stay = plan.balance.algorithm in ("roundrobin", "static-rr", "leastconn", "first", "random")
        self.round_robin = plan.balance.algorithm in ("roundrobin", "static-rr")
        self.forwardfor = plan.forwardfor
        self.originalto = plan.originalto
        self.addresses = plan.forwardfor is not None or plan.originalto is not None
        self.buffer_body = bool(plan.needs & Needs.BODY) or "http-buffer-request" in plan.options
        self.restrict = restriction(plan)
        self.adjust = case_adjuster(rt, plan, "h1-case-adjust-bogus-server")
        self.plain = plan.tcp_request_content is None and plan.http_request is None and not self.buffer_body and not self.restrict
        self.plain_response = plan.tcp_response_content is None and plan.http_response is None and plan.http_after_response is None
        self.retry_statuses = frozenset(int(word) for word in plan.retry_on if word.isdigit())
        self.plain_response = self.plain_response and not self.retry_statuses and plan.connection_mode != "tunnel"
        #: requests that reached a server may be sent again: what was sent of their bodies is kept
        self.keeps_requests = bool(plan.retry_on - {"conn-failure", "0rtt-rejected"})
        #: "httpclose" here is about servers alone, in a frontend about both sides (as in HAProxy, whose manual is of two minds)
        self.close_server = plan.connection_mode in ("http-server-close", "httpclose")
        self.pretends = "http-pretend-keepalive" in plan.options
        self.relaxed = "accept-unsafe-violations-in-http-response" in plan.options
        settings = rt.plan.global_
        self.limits = Limits(settings.bufsize_bytes - settings.maxrewrite_bytes, settings.maxhdr - 1, self.relaxed)
        #: from this length of a server's queue on a kept-alive client may be served elsewhere (max-keep-alive-queue); None: never
        queue = plan.capabilities.get("max-keep-alive-queue", -1)
        self.keep_queue: int | None = queue if queue >= 0 else None
        self.tcpka = keepalive_options(plan, "srvtcpka")
        self.nolinger = "nolinger" in plan.options
        workers = max(1, rt.plan.global_.nbproc)
        self.fullconn = max(1, (plan.fullconn or rt.plan.global_.maxconn // 10) // workers)  # a tenth: the manual's default
        self.streams = 0
        self.peak = 0
        self.marked = False
        self.tallies: dict[FrontendRt, counting.Tally] = {}
        self.count = counting.BackendCounters(rt.row(plan.name, "backend"))
        #: nothing but the algorithm chooses the server
        self.direct = not self.prefer_last and not plan.use_server and not any(server.maxconn or server.redir for server in plan.servers)
        self.offset = rt.number - 1 if rt.number else 0
        self.servers = [ServerRt(rt, self, server, i) for i, server in enumerate(plan.servers)]
        self.use_server: Callable[[Stream], ServerRt | None] | None = self._chooser() if plan.use_server else None
        self.picker = balance.build(plan, self)
        for srv in self.servers:
            srv.told = self.picker.counts

    # -- the picker's view

    def usable(self, i: int) -> bool:
        return self.servers[i].usable

    def weight(self, i: int) -> int:
        return self.servers[i].weight

    def limited(self, i: int) -> bool:
        return self.servers[i].maxconn > 0

    def full(self, i: int) -> bool:
        srv = self.servers[i]
        return bool(srv.waiting) or (srv.maxconn > 0 and srv.served >= srv.limit())

    def queue_full(self, i: int) -> bool:
        srv = self.servers[i]
        return srv.plan.maxqueue > 0 and len(srv.waiting) >= srv.plan.maxqueue

    def elsewhere(self, i: int) -> int:
        return 0

    # -- choice

    def pick(self, s: Stream) -> ServerRt | None:
        """The server that the algorithm gives to ``s``; None: nobody can take it now."""
        avoid = s.avoid
        i = self.picker.pick(s) if avoid is None else self.picker.pick(s, (avoid.index,))
        return None if i is None else self.servers[i]

    def has_usable(self) -> bool:
        """Whether waiting makes sense: some server is there, only full."""
        return bool(self.picker.candidates)

    def usable_count(self) -> int:
        """How many servers share the load now."""
        return len(self.picker.candidates)

    def _chooser(self) -> Callable[[Stream], ServerRt | None]:
        rules = self.plan.use_server
        by_name = {srv.name: srv for srv in self.servers}
        persist = "persist" in self.plan.options

        def choose(s: Stream) -> ServerRt | None:
            for condition, name in rules:
                if condition is None or condition(s):
                    srv = by_name.get(name(s))
                    return srv if srv is not None and (srv.usable or persist) else None
            return None

        return choose

    # -- counters

    def enter(self, s: Stream) -> None:
        """``s`` is this backend's from now on."""
        self.streams = now = self.streams + 1
        if now > self.peak:
            self.peak = now
        s.counted_be = True
        if not self.marked:
            self.marked = True
            self.rt.marked.append(self)

    def leave(self) -> None:
        """A stream of this backend ended."""
        self.streams -= 1
        if not self.marked:
            self.marked = True
            self.rt.marked.append(self)

    def show(self) -> None:
        """Write the gauges (end of a turn in which they moved)."""
        self.marked = False
        self.count.gauge(self.streams, self.peak)

    def count_queue(self, srv: ServerRt | None, change: int) -> None:
        """A stream joined (+1) or left (-1) a queue."""
        (srv.count if srv is not None else self.count).queued(change)

    def count_redispatch(self, srv: ServerRt) -> None:
        """A stream goes to another server."""
        self.count.redispatched()
        srv.count.redispatched()

    def count_retry(self, srv: ServerRt) -> None:
        """A stream tries the same server again."""
        self.count.retried()
        srv.count.retried()


class Pace:
    """At most ``limit`` events in any second, as far as counts of whole seconds tell: the last one fades while the present one runs."""

    __slots__ = ("_before", "_count", "_start", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._start = self._before = self._count = 0

    def take(self, now: float) -> bool:
        """Count an event at ``now`` (monotonic seconds), unless it is one too many."""
        second = int(now)
        if second != self._start:
            self._before = self._count if second == self._start + 1 else 0
            self._start, self._count = second, 0
        if self._count + self._before * (1.0 - now + second) >= self.limit:
            return False
        self._count += 1
        return True


class FrontendRt:
    """One frontend. ``default`` is the backend when no rule chooses, ``twin`` the backend half of the same ``listen`` section."""

    __slots__ = (
        "addresses", "adjust", "buffer_body", "captures", "choose", "close_client", "close_server", "connections", "count", "default",
        "forwardfor", "head_timeout", "http", "idle_timeout", "keeps_ends", "limits", "listeners", "log", "log_connect",
        "log_early", "name", "originalto", "pace", "per_bind", "plain", "plain_response", "plan", "restrict", "rt", "session_limit",
        "share", "socket_options", "tallies", "told", "twin", "unique_id_header",
    )  # fmt: skip

    def __init__(self, rt: Runtime, plan: plans.Frontend, backends: dict[str, BackendRt], log: AccessLog) -> None:
        self.rt = rt
        self.plan = plan
        self.name = plan.name
        self.log = log
        self.http = plan.mode == "http"
        self.twin = backends.get(plan.name)
        self.default = backends.get(plan.default_backend)
        self.choose = plan.use_backend
        self.forwardfor = plan.forwardfor
        self.originalto = plan.originalto
        self.addresses = plan.forwardfor is not None or plan.originalto is not None
        self.buffer_body = bool(plan.needs & Needs.BODY) or "http-buffer-request" in plan.options
        self.restrict = restriction(plan)
        self.adjust = case_adjuster(rt, plan, "h1-case-adjust-bogus-client")
        self.captures = bool(plan.capture_request or plan.capture_response or plan.capture_cookie)
        #: the log asks for the addresses of the server's connection, which is gone by then
        self.keeps_ends = bool(plan.log_needs & Needs.SERVER)
        self.log_connect = plan.log_on_connect and bool(log.targets)
        self.log_early = "logasap" in plan.options
        self.plain = (
            plan.tcp_request_content is None
            and plan.http_request is None
            and not self.buffer_body
            and plan.use_backend is None
            and self.default is not None
            and not self.captures
            and not self.keeps_ends
            and not self.log_connect
            and not plan.monitor_uri
            and not self.restrict
        )
        self.plain_response = (
            plan.tcp_response_content is None
            and plan.http_response is None
            and plan.http_after_response is None
            and not plan.capture_response
            and plan.capture_cookie is None
            and not self.log_early
            and plan.connection_mode != "tunnel"
        )
        self.close_server = plan.connection_mode in ("http-server-close", "httpclose")
        self.close_client = plan.connection_mode == "httpclose"
        self.unique_id_header = plan.unique_id_header
        t = plan.timeouts
        self.head_timeout = t.http_request_s if t.http_request_s is not None else t.client_s
        self.idle_timeout = t.http_keep_alive_s if t.http_keep_alive_s is not None else self.head_timeout
        settings = rt.plan.global_
        self.limits = Limits(
            head_bytes=settings.bufsize_bytes - settings.maxrewrite_bytes,
            max_fields=settings.maxhdr - 1,
            relaxed="accept-unsafe-violations-in-http-request" in plan.options,
        )
        self.connections = 0
        self.share = max(1, -(-plan.maxconn // max(1, settings.nbproc))) if plan.maxconn else 0
        self.session_limit = -(-plan.rate_limit_sessions // max(1, settings.nbproc))
        self.pace = Pace(self.session_limit)
        #: open connections by the number of their bind, where one has a limit
        self.per_bind: dict[int, int] | None = {bind.id: 0 for bind in plan.binds} if any(b.maxconn for b in plan.binds) else None
        self.listeners: list[Any] = []
        self.socket_options = socket_options(plan, settings)
        #: option contstats: what was counted already of streams that still run, (bytes in, bytes out)
        self.told: dict[Stream, tuple[int, int]] | None = {} if "contstats" in plan.options else None
        self.tallies: dict[FrontendRt, counting.Tally] = {}
        self.count = counting.FrontendCounters(rt.row(plan.name, "frontend"))

    # -- limits

    def full(self) -> bool:
        """Whether this worker's part of the frontend's ``maxconn`` is used up."""
        return self.share > 0 and self.connections >= self.share

    # -- counters

    def accepted(self) -> None:
        """A connection was accepted."""
        self.connections += 1
        self.rt.connections += 1
        self.count.accepted(self.connections, self.rt)

    def resumed(self) -> None:
        """A connection came from another worker."""
        self.connections += 1
        self.rt.connections += 1
        self.count.resumed(self.connections, self.rt)

    def session_started(self) -> None:
        """It passed the rules of its connection."""
        self.count.session(self.http)

    def closed(self) -> None:
        """A connection ended."""
        self.connections -= 1
        self.count.closed()

    def count_intercepted(self) -> None:
        """A request is answered by the proxy itself."""
        self.count.intercepted()

    def count_denied(self, session: bool) -> None:
        """A connection or session was refused by a rule of layer 4."""
        self.count.denied(session)

    def account(self, s: Stream) -> None:
        """The stream ended: its tally, and its line in the log."""
        be, srv = s.be, s.srv
        party = self if be is None else be if srv is None else srv
        tally = party.tallies.get(self) or self.tally(be, srv)
        if not tally.n:
            self.rt.poured.append(tally)
        tally.add(s)
        if self.told:
            tally.forget(self.told.pop(s, (0, 0)))
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
            tally = srv.tallies.get(self) or self.tally(be, srv)
            tally.forget((had_in - bytes_in, had_out - bytes_out))
            self.rt.poured.append(tally)

    def tally(self, be: BackendRt | None, srv: ServerRt | None) -> counting.Tally:
        """The tally for streams of this frontend that ended at ``be`` and ``srv``."""
        party = self if be is None else be if srv is None else srv
        new = party.tallies[self] = counting.Tally(
            self.rt.process,
            self.count.row,
            None if be is None else be.count.row,
            None if srv is None else srv.count.row,
            self.http,
        )
        return new

    def log_now(self, s: Stream) -> None:
        """``option logasap``: the line is written as soon as the session is established."""
        be, srv, res = s.be, s.srv, s.res
        if s.log_level is None and self.log.on:
            s.conn_counts = (self.rt.connections, self.connections, be.streams if be else 0, srv.served if srv else 0)
            counted = s.bytes_out
            if res is not None:
                s.bytes_out += len(res.fields_raw)
            self.log.emit(s)
            s.bytes_out = counted
            s.log_level = -1


def restriction(plan: plans.Proxy) -> str:
    """What becomes of request fields with unusual names: "delete", "reject", or "" for nothing."""
    policy: str = plan.capabilities.get("restrict-names", "preserve")
    return "" if policy == "preserve" else policy


def case_adjuster(rt: Runtime, plan: plans.Proxy, option: str) -> Callable[[bytes], bytes] | None:
    """How field names are written where ``option`` asks for another case than the usual one (manual 3.1: h1-case-adjust)."""
    options = rt.plan.global_.options
    names = {**options.get("h1-case-adjust-file", {}), **options.get("h1-case-adjust", {})}
    return adjuster(names) if names and option in plan.options else None


def keepalive_options(plan: plans.Proxy, name: str) -> dict[str, Any]:
    """Arguments for ``net.sockets.keepalive``, empty when the option is off."""
    if name not in plan.options and "tcpka" not in plan.options:
        return {}
    more = plan.capabilities
    return {
        "count": int(more.get(f"{name}-cnt", 0)),
        "idle_s": float(more.get(f"{name}-idle", 0.0)),
        "interval_s": float(more.get(f"{name}-intvl", 0.0)),
    }


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
