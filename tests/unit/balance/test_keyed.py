"""Hashing algorithms: where a hash leads, what happens without a key, keys as the algorithms cut them out."""

from __future__ import annotations

import random
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkproxy import plan
from forkproxy.balance import build, needs
from forkproxy.balance.hash import as_key
from forkproxy.balance.hashing import avalanche
from forkproxy.balance.hdr import domain, first_value
from forkproxy.balance.rdp_cookie import cookie
from forkproxy.balance.ring import NodeKeys, Ring
from forkproxy.balance.source import address_hash, source_hash
from forkproxy.balance.uri import key_of
from forkproxy.balance.url_param import value_in, value_in_body
from forkproxy.registry import ALGORITHMS, Needs
from tests.unit.balance.farm import FakeView, farm, keyed_txn, picks


def nearest(h: int, nodes: list[tuple[int, int]]) -> int:
    """The ring's definition: next node at or after, previous before; the nearer one, the lower in doubt."""
    after = next((k for k, (place, _) in enumerate(nodes) if place >= h), 0)
    before = (after - 1) % len(nodes)
    down, up = (h - nodes[before][0]) % 2**32, (nodes[after][0] - h) % 2**32
    return nodes[before if down <= up else after][1]


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_ring_finds_the_nearest_node(weights: list[int], h: int) -> None:
    picker, _ = farm("source", weights)
    ring = Ring(range(len(weights)), [w * 16 for w in weights], NodeKeys(picker.backend))
    nodes = sorted((avalanche((i + 1) * 4096 + n), i) for i, w in enumerate(weights) for n in range(w * 16))
    hashes = [
        h,
        0,
        2**32 - 1,
        *(p for p, _ in nodes),
        *(p + 1 for p, _ in nodes),
        *((a[0] + b[0]) // 2 for a, b in pairwise(nodes)),
    ]
    for value in hashes:
        assert ring.owners[ring.find(value % 2**32)] == nearest(value % 2**32, nodes)


def test_only_keys_of_a_lost_server_move() -> None:
    picker, view = farm("hdr", [1] * 5, args=("k", False), hash_method="consistent", hash_modifier="avalanche")
    txns = [keyed_txn(b"key%d" % n) for n in range(300)]
    before = [picker.pick(t) for t in txns]
    view.down = {2}
    picker.rebuild()
    after = [picker.pick(t) for t in txns]
    assert all(a == b for a, b in zip(after, before, strict=True) if b != 2)
    assert 2 not in after
    view.down = set()
    picker.rebuild()
    assert [picker.pick(t) for t in txns] == before
    elsewhere = [picker.pick(t, (2,)) for t in txns]
    assert all(a == b for a, b in zip(elsewhere, before, strict=True) if b != 2)
    assert 2 not in elsewhere


@pytest.mark.parametrize("method", ["map-based", "consistent"])
def test_no_key_means_round_robin(method: str) -> None:
    picker, _ = farm("hdr", [1, 1, 1], args=("k", False), hash_method=method)
    assert set(picks(picker, 60, keyed_txn(None))) == {0, 1, 2}
    assert set(picks(picker, 60, keyed_txn(b"  "))) == {0, 1, 2}
    assert len(set(picks(picker, 20, keyed_txn(b"x")))) == 1


def test_map_avoids_what_failed_and_keeps_full_servers() -> None:
    picker, view = farm("hdr", [1, 1, 1], args=("k", False), maxconn=1)
    chosen = picker.pick(keyed_txn(b"x"))
    assert chosen is not None
    assert picker.pick(keyed_txn(b"x"), (chosen,)) not in (chosen, None)
    view.at_limit = {0, 1, 2}
    assert picker.pick(keyed_txn(b"x")) == chosen


@pytest.mark.parametrize("policy", ["maxconn", "maxqueue"])
def test_affinity_may_be_given_up(policy: str) -> None:
    picker, view = farm("hdr", [1, 1, 1], args=("k", False), maxconn=1, hash_method="consistent", hash_preserve_affinity=policy)
    txn = keyed_txn(b"x")
    first = picker.pick(txn)
    assert first is not None
    blocked = view.at_limit if policy == "maxconn" else view.long_queue
    blocked.add(first)
    second = picker.pick(txn)
    assert second not in (first, None)
    blocked.update({0, 1, 2})
    assert picker.pick(txn) is not None


def test_all_algorithms_survive_an_empty_farm() -> None:
    for name in ALGORITHMS:
        args: dict[str, Any] = {"hdr": ("k", False), "url_param": ("k", False)}
        key = (lambda txn: b"k") if name == "hash" else None
        picker, view = farm(name, [1, 1], args=args.get(name, ()), key=key)
        view.down = {0, 1}
        picker.rebuild()
        assert picker.pick(SimpleNamespace()) is None
        assert picker.candidates == ()


def test_hash_by_address_does_not_depend_on_ids() -> None:
    def ring(ids: list[int]) -> Ring:
        servers = tuple(
            plan.Server(name=f"s{n}", address=plan.Address("ipv4", f"10.0.0.{n}", 80), backend="b", id=i, hash_key="addr")
            for n, i in enumerate(ids)
        )
        return Ring((0, 1, 2), (16, 16, 16), NodeKeys(plan.Backend(name="b", id=1, servers=servers)))

    one, other = ring([1, 2, 3]), ring([30, 20, 10])
    rng = random.Random(1)
    for h in (rng.getrandbits(32) for _ in range(200)):
        assert one.owners[one.find(h)] == other.owners[other.find(h)]


def test_hash_expression_types() -> None:
    assert as_key(None, False) is None
    assert as_key(b"x", False) == b"x"
    assert as_key(258, False) == b"\0\0\0\0\0\0\1\2"
    assert as_key(-1, False) == b"\xff" * 8
    assert as_key(258, True) == b"258"
    assert as_key(SimpleNamespace(packed=b"\x0a\0\0\1"), False) == b"\x0a\0\0\1"


def test_hash_needs_an_expression() -> None:
    backend = plan.Backend(name="b", id=1, balance=plan.Balance(algorithm="hash"))
    with pytest.raises(ValueError, match="expression"):
        build(backend, FakeView(backend))


@pytest.mark.parametrize(
    ("target", "args", "expected"),
    [
        (b"/a/b/c?q=/1", (0, 0, False, False), b"/a/b/c"),
        (b"/a/b/c?q=/1", (0, 0, True, False), b"/a/b/c?q=/1"),
        (b"/a/b/c?q=/1", (4, 0, False, False), b"/a/b"),
        (b"/a/b/c?q=/1", (0, 1, False, False), b"/a"),
        (b"/a/b/c?q=/1", (0, 2, False, False), b"/a/b"),
        (b"/a/b/c?q=/1", (0, 3, True, False), b"/a/b/c?q="),
        (b"http://h/a?b", (0, 0, False, False), b"http://h/a"),
        (b"http://h/a?b", (0, 0, False, True), b"/a"),
        (b"http://h", (0, 0, False, True), b""),
        (b"*", (0, 0, False, False), b"*"),
    ],
)
def test_uri_key(target: bytes, args: tuple[int, int, bool, bool], expected: bytes) -> None:
    assert key_of(target, *args) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"k=1&x=2", b"1"),
        (b"x=2&k=1", b"1"),
        (b"k=", b""),
        (b"xk=1", None),
        (b"k", None),
        (b"", None),
        (b"kk=1&k=2&k=3", b"2"),
        (b"k=a=b", b"a=b"),
    ],
)
def test_url_parameter(text: bytes, value: bytes | None) -> None:
    assert value_in(text, b"k") == value


