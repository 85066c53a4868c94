"""Which row belongs to what. The master's table; a worker has the copy that it was forked with.

Keys never change their row, over reloads too, so counters survive; new names get new rows. Knows nothing of the segment but how
many rows it has.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator

from forkproxy.errors import ConfigError

#: The key of row 0: the process itself.
PROCESS = ""


def frontend_key(name: str) -> str:
    """The key of a frontend. (Names of sections cannot contain ``<`` or ``/``, so keys of different kinds never meet.)"""
    return f"{name}/<frontend>"


def backend_key(name: str) -> str:
    """The key of a backend."""
    return f"{name}/<backend>"


def listener_key(frontend: str, listener: str) -> str:
    """The key of a bind line of a frontend (its name or its address)."""
    return f"{frontend}/<listener>/{listener}"


class NameTable:
    """``capacity`` rows, of which row 0 is the process's."""

    __slots__ = ("_free", "_next", "_rows", "capacity")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._rows: dict[str, int] = {PROCESS: 0}
        self._next = 1
        self._free: list[int] = []

    def allocate(self, key: str) -> int:
        """The row of ``key``, a new one when it has none. Raises ConfigError when all rows are taken."""
        row = self._rows.get(key)
        if row is None:
            if self._free:
                row = self._free.pop()
            elif self._next < self.capacity:
                row = self._next
                self._next += 1
            else:
                raise ConfigError(
                    f"too many proxies and servers: all {self.capacity} rows of the shared state are taken, no room for '{key}'",
                    hint="rows are made at start: restart instead of reloading",
                )
            self._rows[key] = row
        return row

    def adopt(self, key: str, row: int) -> None:
        """Enter what the master allocated after the fork (a worker, on a message)."""
        self._rows[key] = row
        self._next = max(self._next, row + 1)

    def row(self, key: str) -> int:
        """The row of ``key``. Raises KeyError."""
        return self._rows[key]

    def rows(self) -> Collection[int]:
        """All rows in use, row 0 included."""
        return self._rows.values()

    def prune(self, keep: Collection[str]) -> list[int]:
        """Forget every key that is not in ``keep``; returns the rows that are free now.

        Only when no worker knows the forgotten names any more; the caller wipes the rows (``Rows.wipe``) before they are used again.
        """
        gone = [key for key in self._rows if key not in keep and key != PROCESS]
        rows = [self._rows.pop(key) for key in gone]
        self._free.extend(rows)
        return rows

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def dump(self) -> bytes:
        """For a successor of this program that takes the segment over."""
        return json.dumps({"capacity": self.capacity, "next": self._next, "free": self._free, "rows": self._rows}).encode()

    @classmethod
    def load(cls, data: bytes) -> NameTable:
        """What :meth:`dump` gave."""
        found = json.loads(data)
        table = cls(int(found["capacity"]))
        table._rows = {str(key): int(row) for key, row in found["rows"].items()}
        table._next = int(found["next"])
        table._free = [int(row) for row in found["free"]]
        return table
