"""What a worker counts, and when: one class per kind of party over its row of the worker's own slot.

The names of cells are ``state.layout``'s. Every method is one event. ``process`` is row 0, the worker's own. Knows cells and streams' attributes, nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkproxy.errors import StreamError
from forkproxy.state import layout as L
from forkproxy.state import rates

if TYPE_CHECKING:
    from forkproxy.proxy.stream import Stream

HRSP = L.HRSP
#: errors.ERRORS counters that belong to the frontend, and to backend and server
_FRONT = frozenset({"req_errors", "req_denied"})


def _maximum(row: memoryview, at: int, value: int) -> None:
    if value > row[at]:
        row[at] = value


class FrontendCounters:
    """Events of one frontend."""

    __slots__ = ("row",)

    def __init__(self, row: memoryview) -> None:
        self.row = row

    def accepted(self, now_open: int, rt: Any) -> None:
        """A connection came; ``now_open`` with it."""
        row = self.row
        row[L.CONN_TOT] += 1
        row[L.SESS_CUR] = now_open
        if now_open > row[L.SESS_MAX]:
            row[L.SESS_MAX] = now_open
        process = rt.process
        process[L.CONN_TOT] += 1
        process[L.CONN_CUR] += 1

    def session(self, rt: Any) -> None:
        """It became a session."""
        row = self.row
        row[L.SESS_TOT] += 1

    def closed(self) -> None:
        """A connection went."""
        self.row[L.SESS_CUR] -= 1

    def request(self, rt: Any) -> None:
        """A request's head is complete."""
        row = self.row
        row[L.REQ_TOT] += 1
        row[L.H1_REQ] += 1
        rt.process[L.REQ_TOT] += 1

    def intercepted(self) -> None:
        """Answered here."""
        self.row[L.INTERCEPTED] += 1

    def denied(self, session: bool) -> None:
        """Refused at layer 4."""
        self.row[L.DENIED_SESS if session else L.DENIED_CONN] += 1

    def ended(self, s: Stream, status: int) -> None:
        """A stream ended."""
        row = self.row
        row[L.BYTES_IN] += s.bytes_in
        row[L.BYTES_OUT] += s.bytes_out
        row[L.REQ_IN] += s.bytes_in
        row[L.RES_OUT] += s.bytes_out
        if status:
            row[HRSP[status // 100]] += 1

    def error(self, name: str) -> None:
        """A counter of errors.ERRORS."""
        self.row[L.offset(name)] += 1


class BackendCounters:
    """Events of one backend."""

    __slots__ = ("row",)

    def __init__(self, row: memoryview) -> None:
        self.row = row

    def enter(self, now_open: int, http: bool, rt: Any) -> None:
        """A stream came to this backend; ``now_open`` with it."""
        row = self.row
        row[L.SESS_TOT] += 1
        if http:
            row[L.REQ_TOT] += 1
        row[L.SESS_CUR] = now_open
        if now_open > row[L.SESS_MAX]:
            row[L.SESS_MAX] = now_open

    def leave(self) -> None:
        """A stream left."""
        self.row[L.SESS_CUR] -= 1

    def queued(self, change: int) -> None:
        """The queue grew or shrank."""
        row = self.row
        row[L.QUEUE_CUR] += change
        _maximum(row, L.QUEUE_MAX, row[L.QUEUE_CUR])

    def redispatched(self) -> None:
        """A stream was sent elsewhere."""
        self.row[L.REDISPATCHES] += 1

    def retried(self) -> None:
        """A connection was tried again."""
        self.row[L.RETRIES] += 1

    def ended(self, s: Stream, status: int) -> None:
        """A stream ended."""
        row = self.row
        row[L.BYTES_IN] += s.bytes_in
        row[L.BYTES_OUT] += s.bytes_out
        if status:
            row[HRSP[status // 100]] += 1
        _times(row, s)

    def error(self, name: str) -> None:
        """A counter of errors.ERRORS."""
        self.row[L.offset(name)] += 1


class ServerCounters(BackendCounters):
    """Events of one server."""

    __slots__ = ()

    def begin(self, now_open: int, s: Stream, be: Any) -> None:
        """A stream was given to it; ``now_open`` with it."""
        row = self.row
        row[L.SESS_TOT] += 1
        row[L.LBTOT] += 1
        row[L.SESS_CUR] = now_open
        if now_open > row[L.SESS_MAX]:
            row[L.SESS_MAX] = now_open
        if s.mode_http:
            row[L.REQ_TOT] += 1
        stamp = int(s.clock.wall)
        row[L.LAST_SESS] = stamp
        row = be.count.row
        row[L.LBTOT] += 1
        row[L.LAST_SESS] = stamp

    def end(self) -> None:
        """A stream left it."""
        self.row[L.SESS_CUR] -= 1

    def connects(self, be: BackendCounters) -> None:
        """A connection is attempted."""
        self.row[L.CONNECTS] += 1
        be.row[L.CONNECTS] += 1

    def reuses(self, be: BackendCounters) -> None:
        """An idle connection is used again."""
        self.row[L.REUSES] += 1
        be.row[L.REUSES] += 1

    def connect_failed(self) -> None:
        """An attempt to connect failed."""
        self.row[L.CONN_ERRORS] += 1

    def idle(self, fresh: int, proven: int, used: int) -> None:
        """How many connections there are now: idle after one request, after several, in use."""
        row = self.row
        row[L.IDLE_CUR] = fresh + proven
        row[L.IDLE_UNSAFE] = fresh
        row[L.IDLE_SAFE] = proven
        row[L.USED_CUR] = used


def _times(row: memoryview, s: Stream) -> None:
    """The four times of a stream that reached a server."""
    queue, connect = s.t_queue, s.t_connect
    if not queue:
        return
    begin = s.t_request or s.t_start
    response = s.t_response
    rates.times(
        row,
        L.TIMES,
        int((queue - begin) * 1000.0),
        int((connect - queue) * 1000.0) if connect else 0,
        int((response - connect) * 1000.0) if response and connect else 0,
        int((s.t_end - (s.t_first or s.t_start)) * 1000.0),
    )


def count_error(s: Stream, row: StreamError) -> None:
    """Raise the counter of a row of errors.ERRORS where it belongs: requests' faults at the frontend, the others at backend and server."""
    name = row.counter
    if not name:
        return
    if name in _FRONT or s.be is None:
        if name in _FRONT:
            s.fe.count.error(name)
            if name == "req_denied" and s.be is not None:
                s.be.count.error(name)
        return
    s.be.count.error(name)
    if s.srv is not None:
        s.srv.count.error(name)
    if name in ("cli_aborts", "srv_aborts"):
        s.fe.count.error(name)
