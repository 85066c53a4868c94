"""What a stick table is: its line of the configuration as values, and THE table of data types that an entry can hold (manual 11.1).

Knows no memory and no process.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from forkproxy.state import frequency


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

#: Types of keys, and the bytes of one where that is not the configuration's to say.
KEY_BYTES: Final = {"ip": 4, "ipv6": 16, "integer": 4, "string": 0, "binary": 0}


@dataclass(frozen=True, slots=True)
class Store:
    """One data type that a table stores: ``count`` elements (1 but for arrays), ``period_ms`` of a rate (0: none)."""

    name: str
    count: int = 1
    period_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
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


def columns(stores: tuple[Store, ...], offset: int) -> tuple[dict[str, Column], int]:
    """Where in an entry the data types stand whose first is at ``offset``, and the cells of an entry in all."""
    found: dict[str, Column] = {}
    for store in stores:
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
