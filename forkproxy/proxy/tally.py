"""Streams that ended, counted at the end of the loop's turn in which they did.

A :class:`Tally` stands for one (frontend, backend, server) that streams of this worker took. At the end of a turn its streams are added up;
the server's row gets the sums at once, those of frontend and backend are gathered in a :class:`Sums` each, since in most turns several
tallies have them in common. A cell of shared memory costs twice a variable: 26 cells per request were 2.1 µs, sums of a turn 0.4; where
each request has a server of its own (a thousand of them) 4.5 instead of 10. A kill -9 loses the counts of one turn. The names of cells
are ``state.layout``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forkproxy.proxy import histograms
from forkproxy.state import cells, rates
from forkproxy.state.layout import (
    BYTES_IN,
    BYTES_OUT,
    H1_REQ,
    HRSP,
    HRSP_2XX,
    LAST_SESS,
    LBTOT,
    REQ_IN,
    REQ_OTHER,
    REQ_TOT,
    RES_OUT,
    REUSES,
    SESS_TOT,
    TIMES,
)

if TYPE_CHECKING:
    from forkproxy.proxy.stream import Stream


_SERVED: Final = cells.best.served


class Sums:
    """What the row of one frontend or backend gets in a turn, gathered from its tallies. ``requests`` are those of the ``streams`` that
    HTTP counts, ``fine`` those answered with 2xx and ``others`` all other statuses of them; ``served`` of them ``reused`` a connection,
    ``elected`` did not ask the algorithm. The times are those of ``rates.times_s``, without what took no time (``rates.AT_ONCE_S``).
    ``shared``: other tallies of a turn are likely to have it in common."""

    __slots__ = (
        "bytes_in", "bytes_out", "connect_max", "connect_s", "elected", "fine", "others", "process", "queue_max", "queue_s", "requests",
        "response_max", "response_s", "reused", "row", "served", "shared", "streams", "total_max", "total_s",
    )  # fmt: skip

    def __init__(self, row: memoryview, process: memoryview | None = None, shared: bool = True) -> None:
        """``process`` is row 0 of the worker, given for frontends."""
        self.row = row
        self.process = process
        self.shared = shared
        self.others: list[int] = []
        self.streams = self.requests = self.fine = self.bytes_in = self.bytes_out = self.served = self.reused = self.elected = 0
        self.queue_s = self.connect_s = self.response_s = self.total_s = 0.0
        self.queue_max = self.connect_max = self.response_max = self.total_max = 0.0

    def took(self, queue_s: float, connect_s: float, response_s: float, total_s: float) -> None:
        """Streams took so long in sum."""
        self.queue_s += queue_s
        self.connect_s += connect_s
        self.response_s += response_s
        self.total_s += total_s

    def at_most(self, queue: float, connect: float, response: float, total: float) -> None:
        """The longest of them, seconds."""
        if queue > self.queue_max:
            self.queue_max = queue
        if connect > self.connect_max:
            self.connect_max = connect
        if response > self.response_max:
            self.response_max = response
        if total > self.total_max:
            self.total_max = total

    def pour(self) -> None:
        """Add everything to the row and begin anew."""
        row, process, streams, requests = self.row, self.process, self.streams, self.requests
        bytes_in, bytes_out = self.bytes_in, self.bytes_out
        row[BYTES_IN] += bytes_in
        row[BYTES_OUT] += bytes_out
        if requests:
            row[REQ_TOT] += requests
            if self.fine:
                row[HRSP_2XX] += self.fine
            if self.others:
                count_statuses(row, self.others)
        if process is not None:
            row[REQ_IN] += bytes_in
            row[RES_OUT] += bytes_out
            process[BYTES_OUT] += bytes_out
            if requests:
                row[H1_REQ] += requests
                process[REQ_TOT] += requests
            if streams > requests:
                row[REQ_OTHER] += streams - requests
        else:
            if self.served:
                row[LBTOT] += self.served - self.elected
                row[REUSES] += self.reused
                if not self.total_s:
                    rates.times(row, TIMES, self.served)
                else:
                    times = (self.queue_s, self.connect_s, self.response_s, self.total_s)
                    longest = (self.queue_max, self.connect_max, self.response_max, self.total_max)
                    rates.times_s(row, TIMES, self.served, times, longest)
                    self.queue_s = self.connect_s = self.response_s = self.total_s = 0.0
                    self.queue_max = self.connect_max = self.response_max = self.total_max = 0.0
                self.served = self.reused = self.elected = 0
        self.streams = self.requests = self.fine = self.bytes_in = self.bytes_out = 0
        if self.others:
            self.others = []


def count_statuses(row: memoryview, statuses: list[int]) -> None:
    """One each in the cells of their hundreds."""
    for status in statuses:
        row[HRSP[status // 100 if status < 1000 else 0]] += 1  # a server whose violations are accepted says up to 65535


class Tally:
    """Streams of one turn that took the same way. ``fe`` and ``be`` gather what the rows of frontend and backend get, ``srv`` is the
    server's row (be and srv may be None), which begins at cell ``base``, ``elects`` whether something else than the algorithm may choose in
    this backend, ``by_bind`` whether bind lines count, too (option socket-stats), ``first`` and ``more`` the streams, ``bytes_in`` and
    ``bytes_out`` what is to be counted besides theirs. ``alone``: nothing but an ordinary stream can be waiting in ``first``."""

    __slots__ = (
        "alone", "base", "be", "by_bind", "bytes_in", "bytes_out", "elects", "fe", "first", "histograms", "http", "more", "ordinary", "srv"
    )  # fmt: skip

    # What :meth:`single` looks at: in a compiled class this is the order in memory, and with a thousand servers each line of the cache that
    # was not needed would be 0.1 µs.
    alone: bool
    elects: bool
    histograms: bool
    fe: Sums
    be: Sums | None
    base: int
    first: Stream | None

    def __init__(
        self, fe: Sums, be: Sums | None, srv: memoryview | None, base: int, http: bool, histograms: bool, by_bind: bool,
        elects: bool = False,
    ) -> None:  # fmt: skip
        self.fe = fe
        self.be = be
        self.srv = srv
        self.base = base
        self.http = http
        self.histograms = histograms
        self.by_bind = by_bind
        self.elects = elects
        self.ordinary = self.alone = http and not by_bind and be is not None and srv is not None
        self.first = None
        self.more: list[Stream] = []
        self.bytes_in = self.bytes_out = 0

    def add(self, s: Stream) -> bool:
        """``s`` ended; whether it is the first one of this turn."""
        if self.first is None:
            self.first = s
            return True
        self.alone = False
        self.more.append(s)
        return False

    def forget(self, counted: tuple[int, int]) -> None:
        """These bytes (in, out) were counted while the stream ran (``option contstats``)."""
        self.alone = False
        self.bytes_in -= counted[0]
        self.bytes_out -= counted[1]

    def single(self, s: Stream, full: list[Sums]) -> bool:
        """Count ``s``, which is alone, if it is as most are: answered by the server with 2xx over a connection that stood, at
        once. Where every request has a server of its own (or a backend) this is what nearly all tallies have; False: :meth:`pour` goes on.

        The row of a backend with one server is written at once: nobody else is likely to gather for it in the same turn. A thirteenth of
        all instructions with a thousand backends."""
        be, fe = self.be, self.fe
        status, res = s.status, s.res
        if not (200 <= status < 300 and res is not None and res.status == status and s.reused and s.t_queue) or be is None:
            return False
        bytes_in, bytes_out = s.bytes_in, s.bytes_out
        elected = self.elects and s.elected is s.srv
        for sums in (fe, be) if be.shared else (fe,):
            if not sums.streams:
                full.append(sums)
            sums.streams += 1
            sums.requests += 1
            sums.fine += 1
            sums.bytes_in += bytes_in
            sums.bytes_out += bytes_out
        queue = connect = response = 0.0
        if s.t_connect != s.t_request:
            queue, connect = max(0.0, s.t_queue - s.t_request), max(0.0, s.t_connect - s.t_queue)
        if s.t_response and s.t_connect:
            response = s.t_response - s.t_connect
        total = s.t_end - s.t_first
        if be.shared:
            be.served += 1
            be.reused += 1
            if elected:
                be.elected += 1
            if queue + connect + response + total >= rates.AT_ONCE_S:
                be.took(queue, connect, response, total)
                be.at_most(queue, connect, response, total)
        else:
            _SERVED(be.row, 0, bytes_in, bytes_out, elected, 0.0, queue, connect, response, total)
        # those that opened a connection counted as sessions then
        _SERVED(s.client.rt.cells, self.base, bytes_in, bytes_out, elected, s.clock.wall, queue, connect, response, total)
        if self.histograms:
            histograms.add([s], (fe.row, be.row, self.srv))
        return True

    def pour(self, full: list[Sums]) -> None:
        """Add everything to the server's row and to the sums of frontend and backend, which then are in ``full``, and begin anew."""
        first = self.first
        if first is not None:
            self.first = None
            if self.alone and self.single(first, full):
                return
        ended = self.more
        if first is not None:
            ended.insert(0, first)
        bytes_in, bytes_out = self.bytes_in, self.bytes_out
        fine = served = reused = 0
        others: list[Stream] | None = None
        queue_s = connect_s = response_s = total_s = 0.0
        queue_max = connect_max = response_max = total_max = 0.0
        for s in ended:
            bytes_in += s.bytes_in
            bytes_out += s.bytes_out
            status = s.status
            res = s.res
            if 200 <= status < 300 and res is not None and res.status == status:
                fine += 1
            elif others is None:
                others = [s]
            else:
                others.append(s)
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
        n, http, fe, be, srv = len(ended), self.http, self.fe, self.be, self.srv
        statuses = [] if others is None or not http else [s.status for s in others]
        for sums in (fe, be):
            if sums is not None:
                if not sums.streams:
                    full.append(sums)
                sums.streams += n
                sums.bytes_in += bytes_in
                sums.bytes_out += bytes_out
                if http:
                    sums.requests += n
                    sums.fine += fine
                    if statuses:
                        sums.others += statuses
        if srv is not None:
            srv[BYTES_IN] += bytes_in
            srv[BYTES_OUT] += bytes_out
            if http:
                # what the server said: something else than clients got, or nothing where a stream failed before it answered
                said = [] if others is None else [s.res.status for s in others if s.res is not None]
                if fine:
                    srv[HRSP_2XX] += fine
                if said:
                    count_statuses(srv, said)
                srv[REQ_TOT] += fine + len(said)
            if served and be is not None:
                elected = sum([s.t_queue > 0.0 and s.elected is s.srv for s in ended]) if self.elects else 0
                be.elected += elected
                srv[LBTOT] += served - elected
                if reused:  # those that opened a connection counted then
                    srv[REUSES] += reused
                    srv[SESS_TOT] += reused
                    srv[LAST_SESS] = int(ended[-1].clock.wall)
                be.served += served
                be.reused += reused
                if queue_s + connect_s + response_s + total_s < rates.AT_ONCE_S:  # on a near network
                    rates.times(srv, TIMES, served)
                else:
                    times = (queue_s, connect_s, response_s, total_s)
                    longest = (queue_max, connect_max, response_max, total_max)
                    rates.times_s(srv, TIMES, served, times, longest)
                    be.took(queue_s, connect_s, response_s, total_s)
                    be.at_most(queue_max, connect_max, response_max, total_max)
        if self.by_bind:
            for s in ended:
                row = s.client.at.row
                if row is not None:
                    row[BYTES_IN] += s.bytes_in
                    row[BYTES_OUT] += s.bytes_out
        if self.histograms:
            histograms.add(ended, (fe.row, None if be is None else be.row, srv))
        ended.clear()
        self.bytes_in = self.bytes_out = 0
        self.alone = self.ordinary
