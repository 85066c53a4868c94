"""The rise/fall automaton against what HAProxy 2.6 showed for the same sequences."""

from __future__ import annotations

import pytest

from forkproxy.health.conversation import Result
from forkproxy.health.machine import Admin, Machine, Outcome, State, delay_s, status_text
from forkproxy.health.status import Status

OK = Result(Status.L7OK, 200)
BAD = Result(Status.L7STS, 503, "Bad things")
SOFT = Result(Status.L7OKC, 404)


def shown(machine: Machine) -> str:
    return status_text(machine.state, Admin.NONE, machine.health, machine.rise, machine.fall)


def test_starts_up_but_one_failure_from_down() -> None:
    machine = Machine(2, 3)
    assert shown(machine) == "UP 1/3"
    assert machine.apply(BAD) == Outcome.STATUS | Outcome.HEALTH | Outcome.FAILED | Outcome.WENT_DOWN
    assert shown(machine) == "DOWN"


def test_first_success_makes_it_fully_up() -> None:
    machine = Machine(2, 3)
    assert machine.apply(OK) == Outcome.STATUS | Outcome.HEALTH
    assert (shown(machine), machine.health) == ("UP", 4)
    assert machine.apply(OK) == Outcome.NOTHING


def test_fall_and_rise() -> None:
    machine = Machine(2, 3)
    machine.apply(OK)
    seen = []
    for result in (BAD, BAD, BAD, BAD, OK, BAD, OK, OK):
        machine.apply(result)
        seen.append(shown(machine))
    assert seen == ["UP 2/3", "UP 1/3", "DOWN", "DOWN", "DOWN 1/2", "DOWN", "DOWN 1/2", "UP"]


def test_a_success_on_the_way_down_restores_full_health() -> None:
    machine = Machine(2, 3)
    for result in (OK, BAD, BAD, OK):
        machine.apply(result)
    assert shown(machine) == "UP"


def test_failures_count_only_while_up() -> None:
    machine = Machine(2, 3)
    counted = [bool(machine.apply(result) & Outcome.FAILED) for result in (OK, BAD, BAD, BAD, BAD, OK, BAD)]
    assert counted == [False, True, True, True, False, False, False]


def test_conditional_pass_stops_and_resumes() -> None:
    machine = Machine(2, 3)
    machine.apply(OK)
    assert machine.apply(SOFT) == Outcome.STATUS | Outcome.STOPPING
    assert shown(machine) == "NOLB"
    assert machine.apply(SOFT) == Outcome.NOTHING
    machine.apply(BAD)
    assert shown(machine) == "NOLB 2/3"
    assert machine.apply(OK) & Outcome.RESUMED
    assert shown(machine) == "UP"


def test_stopping_server_goes_down_like_any_other() -> None:
    machine = Machine(2, 1)
    machine.apply(SOFT)
    assert machine.apply(BAD) & Outcome.WENT_DOWN
    assert machine.state is State.STOPPED


def test_404_does_not_bring_a_dead_server_up() -> None:
    machine = Machine(1, 1)
    machine.apply(BAD)
    machine.apply(SOFT)
    assert shown(machine) == "DOWN"
    assert machine.apply(OK) & Outcome.WENT_UP


@pytest.mark.parametrize(
    ("word", "health", "after_ok", "after_bad"),
    [("fully-up", 4, "UP", "UP 2/3"), ("up", 2, "UP", "DOWN"), ("down", 1, "UP", "DOWN"), ("fully-down", 0, "DOWN 1/2", "DOWN")],
)
def test_init_state(word: str, health: int, after_ok: str, after_bad: str) -> None:
    for result, wanted in ((OK, after_ok), (BAD, after_bad)):
        machine = Machine(2, 3, word)
        assert machine.health == health
        machine.apply(result)
        assert shown(machine) == wanted


def test_delays_follow_the_table_of_the_manual() -> None:
    machine = Machine(2, 3)
    assert delay_s(machine, 2.0, 0.5, 10.0) == 0.5  # yet unchecked
    machine.apply(OK)
    assert delay_s(machine, 2.0, 0.5, 10.0) == 2.0
    machine.apply(BAD)
    assert delay_s(machine, 2.0, 0.5, 10.0) == 0.5
    assert delay_s(machine, 2.0, None, 10.0) == 2.0
    machine.apply(BAD)
    machine.apply(BAD)
    assert delay_s(machine, 2.0, 0.5, 10.0) == 10.0
    assert delay_s(machine, 2.0, 0.5, None) == 2.0


def test_restore_survives_other_limits() -> None:
    machine = Machine(5, 1)
    machine.restore(4, State.RUNNING, OK)
    assert (machine.health, machine.state) == (5, State.RUNNING)
    machine = Machine(1, 1)
    machine.restore(3, State.STOPPED, BAD)
    assert (machine.health, machine.state) == (0, State.STOPPED)


@pytest.mark.parametrize(
    ("admin", "via", "wanted"),
    [
        (Admin.FORCED_MAINT, "", "MAINT"),
        (Admin.CONFIG_MAINT, "", "MAINT"),
        (Admin.INHERITED_MAINT, "b/s1", "MAINT (via b/s1)"),
        (Admin.RESOLUTION_MAINT, "", "MAINT (resolution)"),
        (Admin.FORCED_DRAIN, "", "DRAIN"),
        (Admin.FORCED_MAINT | Admin.FORCED_DRAIN, "", "MAINT"),
    ],
)
def test_admin_states(admin: Admin, via: str, wanted: str) -> None:
    assert status_text(State.RUNNING, admin, 4, 2, 3, via=via) == wanted


def test_unchecked_servers() -> None:
    assert status_text(State.RUNNING, Admin.NONE, 1, 1, 1, checked=False) == "no check"
    assert status_text(State.RUNNING, Admin.FORCED_DRAIN, 1, 1, 1, checked=False) == "DRAIN"
    assert status_text(State.STOPPED, Admin.NONE, 0, 1, 1, checked=False) == "DOWN"
