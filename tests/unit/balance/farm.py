"""Farms for tests: a backend of so many servers and a view whose state the test sets."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from forkproxy import plan
from forkproxy.balance import SCALE, Picker, build


class FakeView:
    """Everything usable, nothing full, weights as in the plan, until a test says otherwise."""

    def __init__(self, backend: plan.Backend, offset: int = 0) -> None:
        self.offset = offset
        self.down: set[int] = set()
        self.at_limit: set[int] = set()
        self.long_queue: set[int] = set()
        self.weights = [s.weight * SCALE for s in backend.servers]
        self.limits = [s.maxconn for s in backend.servers]
        self.others = [0] * len(backend.servers)

    def usable(self, i: int) -> bool:
        return i not in self.down

    def weight(self, i: int) -> int:
        return self.weights[i]

    def limited(self, i: int) -> bool:
        return self.limits[i] > 0

    def full(self, i: int) -> bool:
        return i in self.at_limit

    def queue_full(self, i: int) -> bool:
        return i in self.long_queue

    def elsewhere(self, i: int) -> int:
        return self.others[i]


def farm(
    algorithm: str,
    weights: Sequence[int],
    *,
    backups: Sequence[int] = (),
    maxconn: int = 0,
    offset: int = 0,
    allbackups: bool = False,
    **balance: Any,
) -> tuple[Picker, FakeView]:
    """A picker over servers with these weights and ids 1, 2, …"""
    servers = tuple(
        plan.Server(
            name=f"s{n}",
            address=plan.Address("ipv4", "127.0.0.1", 80),
            backend="b",
            id=n + 1,
            weight=w,
            backup=n in backups,
            maxconn=maxconn,
        )
        for n, w in enumerate(weights)
    )
    backend = plan.Backend(name="b", id=1, servers=servers, allbackups=allbackups, balance=plan.Balance(algorithm=algorithm, **balance))
    view = FakeView(backend, offset)
    return build(backend, view), view


def picks(picker: Picker, count: int, txn: Any = None, exclude: tuple[int, ...] = ()) -> list[int | None]:
    """That many picks in a row."""
    return [picker.pick(txn, exclude) for _ in range(count)]


def keyed_txn(key: bytes | None) -> Any:
    """A transaction with a header ``k``."""
    return SimpleNamespace(req=SimpleNamespace(get=lambda name: key if name == b"k" else None))
