"""What a worker counts at once: rare events (errors, retries, new connections). What ends is counted by ``tally``.

The names of cells are ``state.layout``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forkproxy.errors import StreamError
from forkproxy.proxy.tally import count_statuses
from forkproxy.state import cells
from forkproxy.state import layout as L

if TYPE_CHECKING:
    from forkproxy.proxy.frontend import BindRt
    from forkproxy.proxy.stream import Stream

_GAUGE: Final = cells.best.gauge
#: counters of errors.ERRORS that belong to the frontend; the others are the backend's and the server's
_FRONT = frozenset({"req_errors", "req_denied"})


class FrontendCounters:
    """Events of one frontend that are rare, or must be seen at once."""

    __slots__ = ("row",)

    def __init__(self, row: memoryview) -> None:
        self.row = row

    def came(self, connections: int, process: memoryview) -> None:
        """So many came from outside."""
        self.row[L.CONN_TOT] += connections
        process[L.CONN_TOT] += connections

    def sessions(self, number: int, http: bool) -> None:
        """So many became sessions."""
        row = self.row
        row[L.SESS_TOT] += number
        row[L.H1_SESS if http else L.SESS_OTHER] += number

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

    def begun(self, streams: int, wall: int) -> None:
        """So many streams came, the last one now (epoch, seconds). They count when they come: some stay for days."""
        row = self.row
        row[L.SESS_TOT] += streams
        row[L.LAST_SESS] = wall

    def connects(self, attempts: int) -> None:
        """So many connections are attempted."""
        self.row[L.CONNECTS] += attempts

    def answered(self, status: int) -> None:
        """A server has answered what no client will see."""
        count_statuses(self.row, [status])
        self.row[L.REQ_TOT] += 1

    def left(self, server: BackendCounters, balanced: bool) -> None:
        """A stream of this backend goes on from ``server`` to another one: it was there, though, and if ``balanced``, chosen by the
        algorithm."""
        if balanced:
            self.row[L.LBTOT] += 1
            server.row[L.LBTOT] += 1

    def idle(self, idle: int, fresh: int, used: int) -> None:
        """How many connections there are now: idle, those of them that had one request only, in use."""
        row = self.row
        row[L.IDLE_CUR] = idle
        row[L.IDLE_UNSAFE] = fresh
        row[L.IDLE_SAFE] = idle - fresh
        row[L.USED_CUR] = used


def gauge(cells: memoryview, base: int, now: int, peak: int) -> None:
    """How many connections or streams a party has now, and had at most; its row begins at cell ``base``."""
    _GAUGE(cells, base + L.SESS_CUR, now, peak)  # SESS_MAX is behind it


def event(row: memoryview, name: str) -> None:
    """One more of a counter of a party, by its name in ``state.layout``."""
    row[L.offset(name)] += 1


def front_event(at: BindRt, name: str) -> None:
    """One more of a counter of a frontend, and of the address where it happened (option socket-stats)."""
    event(at.fe.count.row, name)
    if at.row is not None:
        event(at.row, name)


def count_error(s: Stream, row: StreamError) -> None:
    """Raise the counter of a row of errors.ERRORS where it belongs: requests' faults at the frontend, the others at backend and server."""
    name = row.counter
    if not name:
        return
    if name in _FRONT:
        front_event(s.client.at, name)
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
