"""Algorithms that count streams: leastconn, random, bounded loads."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from forkproxy.balance import SCALE
from forkproxy.balance.keyed import Load
from tests.unit.balance.farm import farm, keyed_txn, picks


def test_idle_servers_take_turns() -> None:
    picker, _ = farm("leastconn", [1, 1, 1])
    assert picker.counts
    seen = []
    for _ in range(6):
        i = picker.pick(None)
        assert i is not None
        picker.on_start(i)
        picker.on_end(i)
        seen.append(i)
    assert seen == [0, 1, 2, 0, 1, 2]


def test_load_counts_in_proportion_to_weight() -> None:
    picker, _ = farm("leastconn", [3, 1])
    for _ in range(40):
        i = picker.pick(None)
        assert i is not None
        picker.on_start(i)
    assert picker.streams == [30, 10]  # type: ignore[attr-defined]


def order(streams: list[int], since: list[int], weights: list[int]) -> list[int]:
    """Servers as leastconn should prefer them: by load, equals by how long they have had it."""
    load = [(n + 1) * 4096 // (w * SCALE) if n else 0 for n, w in zip(streams, weights, strict=True)]
    return sorted(range(len(weights)), key=lambda i: (load[i], since[i]))


_servers = st.lists(st.integers(1, 5), min_size=2, max_size=5)
_steps = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["start", "end", "rebuild"])), max_size=300)


@given(_steps, _servers, st.frozensets(st.integers(0, 4)), st.frozensets(st.integers(0, 4)))
def test_the_least_loaded_comes_first_and_equals_in_turns(
    steps: list[tuple[int, str]], weights: list[int], full: frozenset[int], tried: frozenset[int]
) -> None:
    picker, view = farm("leastconn", weights, maxconn=9)
    streams, since = [0] * len(weights), list(range(len(weights)))
    for at, (i, what) in enumerate(steps, len(weights)):
        i %= len(weights)
        if what == "rebuild":
            picker.rebuild()
        elif what == "start" or streams[i]:
            before = order(streams, since, weights), streams[i]
            streams[i] += 1 if what == "start" else -1
            (picker.on_start if what == "start" else picker.on_end)(i)
            had = (before[1] + 1) * 4096 // (weights[i] * SCALE) if before[1] else 0
            has = (streams[i] + 1) * 4096 // (weights[i] * SCALE) if streams[i] else 0
            since[i] = at if had != has else since[i]
        expected = order(streams, since, weights)
        view.at_limit = set()
        assert picker.pick(None) == expected[0]
        view.at_limit = set(full)
        free = [k for k in expected if k not in full]
        assert picker.pick(None) == (free[0] if free else None)
        # one that was tried is given when there is nobody else
        assert picker.pick(None, tried) == next((k for k in free if k not in tried), free[-1] if free else None)
    rows: Any = picker
    assert rows._entries == sum(len(row) for row in rows._rows.values()) <= rows._room


def test_a_thousand_servers_with_limits_are_not_all_looked_at() -> None:
    picker, view = farm("leastconn", [1] * 1000, maxconn=1)
    asked: list[int] = []
    view.at_limit = {0, 1}
    view.full = lambda i: asked.append(i) or i in view.at_limit  # type: ignore[method-assign, func-returns-value]
    assert picker.pick(None) == 2
    assert len(asked) == 4  # the first one twice


def test_a_server_that_is_down_is_counted_on() -> None:
    picker, view = farm("leastconn", [1, 1])
    picker.on_start(0)
    view.down = {0}
    picker.rebuild()
    picker.on_start(0)
    picker.on_end(0)
    assert picks(picker, 2) == [1, 1]
    view.down = set()
    picker.rebuild()
    assert picker.pick(None) == 1
    picker.on_end(0)
    picker.on_start(1)
    assert picker.pick(None) == 0


def test_other_workers_streams_count_after_sync() -> None:
    picker, view = farm("leastconn", [1, 1])
    view.others = [5, 0]
    assert picker.pick(None) == 0
    picker.sync()
    assert picker.pick(None) == 1


def test_offset_lets_workers_begin_elsewhere() -> None:
    picker, _ = farm("leastconn", [1, 1, 1], offset=1)
    assert picker.pick(None) == 1


def test_random_respects_weights_and_load() -> None:
    picker, _ = farm("random", [3, 1], args=(1,))
    counts = Counter(picks(picker, 4000))
    assert 2500 < counts[0] < 3500
    picker, _ = farm("random", [1, 1, 1], args=(8,))
    for _ in range(3):
        picker.on_start(0)
        picker.on_start(1)
    assert Counter(picks(picker, 200))[2] > 180


def test_bounded_loads_stay_below_their_bound() -> None:
    picker, _ = farm("hdr", [1, 1, 1, 1], args=("k", False), hash_method="consistent", hash_balance_factor=150)
    assert picker.counts
    streams = Counter[int]()
    for n in range(100):
        i = picker.pick(keyed_txn(b"always the same"))
        assert i is not None
        picker.on_start(i)
        streams[i] += 1
        assert streams[i] <= ((n + 1) * 150 + 99) // 100 // 4 + 1
    assert len(streams) >= 3


def test_unbounded_hashing_does_not_count() -> None:
    picker, _ = farm("hdr", [1, 1], args=("k", False), hash_method="consistent")
    assert not picker.counts


def test_nobody_has_less_than_one_slot() -> None:
    picker, _ = farm("roundrobin", [1, 255])
    load = Load(2, 100)
    load.rebuild(picker)
    assert load.room(0) and load.room(1)  # one slot for both: the light one's part is less than one, and still one
    load.add(0, 1)
    assert not load.room(0)
