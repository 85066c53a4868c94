"""What a worker does in each turn: news of servers before its events, a sign of life behind them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forkproxy.clock import ManualClock
from forkproxy.net.loop import Loop
from forkproxy.state.layout import EPOCH
from forkproxy.worker.turn import Turn


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop(ManualClock())
    yield made
    made.close()


def test_a_turn(loop: Loop) -> None:
    clock = loop.clock
    assert isinstance(clock, ManualClock)
    servers, pulse = memoryview(bytearray(8 * (EPOCH + 1))).cast("q"), memoryview(bytearray(8)).cast("q")
    told: list[str] = []
    loop.on_wake.append(lambda: told.append("first"))
    turn = Turn(loop, servers, pulse, lambda: told.append("changed"))
    turn.watch()
    loop.run_once(0)
    assert told == ["first"] and pulse[0] == int(clock.now * 1000)
    servers[EPOCH] += 1
    clock.advance(0.005)
    loop.run_once(0)
    loop.run_once(0)
    assert told == ["first", "first", "changed", "first"], "once for each change"
    assert pulse[0] == int(clock.now * 1000)
    clock.advance(0.005)
    turn.idle = lambda: told.append("idle")
    loop.run_once(0)
    assert pulse[0] == int(clock.now * 1000) and told[-1] == "idle"
    turn.stop()
    clock.advance(1.0)
    servers[EPOCH] += 1
    loop.run_once(0)
    assert told[-2:] == ["idle", "first"] and pulse[0] < int(clock.now * 1000)
