"""Who may accept a connection: ``maxconn`` of the process, of frontends and of bind lines, and how many may come in a second, exact over
all workers.

Theory. All of it is decided under one lock, that of row 0: a connection is counted in the rows of the process, of its frontend
and of its bind line (the latter two only where they have a limit of their own) or in none of them. Who is refused for want of room says so
in its part, and when, and stops listening: connections wait in the kernel's queue. Whoever ends a connection wakes the worker that has
waited longest, that one alone; when it turns out to have nothing to accept, it wakes the next (:meth:`Door.pass_on`).

Rates are frequencies (``state.frequency``) in the same cells: connections and sessions of the process, sessions of a frontend. A session is
counted with its connection, and taken back when a rule of layer 4 refuses it.

Cells and locks: ``state.limits``.
"""

from __future__ import annotations

from typing import Final

from forkproxy.state import frequency
from forkproxy.state.limits import CONN_LIMIT, LENGTH, LIMIT, RANKS, SESS_LIMIT, TOTAL, USED, WAITING, Area
from forkproxy.state.robust import attempt, give
from forkproxy.state.segment import LIMIT_CELLS, PART_CELLS

#: Answers of :meth:`Door.enter` that are no time: come in; there is no room.
OPEN: Final = 0
FULL: Final = -1
_SECOND_MS: Final = 1000
#: A refusal by a rate is looked at again after the time of one event, within these bounds, milliseconds.
_SOONEST_MS: Final = 5
_LATEST_MS: Final = 1000


