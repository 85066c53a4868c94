"""Slots of limited servers and the streams that wait for them, over all workers: each server has a queue, and each backend one for streams
that any server may take.

Theory. What waits stays with its worker, which alone can serve it; what all workers see is how many wait in each, and the ranks of the
first few. Who frees a slot gives it, under the lock of the backend, to the lowest rank of all workers in the server's queue and in
the backend's: ``GRANTED`` (or ``LENT``) of that worker's part grows, the slot is its own from that moment on, and its bell rings. It then
takes its own first in line. So a slot is never free while somebody waits for it, order holds over all workers, and one worker wakes
up per slot. Ranks are numbers: the class of priority above microseconds of arrival, lower ones first.

A server with ``minconn`` has a limit that grows with the streams of its backend (manual 5.2); these are counted as the backend's own
``USED`` and ``TOTAL`` then, and only then.

Knows rows, ranks and items that it gives back as they came; nothing of streams. Cells and locks: ``state.limits``.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from forkproxy.state.limits import (
    FREED,
    GRANTED,
    KNOWN,
    LENGTH,
    LENT,
    LIMIT,
    PASSED,
    PLACES,
    RANKS,
    SHOWN,
    TOTAL,
    USED,
    WAITING,
    Area,
)
from forkproxy.state.robust import attempt, give
from forkproxy.state.segment import LIMIT_CELLS, PART_CELLS

#: Classes of priority go from -2047 to 2047 (manual: set-priority-class), times to 2^51 microseconds: 71 years.
_CLASS_SHIFT: Final = 51
_NEVER: Final = (1 << 63) - 1
def rank(level: int, when_s: float) -> int:
    """The rank of what has priority class ``level`` and came at ``when_s`` (monotonic)."""
    return level + 2048 << _CLASS_SHIFT | max(0, int(when_s * 1e6))


class Ticket:
    """One item that waits in ``line``. ``gate`` is the server that may serve it, None as long as nobody does; ``place`` then tells how
    many were served from this line since it came, itself included."""

    __slots__ = ("_seen", "gate", "item", "line", "place", "rank")

    def __init__(self, item: Any, line: Line, rank: int, seen: int) -> None:
        self.item = item
        self.line = line
        self.rank = rank
        self.gate: Gate | None = None
        self.place = 0
        self._seen = seen

    def __lt__(self, other: Ticket) -> bool:
        return self.rank < other.rank

    def passed(self, count: int) -> None:
        """The queue has served ``count`` by now."""
        self.place = max(1, count - self._seen + 1)


class Line:
    """Who waits in this worker for one server, or for any of a backend: the first comes first. ``at`` and ``mine`` are where row ``row``
    has its cells, among the limits and in this worker's part."""

    __slots__ = ("at", "mine", "row", "tickets")

    def __init__(self, row: int) -> None:
        self.row = row
        self.at = row * LIMIT_CELLS
        self.mine = row * PART_CELLS
        self.tickets: list[Ticket] = []


class Gate(Line):
    """One limited server, whose ``owner`` is the caller's. ``enter()`` takes a slot unless it is full or has a queue; ``leave()`` gives one
    back and says whether somebody who waits in this worker was given one: then :meth:`Queues.collect` tells whom. ``full()`` says,
    without the lock, whether ``enter()`` would have been refused a moment ago."""

    __slots__ = ("enter", "floor", "full", "leave", "owner", "percent", "usable")

    def __init__(self, row: int, owner: Any) -> None:
        super().__init__(row)
        self.owner = owner
        self.floor = 0  # minconn; 0: its limit does not depend on the load
        self.percent = 100  # of its limit (manual: slowstart)
        self.usable = True  # whether it serves the backend's queue, too
        self.enter: Callable[[], bool]
        self.leave: Callable[[], bool]
        self.full: Callable[[], bool]


