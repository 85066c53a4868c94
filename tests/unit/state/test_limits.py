"""Limits over all workers: slots, queues, their order, doors, what a killed worker leaves. Workers are parts of one area, in one process
but where one has to die."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
import traceback
from collections.abc import Iterator

import pytest

from forkproxy.state import doors, limits
from forkproxy.state.doors import FULL, OPEN, Door
from forkproxy.state.limits import LIMIT, SESS_LIMIT, TOTAL, WAITING, Area
from forkproxy.state.queues import Gate, Queues, Ticket, rank
from forkproxy.state.segment import LIMIT_CELLS, Segment
from tests.unit.state.progress import Progress

BACKEND, FRONTEND, BIND, SERVER = 1, 2, 3, 4
#: the backend's own queue, where servers are named by their index
ANY = -1

HOUSES: list[House] = []


@pytest.fixture(autouse=True)
def no_descriptors_left() -> Iterator[None]:
    yield
    while HOUSES:
        HOUSES.pop().close()


class House:
    """``workers`` workers, one backend with servers of these limits, one frontend with a bind line."""

    def __init__(self, workers: int = 2, servers: tuple[int, ...] = (2,), minconn: int = 0, fullconn: int = 10) -> None:
        self.segment = Segment.create(8, 16)
        self.bells = limits.bells(workers)
        self.area = Area(self.segment, self.bells)
        for row in (0, FRONTEND, BIND):
            self.area.place(row, 0)
        self.area.place(BACKEND, BACKEND)
        self.rows = list(range(SERVER, SERVER + len(servers)))
        for row, most in zip(self.rows, servers, strict=True):
            self.area.place(row, BACKEND)
            self.area.set(row, LIMIT, most)
        self.areas: list[Area] = []
        self.queues: list[Queues] = []
        for slot in range(workers):
            self.segment.claim(slot, 1000 + slot)
            self.hire(slot, minconn, fullconn)
        self.rung()
        HOUSES.append(self)

    def hire(self, slot: int, minconn: int = 0, fullconn: int = 10) -> None:
        area = self.area.of(slot, slot)
        queues = Queues(area, BACKEND, fullconn)
        for i, row in enumerate(self.rows):
            if area.limited(row):
                queues.open(row, i, minconn)
        self.areas.append(area)
        self.queues.append(queues)

    def cell(self, row: int, cell: int) -> int:
        return self.area.cells[row * LIMIT_CELLS + cell]

    def rung(self) -> list[int]:
        """The workers whose bells rang since the last look."""
        rung = []
        for i, bell in enumerate(self.bells):
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(bell)
                rung.append(i)
        return rung

    def close(self) -> None:
        for bell in self.bells:
            os.close(bell)
        os.close(self.segment.fd)

    def enter(self, worker: int, i: int = 0) -> bool:
        return self.queues[worker].gates[i].enter()

    def leave(self, worker: int, i: int = 0) -> bool:
        return self.queues[worker].gates[i].leave()

    def served(self, worker: int) -> list[tuple[object, object, int]]:
        return [(t.item, t.gate.owner, t.place) for t in self.queues[worker].collect() if t.gate is not None]

    def join(self, worker: int, item: str, when: float, i: int = 0, level: int = 0) -> Ticket:
        queues = self.queues[worker]
        ticket = queues.join(queues.any if i == ANY else queues.gates[i], item, rank(level, when))[0]
        assert ticket is not None
        return ticket

    def check(self) -> None:
        """Every sum is what its parts come to."""
        before = self.area.cells[: 16 * LIMIT_CELLS].tolist()
        for home in (0, BACKEND):
            self.area.recount(home)
        assert self.area.cells[: 16 * LIMIT_CELLS].tolist() == before


def test_slots_are_those_of_all_workers() -> None:
    house = House()
    assert [house.enter(0), house.enter(1), house.enter(0)] == [True, True, False]
    assert house.queues[1].gates[0].full() and house.queues[1].total(house.queues[1].gates[0]) == 2
    assert not house.leave(0)
    assert not house.queues[1].gates[0].full()
    assert house.enter(1) and not house.enter(1)
    house.check()


def test_a_freed_slot_goes_to_who_came_first_in_any_worker() -> None:
    house = House(3)
    assert house.enter(0) and house.enter(0)
    for worker, item, when in ((1, "c", 3.0), (2, "b", 2.0), (1, "a", 1.0), (0, "d", 4.0)):
        house.join(worker, item, when)
    assert not house.enter(1), "nobody overtakes a queue"
    assert not house.leave(0) and house.rung() == [1]
    assert not house.leave(0) and house.rung() == [2]
    assert house.cell(SERVER, TOTAL) == 2, "a slot that is given is nobody else's"
    assert house.served(1) == [("a", 0, 1)]
    assert house.served(2) == [("b", 0, 2)]
    assert house.leave(1) and house.rung() == [], "the next one is of the same worker, which is told"
    assert not house.leave(2) and house.rung() == [0]
    assert house.served(1) == [("c", 0, 3)]
    assert house.served(0) == [("d", 0, 4)]
    assert house.cell(SERVER, WAITING) == 0
    house.check()


def test_leave_says_that_a_stream_of_the_same_worker_is_next() -> None:
    house = House(servers=(1,))
    assert house.enter(0)
    house.join(0, "x", 1.0)
    assert house.leave(0) and house.rung() == []
    assert house.served(0) == [("x", 0, 1)]


@pytest.mark.parametrize(
    ("first", "second"),
    [((0, 2.0), (0, 3.0)), ((-5, 9.0), (0, 1.0)), ((-2047, 0.0), (-2046, 0.0)), ((2046, 1.0), (2047, 0.0)), ((0, 1.0), (0, 1.000002))],
)
def test_rank(first: tuple[int, float], second: tuple[int, float]) -> None:
    assert 0 < rank(*first) < rank(*second) < 1 << 63


def test_the_queue_of_the_backend_and_that_of_a_server_are_one_order() -> None:
    house = House(2, (1, 1))
    assert house.enter(0, 0) and house.enter(1, 1)
    house.join(0, "server 0", 2.0, i=0)
    house.join(1, "any", 1.0, i=ANY)
    house.join(1, "urgent", 3.0, i=ANY, level=-1)
    house.leave(0, 0)
    assert house.served(1) == [("urgent", 0, 1)]
    house.leave(1, 1)
    assert house.served(1) == [("any", 1, 2)]
    house.rung()
    assert house.leave(1, 0) is False and house.rung() == [0]
    assert house.served(0) == [("server 0", 0, 1)]
    house.check()


def test_many_grants_before_a_worker_looks() -> None:
    house = House(2, (20,))
    for _ in range(20):
        assert house.enter(0)
    for n in range(20):
        house.join(1, str(n), float(n))
    for _ in range(12):
        house.leave(0)
    assert [item for item, _, _ in house.served(1)] == [str(n) for n in range(12)]
    house.join(1, "late", 99.0)
    for _ in range(8):
        house.leave(0)
    assert [item for item, _, _ in house.served(1)] == [str(n) for n in range(12, 20)]
    assert house.cell(SERVER, TOTAL) == 20
    house.check()


def test_who_leaves_the_queue_gives_on_what_it_was_given() -> None:
    house = House(2, (1,))
    assert house.enter(0)
    a, b = house.join(1, "a", 1.0), house.join(1, "b", 2.0)
    assert house.queues[1].quit(b) is False and b.place == 1
    house.join(0, "c", 3.0)
    house.leave(0)
    assert house.queues[1].quit(a) is False, "a was given the slot but does not want it any more"
    assert house.rung() == [0, 1]
    assert house.served(1) == []
    assert house.served(0) == [("c", 0, 2)]
    house.check()


def test_a_slot_that_became_free_before_somebody_joined() -> None:
    house = House(2, (1, 1))
    assert house.enter(0, 0) and house.enter(0, 1)
    freed = house.queues[1].freed()
    house.leave(0, 1)
    queues = house.queues[1]
    ticket, mine = queues.join(queues.any, "x", rank(0, 1.0), freed=freed)
    assert mine and house.served(1) == [("x", 1, 1)] and ticket is not None and ticket.gate is queues.gates[1]
    _, mine = queues.join(queues.any, "y", rank(0, 1.0), freed=queues.freed())
    assert not mine


def test_a_limit_that_is_raised_lets_in_who_waits() -> None:
    house = House(2, (1,))
    assert house.enter(0)
    house.join(1, "x", 1.0)
    house.join(1, "y", 2.0)
    alarms = house.cell(0, limits.ALARMS)
    assert house.area.set(SERVER, LIMIT, 2) and not house.area.set(SERVER, LIMIT, 2)
    house.area.ring_all()
    assert 1 in house.rung() and house.cell(0, limits.ALARMS) == alarms + 1
    assert [t.item for t in house.queues[1].look()] == ["x"]
    house.area.set(SERVER, LIMIT, 0)
    assert [t.item for t in house.queues[1].look()] == ["y"]
    assert house.cell(SERVER, TOTAL) == 3


def test_a_limit_that_is_lowered_waits_until_enough_have_left() -> None:
    house = House(2, (3,))
    assert all(house.enter(0) for _ in range(3))
    house.area.set(SERVER, LIMIT, 1)
    house.join(1, "x", 1.0)
    assert not house.leave(0) and not house.leave(0) and house.served(1) == []
    house.leave(0)
    assert house.served(1) == [("x", 0, 1)]


def test_a_limit_that_comes_later_counts_what_is_there() -> None:
    house = House(2, (0,))
    assert house.queues[0].gates == []
    house.area.set(SERVER, LIMIT, 3)
    for worker, used in ((0, 1), (1, 2)):
        assert house.area.limited(SERVER)
        house.queues[worker].open(SERVER, 0, 0, used)
    assert house.queues[0].gates[0].full() and not house.enter(1)
    house.check()


def test_dynamic_limit_follows_the_load_of_all_workers() -> None:
    house = House(2, (8,), minconn=2, fullconn=8)
    queues = house.queues
    gate = queues[0].gates[0]
    assert queues[0].dynamic
    for load, most in ((1, 2), (2, 2), (3, 3), (6, 6), (8, 8), (12, 8)):
        while house.cell(BACKEND, TOTAL) < load:
            queues[load % 2].count(1)
        assert queues[0].limit(gate) == most, load
    while house.cell(BACKEND, TOTAL):
        house.queues[0].count(-1)
    assert house.enter(0) and house.enter(1)
    house.join(1, "x", 1.0)
    assert not house.served(1)
    for _ in range(2):
        assert not queues[1].count(1)
    assert queues[1].count(1), "the load makes room"
    assert house.served(1) == [("x", 0, 1)]


def test_a_server_that_another_worker_does_not_know_is_not_lent_to_it() -> None:
    house = House(2, (1, 1))
    old = house.queues[1]
    old.close(old.gates[1])
    assert house.enter(0, 0) and house.enter(0, 1)
    house.join(1, "old", 1.0, i=ANY)
    house.join(0, "new", 2.0, i=ANY)
    house.leave(0, 1)
    assert house.served(0) == [("new", 1, 1)] and not list(old.collect())
    house.leave(0, 0)
    assert [t.item for t in old.collect()] == ["old"]


def test_a_server_that_is_down_serves_who_waits_for_it_only() -> None:
    house = House(2, (1,))
    assert house.enter(0)
    house.join(1, "any", 1.0, i=ANY)
    house.join(1, "its", 2.0)
    for queues in house.queues:
        gate = queues.gates[0]
        gate.usable = False
    house.leave(0)
    assert house.served(1) == [("its", 0, 1)]
    assert not house.leave(1) and not list(house.queues[1].look())
    gate.usable = True
    assert [t.item for t in house.queues[1].look()] == ["any"]


def test_a_queue_has_room_for_so_many_of_all_workers() -> None:
    house = House(2, (1,))
    queues = house.queues[1]
    assert house.enter(0)
    house.join(0, "x", 1.0)
    assert queues.join(queues.gates[0], "y", rank(0, 2.0), most=1) == (None, False)
    assert queues.crowded(queues.gates[0], 1) and not queues.crowded(queues.gates[0], 2)
    assert queues.join(queues.gates[0], "y", rank(0, 2.0), most=2)[0] is not None


def test_a_slow_start() -> None:
    house = House(1, (10,))
    queues = house.queues[0]
    gate = queues.open(SERVER, 0, moves=True)
    gate.percent = 5
    assert [gate.enter(), gate.enter()] == [True, False]
    gate.percent = 35
    assert [gate.enter() for _ in range(3)] == [True, True, False]


def test_what_a_dead_worker_had_is_free_again() -> None:
    house = House(3, (2, 5))
    assert house.enter(0) and house.enter(0) and house.enter(0, 1)
    house.join(0, "dead too", 1.0)
    house.join(1, "x", 2.0)
    house.join(2, "y", 3.0)
    door = Door(house.areas[0], (0, FRONTEND, BIND))
    assert door.enter(1.0) == OPEN
    house.rung()
    house.area.settle(0)
    house.segment.release(0)
    assert set(house.rung()) == {0, 1, 2, 3}
    assert [t.item for t in house.queues[1].look()] == ["x"]
    assert [t.item for t in house.queues[2].look()] == ["y"]
    assert house.cell(SERVER, TOTAL) == 2 and house.cell(SERVER + 1, TOTAL) == 0 and house.cell(0, TOTAL) == 0
    house.check()


def test_a_slot_that_was_given_to_a_worker_that_died_before_it_knew() -> None:
    house = House(3, (1,))
    assert house.enter(0)
    house.join(1, "x", 1.0)
    house.join(2, "y", 2.0)
    house.leave(0)
    house.area.settle(1)
    house.segment.release(1)
    assert [t.item for t in house.queues[2].look()] == ["y"]
    house.check()


def test_a_slot_that_is_given_to_a_dead_worker_while_it_is_settled() -> None:
    """It waited for any server and had no stream at the one of which it is given a slot just before its part is emptied."""
    house = House(2, (1,))
    assert house.enter(0)
    house.join(1, "dead", 1.0, ANY)

    class Late(Area):
        def enter(self, home: int) -> bool:
            house.leave(0)
            return super().enter(home)

    Late(house.segment, house.bells).settle(1)
    house.segment.release(1)
    assert house.cell(SERVER, TOTAL) == 0 and house.enter(0)
    house.check()


def test_a_lock_that_died_is_not_kept_by_who_tidies() -> None:
    house = House(2, (2,))
    assert house.enter(0)
    pid = os.fork()
    if not pid:
        house.areas[1].enter(BACKEND)
        os._exit(0)
    os.waitpid(pid, 0)
    house.area.cells[SERVER * LIMIT_CELLS + TOTAL] = 2
    house.areas[0].dirty.add(BACKEND)
    house.areas[0].tidy()
    assert house.cell(SERVER, TOTAL) == 1 and house.areas[0].dirty == set()
    pid = os.fork()
    if not pid:
        os._exit(0 if house.areas[1].enter(BACKEND) else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_killed_at_random_under_load() -> None:
    """Children take, free, wait and collect as fast as they can until they are killed; what is left is right, and the limit was kept."""
    house = House(3, (3, 2))
    progress = Progress(3)

    def work(slot: int) -> None:
        queues, dice = house.queues[slot], random.Random(slot)
        having: list[Gate] = []
        tickets: list[Ticket] = []
        while True:
            progress.step(slot)
            deed = dice.random()
            if deed < 0.4:
                gate = dice.choice(queues.gates)
                if gate.enter():
                    having.append(gate)
                elif len(tickets) < 12:
                    ticket, _ = queues.join(gate if deed < 0.2 else queues.any, None, rank(0, time.monotonic()))
                    assert ticket is not None
                    tickets.append(ticket)
            elif deed < 0.7 and having:
                having.pop().leave()
            elif deed < 0.8 and tickets:
                ticket = tickets.pop(dice.randrange(len(tickets)))
                queues.quit(ticket)
            else:
                for ticket in queues.collect():
                    if ticket in tickets:
                        tickets.remove(ticket)
                    assert ticket.gate is not None
                    having.append(ticket.gate)

    children: dict[int, int] = {}

    def start(slot: int) -> None:
        pid = os.fork()
        if not pid:
            try:
                work(slot)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        children[slot] = pid

    dice = random.Random(7)
    for slot in range(3):
        start(slot)
    try:
        for _ in range(60):
            slot = dice.randrange(3)
            progress.wait(slot, dice.randrange(1, 200))
            for i, most in ((0, 3), (1, 2)):
                assert 0 <= house.cell(SERVER + i, TOTAL) <= most
            os.kill(children[slot], signal.SIGKILL)
            _, status = os.waitpid(children.pop(slot), 0)
            assert os.WIFSIGNALED(status), "it must not end by itself"
            house.area.settle(slot)
            house.segment.release(slot)
            house.segment.claim(slot, 1000 + slot)
            house.queues[slot] = Queues(house.area.of(slot, slot), BACKEND, 10)
            for i, row in enumerate(house.rows):
                house.queues[slot].open(row, i, 0)
            start(slot)
    finally:
        for pid in children.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    for slot in range(3):
        house.area.settle(slot)
        house.segment.release(slot)
    assert [house.cell(SERVER + i, cell) for i in (0, 1) for cell in (TOTAL, WAITING)] == [0, 0, 0, 0]
    assert house.cell(BACKEND, WAITING) == 0


def test_who_takes_the_lock_of_a_dead_process_makes_the_sums_anew() -> None:
    house = House(2, (2,))
    assert house.enter(0)
    alarms = house.cell(0, limits.ALARMS)
    pid = os.fork()
    if not pid:
        house.areas[1].enter(BACKEND)
        house.area.cells[SERVER * LIMIT_CELLS + TOTAL] += 1
        house.area.cells[SERVER * LIMIT_CELLS + WAITING] += 1
        os._exit(0)
    os.waitpid(pid, 0)
    assert house.enter(0) and not house.enter(0)
    assert house.cell(SERVER, TOTAL) == 2 and house.cell(SERVER, WAITING) == 0
    assert house.cell(0, limits.ALARMS) == alarms + 1, "it may have had something to give away"


def test_who_is_stopped_with_the_lock_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(2, (1,))
    pid = os.fork()
    if not pid:
        house.areas[1].enter(BACKEND)
        os.kill(os.getpid(), signal.SIGSTOP)
        house.area.cells[SERVER * LIMIT_CELLS + TOTAL] = 17  # what it had read before
        house.areas[1].leave(BACKEND, True)
        os._exit(0)
    try:
        os.waitpid(pid, os.WUNTRACED)
        assert house.enter(0)
        started = time.monotonic()
        for _ in range(50):
            house.leave(0)
            assert house.enter(0)
        assert time.monotonic() - started < 5.0, "patience was lost once, not each time"
    finally:
        os.kill(pid, signal.SIGCONT)
        os.waitpid(pid, 0)
    house.areas[0].tidy()
    assert house.cell(SERVER, TOTAL) == 1 and house.areas[0].dirty == set()
    assert not house.enter(0)


# -- doors


def test_doors_count_where_there_is_a_limit() -> None:
    house = House()
    house.area.set(0, LIMIT, 3)
    house.area.set(FRONTEND, LIMIT, 2)
    one, two = (Door(area, (0, FRONTEND, BIND)) for area in house.areas)
    other = Door(house.areas[1], (0, 14, 15))
    house.area.place(14, 0)
    house.area.place(15, 0)
    assert [one.enter(1.0), two.enter(1.0), two.enter(1.0)] == [OPEN, OPEN, FULL]
    assert other.enter(1.0) == OPEN and other.enter(2.0) == FULL
    assert [house.cell(row, TOTAL) for row in (0, FRONTEND, BIND)] == [3, 2, 0]
    house.check()


def test_places_are_reserved_where_there_are_many() -> None:
    house = House()
    house.area.set(0, LIMIT, 40)
    one, two = (Door(area, (0, FRONTEND, BIND)) for area in house.areas)
    assert [one.reserve(64), two.reserve(64), one.reserve(3)] == [5, 4, 3]
    assert house.cell(0, TOTAL) == 12
    house.check()
    two.undo(1.0, 4)
    one.leave(6)
    assert house.cell(0, TOTAL) == 2
    house.area.set(0, LIMIT, 17)
    assert one.reserve(64) == 0, "one of fifteen: each asks for itself"
    house.area.set(0, LIMIT, 1000)
    house.area.set(0, SESS_LIMIT, 900)
    assert one.reserve(64) == 0, "rates count each one"
    assert house.cell(0, TOTAL) == 2
    house.check()


def test_who_waited_longest_is_woken_alone_and_passes_on() -> None:
    house = House(3)
    house.area.set(0, LIMIT, 2)
    house.rung()
    gates = [Door(area, (0, FRONTEND, BIND)) for area in house.areas]
    assert gates[0].enter(1.0) == gates[0].enter(1.0) == OPEN
    assert gates[2].enter(2.0) == gates[1].enter(3.0) == gates[2].enter(4.0) == FULL
    gates[0].leave()
    assert house.rung() == [2]
    gates[0].leave()
    assert house.rung() == [1], "one slot, one worker"
    assert gates[2].enter(5.0) == OPEN
    assert gates[0].enter(5.0) == OPEN
    assert gates[1].enter(5.0) == gates[2].enter(6.0) == FULL
    gates[0].leave()
    assert house.rung() == [1]
    gates[1].pass_on()
    assert house.rung() == [2], "it had nothing to accept"
    assert gates[1].enter(7.0) == OPEN and gates[2].enter(8.0) == gates[1].enter(8.5) == FULL
    gates[0].leave()
    house.rung()
    gates[1].forgo()
    assert house.cell(0, WAITING) == 0
    house.check()


def test_who_goes_away_wakes_another_in_its_place() -> None:
    house = House(2)
    house.area.set(0, LIMIT, 1)
    house.rung()
    gates = [Door(area, (0,)) for area in house.areas]
    assert gates[0].enter(1.0) == OPEN
    assert gates[0].enter(2.0) == gates[1].enter(3.0) == FULL
    gates[0].leave()
    assert house.rung() == [0]
    gates[0].forgo()
    assert house.rung() == [1]


def test_rates_are_those_of_all_workers() -> None:
    house = House()
    house.area.set(FRONTEND, SESS_LIMIT, 4)
    gates = [Door(area, (0, FRONTEND, BIND)) for area in house.areas]
    assert [gates[n % 2].enter(1.0) for n in range(6)] == [OPEN] * 4 + [250, 250]
    assert gates[0].enter(1.9) == 250
    assert gates[0].enter(2.0) == 250
    assert gates[0].enter(2.01) == OPEN, "the last second fades: 3.96 and 0 events are less than 4, as for haproxy"
    assert gates[1].enter(2.2) == 250
    assert gates[1].enter(2.3) == OPEN
    assert gates[0].enter(2.3) == 250
    gates[1].refuse(2.3)
    assert gates[0].enter(2.3) == OPEN
    assert gates[0].enter(9.0) == OPEN
    assert house.cell(0, TOTAL) == 8


def test_a_frontend_that_gets_a_limit_while_it_runs() -> None:
    house = House()
    gates = [Door(area, (0, FRONTEND, BIND)) for area in house.areas]
    assert [gates[n % 2].enter(1.0) for n in range(3)] == [OPEN] * 3
    house.area.set(FRONTEND, LIMIT, 4)
    for worker, used in ((0, 2), (1, 1)):
        assert gates[worker].look() == (FRONTEND,)
        doors.align(house.areas[worker], FRONTEND, used)
        assert gates[worker].look() == ()
    assert [gates[n % 2].enter(1.0) for n in range(2)] == [OPEN, FULL]
    gates[0].force()
    assert house.cell(FRONTEND, TOTAL) == 5
    house.check()
