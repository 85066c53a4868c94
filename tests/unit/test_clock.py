"""The clock: both readings are those of the system, and stand still between two ticks."""

from __future__ import annotations

import time

import pytest

from forkproxy.clock import Clock


def test_the_readings() -> None:
    made = Clock()
    for _ in range(3):
        before, wall = time.monotonic(), time.time()
        assert made.tick() == made.now
        assert before <= made.now <= time.monotonic()
        assert made.wall == pytest.approx(wall, abs=0.5)
        now = made.now, made.wall
        assert made.read() >= made.now
        assert (made.now, made.wall) == now