class Door:
    """One bind line of a frontend in one worker. ``rows`` are the rows of the process, the frontend and the bind line."""

    __slots__ = ("_area", "_cells", "_lock", "_part", "_rates", "_rows", "rows")

    def __init__(self, area: Area, rows: tuple[int, ...]) -> None:
        self._area = area
        self._cells = area.cells
        self._part = area.segment.parts[area.slot]
        self._lock = area.lock(0)
        self.rows = rows
        self._rows: tuple[int, ...] = (0,)
        self._rates = tuple((row * LIMIT_CELLS + SESS_LIMIT, True) for row in rows[:2])
        self._rates += ((CONN_LIMIT, False),)
        self.look()

    def look(self) -> tuple[int, ...]:
        """Count from now on in every row that has a limit; the rows that are new (:func:`align` is to be called for each once)."""
        rows = tuple(row for row in self.rows if not row or row in self._rows or self._area.limited(row))
        new = tuple(row for row in rows if row not in self._rows)
        self._rows = rows
        return new

    def enter(self, now_s: float) -> int:
        """OPEN: a connection may be accepted, and is counted. FULL: there is no room, a bell will ring. Otherwise milliseconds: there were
        too many of late, ask again then."""
        cells, part = self._cells, self._part
        now = int(now_s * 1000.0)
        code = attempt(self._lock)
        held = not code or self._area.after(0, code)
        answer = OPEN
        for row in self._rows:
            at = row * LIMIT_CELLS
            if cells[at + TOTAL] >= cells[at + LIMIT]:
                answer = FULL
                mine = row * PART_CELLS
                if not part[mine + LENGTH]:
                    part[mine + LENGTH] = 1
                    part[mine + RANKS] = int(now_s * 1e6)
                    cells[at + WAITING] += 1
                break
        else:
            for at, _ in self._rates:
                limit = cells[at]
                if limit and frequency.read(cells, at + 1, _SECOND_MS, now) >= limit:
                    answer = min(_LATEST_MS, max(_SOONEST_MS, _SECOND_MS // limit))
                    break
            else:
                for row in self._rows:
                    cells[row * LIMIT_CELLS + TOTAL] += 1
                    part[row * PART_CELLS + USED] += 1
                for at, _ in self._rates:
                    if cells[at]:
                        frequency.count(cells, at + 1, _SECOND_MS, 1, now)
        if held:
            give(self._lock)
        return answer

    def reserve(self, most: int) -> int:
        """Places for up to ``most`` connections, counted already: those that come to nothing are for :meth:`undo`. 0 where limits are
        near or rates are counted: each one asks for itself then, by :meth:`enter`.

        An eighth of what is free: however many workers do so at a time, some is left. With it a wake-up takes the lock twice, not twice
        for each connection."""
        cells, part = self._cells, self._part
        for at, _ in self._rates:
            if cells[at]:
                return 0
        code = attempt(self._lock)
        held = not code or self._area.after(0, code)
        for row in self._rows:
            at = row * LIMIT_CELLS
            free = (cells[at + LIMIT] - cells[at + TOTAL]) >> 3
            if free < most:
                most = free
        if most > 1:
            for row in self._rows:
                cells[row * LIMIT_CELLS + TOTAL] += most
                part[row * PART_CELLS + USED] += most
        if held:
            give(self._lock)
        return most if most > 1 else 0

    def force(self) -> None:
        """A connection comes in whatever the limits say: it was let in before."""
        self._change(1)

    def leave(self, connections: int = 1) -> None:
        """So many connections ended."""
        self._change(-connections)

    def _change(self, n: int) -> None:
        cells, part = self._cells, self._part
        rung = []
        code = attempt(self._lock)
        held = not code or self._area.after(0, code)
        for row in self._rows:
            cells[row * LIMIT_CELLS + TOTAL] += n
            part[row * PART_CELLS + USED] += n
            if cells[row * LIMIT_CELLS + WAITING] and n < 0:
                rung += _longest(self._area, row)
        if held:
            give(self._lock)
        if rung:
            self._area.ring(rung)

    def undo(self, now_s: float, places: int = 1) -> None:
        """Nobody came in after all: by :meth:`enter`, or to so many ``places`` of :meth:`reserve`."""
        self._uncount(now_s, True)
        self._change(-places)

    def refuse(self, now_s: float) -> None:
        """What came in is no session: a rule refused it."""
        self._uncount(now_s, False)

    def _uncount(self, now_s: float, connection: bool) -> None:
        cells, now = self._cells, int(now_s * 1000.0)
        chosen = [at for at, session in self._rates if cells[at] and (session or connection)]
        if chosen:
            held = self._area.enter(0)
            for at in chosen:
                if now - cells[at + 1] < _SECOND_MS and cells[at + 2]:
                    cells[at + 2] -= 1
            self._area.leave(0, held)

    def pass_on(self) -> None:
        """Nothing (more) is to be accepted here though there may be room: another worker may have something."""
        cells = self._cells
        for row in self._rows:
            at = row * LIMIT_CELLS
            if cells[at + WAITING] and cells[at + TOTAL] < cells[at + LIMIT]:
                held = self._area.enter(0)
                rung = _longest(self._area, row)
                self._area.leave(0, held)
                self._area.ring(rung)

    def forgo(self) -> None:
        """This worker wants to accept nothing here any more; who else does is woken in its place."""
        for row in self._rows:
            held = self._area.enter(0)
            if self._part[row * PART_CELLS + LENGTH]:
                self._part[row * PART_CELLS + LENGTH] = 0
                self._cells[row * LIMIT_CELLS + WAITING] -= 1
            self._area.leave(0, held)
        self.pass_on()


def align(area: Area, row: int, used: int) -> None:
    """This worker has ``used`` connections of row ``row``, in which it has not counted until now."""
    held = area.enter(0)
    part = area.segment.parts[area.slot]
    area.cells[row * LIMIT_CELLS + TOTAL] += used - part[row * PART_CELLS + USED]
    part[row * PART_CELLS + USED] = used
    area.leave(0, held)


def _longest(area: Area, row: int) -> list[int]:
    """The worker that has waited longest for room in ``row``: it waits no more, wake it. (With the lock.)"""
    segment, mine = area.segment, row * PART_CELLS
    waiting = [slot for slot in segment.live() if segment.parts[slot][mine + LENGTH]]
    if not waiting:
        return []
    first = min(waiting, key=lambda slot: segment.parts[slot][mine + RANKS])
    segment.parts[first][mine + LENGTH] = 0
    area.cells[row * LIMIT_CELLS + WAITING] -= 1
    return [first]
