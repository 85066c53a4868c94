"""What a server begins with when a state file knows it; the expected states are those that haproxy 2.6 shows for the same file."""

from __future__ import annotations

import pytest

from forkproxy.health.entry import Entry, Group, recall
from forkproxy.health.machine import Admin, State
from forkproxy.health.status import Status
from forkproxy.plan import Address, Backend, Check, SavedState, Server

C, F, D = Admin.CONFIG_MAINT, Admin.FORCED_MAINT, Admin.FORCED_DRAIN


def entry(*, checked: bool = True, disabled: bool = False, weight: int = 1, slowstart_s: float = 0.0) -> Entry:
    server = Server(
        name="s", address=Address("ipv4", "127.0.0.1", 80), backend="b", id=1, weight=weight, disabled=disabled, slowstart_s=slowstart_s,
        check=Check(rise=2, fall=3) if checked else None,
    )  # fmt: skip
    return Entry(server, Group(Backend(name="b", id=2)), 1000.0)


def saved(op: int = 2, admin: int = 0, uweight: int = 1, iweight: int = 1, age_s: int = 100) -> SavedState:
    return SavedState(op=op, admin=admin, uweight=uweight, iweight=iweight, age_s=age_s, check_status=6)


@pytest.mark.parametrize(
    ("op", "state", "health"), [(0, State.STOPPED, 0), (1, State.RUNNING, 2), (2, State.RUNNING, 4), (3, State.STOPPING, 2)]
)
def test_checks_go_on_from_there(op: int, state: State, health: int) -> None:
    one = entry()
    recall(one, saved(op), 1000.0, 50.0)
    assert one.machine is not None
    assert (one.machine.state, one.machine.health, one.machine.result.status) == (state, health, Status.L4OK)
    assert (one.since, one.wanted(), one.throttle) == (900.0, state, 0)


@pytest.mark.parametrize(
    ("disabled", "weight", "admin", "iweight", "expected"),
    [
        (False, 1, F, 1, F),
        (False, 1, D, 1, D),
        (False, 1, D, 0, Admin.NONE),  # the weight is no longer 0
        (False, 0, D, 0, D),
        (False, 1, F | D, 1, F),
        (False, 1, C | F, 1, Admin.NONE),  # the file does not say "disabled" any more
        (True, 1, Admin.NONE, 1, C),  # it says so since
        (True, 1, F, 1, C),
        (True, 1, C | F, 1, C),
        (True, 1, C, 1, Admin.NONE),  # somebody enabled it
        (False, 1, Admin.INHERITED_MAINT, 1, Admin.NONE),
    ],
)
def test_what_the_operator_wanted(disabled: bool, weight: int, admin: Admin, iweight: int, expected: Admin) -> None:
    one = entry(disabled=disabled, weight=weight)
    recall(one, saved(admin=admin, iweight=iweight), 1000.0, 50.0)
    assert one.admin == expected


def test_a_weight_of_the_operator_lasts_until_the_file_changes() -> None:
    same, other = entry(weight=3), entry(weight=4)
    for one in (same, other):
        recall(one, saved(uweight=7, iweight=3), 1000.0, 50.0)
    assert (same.uweight, other.uweight) == (7, 4)


def test_a_slow_start_goes_on() -> None:
    begun, over = entry(slowstart_s=200.0), entry(slowstart_s=50.0)
    for one in (begun, over):
        recall(one, saved(1), 1000.0, 500.0)
    assert (begun.throttle, begun.slow_since) == (1, 400.0)
    assert over.throttle == 0


def test_a_server_without_checks_is_up() -> None:
    one = entry(checked=False)
    recall(one, saved(0), 1000.0, 50.0)
    assert one.wanted() is State.RUNNING
