"""What is shown: one row per frontend, listener, server and backend, from the plan, the counters and the states of servers.

The one place that knows how a column is computed; CSV, JSON, the exporter and the statistics page only format rows. Works the same in
the master and in a worker: everything is read from shared memory.
Source: management manual 9.1; which columns an object has was compared with HAProxy's output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from forkproxy.health.machine import Admin, State, status_text
from forkproxy.health.status import Status
from forkproxy.plan import Address, Backend, Bind, Frontend, Plan, Server
from forkproxy.state import layout
from forkproxy.state.counters import Rows
from forkproxy.state.names import backend_key, frontend_key, listener_key
from forkproxy.state.servers import AGENT_TEXT, CHECK_TEXT, IN_FLIGHT, SUSPENDED, ServerState, ServerTable, shown_weight
from forkproxy.stats.columns import HIDDEN, NUMBER, Kind, Row, empty_row
from forkproxy.stats.families import state_of
from forkproxy.values import field, record

#: Columns of HTTP alone: empty for proxies in TCP mode.
_HTTP_ONLY = frozenset(
    {"hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other", "intercepted", "req_tot", "req_rate", "req_rate_max",
    "h1req", "h1_sess"}
)
#: No engine behind them yet, but tools expect a number for HTTP proxies.
_COMP = ("comp_in", "comp_out", "comp_byp", "comp_rsp")  # of TCP proxies, too
_ZEROES = (*_COMP, "cache_lookups", "cache_hits", "h2_sess", "h3_sess", "h2req", "h3req")
_N = NUMBER


def _copies(letter: str, http: bool) -> tuple[tuple[int, int], ...]:
    """(offset of the cell, number of the column) of everything that is just copied."""
    found = []
    for counter in layout.COUNTERS.values():
        if letter not in counter.csv_in and letter not in counter.family:
            continue
        if counter.csv in _HTTP_ONLY and not http:
            continue
        found.append((counter.offset, _N[counter.csv] if counter.csv else HIDDEN[counter.name]))
    return tuple(found)


_COPIES = {(letter, http): _copies(letter, http) for letter in "LFBS" for http in (True, False)}


@record
class Summary:
    """The servers of one backend taken together."""

    active: int = 0
    backups: int = 0
    weight: int = 0
    uweight: int = 0
    states: dict[str, int] = field(default_factory=dict)
    checks: dict[str, int] = field(default_factory=dict)

    def aggregates(self) -> Mapping[str, Mapping[str, int]]:
        """As the families of states want it."""
        return {"agg_server_status": self.states, "agg_check_status": self.checks}


class Model:
    """Rows for one plan. Cheap to make; make another one after a reload."""

    __slots__ = ("_ids", "_rows", "_servers", "_sources", "plan")

    def __init__(self, plan: Plan, rows: Rows, servers: ServerTable) -> None:
        self.plan = plan
        self._rows = rows
        self._servers = servers
        by_key = {server.key: server for backend in plan.backends.values() for server in backend.servers}
        self._sources = {key: _source(server, by_key) for key, server in by_key.items()}

    @property
    def size(self) -> int:
        """How many proxies and servers there are."""
        backends = self.plan.backends.values()
        return len(self.plan.frontends) + len(backends) + sum(len(backend.servers) for backend in backends)

    # -- rows

    def all(self) -> Iterator[Row]:
        """Every row in HAProxy's order: proxies as the files name them, then those that were added at run time; of each the frontend, its
        listeners, the servers, the backend."""
        files = {file: number for number, file in enumerate(self.plan.files)}

        def order(proxy: Frontend | Backend) -> tuple[int, int, int]:
            return files.get(proxy.place.file, len(files)), proxy.place.line, proxy.id

        proxies: list[Frontend | Backend] = [*self.plan.frontends, *self.plan.backends.values()]
        for proxy in sorted(proxies, key=order):
            if isinstance(proxy, Frontend):
                yield self.frontend(proxy)
                yield from self.listeners(proxy)
            else:
                for server in proxy.servers:
                    yield self.server(proxy, server)
                yield self.backend(proxy)

    def of_kind(self, kind: Kind) -> Iterator[Row]:
        """The rows of one kind, in the order of the plan."""
        if kind is Kind.FRONTEND:
            yield from (self.frontend(frontend) for frontend in self.plan.frontends)
        elif kind is Kind.BACKEND:
            yield from (self.backend(backend) for backend in self.plan.backends.values())
        elif kind is Kind.SERVER:
            yield from (self.server(backend, server) for backend in self.plan.backends.values() for server in backend.servers)
        else:
            for frontend in self.plan.frontends:
                yield from self.listeners(frontend)

    def _fill(self, key: str, letter: str, http: bool) -> tuple[Row, list[int]]:
        row = empty_row()
        try:
            totals = self._rows.totals(key)
        except KeyError:  # a worker that has not heard of this row yet
            totals = [0] * layout.ROW_CELLS
        for offset, column in _COPIES[letter, http]:
            row[column] = totals[offset]
        return row, totals

    @staticmethod
    def _identity(row: Row, kind: Kind, pxname: str, svname: str, iid: int, sid: int, mode: str) -> None:
        row[_N["pxname"]], row[_N["svname"]] = pxname, svname
        row[_N["pid"]], row[_N["iid"]], row[_N["sid"]] = 1, iid, sid
        row[_N["type"]], row[_N["mode"]] = int(kind), mode

    def frontend(self, frontend: Frontend) -> Row:
        """The FRONTEND row."""
        http = frontend.mode == "http"
        row, _ = self._fill(frontend_key(frontend.name), "F", http)
        self._identity(row, Kind.FRONTEND, frontend.name, "FRONTEND", frontend.id, 0, frontend.mode)
        row[_N["slim"]] = frontend.maxconn or self.plan.global_.maxconn
        row[_N["rate_lim"]] = frontend.rate_limit_sessions
        row[_N["status"]] = "STOP" if frontend.disabled else frontend.held or "OPEN"
        for name in _ZEROES if http else _COMP:
            row[_N[name]] = 0
        if not http:
            row[_N["req_rate"]] = row[_N["req_rate_max"]] = row[_N["req_tot"]] = 0
        return row

    def listeners(self, frontend: Frontend) -> Iterator[Row]:
        """One row per bind line, with ``option socket-stats``."""
        if "socket-stats" not in frontend.options:
            return
        for number, bind in enumerate(frontend.binds, 1):
            name = bind.label
            row, _ = self._fill(listener_key(frontend.name, name), "L", frontend.mode == "http")
            sid = bind.id or number
            self._identity(row, Kind.LISTENER, frontend.name, bind.name or f"sock-{number}", frontend.id, sid, frontend.mode)
            row[_N["status"]] = "OPEN"
            row[_N["slim"]] = bind.maxconn
            row[_N["addr"]] = _shown(bind.address)
            row[_N["proto"]] = _proto(bind)
            yield row

    def backend(self, backend: Backend) -> Row:
        """The BACKEND row."""
        http = backend.mode == "http"
        row, totals = self._fill(backend_key(backend.name), "B", http)
        self._identity(row, Kind.BACKEND, backend.name, "BACKEND", backend.id, 0, backend.mode)
        summary = self.summary(backend)
        usable = summary.active + summary.backups
        up = usable > 0 or not backend.servers
        row[_N["slim"]] = backend.fullconn or 1  # one that was added at run time
        row[_N["status"]] = "UP" if up else "DOWN"
        row[_N["weight"]], row[_N["uweight"]] = summary.weight, summary.uweight
        row[_N["act"]], row[_N["bck"]] = summary.active, summary.backups
        row[_N["agg_server_status"]] = row[_N["agg_server_check_status"]] = row[_N["agg_check_status"]] = 0
        self._ages(row, totals, down=not up, counted=bool(backend.servers))
        row[_N["algo"]] = backend.balance.algorithm
        row[_N["cookie"]] = _cookie_name(backend)
        for name in _ZEROES[:6] if http else _COMP:
            row[_N[name]] = 0
        return row

    def server(self, backend: Backend, server: Server) -> Row:
        """The row of one server."""
        row, totals = self._fill(server.key, "S", backend.mode == "http")
        self._identity(row, Kind.SERVER, backend.name, server.name, backend.id, server.id, backend.mode)
        state = self._state(server)
        row[_N["status"]] = self._status(server, state)
        row[_N["slim"]] = server.maxconn or None
        row[_N["qlimit"]] = server.maxqueue or None
        row[_N["weight"]], row[_N["uweight"]] = shown_weight(state.weight), state.uweight
        row[_N["act"]], row[_N["bck"]] = int(not server.backup), int(server.backup)
        row[_N["throttle"]] = state.throttle or None
        row[_N["tracked"]] = server.track or None
        row[_N["src_ilim"]] = server.pool_max_conn if server.pool_max_conn >= 0 else None
        row[_N["srid"]] = 0
        row[_N["addr"]] = _shown(server.address)
        row[_N["cookie"]] = server.cookie.decode("utf-8", "replace") or None
        self._ages(row, totals, down=state.op == State.STOPPED, counted=server.check is not None)
        self._check(row, server, totals)
        self._agent(row, server, totals)
        return row

    def _agent(self, row: Row, server: Server, totals: list[int]) -> None:
        """The columns about the agent; a server without one has none."""
        look = totals[layout.AGENT_LOOK]
        if server.agent is None or look == SUSPENDED:
            for name in ("agent_code", "agent_duration", "agent_health"):
                row[_N[name]] = None
            return
        status = _status_of(totals[layout.AGENT_STATUS])
        row[_N["agent_status"]] = f"* {status.name}" if look == IN_FLIGHT else status.name
        row[_N["agent_desc"]] = status.text
        if not status.has_code:
            row[_N["agent_code"]] = None
        if status > Status.INI:
            row[_N["last_agt"]] = self._servers.said(server.key, AGENT_TEXT)
        row[_N["agent_rise"]], row[_N["agent_fall"]] = server.agent.rise, server.agent.fall

    def _check(self, row: Row, server: Server, totals: list[int]) -> None:
        """The columns about checks; a server without them has none."""
        check, look = server.check, totals[layout.CHECK_LOOK]
        if check is None or look == SUSPENDED:
            for name in ("chkfail", "chkdown", "hanafail", "check_code", "check_duration", "check_health"):
                row[_N[name]] = None
            return
        status = _status_of(totals[layout.CHECK_STATUS])
        row[_N["check_status"]] = f"* {status.name}" if look == IN_FLIGHT else status.name
        row[_N["check_desc"]] = status.text
        if not status.has_code:
            row[_N["check_code"]] = None
        if not server.observe:
            row[_N["hanafail"]] = None
        if Admin(totals[layout.SRV_ADMIN]).maint:  # nobody looks
            for name in ("check_status", "check_desc", "check_code", "check_duration", "check_health"):
                row[_N[name]] = None
            return
        if status <= Status.INI:
            row[_N["check_duration"]] = None
        else:
            row[_N["last_chk"]] = self._servers.said(server.key, CHECK_TEXT)
        row[_N["check_rise"]], row[_N["check_fall"]] = check.rise, check.fall

    def _ages(self, row: Row, totals: list[int], *, down: bool, counted: bool) -> None:
        """Cells that hold epochs become ages; the time down so far is added to what it was before."""
        now = int(self._rows.clock.wall)
        since = totals[layout.LAST_CHANGE]
        age = max(0, now - since) if since else 0
        row[_N["lastchg"]] = age
        row[_N["downtime"]] = totals[layout.DOWNTIME] + (age if down else 0) if counted else None
        last = totals[layout.LAST_SESS]
        row[_N["lastsess"]] = max(0, now - last) if last else -1

    # -- states

    def _state(self, server: Server) -> ServerState:
        try:
            return self._servers.get(server.key)
        except KeyError:
            return ServerState(State.STOPPED, 0, 0, server.weight, 0, 0)

    def in_maintenance(self, server: Server) -> bool:
        """Whether the operator (or who it tracks) took it out."""
        return self._state(server).maint

    def _status(self, server: Server, state: ServerState) -> str:
        source = self._sources[server.key]
        admin = Admin(state.admin)
        agent = self._cell(source.key, "agent_health") if source.agent is not None else None
        if source.check is None or self._cell(source.key, "check_look") == SUSPENDED:
            return status_text(State(state.op), admin, 1, 1, 1, checked=False, via=server.track, agent=agent)
        return status_text(State(state.op), admin, state.health, source.check.rise, source.check.fall, via=server.track, agent=agent)

    def _cell(self, key: str, counter: str) -> int:
        try:
            return self._servers.read(key, counter)
        except KeyError:
            return 0

    def summary(self, backend: Backend) -> Summary:
        """Its servers taken together. Weights are those of the servers in use: the active ones, else the backups."""
        summary = Summary()
        weights = {False: [0, 0], True: [0, 0]}
        for server in backend.servers:
            state = self._state(server)
            word = state_of(self._status(server, state), state.uweight)
            summary.states[word] = summary.states.get(word, 0) + 1
            if server.check is not None:
                name = _status_of(self._cell(server.key, "check_status")).name
                summary.checks[name] = summary.checks.get(name, 0) + 1
            if state.usable and state.weight > 0:
                if server.backup:
                    summary.backups += 1
                else:
                    summary.active += 1
                weights[server.backup][0] += shown_weight(state.weight)
                weights[server.backup][1] += state.uweight
        summary.weight, summary.uweight = weights[not summary.active]
        return summary

    def aggregates(self, name: str) -> Mapping[str, Mapping[str, int]]:
        """Counts of states of the servers of backend ``name``."""
        return self.summary(self.plan.backends[name]).aggregates()


def _status_of(number: int) -> Status:
    return Status(number) if number in Status._value2member_map_ else Status.UNK


_LEGENDS = tuple(_N[name] for name in ("addr", "cookie", "algo"))


def without_legends(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows without what only operators, and pages with "stats show-legends", tell: addresses, cookies, algorithms."""
    for row in rows:
        for number in _LEGENDS:
            row[number] = None
        yield row


def visible(rows: Iterable[Row], *, up: bool = False, no_maint: bool = False) -> Iterator[Row]:
    """``rows`` without servers that do not serve (``up``), or without those in maintenance (``no_maint``)."""
    for row in rows:
        if row[_N["type"]] == Kind.SERVER:
            status = str(row[_N["status"]])
            if (no_maint and status.startswith("MAINT")) or (up and status.startswith(("DOWN", "MAINT", "NOLB"))):
                continue
        yield row


def _source(server: Server, by_key: Mapping[str, Server]) -> Server:
    """The server at the end of the tracking chain."""
    seen = {server.key}
    while server.track and server.track in by_key and server.track not in seen:
        server = by_key[server.track]
        seen.add(server.key)
    return server


def _shown(address: Address) -> str:
    return str(address) if address.family in ("ipv4", "ipv6") else "unix" if address.family == "unix" else str(address)


def _proto(bind: Bind) -> str:
    return {"ipv4": "tcpv4", "ipv6": "tcpv6", "unix": "unix_stream", "abns": "abns_stream"}.get(bind.address.family, bind.address.family)


def _cookie_name(backend: Backend) -> str | None:
    return backend.cookie.name.decode("utf-8", "replace") if backend.cookie is not None else None
