"""What a worker counts, and when.

What ends is counted once, in :meth:`Tally.pour`: a tally stands for one (frontend, backend, server) that streams of this worker
took, and its streams are added up and poured into the three rows of the shared segment at the end of the loop's turn. Under
load a turn ends many streams, and a cell costs twice a variable: 26 cells per request were 2.1 µs, now 0.4. A kill -9 loses
the counts of one turn. Rare events (errors, retries, new connections) go to their cells at once. The names of cells are ``state.layout``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkproxy.errors import StreamError
from forkproxy.proxy import histograms
from forkproxy.state import layout as L
from forkproxy.state import rates

if TYPE_CHECKING:
    from forkproxy.plan import Bind
    from forkproxy.proxy.frontend import FrontendRt
    from forkproxy.proxy.runtime import Runtime
    from forkproxy.proxy.stream import Stream

HRSP = L.HRSP
#: counters of errors.ERRORS that belong to the frontend; the others are the backend's and the server's
_FRONT = frozenset({"req_errors", "req_denied"})


class Tally:
    """Streams of one turn that took the same way. ``fe``, ``be`` and ``srv`` are rows (be and srv may be None), ``ended`` the streams,
    ``bytes_in`` and ``bytes_out`` what is to be counted besides theirs."""

    __slots__ = ("be", "bytes_in", "bytes_out", "ended", "fe", "histograms", "http", "ports", "process", "srv")

    def __init__(
        self, process: memoryview, fe: memoryview, be: memoryview | None, srv: memoryview | None, http: bool, histograms: bool,
        ports: dict[int, memoryview] | None,
    ) -> None:  # fmt: skip
        self.process = process
        self.fe = fe
        self.be = be
        self.srv = srv
        self.http = http
        self.histograms = histograms
        self.ports = ports
        self.ended: list[Stream] = []
        self.bytes_in = self.bytes_out = 0

    def forget(self, counted: tuple[int, int]) -> None:
        """These bytes (in, out) were counted while the stream ran (``option contstats``)."""
        self.bytes_in -= counted[0]
        self.bytes_out -= counted[1]

    def pour(self) -> None:
        """Add everything to the rows and begin anew."""
        ended, bytes_in, bytes_out = self.ended, self.bytes_in, self.bytes_out
        statuses = [0] * 10
        served = reused = 0
        unlike: list[Stream] = []
        queue_s = connect_s = response_s = total_s = 0.0
        queue_max = connect_max = response_max = total_max = 0.0
        for s in ended:
            bytes_in += s.bytes_in
            bytes_out += s.bytes_out
            status = s.status
            statuses[status // 100 if status < 1000 else 0] += 1  # a server whose violations are accepted says up to 65535
            res = s.res
            if res is None or res.status != status:
                unlike.append(s)
            queue = s.t_queue
            if not queue:
                continue
            served += 1
            if s.reused:
                reused += 1
            connect = s.t_connect
            if connect != s.t_request:  # equal in most requests: chosen and sent in the turn in which they came, over an idle connection
                took = queue - s.t_request
                if took > 0.0:
                    queue_s += took
                    if took > queue_max:
                        queue_max = took
                took = connect - queue
                if took > 0.0:
                    connect_s += took
                    if took > connect_max:
                        connect_max = took
            if s.t_response and connect:
                took = s.t_response - connect
                response_s += took
                if took > response_max:
                    response_max = took
            took = s.t_end - s.t_first
            total_s += took
            if took > total_max:
                total_max = took
        n, fe, be, srv = len(ended), self.fe, self.be, self.srv
        fe[L.BYTES_IN] += bytes_in
        fe[L.BYTES_OUT] += bytes_out
        fe[L.REQ_IN] += bytes_in
        fe[L.RES_OUT] += bytes_out
        self.process[L.BYTES_OUT] += bytes_out
        if self.http:
            fe[L.REQ_TOT] += n
            fe[L.H1_REQ] += n
            self.process[L.REQ_TOT] += n
            for row in (fe, be):
                if row is not None:
                    _add(row, statuses)
            if srv is not None:
                _servers_own(statuses, unlike)
                srv[L.REQ_TOT] += sum(statuses)
                _add(srv, statuses)
        else:
            fe[L.REQ_OTHER] += n
        for row in (be, srv):
            if row is not None:
                row[L.SESS_TOT] += n
                row[L.BYTES_IN] += bytes_in
                row[L.BYTES_OUT] += bytes_out
        if self.http and be is not None:
            be[L.REQ_TOT] += n
        if served and be is not None and srv is not None:
            sums = [int(t * 1000.0 + 0.5) for t in (queue_s, connect_s, response_s, total_s)]
            longest = [int(t * 1000.0) for t in (queue_max, connect_max, response_max, total_max)]
            wall = int(ended[-1].clock.wall)
            for row in (be, srv):
                row[L.LBTOT] += served
                row[L.REUSES] += reused
                row[L.LAST_SESS] = wall
                rates.times(row, L.TIMES, served, sums, longest)
        if self.ports is not None:
            for s in ended:
                row = self.ports[s.origin.bind.id]
                row[L.BYTES_IN] += s.bytes_in
                row[L.BYTES_OUT] += s.bytes_out
        if self.histograms:
            histograms.add(ended, (fe, be, srv))
        ended.clear()
        self.bytes_in = self.bytes_out = 0


def _class(status: int) -> int:
    return status // 100 if status < 1000 else 0


def _add(row: memoryview, statuses: list[int]) -> None:
    for hundred, count in enumerate(statuses):
        if count:
            row[HRSP[hundred]] += count


def _servers_own(statuses: list[int], unlike: list[Stream]) -> None:
    """Turn what clients got into what the server said: something else, or nothing where a stream failed before it answered."""
    for s in unlike:
        statuses[_class(s.status)] -= 1
        if s.res is not None:
            statuses[_class(s.res.status)] += 1


class FrontendCounters:
    """Events of one frontend that are rare, or must be seen at once."""

    __slots__ = ("row",)

    def __init__(self, row: memoryview) -> None:
        self.row = row

    def accepted(self, rt: Runtime) -> None:
        """A connection came from outside."""
        self.row[L.CONN_TOT] += 1
        rt.process[L.CONN_TOT] += 1

    def opened(self, now_open: int, rt: Runtime) -> None:
        """There is a connection more, from outside or from another worker; ``now_open`` with it."""
        row = self.row
        row[L.SESS_CUR] = now_open
        if now_open > row[L.SESS_MAX]:
            row[L.SESS_MAX] = now_open
        rt.process[L.CONN_CUR] += 1

    def session(self, http: bool) -> None:
        """It became a session."""
        row = self.row
        row[L.SESS_TOT] += 1
        row[L.H1_SESS if http else L.SESS_OTHER] += 1

    def closed(self) -> None:
        """A connection went."""
        self.row[L.SESS_CUR] -= 1

    def intercepted(self) -> None:
        """Answered here."""
        self.row[L.INTERCEPTED] += 1

    def denied(self, session: bool) -> None:
        """Refused at layer 4."""
        self.row[L.DENIED_SESS if session else L.DENIED_CONN] += 1


class BackendCounters:
    """The same of a backend or a server."""

    __slots__ = ("row",)

    def __init__(self, row: memoryview) -> None:
        self.row = row

    def gauge(self, now: int, peak: int) -> None:
        """How many streams it has now, and had at most."""
        row = self.row
        row[L.SESS_CUR] = now
        if peak > row[L.SESS_MAX]:
            row[L.SESS_MAX] = peak

    def queued(self, change: int) -> None:
        """The queue grew or shrank."""
        row = self.row
        row[L.QUEUE_CUR] += change
        if row[L.QUEUE_CUR] > row[L.QUEUE_MAX]:
            row[L.QUEUE_MAX] = row[L.QUEUE_CUR]

    def redispatched(self) -> None:
        """A stream was sent elsewhere."""
        self.row[L.REDISPATCHES] += 1

    def retried(self) -> None:
        """A connection was tried again."""
        self.row[L.RETRIES] += 1

    def connects(self) -> None:
        """A connection is attempted."""
        self.row[L.CONNECTS] += 1

    def left(self, server: BackendCounters) -> None:
        """A stream that this backend's algorithm gave to ``server`` goes on to another one: it was there, though, and chosen."""
        self.row[L.LBTOT] += 1
        server.row[L.LBTOT] += 1
        server.row[L.SESS_TOT] += 1

    def idle(self, fresh: int, proven: int, used: int) -> None:
        """How many connections there are now: idle after one request, after several, in use."""
        row = self.row
        row[L.IDLE_CUR] = fresh + proven
        row[L.IDLE_UNSAFE] = fresh
        row[L.IDLE_SAFE] = proven
        row[L.USED_CUR] = used


