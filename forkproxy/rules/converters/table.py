"""Converters that look their input up in a stick table: table_*, in_table (manual 7.3.1)."""

from __future__ import annotations

from typing import Any

from forkproxy.registry import Type, converter
from forkproxy.rules import tables
from forkproxy.rules.args import Int
from forkproxy.rules.fetches import stick
from forkproxy.rules.fetches.stick import Make
from forkproxy.rules.tables import Read, TableName, now_ms
from forkproxy.rules.types import NEVER, find_cast, type_of
from forkproxy.state.stickspec import TOUCHED, TableRef

_TABLE = TableName()
_ELEMENT = Int(lo=0, hi=99)


def looked_up(ref: TableRef, act: Read | None, *, changes: bool = False, absent: Any = 0) -> Any:
    """``convert(value, txn)``: what ``act`` does with the entry of a value; ``absent`` without an entry, None where ``act`` is."""
    wanted = tables.KEY_TYPES[ref.spec.type]
    make_key = tables.key_maker(ref)

    def convert(value: Any, txn: Any) -> Any:
        cast = find_cast(type_of(value), wanted)
        if cast is NEVER:
            return None
        if cast is not None:
            value = cast(value)
        if value is None or act is None:
            return None
        found = (ref.table.change if changes else ref.table.look)(make_key(value), now_ms(txn), act)
        return absent if found is None else found

    return convert


def _register(name: str, make: Make, doc: str, changes: bool, indexed: bool) -> None:
    def factory(*values: Any) -> Any:
        *index, ref = values
        return looked_up(ref, make(ref, index[0] if index else 0), changes=changes)

    factory.__doc__ = f"Of the input's entry in a stick table: {doc[0].lower()}{doc[1:]}"
    converter(f"table_{name}", args=((_ELEMENT,) if indexed else ()) + (_TABLE,), into=Type.ANY, out=Type.SINT)(factory)


for _name, _make, _doc in stick.READS:
    _register(_name, _make, _doc, False, False)
for _, _make, _doc, _name in stick.GPCS:
    _register(_name, _make, _doc, False, False)
for _name, _make, _doc in stick.CHANGES:
    _register(_name, _make, _doc, True, False)
for _, _make, _doc, _name in stick.ELEMENTS:
    _register(_name, _make, _doc, False, True)
for _name, _make, _doc in stick.ELEMENT_CHANGES:
    _register(_name, _make, _doc, True, True)
_register("trackers", stick.trackers, "Streams and connections that track it now.", False, False)
_register("server_id", stick.plain("server_id"), "The server that it sticks to.", False, False)


@converter("in_table", args=(_TABLE,), into=Type.ANY, out=Type.BOOL)
def in_table(ref: TableRef) -> Any:
    """Whether the input has an entry in a stick table."""
    return looked_up(ref, lambda cells, base, now: True, absent=False)


@converter("table_idle", args=(_TABLE, Int(optional=True)), into=Type.ANY, out=Type.SINT)
def table_idle(ref: TableRef, absent: int | None) -> Any:
    """Milliseconds since the input's entry in a stick table was updated."""
    return looked_up(ref, lambda cells, base, now: now - cells[base + TOUCHED], absent=absent)


@converter("table_expire", args=(_TABLE, Int(optional=True)), into=Type.ANY, out=Type.SINT)
def table_expire(ref: TableRef, absent: int | None) -> Any:
    """Milliseconds until the input's entry in a stick table expires."""
    after = ref.spec.expire_ms
    return looked_up(ref, lambda cells, base, now: max(0, cells[base + TOUCHED] + after - now) if after else 0, absent=absent)
