"""Backends and their servers as one worker sees them: the plan's values, what was derived from them once, and the counters.

Whatever a request would have to look up or decide again and again is an attribute here. Each has a row of the worker's own slot of the
shared segment, which only this worker writes. Knows plan, balance and state; streams only by type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkproxy import balance
from forkproxy.net.sockets import Way
from forkproxy.proxy import counting, foreign
from forkproxy.proxy.derived import BODY_FIRST, RELAY, address_field, case_adjuster, head_limits, keepalive_options, naming, restriction
from forkproxy.proxy.observed import Watch
from forkproxy.proxy.persistence import Persistence
from forkproxy.proxy.sticking import Sticking
from forkproxy.proxy.tally import Sums, Tally
from forkproxy.registry import Needs
from forkproxy.state import layout
from forkproxy.state.names import backend_key
from forkproxy.state.queues import Gate, Queues
from forkproxy.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkproxy import plan as plans
    from forkproxy.proxy.frontend import FrontendRt
    from forkproxy.proxy.runtime import Runtime
    from forkproxy.proxy.stream import Stream
    from forkproxy.proxy.upstream import Upstream


class ServerRt:
    """One server. ``handy``/``proven``/``fresh`` are its idle connections (``pool``), ``served`` the streams it has now in this worker,
    ``gate`` is there if it has a limit: where its slots are counted over all workers, and who waits for one.

    ``alive`` (neither down nor in maintenance), ``usable`` (for new clients, too) and ``weight`` (sixteenths) mirror the master's table;
    ``refresh`` reads them anew."""

    __slots__ = (
        "alive", "backend", "base", "bounded", "count", "dial_options", "dialled", "exclusive", "fewest_idle", "first_takes_fresh",
        "first_takes_proven", "fleeting", "foreign", "fresh", "gate", "greets", "handy", "idle_limit", "index", "key", "label", "marked",
        "maxconn", "most_idle", "name", "needed", "peak", "plan", "posing", "proven", "redirect", "rt", "served",
        "server_timeout", "tallies", "tally", "tfo", "told", "usable", "watch", "way", "weight",
    )  # fmt: skip

    # What every request looks at: in a compiled class this is the order in memory, two lines of the cache, and a thousand servers do not
    # stay there.
    alive: bool
    usable: bool
    exclusive: bool
    first_takes_proven: bool
    first_takes_fresh: bool
    bounded: bool
    told: bool
    marked: bool
    tfo: bool
    posing: bool
    fleeting: bool
    served: int
    peak: int
    handy: Upstream | None
    base: int
    rt: Runtime
    gate: Gate | None
    label: bytes
    idle_limit: float
    server_timeout: float | None
    tally: Tally | None
    watch: Watch | None

    def __init__(self, rt: Runtime, backend: BackendRt, plan: plans.Server, index: int) -> None:
        self.rt = rt
        self.backend = backend
        self.plan = plan
        self.index = index
        self.name = plan.name
        self.key = plan.key
        self.label = plan.name.encode()
        self.handy = None
        self.proven: list[Upstream] = []
        self.fresh: list[Upstream] = []
        self.served = 0
        self.gate = None
        self.alive = self.usable = not plan.disabled
        self.weight = plan.weight * balance.SCALE
        #: what ``net.sockets.Way`` is told besides the address
        self.dial_options = dial_options(backend.plan, plan, rt.plan.global_)
        #: what else it is told for a stream (``usesrc`` of something of the client's), or None
        self.foreign: Callable[[Stream], dict[str, Any]] | None = None
        if plan.foreign is not None and plan.foreign.address is None:
            self.foreign = foreign.chooser(plan.foreign, self)
        self.settle(plan)
        self.tfo = plan.tfo
        self.greets = plan.send_proxy  # version of the PROXY header that begins every connection; 0 none
        #: a connection that nobody used for so long is closed, seconds
        self.idle_limit = plan.pool_purge_delay_s * 2
        #: how many connections this worker keeps though nobody uses them
        self.fewest_idle = -(-plan.pool_low_conn // rt.workers)
        #: its connections stay with the client for which they were opened: their header says whose they are, or ``http-reuse never``
        self.exclusive = plan.send_proxy > 0 or backend.plan.http_reuse == "never" or self.posing
        #: whether a client's first request may take a proven idle connection, or any (http-reuse)
        self.first_takes_proven = backend.plan.http_reuse in ("aggressive", "always")
        self.first_takes_fresh = backend.plan.http_reuse == "always"
        self.server_timeout = backend.plan.timeouts.server_s
        self.redirect = plan.redir
        #: the most streams at a time in this second, and lately
        self.peak = self.needed = 0
        #: connections attempted in this turn
        self.dialled = 0
        self.marked = False
        self.told = False  # whether the picker wants to hear of streams that begin and end
        self.tally = None
        self.tallies: dict[FrontendRt, Tally] = {}
        #: where its row is in any worker's slot
        self.base = rt.state.rows.base(plan.key)
        row = rt.row(plan.key)
        self.count = counting.BackendCounters(row)
        #: of a server whose traffic is observed
        self.watch = Watch(row, plan.observe) if plan.observe else None

    def settle(self, plan: plans.Server) -> None:
        """Take on what the operator may change while we run: limits, and the address."""
        self.plan = plan
        self.maxconn = plan.maxconn
        #: it sees us as somebody whom each stream tells
        self.posing = plan.foreign is not None and plan.foreign.address is None
        #: none is kept: with "strict-maxconn" one of another worker's would be one too many, and the next request may be somebody else's
        self.fleeting = (plan.strict_maxconn and plan.maxconn > 0) or (plan.foreign is not None and plan.foreign.kind == "header")
        #: the most that all workers together keep idle, -1: no limit
        self.most_idle = 0 if self.fleeting or not plan.pool_purge_delay_s else plan.pool_max_conn
        #: whether there is a limit to what is kept idle
        self.bounded = self.most_idle >= 0 or plan.max_reuse >= 0
        #: how to connect to it; None: that depends on the stream
        self.way = None if self.foreign is not None or floating(plan.address) else Way(plan.address, **self.dial_options)

    def relimit(self) -> None:
        """A limit may have come that was not there: what it has counts in it."""
        plan, row = self.plan, self.base // layout.ROW_CELLS
        if self.gate is None and self.rt.area.limited(row):
            queues = self.backend.limit()
            minconn = plan.minconn if 0 < plan.minconn < plan.maxconn else 0
            counted = queues.dynamic
            self.gate = queues.open(row, self, minconn, self.served, plan.slowstart_s > 0)
            if queues.dynamic and not counted:
                queues.count(self.backend.streams)

    def full(self) -> bool:
        """Whether it is at its limit, or streams wait for it."""
        return self.gate is not None and self.gate.full()

    def waiting(self) -> int:
        """How many streams of all workers wait for it."""
        return 0 if self.gate is None else self.backend.limit().waiting(self.gate)

    def way_for(self, s: Stream) -> Way:
        """How to connect to it for ``s``."""
        return Way(self.target(s), **(self.dial_options if self.foreign is None else self.foreign(s)))

    def target(self, s: Stream) -> plans.Address:
        """Where to connect: the server's address. What it leaves open is as the client asked for: the port (plus an offset), and with
        0.0.0.0 the address, too (manual 4.2 "server")."""
        address = self.plan.address
        if not floating(address):
            return address
        meant = address.host in _ANYWHERE
        host, port = s.origin.local()
        if address.port and not address.port_relative:
            port = address.port
        else:
            port += address.port
        if not meant or not s.origin.family:
            return replace(address, port=port, port_relative=False)
        return replace(address, family="ipv6" if ":" in host else "ipv4", host=host, port=port, port_relative=False)

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

    def end(self, s: Stream) -> bool:
        """``s`` left this server. True: its slot was given to a stream that waits in this worker (``queue.serve``)."""
        self.served -= 1
        s.attempted = False
        if self.told:
            self.backend.picker.on_end(self.index)
        if not self.marked:
            self.marked = True
            self.rt.marked.append(self)
        if self.gate is None:
            return False
        self.count.row[layout.SESS_CUR] = self.served  # before another worker counts it: sums must not show more than the limit
        return self.gate.leave()

    def show(self) -> None:
        """Write the gauges, and what was dialled (end of a turn in which they moved)."""
        self.marked = False
        counting.gauge(self.rt.cells, self.base, self.served, self.peak)
        dialled = self.dialled
        if dialled:
            self.dialled = 0
            self.count.connects(dialled)
            self.count.begun(dialled, int(self.rt.clock.wall))
            self.backend.count.connects(dialled)

    def second(self) -> None:
        """Once a second: how many connections are idle is shown, and what was needed lately fades by half."""
        count, peak = self.count, self.peak
        count.idle(self.idle(), len(self.fresh), self.served)
        if peak != self.served:
            counting.gauge(self.rt.cells, self.base, self.served, peak)
            self.peak = self.served
        if peak != self.needed:
            self.needed = peak if peak > self.needed else (self.needed + peak) // 2

    def idle(self) -> int:
        """How many idle connections it has in this worker."""
        return len(self.fresh) + len(self.proven) + (self.handy is not None)

    def crowded(self) -> bool:
        """Whether one more idle connection is more than streams have needed lately, all at once: where every client asks once on a
        connection of its own, none would ever be used again, and thousands would pile up. As in HAProxy, whose estimate is similar."""
        idle = self.idle()
        return idle >= self.fewest_idle and idle > 0 and idle + self.served > max(self.needed, self.peak)

    def count_connect(self) -> None:
        """A connection attempt begins; for the server each one is a session."""
        self.dialled += 1
        if not self.marked:
            self.marked = True
            self.rt.marked.append(self)


_ANYWHERE = ("0.0.0.0", "::")


def floating(address: plans.Address) -> bool:
    """Whether something of a server's address is as the client asked for."""
    return address.family in ("ipv4", "ipv6") and (not address.port or address.port_relative or address.host in _ANYWHERE)


