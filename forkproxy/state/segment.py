"""The shared segment: one memory file, mapped before the first fork, in which every process has a slot of its own.

::

    header page | slot 0 | slot 1 | ... | slot N-1 | master's slot | retired slot | limits | part 0 | ... | part N-1 | texts
    a slot:       row 0 (the process) | row 1 | ... | row R-1         a row: layout.ROW_CELLS cells of 8 bytes

What stands behind the slots is ``state.limits``' alone: for every row what all workers count together under a lock, and for every worker
its part in it. At the end the master keeps texts for every row (``state.servers``).

Only its owner writes a slot (the retired one is the master's too), everybody reads all. Cells are aligned 64-bit integers, which
the processor loads and stores in one piece, so a reader never sees half a number; ``cells[i] += 1`` needs no atomicity because
there is one writer. The file is sparse: a page costs memory once it is touched, so 64 slots of 1,000 rows cost nothing until they
are used. Reading a hole of shared memory would allocate it, therefore readers look only at slots that :meth:`Segment.live` names.

Measured (Python 3.11): ``cells[base + REQ_TOT] += 1`` on the "q" view 60 ns, on a ``list`` 30 ns.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from forkproxy.state.layout import FINGERPRINT, ROW_CELLS

_MAGIC = 0x666F726B70727879 + 2  # "forkprxy", and the version of what the layout table does not tell
_PAGE = mmap.PAGESIZE
# Cells of the header page.
_H_MAGIC, _H_FINGERPRINT, _H_SLOTS, _H_ROWS, _H_CHANGES, _H_TOP, _H_OWNERS = 0, 1, 2, 3, 4, 5, 8
#: What the header page has room for.
MAX_SLOTS = _PAGE // 8 - _H_OWNERS - 2
#: Cells that a row has among the limits, and in each worker's part of them.
LIMIT_CELLS = 24
PART_CELLS = 24
#: Cells of texts that a row has.
TEXT_CELLS = 34


class Segment:
    """``slots`` worker slots (numbers 0 to ``slots - 1``), then ``master`` and ``retired``; ``rows`` rows in each, ``fd`` the
    memory file, ``memory`` its mapping. ``limits`` (from byte ``limits_at`` on) and ``parts`` are the cells of ``state.limits``, ``texts``
    those of ``state.servers``, for every row :data:`TEXT_CELLS`, of the master to write."""

    __slots__ = (
        "_header", "_part_bytes", "_parts_at", "_slot_bytes", "_views", "fd", "limits", "limits_at", "master", "memory", "parts", "retired",
        "rows", "slots", "texts",
    )  # fmt: skip

    def __init__(self, fd: int, slots: int, rows: int) -> None:
        self.fd = fd
        self.slots = slots
        self.rows = rows
        self.master = slots
        self.retired = slots + 1
        self._slot_bytes = _slot_bytes(rows)
        self.limits_at = _PAGE + (slots + 2) * self._slot_bytes
        self._parts_at = self.limits_at + _pages(rows * LIMIT_CELLS)
        self._part_bytes = _pages(rows * PART_CELLS)
        self.memory = mmap.mmap(fd, _size(slots, rows), mmap.MAP_SHARED)
        whole = memoryview(self.memory).cast("q")
        self._header = whole[: _PAGE // 8]
        first, step = _PAGE // 8, self._slot_bytes // 8
        self._views = [whole[first + i * step : first + (i + 1) * step] for i in range(slots + 2)]
        self.limits = whole[self.limits_at // 8 : self._parts_at // 8]
        first, step = self._parts_at // 8, self._part_bytes // 8
        self.parts = [whole[first + i * step : first + (i + 1) * step] for i in range(slots)]
        first += slots * step
        self.texts = whole[first : first + rows * TEXT_CELLS]

    @classmethod
    def create(cls, slots: int = 64, rows: int = 1024) -> Segment:
        """A new segment, all zero. ``rows`` counts every frontend, backend, server and listener, present and to come, and the
        process's own.

        Raises ValueError for impossible sizes, OSError when the kernel gives no memory file.
        """
        if not 1 <= slots <= MAX_SLOTS or rows < 1:
            raise ValueError(f"a segment has 1 to {MAX_SLOTS} slots and at least one row")
        fd = os.memfd_create("forkproxy-state", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, _size(slots, rows))
            # Nobody who gets the descriptor may make it shorter: that would kill the others with SIGBUS.
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            segment = cls(fd, slots, rows)
        except BaseException:
            os.close(fd)
            raise
        header = segment._header
        header[_H_MAGIC], header[_H_FINGERPRINT], header[_H_SLOTS], header[_H_ROWS] = _MAGIC, FINGERPRINT, slots, rows
        return segment

    @classmethod
    def attach(cls, fd: int) -> Segment:
        """The segment behind ``fd`` (taken over), made by another process. Raises ValueError when it is none or of another layout."""
        with mmap.mmap(fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ) as page, memoryview(page) as raw, raw.cast("q") as header:
            found = header[_H_MAGIC], header[_H_FINGERPRINT]
            slots, rows = header[_H_SLOTS], header[_H_ROWS]
        if found != (_MAGIC, FINGERPRINT):
            raise ValueError("not a state segment of this version")
        return cls(fd, slots, rows)

    def slot(self, i: int) -> memoryview:
        """The cells of slot ``i``: a view of "q" items, indexed by ``rows.base(name) + offset``. For its owner to write, for all to
        read."""
        return self._views[i]

    def claim(self, i: int, pid: int) -> None:
        """Mark worker slot ``i`` as used by ``pid`` (master only)."""
        header = self._header
        header[_H_OWNERS + i] = pid
        if i >= header[_H_TOP]:
            header[_H_TOP] = i + 1

    def release(self, i: int) -> None:
        """Zero slot ``i`` and give its memory back (master only, its worker being gone)."""
        self._header[_H_OWNERS + i] = 0
        self.memory.madvise(mmap.MADV_REMOVE, _PAGE + i * self._slot_bytes, self._slot_bytes)
        self.memory.madvise(mmap.MADV_REMOVE, self._parts_at + i * self._part_bytes, self._part_bytes)

    def owner(self, i: int) -> int:
        """The pid that uses worker slot ``i``; 0: free."""
        return self._header[_H_OWNERS + i]

    def live(self) -> list[int]:
        """The worker slots in use."""
        owners = self._header[_H_OWNERS : _H_OWNERS + self._header[_H_TOP]].tolist()  # slots are taken from below
        return [i for i, pid in enumerate(owners) if pid]

    def free_slot(self) -> int | None:
        """A worker slot that nobody uses; None: all are taken."""
        return next((i for i in range(self.slots) if not self._header[_H_OWNERS + i]), None)

    # Moving counters from one slot to another cannot be done in one step; readers compare this number before and after.

    @property
    def changes(self) -> int:
        """Odd while the master moves counters between slots."""
        return self._header[_H_CHANGES]

    def changing(self, on: bool) -> None:
        """The master begins or ends moving counters."""
        self._header[_H_CHANGES] += 1 if on != bool(self._header[_H_CHANGES] & 1) else 0

    def close(self) -> None:
        """Unmap and close; views that were handed out must be gone."""
        for view in (*self._views, *self.parts, self.limits, self.texts, self._header):
            view.release()
        try:
            self.memory.close()
        finally:
            os.close(self.fd)


def _slot_bytes(rows: int) -> int:
    return _pages(rows * ROW_CELLS)


def _pages(cells: int) -> int:
    """Whole pages, so that releasing a slot touches no other."""
    return -(-cells * 8 // _PAGE) * _PAGE


def _size(slots: int, rows: int) -> int:
    limits = _pages(rows * LIMIT_CELLS) + slots * _pages(rows * PART_CELLS)
    return _PAGE + (slots + 2) * _slot_bytes(rows) + limits + _pages(rows * TEXT_CELLS)