def port_opened(row: memoryview, now_open: int) -> None:
    """So many connections are open at an address now (option socket-stats)."""
    row[L.SESS_CUR] = now_open
    if now_open > row[L.SESS_MAX]:
        row[L.SESS_MAX] = now_open


def event(row: memoryview, name: str) -> None:
    """One more of a counter of a party, by its name in ``state.layout``."""
    row[L.offset(name)] += 1


def front_event(fe: FrontendRt, bind: Bind, name: str) -> None:
    """One more of a counter of a frontend, and of the address where it happened (option socket-stats)."""
    event(fe.count.row, name)
    if fe.ports is not None:
        event(fe.ports[bind.id], name)


def count_error(s: Stream, row: StreamError) -> None:
    """Raise the counter of a row of errors.ERRORS where it belongs: requests' faults at the frontend, the others at backend and server."""
    name = row.counter
    if not name:
        return
    if name in _FRONT:
        front_event(s.fe, s.origin.bind, name)
        if name == "req_denied" and s.be is not None:
            event(s.be.count.row, name)
        return
    if s.be is None:
        return
    event(s.be.count.row, name)
    if s.srv is not None:
        event(s.srv.count.row, name)
        if s.srv.watch is not None:
            s.srv.watch.failed(row.name)
    if name in ("cli_aborts", "srv_aborts"):
        event(s.fe.count.row, name)
        if row.name == "server-abort-data":  # an error of the response, too (management manual 9.1 "eresp")
            for party in (s.be, s.srv):
                if party is not None:
                    event(party.count.row, "resp_errors")