def dial_options(backend: plans.Backend, server: plans.Server, settings: plans.Global) -> dict[str, Any]:
    """What ``net.sockets.Way`` is told of a server besides its address."""
    told: dict[str, Any] = {
        "source": server.source,
        "interface": server.source_interface,
        "namespace": server.namespace,
        "tfo": server.tfo,
        "user_timeout_ms": server.tcp_ut_ms,
        "quickack": "tcp-smart-connect" not in backend.options,
        "rcvbuf": settings.rcvbuf_server_bytes,
        "sndbuf": settings.sndbuf_server_bytes,
        "keepalive": keepalive_options(backend, "srvtcpka"),
        "nolinger": "nolinger" in backend.options,
    }
    if server.foreign is not None and server.foreign.address is not None:
        told["source"] = server.foreign.address
        told["foreign"] = True
    return told


class BackendRt:
    """One backend. It is its picker's view of the servers, too (``balance.View``)."""

    __slots__ = (
        "addresses", "adjust", "after_rules", "answer_rules", "begun", "buffer_body", "by_algorithm", "by_name", "checks_cache",
        "close_server", "connect_s", "content_rules", "count", "crowds", "direct", "drops_trailers", "forwarded", "forwardfor",
        "fullconn", "http", "keep_queue", "keeps_requests", "limits", "marked", "may_stay", "name", "naming", "offset", "originalto",
        "peak", "persistence", "persists", "picker", "plain", "plain_response", "plan", "prefer_last", "pretends", "queues",
        "reads_answers", "relaxed", "relay_options", "request_rules", "response_rules", "restrict", "retry_statuses", "round_robin",
        "rt", "server_fin_s", "servers", "stick", "streams", "sums", "tallies", "tally", "tunnel_s", "tunnels", "use_server",
    )  # fmt: skip

    def __init__(self, rt: Runtime, plan: plans.Backend) -> None:
        self.rt = rt
        self.plan = plan
        self.name = plan.name
        self.http = plan.mode == "http"
        #: the slots of its limited servers and who waits for one; None while it has no such servers
        self.queues: Queues | None = None
        #: a server is given streams beyond its limit, up to maxqueue (manual: maxqueue)
        self.crowds = plan.balance.algorithm == "leastconn"
        #: "option persist": clients stay with a server that is down
        self.persists = "persist" in plan.options
        self.prefer_last = "prefer-last-server" in plan.options
        #: the algorithm names no server for a request, so that a client that authenticated its connection may stay where it is
        self.may_stay = plan.balance.algorithm in ("roundrobin", "static-rr", "leastconn", "first", "random")
        self.round_robin = plan.balance.algorithm in ("roundrobin", "static-rr")
        self.forwardfor = address_field(plan.forwardfor)
        self.originalto = address_field(plan.originalto)
        self.forwarded = plan.forwarded
        self.addresses = plan.forwarded is not None or plan.forwardfor is not None or plan.originalto is not None
        self.buffer_body = plan.needs & BODY_FIRST == Needs.BODY or "http-buffer-request" in plan.options
        self.restrict = restriction(plan)
        self.adjust = case_adjuster(rt.plan.global_, plan, "h1-case-adjust-bogus-server")
        self.plain = plan.tcp_request_content is None and plan.http_request is None and plan.statistics is None
        self.plain = self.plain and not self.buffer_body and not self.restrict
        self.plain_response = plan.tcp_response_content is None and plan.http_response is None and plan.http_after_response is None
        #: rules look at bodies of answers
        self.reads_answers = bool(plan.needs & Needs.RES_BODY)
        self.retry_statuses = frozenset(int(word) for word in plan.retry_on if word.isdigit())
        self.tunnels = plan.connection_mode == "tunnel"
        self.plain_response = self.plain_response and not self.retry_statuses and not self.tunnels
        self.plain_response = self.plain_response and plan.cookie is None
        self.plain_response = self.plain_response and not plan.options & {"bandwidth", "checkcache"}
        #: requests that reached a server may be sent again: what was sent of their bodies is kept
        self.keeps_requests = bool(plan.retry_on - {"conn-failure", "0rtt-rejected"})
        #: "httpclose" here is about servers alone, in a frontend about both sides (as in HAProxy, whose manual is of two minds)
        self.close_server = plan.connection_mode in ("http-server-close", "httpclose")
        self.pretends = "http-pretend-keepalive" in plan.options
        #: tells servers their names (http-send-name-header), or None
        self.naming = naming(plan.name_header) if plan.name_header else None
        self.relaxed = "accept-unsafe-violations-in-http-response" in plan.options
        self.limits = head_limits(rt.plan.global_, self.relaxed)
        self.drops_trailers = "http-drop-request-trailers" in plan.options
        #: from this length of a server's queue on a kept-alive client may be served elsewhere (max-keep-alive-queue); None: never
        queue = plan.capabilities.get("max-keep-alive-queue", -1)
        self.keep_queue: int | None = queue if queue >= 0 else None
        self.checks_cache = "checkcache" in plan.options
        t = plan.timeouts
        self.connect_s, self.server_fin_s, self.tunnel_s = t.connect_s, t.server_fin_s, t.tunnel_s
        self.relay_options = plan.options & RELAY
        self.content_rules, self.request_rules = plan.tcp_request_content, plan.http_request
        self.answer_rules, self.response_rules, self.after_rules = plan.tcp_response_content, plan.http_response, plan.http_after_response
        self.fullconn = max(1, plan.fullconn or rt.plan.global_.maxconn // 10)  # a tenth: the manual's default
        self.streams = 0
        self.peak = 0
        self.marked = False
        #: streams that came in this turn
        self.begun = 0
        #: by which frontend its streams came; the one that was asked for last
        self.tallies: dict[FrontendRt, Tally] = {}
        self.tally: Tally | None = None
        self.count = counting.BackendCounters(rt.row(backend_key(plan.name)))
        self.sums = Sums(self.count.row, shared=len(plan.servers) > 1)
        self.offset = rt.number - 1 if rt.number else 0
        self.by_name: dict[str, ServerRt] = {}
        self.use_server: Callable[[Stream], ServerRt | None] | None = self._chooser() if plan.use_server else None
        self.settle([ServerRt(rt, self, server, i) for i, server in enumerate(plan.servers)])

    def settle(self, servers: list[ServerRt]) -> None:
        """Take on the servers, and what is derived from all of them: at the start, and when the operator changed some."""
        self.servers = servers
        self.by_name.clear()
        self.by_name.update((srv.name, srv) for srv in servers)
        plan = self.plan = replace(self.plan, servers=tuple([srv.plan for srv in servers]))
        kept = plan.cookie is not None or bool(plan.rdp_cookie) or bool(plan.persist_rules)
        #: nothing but the algorithm chooses the server; ``direct``: nor is any limited
        self.by_algorithm = not (self.prefer_last or plan.use_server or plan.stick or kept or any(s.redir for s in plan.servers))
        self.direct = self.by_algorithm
        self.relimit()
        self.stick = Sticking(self) if plan.stick else None
        self.persistence = Persistence(self) if kept else None
        self.picker = balance.build(plan, self)
        for i, srv in enumerate(servers):
            srv.index = i
            srv.told = self.picker.counts
            for _ in range(srv.served if srv.told else 0):
                self.picker.on_start(i)

    def relimit(self) -> None:
        """Servers may have got limits."""
        for srv in self.servers:
            srv.relimit()
            if srv.gate is not None:
                self.direct = False

    # -- the picker's view

    def usable(self, i: int) -> bool:
        return self.servers[i].usable

    def weight(self, i: int) -> int:
        return self.servers[i].weight

    def limited(self, i: int) -> bool:
        return self.servers[i].gate is not None

    def full(self, i: int) -> bool:
        srv = self.servers[i]
        gate = srv.gate
        if gate is None:
            return False
        if self.crowds and srv.plan.maxqueue:
            return self.limit().crowded(gate, srv.plan.maxqueue)
        return gate.full()

    def queue_full(self, i: int) -> bool:
        srv = self.servers[i]
        return srv.plan.maxqueue > 0 and srv.waiting() >= srv.plan.maxqueue

    def elsewhere(self, i: int) -> int:
        others = self.rt.neighbours
        return 0 if others is None else others.streams(self.servers[i])

    def limit(self) -> Queues:
        """Where its limited servers are counted."""
        queues = self.queues
        if queues is None:
            row = self.rt.state.rows.names.row(backend_key(self.name))
            queues = self.queues = Queues(self.rt.area, row, self.fullconn)
        return queues

    # -- choice

    def pick(self, s: Stream) -> ServerRt | None:
        """The server that the algorithm gives to ``s``; None: nobody can take it now."""
        avoid = s.avoid
        i = self.picker.pick(s) if avoid is None else self.picker.pick(s, (avoid.index,))
        return None if i is None else self.servers[i]

    def takes(self, s: Stream, srv: ServerRt) -> bool:
        """Whether ``srv`` may serve ``s`` that wants this one: it lives, or persistence goes before that (manual 4.2 "option persist",
        "force-persist")."""
        return srv.alive or self.persists or (s.kept is not None and s.kept.forced)

    def has_usable(self) -> bool:
        """Whether waiting makes sense: some server is there, only full."""
        return bool(self.picker.candidates)

    def usable_count(self) -> int:
        """How many servers share the load now."""
        return len(self.picker.candidates)

    def _chooser(self) -> Callable[[Stream], ServerRt | None]:
        rules = self.plan.use_server
        by_name = self.by_name

        def choose(s: Stream) -> ServerRt | None:
            for condition, name in rules:
                if condition is None or condition(s):
                    srv = by_name.get(name(s))
                    if srv is None or self.takes(s, srv):
                        return srv
            return None

        return choose

    # -- counters

    def enter(self, s: Stream) -> None:
        """``s`` is this backend's from now on."""
        self.streams = now = self.streams + 1
        if now > self.peak:
            self.peak = now
        self.begun += 1
        s.counted_be = True
        s.kept = None if self.persistence is None else self.persistence.enter(s)
        queues = self.queues
        if queues is not None and queues.dynamic and queues.count(1):
            self.rt.loop.call_soon(self.rt.ring)
        if not self.marked:
            self.marked = True
            self.rt.marked.append(self)

    def leave(self) -> None:
        """A stream of this backend ended."""
        self.streams -= 1
        queues = self.queues
        if queues is not None and queues.dynamic:
            queues.count(-1)
        if not self.marked:
            self.marked = True
            self.rt.marked.append(self)

    def show(self) -> None:
        """Write what moved in a turn, at its end."""
        self.marked = False
        counting.gauge(self.count.row, 0, self.streams, self.peak)
        if self.begun:
            self.count.begun(self.begun, int(self.rt.clock.wall))
            self.begun = 0

    def count_queue(self, srv: ServerRt | None, change: int) -> None:
        """A stream joined (+1) or left (-1) a queue."""
        (srv.count if srv is not None else self.count).queued(change)

    def count_redispatch(self, srv: ServerRt, *, balanced: bool) -> None:
        """A stream goes to another server than ``srv``; ``balanced``: which the algorithm had chosen."""
        self.count.redispatched()
        srv.count.redispatched()
        self.count.left(srv.count, balanced)

    def count_retry(self, srv: ServerRt) -> None:
        """A stream tries the same server again."""
        self.count.retried()
        srv.count.retried()
