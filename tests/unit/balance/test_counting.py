"""Algorithms that count streams: leastconn, random, bounded loads."""

from __future__ import annotations

from collections import Counter

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


@given(st.lists(st.integers(0, 4), max_size=300), st.lists(st.integers(1, 5), min_size=2, max_size=5))
def test_the_heap_never_lies(steps: list[int], weights: list[int]) -> None:
    picker, _ = farm("leastconn", weights)
    streams = [0] * len(weights)
    for step in steps:
        i = step % len(weights)
        if step == 4:
            picker.rebuild()
        elif step % 2 and streams[i]:
            streams[i] -= 1
            picker.on_end(i)
        else:
            streams[i] += 1
            picker.on_start(i)
        load = [(n + 1) * 4096 // (w * SCALE) if n else 0 for n, w in zip(streams, weights, strict=True)]
        chosen = picker.pick(None)
        assert chosen is not None
        assert load[chosen] == min(load)
    assert len(picker._heap) <= picker._room  # type: ignore[attr-defined]


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
