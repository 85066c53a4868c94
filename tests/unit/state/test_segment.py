"""The segment: slots, ownership, sparseness, attaching."""

from __future__ import annotations

import mmap
import os

import pytest

from forkproxy.state import segment as module
from forkproxy.state.layout import ROW_CELLS
from forkproxy.state.segment import MAX_SLOTS, Segment


def used_bytes(segment: Segment) -> int:
    return os.fstat(segment.fd).st_blocks * 512


def test_slots_are_separate_and_zero() -> None:
    segment = Segment.create(slots=3, rows=5)
    for i in range(5):
        cells = segment.slot(i)
        assert len(cells) >= 5 * ROW_CELLS and cells.format == "q" and not any(cells)
        cells[0] = i + 1
        cells[5 * ROW_CELLS - 1] = -(i + 1)
    assert [segment.slot(i)[0] for i in range(5)] == [1, 2, 3, 4, 5]
    assert [segment.slot(i)[5 * ROW_CELLS - 1] for i in range(5)] == [-1, -2, -3, -4, -5]
    assert (segment.master, segment.retired) == (3, 4)
    segment.close()


def test_cells_are_64_bits() -> None:
    segment = Segment.create(slots=1, rows=1)
    cells = segment.slot(0)
    cells[0] = 2**63 - 1
    cells[1] = -(2**63)
    assert (cells[0], cells[1]) == (2**63 - 1, -(2**63))
    assert cells.itemsize == 8
    del cells
    segment.close()


def test_only_touched_pages_cost_memory() -> None:
    segment = Segment.create(slots=64, rows=1024)
    assert used_bytes(segment) == mmap.PAGESIZE  # the header
    segment.live()
    segment.slot(7)[0] += 1
    assert used_bytes(segment) == 2 * mmap.PAGESIZE
    segment.claim(7, 1234)
    segment.release(7)
    assert used_bytes(segment) == mmap.PAGESIZE
    assert segment.slot(7)[0] == 0
    segment.close()


def test_owners() -> None:
    segment = Segment.create(slots=2, rows=1)
    assert segment.live() == [] and segment.free_slot() == 0
    segment.claim(0, 11)
    assert segment.live() == [0] and segment.owner(0) == 11 and segment.free_slot() == 1
    segment.claim(1, 12)
    assert segment.free_slot() is None
    segment.release(0)
    assert segment.live() == [1] and segment.free_slot() == 0
    segment.close()


def test_another_process_attaches_and_sees_the_same() -> None:
    segment = Segment.create(slots=2, rows=4)
    segment.slot(1)[9] = 77
    segment.claim(1, 5)
    other = Segment.attach(os.dup(segment.fd))
    assert (other.slots, other.rows, other.slot(1)[9], other.live()) == (2, 4, 77, [1])
    other.slot(0)[3] = 8
    assert segment.slot(0)[3] == 8
    other.close()
    segment.close()


def test_attach_refuses_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    fd = os.memfd_create("stranger")
    os.ftruncate(fd, 1 << 20)
    with pytest.raises(ValueError, match="not a state segment"):
        Segment.attach(fd)
    os.close(fd)
    monkeypatch.setattr(module, "FINGERPRINT", 1)  # an older version of this program made it
    segment = Segment.create(slots=1, rows=1)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="of this version"):
        Segment.attach(segment.fd)
    segment.close()


def test_nobody_can_change_its_size() -> None:
    segment = Segment.create(slots=1, rows=1)
    for size in (0, 1 << 24):
        with pytest.raises(PermissionError):
            os.ftruncate(segment.fd, size)
    assert not os.get_inheritable(segment.fd)
    segment.close()


def test_sizes() -> None:
    for slots, rows in ((0, 1), (1, 0), (MAX_SLOTS + 1, 1)):
        with pytest.raises(ValueError, match="at least one row"):
            Segment.create(slots=slots, rows=rows)
    segment = Segment.create(slots=MAX_SLOTS, rows=1)
    segment.claim(MAX_SLOTS - 1, 3)
    assert segment.live() == [MAX_SLOTS - 1]
    segment.close()
