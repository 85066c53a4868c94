# cython: language_level=3, binding=False, cdivision=True
"""``cells`` of the compiled build; ``cells.py`` says what it promises."""

from forkproxy.state import layout as _layout
from forkproxy.state.rates import WINDOW as _WINDOW

cdef extern from "Python.h":
    ctypedef struct Py_buffer:
        void *buf
        Py_ssize_t len
        Py_ssize_t itemsize
    Py_buffer *PyMemoryView_GET_BUFFER(object view)
    bint PyMemoryView_Check(object view)

cdef long long WINDOW = _WINDOW
cdef Py_ssize_t BYTES_IN = _layout.BYTES_IN, BYTES_OUT = _layout.BYTES_OUT, REQ_TOT = _layout.REQ_TOT, HRSP_2XX = _layout.HRSP_2XX
cdef Py_ssize_t REUSES = _layout.REUSES, LBTOT = _layout.LBTOT, SESS_TOT = _layout.SESS_TOT, LAST_SESS = _layout.LAST_SESS
cdef Py_ssize_t TIMES = _layout.TIMES, ROW_CELLS = _layout.ROW_CELLS


cdef long long *cells(object row, Py_ssize_t at, Py_ssize_t count) except NULL:
    """``count`` cells from ``at`` on."""
    cdef Py_buffer *view
    if not PyMemoryView_Check(row):
        raise TypeError("a row is a memoryview")
    view = PyMemoryView_GET_BUFFER(row)
    if view.itemsize != sizeof(long long):
        raise TypeError("a row is a memoryview of the format 'q'")
    if at < 0 or (at + count) * <Py_ssize_t> sizeof(long long) > view.len:
        raise IndexError("a cell that the row has not")
    return <long long *> view.buf + at


def add(row, tuple at not None, tuple n not None):
    """See ``cells.py``."""
    cdef Py_ssize_t i
    if len(at) != len(n):
        raise ValueError("as many numbers as cells")
    for i in range(len(at)):
        cells(row, at[i], 1)[0] += <long long> n[i]


def gauge(row, Py_ssize_t at, long long now, long long peak):
    """See ``cells.py``."""
    cdef long long *cell = cells(row, at, 2)
    cell[0] = now
    if peak > cell[1]:
        cell[1] = peak


def served(
    row, Py_ssize_t base, long long bytes_in, long long bytes_out, bint elected, double wall_s,
    double queue_s, double connect_s, double response_s, double total_s,
):
    """See ``cells.py``. Of the times: a window of so many samples, four sliding sums, four maxima."""
    cdef long long *first = cells(row, base, ROW_CELLS)
    cdef long long *cell = first + TIMES
    cdef double *times = [queue_s, connect_s, response_s, total_s]
    cdef long long had = cell[0], keep, longest
    cdef int i
    first[BYTES_IN] += bytes_in
    first[BYTES_OUT] += bytes_out
    first[REQ_TOT] += 1
    first[HRSP_2XX] += 1
    first[REUSES] += 1
    if not elected:
        first[LBTOT] += 1
    if wall_s:
        first[SESS_TOT] += 1
        first[LAST_SESS] = <long long> wall_s
    keep = had if had < WINDOW else WINDOW - 1
    cell[0] = keep + 1
    for i in range(4):
        if keep != had:
            cell[1 + i] = cell[1 + i] * keep // had
        cell[1 + i] += <long long> (times[i] * 1000.0 + 0.5)
        longest = <long long> (times[i] * 1000.0)
        if longest > cell[5 + i]:
            cell[5 + i] = longest
