"""``balance first``: the first server, by numeric id, that has room. Meaningful only with ``maxconn``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from forkproxy.balance.picker import Picker
from forkproxy.registry import algorithm


@algorithm("first", synopsis="first")
class First(Picker):
    """The server with the lowest id that has a free slot; weights are ignored. Keeps as few servers as possible busy."""

    __slots__ = ("_careful", "_order")

    def rebuild(self) -> None:
        self._select()
        self._careful = self._limited()
        servers = self.backend.servers
        self._order = tuple(sorted(self.candidates, key=lambda i: servers[i].id))

    def pick(self, txn: Any, exclude: Collection[int] = ()) -> int | None:
        avoided = None
        for i in self._order:
            if self._careful and self.view.full(i):
                continue
            if i not in exclude:
                return i
            avoided = i
        return avoided
