"""What a stick table is: its line of the configuration as values, and THE table of data types that an entry can hold (manual 11.1).

Knows no memory and no process, and imports nothing that only files with tables need.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from forkproxy.state import frequency
from forkproxy.values import frozen, replace

if TYPE_CHECKING:
    from forkproxy.state.sticktable import Table


class Shape(Enum):
    """What of a data type an entry holds."""

    NUMBER = "number"  # one cell
    RATE = "rate"  # state.frequency
    KEY = "key"  # one cell: which server, as a hash of its name


class DataType(NamedTuple):
    """A name after ``store``. ``array``: takes a number of elements, ``single``: what one element is called."""

    shape: Shape
    array: bool = False
    single: str = ""


_N, _R = Shape.NUMBER, Shape.RATE

#: All data types in the order in which ``show table`` lists them.
DATA_TYPES: Final[dict[str, DataType]] = {
    "server_id": DataType(_N),
    "gpt0": DataType(_N),
    "gpc0": DataType(_N),
    "gpc0_rate": DataType(_R),
    "conn_cnt": DataType(_N),
    "conn_rate": DataType(_R),
    "conn_cur": DataType(_N),
    "sess_cnt": DataType(_N),
    "sess_rate": DataType(_R),
    "http_req_cnt": DataType(_N),
    "http_req_rate": DataType(_R),
    "http_err_cnt": DataType(_N),
    "http_err_rate": DataType(_R),
    "bytes_in_cnt": DataType(_N),
    "bytes_in_rate": DataType(_R),
    "bytes_out_cnt": DataType(_N),
    "bytes_out_rate": DataType(_R),
    "gpc1": DataType(_N),
    "gpc1_rate": DataType(_R),
    "server_key": DataType(Shape.KEY),
    "http_fail_cnt": DataType(_N),
    "http_fail_rate": DataType(_R),
    "gpt": DataType(_N, True, "gpt{}"),
    "gpc": DataType(_N, True, "gpc{}"),
    "gpc_rate": DataType(_R, True, "gpc{}_rate"),
    "glitch_cnt": DataType(_N),
    "glitch_rate": DataType(_R),
}

#: Cells of an entry after the first, which leads to the next one in its bucket (or in the free list).
TOUCHED: Final = 1
HOLDERS: Final = 2
KEY: Final = 3

#: Types of keys, and the bytes of one where that is not the configuration's to say.
KEY_BYTES: Final = {"ip": 4, "ipv6": 16, "integer": 4, "string": 0, "binary": 0}


@frozen
class Store:
    """One data type that a table stores: ``count`` elements (1 but for arrays), ``period_ms`` of a rate (0: none)."""

    name: str
    count: int = 1
    period_ms: int = 0


@frozen
class TableSpec:
    """A ``stick-table`` line. Two tables with equal values can hold each other's entries: that is what a reload asks.

    ``key_bytes`` is the longest key. ``expire_ms`` 0: entries do not expire. ``stores`` are in the order of :data:`DATA_TYPES`.
    """

    name: str
    type: str  # of KEY_BYTES
    key_bytes: int
    size: int
    expire_ms: int = 0
    nopurge: bool = False
    srvkey: str = "name"
    stores: tuple[Store, ...] = ()

    @property
    def key_cells(self) -> int:
        """How many cells a key takes."""
        return -(-self.key_bytes // 8)


class Column(NamedTuple):
    """One data type of a table: ``offset`` of its first cell in an entry, ``width`` cells each of ``elements`` elements."""

    name: str
    shape: Shape
    offset: int
    width: int
    elements: int
    period_ms: int


class Event(NamedTuple):
    """What one occurrence adds to: offsets of a number and of a rate in an entry (0: not stored)."""

    number: int
    rate: int
    period_ms: int


def columns(spec: TableSpec) -> tuple[dict[str, Column], int]:
    """Where in an entry the data types stand, and the cells of an entry in all."""
    found: dict[str, Column] = {}
    offset = KEY + spec.key_cells
    for store in spec.stores:
        shape = DATA_TYPES[store.name].shape
        width = frequency.CELLS if shape is Shape.RATE else 1
        found[store.name] = Column(store.name, shape, offset, width, store.count, store.period_ms)
        offset += width * store.count
    return found, offset


def events(columns: dict[str, Column]) -> tuple[dict[str, Event], tuple[Event, ...]]:
    """Events by name, and those of the general purpose counters: of the arrays, else gpc0 and gpc1."""

    def event(number: str, rate: str, index: int = 0) -> Event:
        n, r = columns.get(number), columns.get(rate)
        n_at = n.offset + index if n is not None and index < n.elements else 0
        r_at = r.offset + index * frequency.CELLS if r is not None and index < r.elements else 0
        return Event(n_at, r_at, r.period_ms if r is not None else 0)

    names = {
        name: event(f"{name}_cnt", f"{name}_rate")
        for name in ("conn", "sess", "http_req", "http_err", "http_fail", "bytes_in", "bytes_out", "glitch")
    }
    count = max((columns[name].elements for name in ("gpc", "gpc_rate") if name in columns), default=0)
    gpc = [event("gpc", "gpc_rate", i) for i in range(count)] or [event("gpc0", "gpc0_rate"), event("gpc1", "gpc1_rate")]
    return names, tuple(gpc)


class TableRef:
    """A table as a configuration names it; rules keep this. The master fills ``table`` in when the configuration is taken on, before it
    forks (``sticktables``)."""

    __slots__ = ("_table", "spec")

    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec
        self._table: Table | None = None

    @property
    def table(self) -> Table:
        """The table itself."""
        assert self._table is not None
        return self._table

    @property
    def bound(self) -> bool:
        """Whether there is a table."""
        return self._table is not None

    def bind(self, table: Table) -> None:
        """Let this be the table."""
        self._table = table

    def store(self, *names: str) -> None:
        """Store these data types, too (while the configuration is read)."""
        have = {store.name: store for store in self.spec.stores}
        for name in names:
            have.setdefault(name, Store(name))
        self.spec = replace(self.spec, stores=tuple(have[name] for name in DATA_TYPES if name in have))
