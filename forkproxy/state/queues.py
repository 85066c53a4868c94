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
from collections.abc import Callable, Sequence
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
    UNLIMITED,
    USED,
    WAITING,
    Area,
)
from forkproxy.state.robust import attempt, give
from forkproxy.state.segment import LIMIT_CELLS, PART_CELLS

#: Classes of priority go from -2047 to 2047 (manual: set-priority-class), times to 2^51 microseconds: 71 years.
_CLASS_SHIFT: Final = 51
_NEVER: Final = (1 << 63) - 1
#: The queue of the backend, where servers are named by their index.
ANY: Final = -1


def rank(level: int, when_s: float) -> int:
    """The rank of what has priority class ``level`` and came at ``when_s`` (monotonic)."""
    return level + 2048 << _CLASS_SHIFT | max(0, int(when_s * 1e6))


class Ticket:
    """One item that waits in queue ``queue`` (a server's index or ANY). ``server`` is who may serve it, -1 as long as nobody does;
    ``place`` then tells how many were served from this queue since it came, itself included."""

    __slots__ = ("_seen", "item", "place", "queue", "rank", "server")

    def __init__(self, item: Any, queue: int, rank: int, seen: int) -> None:
        self.item = item
        self.queue = queue
        self.rank = rank
        self.server = -1
        self.place = 0
        self._seen = seen

    def __lt__(self, other: Ticket) -> bool:
        return self.rank < other.rank

    def passed(self, count: int) -> None:
        """The queue has served ``count`` by now."""
        self.place = max(1, count - self._seen + 1)


class Gate:
    """One server, if it is limited. ``enter()`` takes a slot unless it is full or has a queue; ``leave()`` gives one back and says whether
    somebody who waits in this worker was given one: then :meth:`Queues.collect` tells whom."""

    __slots__ = ("at", "enter", "floor", "leave", "mine", "row", "tickets", "usable")

    def __init__(self, row: int, floor: int) -> None:
        self.row = row
        self.floor = floor  # minconn; 0: its limit is constant
        self.at = row * LIMIT_CELLS
        self.mine = row * PART_CELLS
        self.tickets: list[Ticket] = []
        self.usable = True  # whether waiting streams may be given to it
        self.enter: Callable[[], bool] = _always
        self.leave: Callable[[], bool] = _never


def _always() -> bool:
    return True


def _never() -> bool:
    return False


