"""Counting at the end of turns: how streams are spread over turns and tallies changes nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkproxy.clock import ManualClock
from forkproxy.proxy.tally import Sums, Tally
from forkproxy.state.layout import (
    BYTES_IN,
    HISTOGRAM_S,
    HRSP_2XX,
    LBTOT,
    REQ_TOT,
    REUSES,
    ROW_CELLS,
    SESS_CUR,
    SESS_MAX,
    SESS_TOT,
    TIMES,
    TOTAL_HISTOGRAM,
)

CLOCK = ManualClock()
SERVER = object()


def row() -> memoryview:
    return memoryview(bytearray(ROW_CELLS * 8)).cast("q")


def stream(  # one that was served at once and well, or not
    status: int = 200, said: int | None = 200, reused: bool = True, served: bool = True, elected: bool = False, ms: int = 0,
    bytes_in: int = 7, queue_ms: int = 0, connect_ms: int = 0,
) -> Any:  # fmt: skip
    began = 100.0
    queued = began + queue_ms / 1000
    connected = queued + connect_ms / 1000
    return SimpleNamespace(
        status=status, res=None if said is None else SimpleNamespace(status=said), reused=reused, srv=SERVER, clock=CLOCK,
        elected=SERVER if elected else None, bytes_in=bytes_in, bytes_out=11, t_first=began, t_request=began,
        t_queue=queued if served else 0.0, t_connect=connected if served else 0.0, t_response=connected + ms / 1000 if said else 0.0,
        t_end=connected + ms / 1000 + 0.00001,
    )  # fmt: skip


def counted(turns: list[list[Any]], elects: bool, shared: bool = True, metered: bool = False) -> list[list[int]]:
    """The rows of process, frontend, backend and server after ``turns``, each a list of streams."""
    process, frontend, backend, server = rows = [row() for _ in range(4)]
    fe, be = Sums(frontend, process), Sums(backend, shared=shared)
    tally = Tally(fe, be, server, 0, http=True, histograms=metered, by_bind=False, elects=elects)
    for ended in turns:
        full: list[Sums] = []
        for s in ended:
            s.client = SimpleNamespace(rt=SimpleNamespace(cells=server))
        assert [tally.add(s) for s in ended] == [i == 0 for i in range(len(ended))]
        tally.pour(full)
        assert tally.first is None and not tally.more
        for sums in full:
            sums.pour()
    return [cells.tolist() for cells in rows]


streams = st.builds(
    stream, status=st.sampled_from([200, 204, 304, 404, 503]), said=st.sampled_from([200, 204, 304, 404, None]), reused=st.booleans(),
    served=st.booleans(), elected=st.booleans(), ms=st.sampled_from([0, 0, 0, 3, 20]), bytes_in=st.integers(0, 10**6),
    queue_ms=st.sampled_from([0, 0, 0, 7]), connect_ms=st.sampled_from([0, 0, 0, 2]),
)  # fmt: skip


@given(st.lists(streams, max_size=6), st.booleans(), st.booleans(), st.booleans())
def test_one_turn_or_many_come_to_the_same(ended: list[Any], elects: bool, shared: bool, metered: bool) -> None:
    assert counted([ended], elects, metered=metered) == counted([[s] for s in ended], elects, shared, metered)


@pytest.mark.parametrize("shared", [False, True])
def test_an_ordinary_stream_by_itself_is_in_the_distributions(shared: bool) -> None:
    _process, *rows = counted([[stream(ms=20)]], elects=False, shared=shared, metered=True)
    for cells in rows:
        assert sum(cells[TOTAL_HISTOGRAM : TOTAL_HISTOGRAM + len(HISTOGRAM_S) + 1]) == 1


@pytest.mark.parametrize("shared", [False, True])
def test_an_ordinary_stream_by_itself(shared: bool) -> None:
    _process, frontend, backend, server = counted([[stream()]], elects=False, shared=shared)
    assert [cells[REQ_TOT] for cells in (frontend, backend, server)] == [1, 1, 1]
    assert [cells[HRSP_2XX] for cells in (frontend, backend, server)] == [1, 1, 1]
    assert [cells[BYTES_IN] for cells in (frontend, backend, server)] == [7, 7, 7]
    assert [cells[LBTOT] for cells in (backend, server)] == [1, 1]
    assert [cells[REUSES] for cells in (backend, server)] == [1, 1]
    assert [cells[TIMES] for cells in (backend, server)] == [1, 1]
    assert server[SESS_TOT] == 1


@pytest.mark.parametrize("shared", [False, True])
def test_who_was_not_chosen_by_the_algorithm_is_not_counted_as_such(shared: bool) -> None:
    for turns in ([[stream(elected=True)]], [[stream(elected=True), stream()]], [[stream(elected=True)], [stream()]]):
        _process, _frontend, backend, server = counted(turns, elects=True, shared=shared)
        assert backend[LBTOT] == server[LBTOT] == sum(map(len, turns)) - 1


@pytest.mark.parametrize("shared", [False, True])
def test_the_times_of_a_stream_by_itself(shared: bool) -> None:
    _process, _frontend, backend, server = counted([[stream(queue_ms=7, connect_ms=2, ms=20)]], elects=False, shared=shared)
    for cells in (backend, server):
        assert cells[TIMES : TIMES + 5] == [1, 7, 2, 20, 29]
        assert [abs(cells[TIMES + 5 + i] - ms) <= 1 for i, ms in enumerate((7, 2, 20, 29))] == [True] * 4  # whole ones, cut off


def test_an_ordinary_stream_writes_two_cache_lines_of_its_servers_row() -> None:
    server = counted([[stream()]], elects=False)[3]
    written = {at for at, cell in enumerate(server) if cell} | {SESS_CUR, SESS_MAX}
    assert len(written) > 8
    assert {at // 8 for at in written} == {0, 1}


def test_what_was_counted_while_a_stream_ran_is_not_counted_again() -> None:
    rows = [row(), row(), row()]
    tally = Tally(Sums(rows[0]), Sums(rows[1]), rows[2], 0, http=True, histograms=False, by_bind=False)
    tally.add(stream(bytes_in=100))
    tally.forget((60, 0))
    full: list[Sums] = []
    tally.pour(full)
    for sums in full:
        sums.pour()
    assert [cells[BYTES_IN] for cells in rows] == [40, 40, 40]


@pytest.mark.parametrize("number", [1, 2])
def test_a_bind_line_that_counts_gets_its_bytes(number: int) -> None:
    fe, be, srv, bind = [row() for _ in range(4)]
    tally = Tally(Sums(fe), Sums(be), srv, 0, http=True, histograms=False, by_bind=True)
    for _ in range(number):
        s = stream(bytes_in=100)
        s.client = SimpleNamespace(rt=SimpleNamespace(cells=srv), at=SimpleNamespace(row=bind))
        tally.add(s)
    tally.pour([])
    assert bind[BYTES_IN] == srv[BYTES_IN] == 100 * number


def test_who_was_not_alone_may_be_so_in_the_next_turn() -> None:
    tally = Tally(Sums(row()), Sums(row()), row(), 0, http=True, histograms=False, by_bind=False)
    alone = []
    for number in (1, 2, 1):
        for _ in range(number):
            tally.add(stream(status=404))
        alone.append(tally.alone)
        tally.pour([])
    assert alone == [True, False, True]
