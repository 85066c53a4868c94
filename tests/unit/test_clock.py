"""The clock: one reading for a turn, and a wall clock that somebody may set."""

from __future__ import annotations

import time

import pytest

from forkproxy import clock
from forkproxy.clock import Clock


def test_both_readings_are_those_of_the_system() -> None:
    made = Clock()
    for _ in range(3):
        before, wall = time.monotonic(), time.time()
        assert made.tick() == made.now
        assert before <= made.now <= time.monotonic()
        assert made.wall == pytest.approx(wall, abs=0.5)
        assert made.read() >= made.now


def test_a_clock_on_the_wall_that_is_set_is_seen_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    now, wall = 100.0, 5000.0
    monkeypatch.setattr(clock, "_monotonic", lambda: now)
    monkeypatch.setattr(time, "time", lambda: wall)
    made = Clock()
    assert (made.now, made.wall) == (100.0, 5000.0)
    now, wall = 100.03, 8000.0
    made.tick()
    assert made.wall == pytest.approx(5000.03)
    now = 100.06
    made.tick()
    assert made.wall == 8000.0