class Queues:
    """The limited servers of one backend as one worker sees them. ``gates`` by index, None for servers without a limit; ``tickets``
    wait in the backend's own queue. ``home`` is the backend's row, ``fullconn`` where its servers reach their maxconn."""

    __slots__ = ("_ready", "area", "at", "cells", "dynamic", "fullconn", "gates", "home", "mine", "part", "tickets")

    def __init__(self, area: Area, home: int, fullconn: int) -> None:
        self.area = area
        self.cells = area.cells
        self.part = area.segment.parts[area.slot]
        self.home = home
        self.at = home * LIMIT_CELLS
        self.mine = home * PART_CELLS
        self.fullconn = fullconn
        self.dynamic = False
        self.gates: list[Gate | None] = []
        self.tickets: list[Ticket] = []
        self._ready: list[Ticket] = []

    def open(self, i: int, row: int, minconn: int, used: int = 0) -> Gate | None:
        """The gate of server ``i``, which has ``used`` streams of this worker now; None: it has no limit. To be called again when it
        may have got one. ``minconn`` 0: its limit does not depend on the load."""
        while len(self.gates) <= i:
            self.gates.append(None)
        gate = self.gates[i]
        if gate is not None or self.cells[row * LIMIT_CELLS + LIMIT] >= UNLIMITED:
            return gate
        gate = self.gates[i] = Gate(row, minconn)
        self.dynamic = self.dynamic or gate.floor > 0
        gate.enter, gate.leave = self._doors(gate)
        held = self.area.enter(self.home)
        self.cells[gate.at + TOTAL] += used - self.part[gate.mine + USED]
        self.part[gate.mine + USED] = used
        self.part[gate.mine + KNOWN] = 1
        self.area.leave(self.home, held)
        return gate

    # -- without a queue

    def _doors(self, gate: Gate) -> tuple[Callable[[], bool], Callable[[], bool]]:
        area, cells, part, home = self.area, self.cells, self.part, self.home
        lock = area.lock(home)
        at, used = gate.at, gate.mine + USED
        limit, total, waiting, others, freed = at + LIMIT, at + TOTAL, at + WAITING, self.at + WAITING, self.at + FREED
        dynamic = self.limit if gate.floor else None

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

        return enter, leave

    def limit(self, gate: Gate) -> int:
        """How many streams the server may have now."""
        most = self.cells[gate.at + LIMIT]
        if not gate.floor:
            return most
        load = self.cells[self.at + TOTAL]
        return most if load >= self.fullconn else max(min(gate.floor, most), load * most // self.fullconn)

    def count(self, change: int) -> bool:
        """The backend has a stream more (1) or less (-1); to be called where ``dynamic``. The same answer as ``leave()``."""
        held = self.area.enter(self.home)
        self.cells[self.at + TOTAL] += change
        self.part[self.mine + USED] += change
        rung: set[int] = set()
        if change > 0:  # limits grew
            for gate in self.gates:
                if gate is not None and gate.floor and (self.cells[gate.at + WAITING] or self.cells[self.at + WAITING]):
                    rung |= self._serve(gate)
        self.area.leave(self.home, held)
        return self._tell(rung)

    # -- what is asked without a lock: true a moment ago

    def full(self, i: int) -> bool:
        """Whether server ``i`` is at its limit, or has a queue."""
        gate = self.gates[i]
        if gate is None:
            return False
        cells, at = self.cells, gate.at
        return cells[at + WAITING] > 0 or cells[at + TOTAL] >= (self.limit(gate) if gate.floor else cells[at + LIMIT])

    def waiting(self, i: int) -> int:
        """How many wait in the queue of server ``i``, or of the backend (ANY), over all workers."""
        gate = None if i < 0 else self.gates[i]
        return 0 if i >= 0 and gate is None else self.cells[(self.at if gate is None else gate.at) + WAITING]

    def freed(self) -> int:
        """A number that moves when a slot becomes free, for :meth:`join`."""
        return self.cells[self.at + FREED]

    def total(self, i: int) -> int:
        """How many streams server ``i`` (which has a limit) has, over all workers."""
        gate = self.gates[i]
        assert gate is not None
        return self.cells[gate.at + TOTAL]

    # -- waiting

    def join(self, i: int, item: Any, rank: int, freed: int = -1) -> tuple[Ticket, bool]:
        """``item`` waits in the queue of server ``i``, or of the backend (ANY). Its ticket, and the same answer as of ``leave()``:
        something may have become free meanwhile. ``freed`` is what :meth:`freed` said before all servers were found full."""
        at, mine, tickets = self._queue(i)
        held = self.area.enter(self.home)
        self._take(i)
        ticket = Ticket(item, i, rank, self.cells[at + PASSED])
        insort(tickets, ticket)
        self._show(mine, tickets)
        self.cells[at + WAITING] += 1
        rung: set[int] = set()
        for gate in (self.gates[i],) if i >= 0 else self.gates if self.cells[self.at + FREED] != freed else ():
            if gate is not None and gate.usable and self.cells[gate.at + TOTAL] < self.limit(gate):
                rung |= self._serve(gate)
        self.area.leave(self.home, held)
        return ticket, self._tell(rung)

    def quit(self, ticket: Ticket) -> bool:
        """Its item waits no more (``ticket.place`` is set). The same answer as of ``leave()``: if it was given a slot, that is free now."""
        i = ticket.queue
        at, mine, tickets = self._queue(i)
        held = self.area.enter(self.home)
        self._take(i)
        rung: set[int] = set()
        if ticket.server < 0:
            where = bisect_left(tickets, ticket)
            while tickets[where] is not ticket:
                where += 1
            del tickets[where]
            ticket.passed(self.cells[at + PASSED])
            self.cells[at + WAITING] -= 1
            self._show(mine, tickets)
        else:
            self._ready.remove(ticket)
            gate = self.gates[ticket.server]
            assert gate is not None
            self.cells[gate.at + TOTAL] -= 1
            self.part[gate.mine + USED] -= 1
            rung = self._serve(gate)
        self.area.leave(self.home, held)
        return self._tell(rung)

    def collect(self) -> list[Ticket]:
        """Whose turn it is in this worker, in order: each may use its ``server``, and has a slot of it."""
        if self.tickets or any(gate is not None and gate.tickets for gate in self.gates):
            held = self.area.enter(self.home)
            for i in range(ANY, len(self.gates)):
                if self._queue(i)[2]:
                    self._take(i)
            self.area.leave(self.home, held)
        ready, self._ready = self._ready, []
        return ready

    def look(self) -> list[Ticket]:
        """The bell rang, or time went by: give what is free to whoever is next, then :meth:`collect`."""
        cells = self.cells
        if self.tickets or any(gate is not None and gate.tickets for gate in self.gates):
            held = self.area.enter(self.home)
            rung: set[int] = set()
            for gate in self.gates:
                if gate is not None and (cells[gate.at + WAITING] or cells[self.at + WAITING]):
                    rung |= self._serve(gate)
            self.area.leave(self.home, held)
            self._tell(rung)
        return self.collect()

    # -- with the lock

    def _queue(self, i: int) -> tuple[int, int, list[Ticket]]:
        """Where queue ``i`` has its cells, among the limits and in a part, and who waits in it here."""
        if i < 0:
            return self.at, self.mine, self.tickets
        gate = self.gates[i]
        return (0, 0, []) if gate is None else (gate.at, gate.mine, gate.tickets)

    def _show(self, mine: int, tickets: Sequence[Ticket]) -> None:
        part = self.part
        part[mine + LENGTH] = len(tickets)
        first = array("q", [ticket.rank for ticket in tickets[:SHOWN]])
        part[mine + RANKS : mine + RANKS + len(first)] = memoryview(first)

    def _serve(self, gate: Gate) -> set[int]:
        """Give free slots of ``gate`` to whoever is first; the workers to wake, this one among them."""
        rung: set[int] = set()
        if not gate.usable:
            return rung
        cells, segment = self.cells, self.area.segment
        most = self.limit(gate)
        live = segment.live()
        while cells[gate.at + TOTAL] < most:
            queues = [at for at, of in ((gate.mine, gate.at), (self.mine, self.at)) if cells[of + WAITING] > 0]
            best, chosen, queue = _NEVER, -1, 0
            for slot in live if queues else ():
                part = segment.parts[slot]
                if not part[gate.mine + KNOWN]:
                    continue  # of another configuration
                for mine in queues:
                    granted = part[mine + GRANTED]
                    if granted < part[mine + LENGTH]:
                        first = part[mine + RANKS + min(granted, SHOWN - 1)]
                        if first < best:
                            best, chosen, queue = first, slot, mine
            if chosen < 0:
                break
            part = segment.parts[chosen]
            of = gate.at if queue == gate.mine else self.at
            granted = part[queue + GRANTED]
            if granted < SHOWN:
                part[queue + PLACES + granted] = cells[of + PASSED]
            # In this order: whoever makes the sums anew after a death in between finds the slot here, or free.
            if queue == self.mine:
                part[gate.mine + LENT] += 1
            part[queue + GRANTED] = granted + 1
            cells[gate.at + TOTAL] += 1
            cells[of + WAITING] -= 1
            cells[of + PASSED] += 1
            rung.add(chosen)
        return rung

    def _take(self, i: int) -> None:
        """Take note of what others gave to queue ``i`` of this worker."""
        _, mine, tickets = self._queue(i)
        part = self.part
        granted = part[mine + GRANTED]
        if not granted:
            return
        places = part[mine + PLACES : mine + PLACES + SHOWN].tolist()
        part[mine + GRANTED] = 0
        servers = [i] * granted if i >= 0 else self._lent()
        for n, server in enumerate(servers):
            gate = self.gates[server]
            assert gate is not None
            if n >= len(tickets):  # somebody counted without the lock
                self.cells[gate.at + TOTAL] -= 1
                continue
            ticket = tickets[n]
            ticket.server = server
            ticket.passed(places[min(n, SHOWN - 1)])
            self._ready.append(ticket)
            part[gate.mine + USED] += 1
        del tickets[:granted]
        self._show(mine, tickets)

    def _lent(self) -> list[int]:
        servers = []
        for i, gate in enumerate(self.gates):
            if gate is not None and (lent := self.part[gate.mine + LENT]):
                servers += [i] * lent
                self.part[gate.mine + LENT] = 0
        return servers

    def _tell(self, rung: set[int]) -> bool:
        """Wake the workers that were given something, but this one: it is told."""
        own = self.area.slot in rung
        rung.discard(self.area.slot)
        if rung:
            self.area.ring(rung)
        return own
