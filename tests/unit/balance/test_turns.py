"""Weighted round robin: exact orders (checked with HAProxy), shares, and what rebuilding keeps."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forkproxy.balance.maps import build_map, reduced_weights
from forkproxy.balance.picker import SCALE
from forkproxy.balance.turns import turns
from tests.unit.balance.farm import farm, picks


@pytest.mark.parametrize(
    ("weights", "expected"),
    [([1, 1, 1], [0, 1, 2, 0, 1, 2]), ([3, 1, 2], [0, 2, 0, 1, 0, 2, 0, 2, 0, 1, 0, 2]), ([5], [0, 0, 0])],
)
def test_order(weights: list[int], expected: list[int]) -> None:
    picker, _ = farm("roundrobin", weights)
    assert picks(picker, len(expected)) == expected


@settings(max_examples=40)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_every_window_gives_everybody_its_share(weights: list[int]) -> None:
    window = sum(weights) * SCALE
    found = list(islice(turns(range(len(weights)), [w * SCALE for w in weights]), 3 * window))
    for n in range(3):
        counts = Counter(found[n * window : (n + 1) * window])
        assert all(abs(counts[i] - w * SCALE) <= len(weights) for i, w in enumerate(weights))


def test_a_window_too_long_to_remember_is_computed_as_it_goes() -> None:
    weights = [256 * SCALE] * 20
    sequence = turns(range(20), weights)
    assert list(islice(sequence, 100_000)) == [*range(20)] * 5000


def test_offset_spreads_the_workers_at_the_start_only() -> None:
    picker, _ = farm("roundrobin", [1, 1, 1], offset=2)
    assert picks(picker, 4) == [2, 0, 1, 2]


def test_rebuild_goes_on_after_the_last_server() -> None:
    picker, view = farm("roundrobin", [1, 1, 1, 1])
    assert picks(picker, 2) == [0, 1]
    view.down = {3}
    picker.rebuild()
    assert picks(picker, 4) == [2, 0, 1, 2]
    view.down = {0, 1, 2, 3}
    picker.rebuild()
    assert picks(picker, 2) == [None, None]
    assert picker.candidates == ()
    view.down = {0}
    picker.rebuild()
    assert sorted(i for i in picks(picker, 3) if i is not None) == [1, 2, 3]


def test_weight_changes_take_effect() -> None:
    picker, view = farm("roundrobin", [1, 1])
    view.weights = [3 * SCALE, SCALE]
    picker.rebuild()
    assert Counter(picks(picker, 64)) == {0: 48, 1: 16}
    view.weights = [1, SCALE]  # the beginning of a slow start
    picker.rebuild()
    assert Counter(picks(picker, 170)) == {0: 10, 1: 160}


@pytest.mark.parametrize("algorithm", ["roundrobin", "static-rr", "leastconn", "first", "random"])
def test_full_and_excluded_servers_are_left_out(algorithm: str) -> None:
    picker, view = farm(algorithm, [1, 1, 1], maxconn=5)
    assert set(picks(picker, 30, exclude=(1,))) <= {0, 2}
    view.at_limit = {0}
    if algorithm != "random":  # random gives up when what it drew is full
        assert set(picks(picker, 6)) <= {1, 2}
        assert set(picks(picker, 6, exclude=(1,))) == {2}
        assert set(picks(picker, 6, exclude=(1, 2))) <= {1, 2}
    view.at_limit = {0, 1, 2}
    assert picks(picker, 3) == [None] * 3
    assert picker.candidates == (0, 1, 2)


@pytest.mark.parametrize("algorithm", ["roundrobin", "static-rr", "leastconn", "first", "random", "source"])
def test_backups_serve_when_nobody_else_can(algorithm: str) -> None:
    picker, view = farm(algorithm, [1, 1, 2, 1], backups=(1, 2, 3))
    assert picker.candidates == (0,)
    view.down = {0}
    picker.rebuild()
    assert picker.candidates == (1,)
    assert picks(picker, 3) == [1, 1, 1]
    view.down = {0, 1}
    picker.rebuild()
    assert picks(picker, 3) == [2, 2, 2]
    every, view = farm(algorithm, [1, 1, 2, 1], backups=(1, 2, 3), allbackups=True)
    view.down = {0}
    every.rebuild()
    assert every.candidates == (1, 2, 3)


def test_the_only_backup_is_given_even_when_full() -> None:
    picker, view = farm("roundrobin", [1, 1], backups=(1,), maxconn=3)
    view.down, view.at_limit = {0}, {1}
    picker.rebuild()
    assert picker.pick(None) == 1


def test_static_map_ignores_weight_changes_but_not_zero() -> None:
    picker, view = farm("static-rr", [4, 2])
    assert picks(picker, 6) == [0, 0, 1, 0, 0, 1]
    view.weights = [SCALE, 40 * SCALE]
    picker.rebuild()
    assert Counter(picks(picker, 6)) == {0: 4, 1: 2}
    view.weights = [0, SCALE]
    picker.rebuild()
    assert picks(picker, 2) == [1, 1]


def test_common_factor_is_that_of_all_servers() -> None:
    picker, _ = farm("static-rr", [20, 0, 30])
    assert reduced_weights(picker.backend) == (2, 0, 3)


@given(st.lists(st.integers(1, 30), min_size=2, max_size=8))
def test_map_equals_its_plain_definition(weights: list[int]) -> None:
    size = sum(weights)
    score = [0] * len(weights)
    expected = []
    for _ in range(size):
        score = [s + w for s, w in zip(score, weights, strict=True)]
        ranks = [(s + size) // size for s in score]
        best = ranks.index(max(ranks))
        score[best] -= size
        expected.append(best)
    assert list(build_map(range(len(weights)), weights)) == expected


def test_first_goes_by_id_order() -> None:
    picker, view = farm("first", [1, 1, 1], maxconn=2)
    assert picks(picker, 2) == [0, 0]
    view.at_limit = {0}
    assert picker.pick(None) == 1
