"""The words of the logs, letter by letter as HAProxy wrote them."""

from __future__ import annotations

from forkproxy.health import reports
from forkproxy.health.conversation import Result
from forkproxy.health.machine import Machine, State
from forkproxy.health.status import EXPORTED, Status

REFUSED = Result(Status.L4CON, 0, "Connection refused")


def test_down_with_reason() -> None:
    line = reports.change_line("b/s", False, State.STOPPED, reports.reason(REFUSED, 0), 1, 0)
    assert line == (
        'Server b/s is DOWN, reason: Layer4 connection problem, info: "Connection refused", check duration: 0ms. '
        "1 active and 0 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue."
    )


def test_down_on_backup_and_via() -> None:
    line = reports.change_line("c/s5", False, State.STOPPED, "", 0, 1, via="c/s1")
    assert line == (
        "Server c/s5 is DOWN via c/s1. 0 active and 1 backup servers left. Running on backup. "
        "0 sessions active, 0 requeued, 0 remaining in queue."
    )


def test_up_and_stopping() -> None:
    why = reports.reason(Result(Status.L7OK, 200), 0)
    assert reports.change_line("c/s1", False, State.RUNNING, why, 1, 1) == (
        "Server c/s1 is UP, reason: Layer7 check passed, code: 200, check duration: 0ms. "
        "1 active and 1 backup servers online. 0 sessions requeued, 0 total in queue."
    )
    assert reports.change_line("t/t1", False, State.STOPPING, "", 0, 0) == (
        "Server t/t1 is stopping. 0 active and 0 backup servers online. 0 sessions requeued, 0 total in queue."
    )


def test_check_lines() -> None:
    machine = Machine(2, 3)
    machine.apply(Result(Status.L7OK, 200))
    assert reports.check_line("b/s1", False, machine, 0) == (
        "Health check for server b/s1 succeeded, reason: Layer7 check passed, code: 200, check duration: 0ms, status: 3/3 UP."
    )
    machine.apply(Result(Status.L7OKC, 404))
    assert "conditionally succeeded, reason: Layer7 check conditionally passed, code: 404" in reports.check_line("b/s1", False, machine, 0)
    for _ in range(3):
        machine.apply(REFUSED)
    assert reports.check_line("b/s1", True, machine, 7) == (
        'Health check for backup server b/s1 failed, reason: Layer4 connection problem, info: "Connection refused", '
        "check duration: 7ms, status: 0/2 DOWN."
    )


def test_admin_line() -> None:
    assert reports.admin_line("b/s3", True, "enters drain state", 2, 0, False) == (
        "Backup Server b/s3 enters drain state. 2 active and 0 backup servers online. 0 sessions requeued, 0 total in queue."
    )


def test_a_server_cannot_write_log_lines() -> None:
    text = reports.reason(Result(Status.L7STS, 500, 'a\r\nb"c'), 1)
    assert text == ', reason: Layer7 wrong status, code: 500, info: "a#0D#0Ab\\"c", check duration: 1ms'


def test_statuses() -> None:
    names = "HANA SOCKERR L4OK L4TOUT L4CON L6OK L6TOUT L6RSP L7TOUT L7RSP L7OK L7OKC L7STS PROCERR PROCTOUT PROCOK"
    assert " ".join(status.name for status in EXPORTED) == names
    assert all(status.text for status in Status)
    assert {status.name for status in Status if status.passed} == {"L4OK", "L6OK", "L7OK", "L7OKC", "PROCOK"}