class Queues:
    """The limited servers (``gates``) of one backend as one worker sees them, and who waits for ``any`` of them. ``home`` is the backend's
    row, ``fullconn`` the load at which its servers reach their maxconn. ``dynamic``: the load counts (:meth:`count`)."""

    __slots__ = ("_busy", "_ready", "any", "area", "cells", "dynamic", "fullconn", "gates", "home", "part")

    def __init__(self, area: Area, home: int, fullconn: int) -> None:
        self.area = area
        self.cells = area.cells
        self.part = area.segment.parts[area.slot]
        self.home = home
        self.fullconn = fullconn
        self.dynamic = False
        self.any = Line(home)
        self.gates: list[Gate] = []
        self._ready: list[Ticket] = []
        self._busy: dict[int, Line] = {}  # where somebody waits in this worker, by row

    def open(self, row: int, owner: Any, minconn: int = 0, used: int = 0, moves: bool = False) -> Gate:
        """A gate for a server which has ``used`` streams of this worker now; ``minconn`` 0: its limit does not depend on the load.
        ``moves``: ``gate.percent`` may change."""
        gate = Gate(row, owner)
        gate.floor = minconn
        gate.enter, gate.leave, gate.full = self._doors(gate, minconn > 0 or moves)
        self.gates.append(gate)
        self.dynamic = self.dynamic or minconn > 0
        held = self.area.enter(self.home)
        self.cells[gate.at + TOTAL] += used - self.part[gate.mine + USED]
        self.part[gate.mine + USED] = used
        self.part[gate.mine + KNOWN] = 1
        self.area.leave(self.home, held)
        return gate

    def close(self, gate: Gate) -> None:
        """The server goes: it has no streams, and nobody waits for it."""
        self.gates.remove(gate)
        self.part[gate.mine + KNOWN] = 0

    # -- without a queue

    def _doors(self, gate: Gate, moves: bool) -> tuple[Callable[[], bool], Callable[[], bool], Callable[[], bool]]:
        area, cells, part, home = self.area, self.cells, self.part, self.home
        lock = area.lock(home)
        at, used = gate.at, gate.mine + USED
        limit, total, waiting, others, freed = at + LIMIT, at + TOTAL, at + WAITING, self.any.at + WAITING, self.any.at + FREED
        dynamic = self.limit if moves else None

        def enter() -> bool:
            code = attempt(lock)
            held = not code or area.after(home, code)
            n = cells[total]
            free = n < (cells[limit] if dynamic is None else dynamic(gate)) and not cells[waiting]
            if free:
                cells[total] = n + 1
                part[used] += 1
            if held:
                give(lock)
            return free

        def leave() -> bool:
            code = attempt(lock)
            held = not code or area.after(home, code)
            cells[total] -= 1
            part[used] -= 1
            rung = None
            if cells[waiting] or cells[others]:
                rung = self._serve(gate)
            else:
                cells[freed] += 1
            if held:
                give(lock)
            return rung is not None and self._tell(rung)

        def full() -> bool:
            return cells[total] >= (cells[limit] if dynamic is None else dynamic(gate)) or cells[waiting] > 0

        return enter, leave, full

    def limit(self, gate: Gate) -> int:
        """How many streams the server may have now."""
        most = self.cells[gate.at + LIMIT]
        if gate.floor:
            load = self.cells[self.any.at + TOTAL]
            if load < self.fullconn:
                most = max(min(gate.floor, most), load * most // self.fullconn)
        return most if gate.percent == 100 else max(1, most * gate.percent // 100)

    def count(self, change: int) -> bool:
        """The backend has a stream more (1) or less (-1); to be called where ``dynamic``. The same answer as ``leave()``."""
        held = self.area.enter(self.home)
        self.cells[self.any.at + TOTAL] += change
        self.part[self.any.mine + USED] += change
        rung: set[int] = set()
        if change > 0:  # limits grew
            for gate in self.gates:
                if gate.floor and (self.cells[gate.at + WAITING] or self.cells[self.any.at + WAITING]):
                    rung |= self._serve(gate)
        self.area.leave(self.home, held)
        return self._tell(rung)

    # -- what is asked without a lock: true a moment ago

    def crowded(self, gate: Gate, maxqueue: int) -> bool:
        """Whether its queue has ``maxqueue`` streams, too."""
        return self.cells[gate.at + TOTAL] + self.cells[gate.at + WAITING] >= self.limit(gate) + maxqueue

    def waiting(self, line: Line) -> int:
        """How many wait there over all workers."""
        return self.cells[line.at + WAITING]

    def total(self, gate: Gate) -> int:
        """How many streams a server has, over all workers."""
        return self.cells[gate.at + TOTAL]

    def freed(self) -> int:
        """A number that moves when a slot becomes free, for :meth:`join`."""
        return self.cells[self.any.at + FREED]

    # -- waiting

    def join(self, line: Line, item: Any, rank: int, *, most: int = 0, freed: int = -1) -> tuple[Ticket | None, bool]:
        """``item`` waits in ``line``, unless ``most`` (0: any number) wait there already. Its ticket or None, and the same answer as of
        ``leave()``: something may have become free meanwhile. ``freed`` is what :meth:`freed` said before all servers were found full."""
        held = self.area.enter(self.home)
        if most and self.cells[line.at + WAITING] >= most:
            self.area.leave(self.home, held)
            return None, False
        self._take(line)
        ticket = Ticket(item, line, rank, self.cells[line.at + PASSED])
        insort(line.tickets, ticket)
        self._show(line)
        self.cells[line.at + WAITING] += 1
        rung: set[int] = set()
        gates: Iterable[Gate] = (line,) if isinstance(line, Gate) else self.gates if self.freed() != freed else ()
        for gate in gates:
            if self.cells[gate.at + TOTAL] < self.limit(gate):
                rung |= self._serve(gate)
        self.area.leave(self.home, held)
        return ticket, self._tell(rung)

    def quit(self, ticket: Ticket) -> bool:
        """Its item waits no more (``ticket.place`` is set). The same answer as of ``leave()``: if it was given a slot, that is free now."""
        line = ticket.line
        held = self.area.enter(self.home)
        self._take(line)
        rung: set[int] = set()
        gate = ticket.gate
        if gate is None:
            where = bisect_left(line.tickets, ticket)
            while line.tickets[where] is not ticket:
                where += 1
            del line.tickets[where]
            ticket.passed(self.cells[line.at + PASSED])
            self.cells[line.at + WAITING] -= 1
            self._show(line)
        else:
            self._ready.remove(ticket)
            self.cells[gate.at + TOTAL] -= 1
            self.part[gate.mine + USED] -= 1
            rung = self._serve(gate)
        self.area.leave(self.home, held)
        return self._tell(rung)

    def idle(self) -> bool:
        """Whether nobody waits in this worker."""
        return not self._busy and not self._ready

    def collect(self) -> Iterator[Ticket]:
        """Whose turn it is in this worker, in order: each may use its ``gate``, and has a slot of it."""
        if self._busy:
            held = self.area.enter(self.home)
            for line in list(self._busy.values()):
                self._take(line)
            self.area.leave(self.home, held)
        while self._ready:  # one after the other: serving one may make another quit
            yield self._ready.pop(0)

    def look(self) -> Iterator[Ticket]:
        """The bell rang, or time went by: give what is free to whoever is next, then :meth:`collect`."""
        cells = self.cells
        if not self.idle():
            held = self.area.enter(self.home)
            rung: set[int] = set()
            for gate in self.gates:
                if cells[gate.at + WAITING] or cells[self.any.at + WAITING]:
                    rung |= self._serve(gate)
            self.area.leave(self.home, held)
            self._tell(rung)
        yield from self.collect()

    # -- with the lock

    def _show(self, line: Line) -> None:
        part, mine, tickets = self.part, line.mine, line.tickets
        if tickets:
            self._busy[line.row] = line
        else:
            self._busy.pop(line.row, None)
        part[mine + LENGTH] = len(tickets)
        first = array("q", [ticket.rank for ticket in tickets[:SHOWN]])
        part[mine + RANKS : mine + RANKS + len(first)] = memoryview(first)

    def _serve(self, gate: Gate) -> set[int]:
        """Give free slots of ``gate`` to whoever is first; the workers to wake, this one among them."""
        rung: set[int] = set()
        cells, segment = self.cells, self.area.segment
        queues = (gate, self.any) if gate.usable else (gate,)
        most = self.limit(gate)
        live = segment.live()
        while cells[gate.at + TOTAL] < most:
            lines = [line for line in queues if cells[line.at + WAITING] > 0]
            best, chosen, queue = _NEVER, -1, self.any
            for slot in live if lines else ():
                part = segment.parts[slot]
                if not part[gate.mine + KNOWN]:
                    continue  # of another configuration
                for line in lines:
                    granted = part[line.mine + GRANTED]
                    if granted < part[line.mine + LENGTH]:
                        first = part[line.mine + RANKS + min(granted, SHOWN - 1)]
                        if first < best:
                            best, chosen, queue = first, slot, line
            if chosen < 0:
                break
            part = segment.parts[chosen]
            granted = part[queue.mine + GRANTED]
            if granted < SHOWN:
                part[queue.mine + PLACES + granted] = cells[queue.at + PASSED]
            # In this order: whoever makes the sums anew after a death in between finds the slot here, or free.
            if queue is self.any:
                part[gate.mine + LENT] += 1
            part[queue.mine + GRANTED] = granted + 1
            cells[gate.at + TOTAL] += 1
            cells[queue.at + WAITING] -= 1
            cells[queue.at + PASSED] += 1
            rung.add(chosen)
        return rung

    def _take(self, line: Line) -> None:
        """Take note of what others gave to who waits in ``line`` in this worker."""
        part, mine, tickets = self.part, line.mine, line.tickets
        granted = part[mine + GRANTED]
        if not granted:
            return
        places = part[mine + PLACES : mine + PLACES + SHOWN].tolist()
        part[mine + GRANTED] = 0
        gates = [line] * granted if isinstance(line, Gate) else self._lent()
        for n, gate in enumerate(gates):
            if n >= len(tickets):  # somebody counted without the lock
                self.cells[gate.at + TOTAL] -= 1
                continue
            ticket = tickets[n]
            ticket.gate = gate
            ticket.passed(places[min(n, SHOWN - 1)])
            self._ready.append(ticket)
            part[gate.mine + USED] += 1
        del tickets[:granted]
        self._show(line)

    def _lent(self) -> list[Gate]:
        gates = []
        for gate in self.gates:
            if lent := self.part[gate.mine + LENT]:
                gates += [gate] * lent
                self.part[gate.mine + LENT] = 0
        return gates

    def _tell(self, rung: set[int]) -> bool:
        """Wake the workers that were given something, but this one: it is told."""
        own = self.area.slot in rung
        rung.discard(self.area.slot)
        if rung:
            self.area.ring(rung)
        return own
