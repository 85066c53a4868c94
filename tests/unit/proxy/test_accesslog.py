"""Which lines of an access log are written, at which level, to whom."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from forkproxy.plan import Frontend
from forkproxy.proxy.accesslog import AccessLog, Target

ORDINARY: dict[str, Any] = {
    "clock": SimpleNamespace(wall=1.0), "log_level": None, "bytes_in": 10, "redispatched": False, "flags": b"----", "retries": 0,
    "status": 200, "mode_http": True, "req": object(),
}  # fmt: skip
FAILURES: dict[str, dict[str, Any]] = {
    "the server left": {"flags": b"SH--"},
    "refused by a rule": {"flags": b"PR--"},
    "redispatched": {"redispatched": True},
    "tried again": {"retries": 1},
    "a status of 500": {"status": 500},
}
FINE: dict[str, dict[str, Any]] = {
    "as it should be": {},
    "answered here": {"flags": b"LR--"},
    "a retry before an answer of our own": {"flags": b"LR--", "retries": 1},
    "what would be a status in TCP mode": {"status": 500, "mode_http": False},
}


def written(options: set[str], targets: list[tuple[int, int]] | None = None, **stream: Any) -> list[tuple[int, int, bytes]]:
    """(target, level, line) of one stream."""
    found: list[tuple[int, int, bytes]] = []

    def target(number: int) -> Any:
        return lambda level, wall, line: found.append((number, level, line))

    plan = Frontend(
        name="f", id=1, mode="http", options=frozenset(options - {"error-log-format"}), log_format=lambda s: b"line",
        error_log_format=(lambda s: b"error") if "error-log-format" in options else None,
    )  # fmt: skip
    log = AccessLog(plan, [Target(most, floor, target(n)) for n, (most, floor) in enumerate(targets or [(7, 0)])])
    log.emit(SimpleNamespace(**{**ORDINARY, **stream}))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("stream", FAILURES.values(), ids=FAILURES)
def test_failures(stream: dict[str, Any]) -> None:
    assert written({"dontlog-normal"}, **stream) == [(0, 6, b"line")]
    assert written({"log-separate-errors"}, **stream) == [(0, 3, b"line")]


@pytest.mark.parametrize("stream", FINE.values(), ids=FINE)
def test_what_is_none(stream: dict[str, Any]) -> None:
    assert written({"dontlog-normal"}, **stream) == []
    assert written({"log-separate-errors"}, **stream) == [(0, 6, b"line")]


def test_levels() -> None:
    assert written(set(), [(5, 0), (6, 0), (7, 4)]) == [(1, 6, b"line"), (2, 6, b"line")]
    assert written(set(), [(5, 0), (7, 4)], log_level=2) == [(0, 2, b"line"), (1, 4, b"line")], "no more severe than the target's floor"
    assert written(set(), log_level=-1) == []


def test_connections_without_a_word() -> None:
    assert written(set(), bytes_in=0) == [(0, 6, b"line")]
    assert written({"dontlognull"}, bytes_in=0) == []


def test_requests_that_never_came_have_a_format_of_their_own() -> None:
    assert written({"error-log-format"}, req=None) == [(0, 6, b"error")]
    assert written({"error-log-format"}) == [(0, 6, b"line")]
    assert written({"error-log-format", "log-separate-errors"}, req=None) == [(0, 3, b"error")]


def test_the_shortcut_is_taken_only_where_every_line_is_written_alike() -> None:
    def plain(options: set[str], *targets: tuple[int, int]) -> bool:
        plan = Frontend(name="f", id=1, mode="http", options=frozenset(options), log_format=lambda s: b"")
        return AccessLog(plan, [Target(most, floor, lambda *args: None) for most, floor in targets]).plain

    assert plain(set(), (7, 0)) and plain(set(), (6, 6))
    assert not plain(set(), (5, 0)) and not plain(set(), (7, 7)) and not plain(set(), (7, 0), (7, 0)) and not plain(set())
    assert not plain({"dontlog-normal"}, (7, 0)) and not plain({"log-separate-errors"}, (7, 0))