def test_url_parameter_in_a_body() -> None:
    assert value_in_body(b"a=1&k=v%20w", b"k") == b"v%20w"
    assert value_in_body(b"k=\x01binary", b"k") is None
    assert value_in_body(b"k= x", b"k") == b""


@pytest.mark.parametrize(
    ("line", "value"),
    [(b" a , b", b"a"), (b'"a,b", c', b'"a,b"'), (b'"a\\",b",c', b'"a\\",b"'), (b"", b""), (b",a", b""), (b"a", b"a"), (b'"a,b', b'"a,b')],
)
def test_first_value(line: bytes, value: bytes) -> None:
    assert first_value(line) == value


@pytest.mark.parametrize(
    ("host", "part"),
    [(b"localhost", b"localhost"), (b"a.b", b"a"), (b"haproxy.1wt.eu", b"1wt"), (b"w.x.y.z", b"y"), (b".b", b""), (b"a.", b"a")],
)
def test_domain(host: bytes, part: bytes) -> None:
    assert domain(host) == part


def test_address_hash() -> None:
    assert address_hash("1.2.3.4") == 0x01020304
    assert address_hash("1:2::3:4") == 0x00010002 ^ 0x00030004
    assert address_hash("::ffff:1.2.3.4") == 0x01020304 ^ 0xFFFF
    assert address_hash("unix") is None
    txn = SimpleNamespace(origin=SimpleNamespace(src="1.2.3.4"), marks={"src": SimpleNamespace(packed=b"\x05\x06\x07\x08")})
    assert source_hash(txn) == 0x05060708
    txn.marks = {}
    assert source_hash(txn) == 0x01020304


def test_rdp_cookie() -> None:
    head = b"\x03\x00\x00\x2b\x26\xe0\x00\x00\x00\x00\x00"
    assert cookie(head + b"Cookie: mstshash=joe\r\nrest", b"mstshash") == b"joe"
    assert cookie(head + b"cookie:   MSTSHASH=joe\r\n", b"mstshash") == b"joe"
    for wrong in (
        b"",
        head,
        head + b"Cookie: msts=joe\r\n",
        head + b"Cookie: mstshash=joe",
        head + b"Cookie: mstshash=joe\rx",
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        assert cookie(wrong, b"mstshash") is None


def test_needs() -> None:
    assert needs(plan.Balance(algorithm="roundrobin")) == Needs.NONE
    assert needs(plan.Balance(algorithm="uri")) == Needs.HEADERS
    assert needs(plan.Balance(algorithm="url_param", args=("k", False))) == Needs.HEADERS
    assert needs(plan.Balance(algorithm="url_param", args=("k", True))) == Needs.HEADERS | Needs.BODY
    assert needs(plan.Balance(algorithm="rdp-cookie")) == Needs.L6
