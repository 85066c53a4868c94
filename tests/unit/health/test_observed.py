"""Errors in a row over all workers, and what they lead to."""

from __future__ import annotations

import pytest

from forkproxy.health.observed import Numbers, Streak, Why
from forkproxy.proxy.observed import Watch
from forkproxy.state import layout as L


@pytest.mark.parametrize(
    ("looks", "wanted"),
    [
        pytest.param([[(0, 0, 2, 2)], [(0, 0, 3, 3)]], [False, True], id="one worker, two looks"),
        pytest.param([[(0, 5, 2, 2)], [(0, 5, 3, 3)]], [False, True], id="after a good one"),
        pytest.param([[(0, 0, 2, 2)], [(0, 1, 4, 2)], [(0, 1, 5, 3)]], [False, False, True], id="a good one between"),
        pytest.param([[(0, 0, 1, 1), (1, 0, 1, 1)], [(0, 0, 2, 2), (1, 0, 1, 1)]], [False, True], id="two workers"),
        pytest.param([[(0, 0, 9, 9), (1, 1, 9, 9)]], [False], id="several workers, no order"),
        pytest.param([[(0, 0, 3, 3)], [(0, 0, 5, 5)], [(0, 0, 6, 6)]], [True, False, True], id="begins anew"),
        pytest.param([[(0, 0, 2, 2)], [(0, 0, 1, 1)]], [False, True], id="another worker in the slot"),
        pytest.param([[], [(3, 0, 3, 3)]], [False, True], id="a worker comes"),
    ],
)
def test_streaks(looks: list[list[Numbers]], wanted: list[bool]) -> None:
    streak = Streak(3)
    assert [streak.look(numbers) for numbers in looks] == wanted


def test_what_was_before_is_only_remembered() -> None:
    streak = Streak(3)
    assert not streak.look([(0, 0, 100, 100)], first=True)
    assert not streak.look([(0, 0, 102, 102)])
    assert streak.look([(0, 0, 103, 103)])


def test_what_a_worker_writes() -> None:
    row = memoryview(bytearray(8 * L.ROW_CELLS)).cast("q")
    watch = Watch(row, "layer7")
    for status, run in ((500, 1), (503, 2), (200, 0), (404, 0), (501, 0), (505, 0), (502, 1)):
        watch.answered(status)
        assert row[L.OBSERVED_RUN] == run, status
    watch.connected()  # means nothing at this layer
    watch.refused()
    assert (row[L.OBSERVED_GOOD], row[L.OBSERVED_BAD], row[L.OBSERVED_RUN], row[L.OBSERVED_WHY]) == (4, 4, 2, Why.CONNECT)
    for name, why in (("bad-response", Why.BAD_HEADERS), ("server-abort-headers", Why.CLOSED), ("server-timeout-headers", Why.TIMEOUT)):
        watch.failed(name)
        assert row[L.OBSERVED_WHY] == why
    bad = row[L.OBSERVED_BAD]
    for name in ("client-abort-headers", "queue-timeout", "server-abort-data"):
        watch.failed(name)
    watch = Watch(row, "layer4")
    watch.answered(500)
    watch.failed("bad-response")
    assert row[L.OBSERVED_BAD] == bad
    watch.connected()
    assert row[L.OBSERVED_RUN] == 0
