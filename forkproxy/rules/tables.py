"""What fetches, converters and actions do with stick tables: find one by name, make keys of samples, hold entries for a stream.

Entries that rules of the connection hold (``tcp-request connection``, ``session``) belong to the origin, those of all other rules to the
transaction; who asks for number N gets the transaction's, else the connection's. ``proxy`` lets them go. Knows tables by what a
configuration says of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from forkproxy.registry import Type
from forkproxy.rules.args import Arg
from forkproxy.rules.context import RuleContext
from forkproxy.rules.types import Addr
from forkproxy.state import frequency
from forkproxy.state.stickspec import Event, Shape, TableRef, columns, events
from forkproxy.values import frozen

if TYPE_CHECKING:
    from forkproxy.rules.txn import Txn
    from forkproxy.state.stickhold import Held

#: ``read(cells, base, now)`` of an entry
Read = Callable[[memoryview, int, int], Any]

#: the type of sample that a key is made of, by type of table
KEY_TYPES = {"ip": Type.IPV4, "ipv6": Type.IPV6, "integer": Type.SINT, "string": Type.STR, "binary": Type.BIN}


@frozen
class TableName(Arg):
    """The name of a stick table; left out, it is the one of the rule's own proxy (``own``) or None. The factory gets a TableRef."""

    label: str = "table"
    optional: bool = True
    own: bool = True

    def parse(self, text: str, ctx: RuleContext) -> TableRef:
        return find(text, ctx)

    def absent(self, ctx: RuleContext) -> TableRef | None:
        return find("", ctx) if self.own else None


def find(name: str, ctx: RuleContext) -> TableRef:
    """The table ``name`` ("": that of the own proxy). Raises ValueError when there is none."""
    found = ctx.tables.get(name or ctx.name)
    if found is None:
        raise ValueError(f"unable to find table '{name or ctx.name}'")
    return found


def key_maker(ref: TableRef) -> Callable[[Any], bytes]:
    """``key(value)`` of a sample that was cast to the table's KEY_TYPES: as entries hold it."""
    spec = ref.spec
    if spec.type == "ip":

        def v4(value: Addr) -> bytes:
            return value.packed + b"\0\0\0\0"

        return v4
    if spec.type == "ipv6":

        def v6(value: Addr) -> bytes:
            return value.packed

        return v6
    if spec.type == "integer":
        return lambda value: (value & 0xFFFFFFFF).to_bytes(8, "little")
    length, width = spec.key_bytes, spec.key_cells * 8
    return lambda value: value[:length].ljust(width, b"\0")


def show_key(kind: str, key: bytes) -> Any:
    """The sample that a key of a table of type ``kind`` was made of."""
    if kind in ("ip", "ipv6"):
        return Addr(packed=key[: 4 if kind == "ip" else 16])
    if kind == "integer":
        return int.from_bytes(key[:4], "little")
    return key.partition(b"\0")[0] if kind == "string" else key


def reader(ref: TableRef, name: str, index: int = 0) -> Read | None:
    """What reads one number of an entry, a rate as of now; None where the table does not store it."""
    column = columns(ref.spec)[0].get(name)
    if column is None or index >= column.elements:
        return None
    offset, period = column.offset + index * column.width, column.period_ms
    if column.shape is Shape.RATE:

        def rate(cells: memoryview, base: int, now: int) -> int:
            return frequency.read(cells, base + offset, period, now)

        return rate

    def number(cells: memoryview, base: int, now: int) -> int:
        return cells[base + offset]

    return number


def number_event(ref: TableRef, name: str) -> Event | None:
    """What counting in the number of a data type adds to; None where the table does not store it."""
    column = columns(ref.spec)[0].get(name)
    return None if column is None else Event(column.offset, 0, 0)


def gpc_event(ref: TableRef, index: int) -> Event | None:
    """What counting in a general purpose counter adds to; None where the table stores neither it nor its rate."""
    counters = events(columns(ref.spec)[0])[1]
    return counters[index] if index < len(counters) and any(counters[index][:2]) else None


def adder(event: Event, amount: int = 1) -> Read:
    """What counts ``amount`` events and gives the new number (where only a rate is stored: that of its present period)."""
    number, rate, period = event

    def add(cells: memoryview, base: int, now: int) -> int:
        if rate:
            frequency.count(cells, base + rate, period, amount, now)
        if number:
            cells[base + number] += amount
            return cells[base + number]
        return cells[base + rate + 1]

    return add


def clearer(event: Event) -> Read:
    """What sets a counter to zero and gives the number that it had; its rate goes on."""
    number = event.number

    def clear(cells: memoryview, base: int, now: int) -> int:
        if not number:
            return 0
        had, cells[base + number] = cells[base + number], 0
        return had

    return clear


def tag_offset(ref: TableRef, index: int) -> int | None:
    """Where a general purpose tag stands in an entry; None where the table does not store it. ``gpt0`` is the first one."""
    found = columns(ref.spec)[0]
    column = found.get("gpt") or (found.get("gpt0") if not index else None)
    return column.offset + index if column is not None and index < column.elements else None


#: codes that are the client's fault, and the server's (manual 3.1 "http-err-codes", "http-fail-codes")
CLIENT_ERRORS = frozenset(range(400, 500))
FAILURES = frozenset(range(500, 600)) - {501, 505}


def verdicts(errors: frozenset[int] = CLIENT_ERRORS, failures: frozenset[int] = FAILURES) -> dict[int, tuple[str, ...]]:
    """What a server's answer counts as, by its status: "http_err", "http_fail" or both; other codes are not there."""
    return {
        status: ("http_err",) * (status in errors) + ("http_fail",) * (status in failures)
        for status in sorted(errors | failures)
    }


#: what the codes come to where nobody says otherwise
VERDICTS = verdicts()


def now_ms(txn: Txn) -> int:
    """The present, as tables count it."""
    return int(txn.clock.now * 1000.0)


# -- entries that are held


def held(txn: Txn, number: int) -> Held | None:
    """What the transaction holds as its ``number``, else what its connection does."""
    mine = txn.tracked
    if mine is not None and (found := mine[number]) is not None:
        return found  # type: ignore[no-any-return]
    mine = txn.origin.tracked
    return mine[number] if mine is not None else None
