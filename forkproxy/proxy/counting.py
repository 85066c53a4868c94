"""What a worker counts, and when.

What ends is counted once, in :meth:`Tally.add`: a tally stands for one (frontend, backend, server) that streams of this worker
took, gathers them in plain attributes, and is poured into the three rows of the shared segment at the end of the loop's turn. Under
load a turn ends many streams, and a cell costs twice an attribute: 26 cells per request were 2.1 µs, now 0.6. A kill -9 loses
the counts of one turn. Rare events (errors, retries, new connections) go to their cells at once. The names of cells are ``state.layout``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkproxy.errors import StreamError
from forkproxy.state import layout as L
from forkproxy.state import rates

if TYPE_CHECKING:
    from forkproxy.proxy.stream import Stream

HRSP = L.HRSP
#: counters of errors.ERRORS that belong to the frontend; the others are the backend's and the server's
_FRONT = frozenset({"req_errors", "req_denied"})


class Tally:
    """Streams of one turn that took the same way. ``fe``, ``be`` and ``srv`` are rows (be and srv may be None)."""

    __slots__ = (
        "be", "bytes_in", "bytes_out", "connect_max", "connect_s", "fe", "http", "n", "process", "queue_max", "queue_s",
        "response_max", "response_s", "reused", "served", "srv", "statuses", "total_max", "total_s", "wall",
    )  # fmt: skip

    def __init__(self, process: memoryview, fe: memoryview, be: memoryview | None, srv: memoryview | None, http: bool) -> None:
        self.process = process
        self.fe = fe
        self.be = be
        self.srv = srv
        self.http = http
        self.n = 0
        self._zero()

    def _zero(self) -> None:
        self.n = self.bytes_in = self.bytes_out = self.reused = self.served = 0
        self.queue_s = self.connect_s = self.response_s = self.total_s = 0.0
        self.queue_max = self.connect_max = self.response_max = self.total_max = 0.0
        self.statuses = [0] * 10
        self.wall = 0.0

    def add(self, s: Stream) -> None:
        """``s`` ended."""
        self.n += 1
        self.bytes_in += s.bytes_in
        self.bytes_out += s.bytes_out
        try:
            self.statuses[s.status // 100] += 1
        except IndexError:  # of a server whose violations are accepted: up to 65535
            self.statuses[9] += 1
        queue = s.t_queue
        if not queue:
            return
        self.served += 1
        if s.reused:
            self.reused += 1
        connect = s.t_connect
        if connect != s.t_request:  # equal in most requests: chosen and sent in the turn in which they came, over an idle connection
            took = queue - s.t_request
            if took > 0.0:
                self.queue_s += took
                if took > self.queue_max:
                    self.queue_max = took
            took = connect - queue
            if took > 0.0:
                self.connect_s += took
                if took > self.connect_max:
                    self.connect_max = took
        if s.t_response and connect:
            took = s.t_response - connect
            self.response_s += took
            if took > self.response_max:
                self.response_max = took
        took = s.t_end - s.t_first
        self.total_s += took
        if took > self.total_max:
            self.total_max = took
        self.wall = s.clock.wall

    def forget(self, counted: tuple[int, int]) -> None:
        """These bytes (in, out) were counted while the stream ran (``option contstats``)."""
        self.bytes_in -= counted[0]
        self.bytes_out -= counted[1]

    def pour(self) -> None:
        """Add everything to the rows and begin anew."""
        n, fe = self.n, self.fe
        fe[L.BYTES_IN] += self.bytes_in
        fe[L.BYTES_OUT] += self.bytes_out
        fe[L.REQ_IN] += self.bytes_in
        fe[L.RES_OUT] += self.bytes_out
        self.process[L.BYTES_OUT] += self.bytes_out
        if self.http:
            fe[L.REQ_TOT] += n
            fe[L.H1_REQ] += n
            self.process[L.REQ_TOT] += n
        else:
            fe[L.REQ_OTHER] += n
        self._statuses(fe)
        be = self.be
        if be is not None:
            self._party(be)
            srv = self.srv
            if srv is not None:
                self._party(srv)
                served = self.served
                if served:
                    sums = [int(t * 1000.0 + 0.5) for t in (self.queue_s, self.connect_s, self.response_s, self.total_s)]
                    longest = [int(t * 1000.0) for t in (self.queue_max, self.connect_max, self.response_max, self.total_max)]
                    for row in (be, srv):
                        row[L.LBTOT] += served
                        row[L.REUSES] += self.reused
                        row[L.LAST_SESS] = int(self.wall)
                        rates.times(row, L.TIMES, served, sums, longest)
        self._zero()

    def _statuses(self, row: memoryview) -> None:
        if self.http:
            for hundred, count in enumerate(self.statuses):
                if count:
                    row[HRSP[hundred]] += count

    def _party(self, row: memoryview) -> None:
        row[L.SESS_TOT] += self.n
        row[L.BYTES_IN] += self.bytes_in
        row[L.BYTES_OUT] += self.bytes_out
        if self.http:
            row[L.REQ_TOT] += self.n
            self._statuses(row)


class FrontendCounters:
    """Events of one frontend that are rare, or must be seen at once."""

    __slots__ = ("row",)

    def __init__(self, row: memoryview) -> None:
        self.row = row

    def accepted(self, rt: Any) -> None:
        """A connection came from outside."""
        self.row[L.CONN_TOT] += 1
        rt.process[L.CONN_TOT] += 1

    def opened(self, now_open: int, rt: Any) -> None:
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

    def error(self, name: str) -> None:
        """A counter of errors.ERRORS."""
        self.row[L.offset(name)] += 1


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

    def connect_failed(self) -> None:
        """An attempt to connect failed."""
        self.row[L.CONN_ERRORS] += 1

    def error(self, name: str) -> None:
        """A counter of errors.ERRORS."""
        self.row[L.offset(name)] += 1

    def idle(self, fresh: int, proven: int, used: int) -> None:
        """How many connections there are now: idle after one request, after several, in use."""
        row = self.row
        row[L.IDLE_CUR] = fresh + proven
        row[L.IDLE_UNSAFE] = fresh
        row[L.IDLE_SAFE] = proven
        row[L.USED_CUR] = used


def count_error(s: Stream, row: StreamError) -> None:
    """Raise the counter of a row of errors.ERRORS where it belongs: requests' faults at the frontend, the others at backend and server."""
    name = row.counter
    if not name:
        return
    if name in _FRONT:
        s.fe.count.error(name)
        if name == "req_denied" and s.be is not None:
            s.be.count.error(name)
        return
    if s.be is None:
        return
    s.be.count.error(name)
    if s.srv is not None:
        s.srv.count.error(name)
    if name in ("cli_aborts", "srv_aborts"):
        s.fe.count.error(name)
