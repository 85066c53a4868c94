"""``show table``, ``clear table``, ``set table`` (management manual 9.3). The master reads and writes the tables as workers do."""

from __future__ import annotations

import operator
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from forkproxy.master.cli_session import Refused, Session
from forkproxy.proxy.sticking import server_key
from forkproxy.registry import Level, command
from forkproxy.rules.tables import show_key
from forkproxy.state import frequency
from forkproxy.state.stickspec import DATA_TYPES, Column, Shape, TableRef

_OPERATORS: dict[str, Callable[[int, int], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "le": operator.le, "ge": operator.ge, "lt": operator.lt, "gt": operator.gt,
}  # fmt: skip
#: The most filters of one command.
_FILTERS = 4
_DATA = re.compile(r"data\.([a-z0-9_]+)(?:\[(\d+)\])?")
_CLEAR_ARGS = 'Required arguments: <table> "data.<store_data_type>" <operator> <value> or <table> key <key>'
_SHOW_ARGS = 'Optional argument only supports "data.<store_data_type>" <operator> <value> and key <key>'


class _Chosen(NamedTuple):
    """What a command is about: the entry of a key (padded), or at a place; else those that all filters let pass."""

    key: bytes | None
    base: int | None
    filters: list[tuple[Column, int, Callable[[int, int], bool], int]]


def _now(session: Session) -> int:
    return int(session.master.loop.clock.now * 1000.0)


def _table(session: Session, name: str) -> TableRef:
    ref = session.master.plan.tables.get(name)
    if ref is None:
        raise Refused("No such table")
    return ref


def _column(ref: TableRef, word: str) -> tuple[Column, int] | None:
    """The data type that ``data.<type>[<index>]`` names, and the index; None when the table does not store it."""
    found = _DATA.fullmatch(word)
    if found is None:
        return None
    index = int(found[2] or 0)
    column = ref.table.columns.get(found[1])
    return (column, index) if column is not None and index < column.elements else None


def _key(ref: TableRef, text: str) -> bytes:
    """A key as the table's entries hold it."""
    try:
        match ref.spec.type:
            case "ip":
                return ref.table.pad(socket.inet_pton(socket.AF_INET, text))
            case "ipv6":
                return ref.table.pad(socket.inet_pton(socket.AF_INET6, text))
            case "integer":
                if not text.isdecimal() or int(text) >= 1 << 32:
                    raise Refused("Invalid key")
                return ref.table.pad(int(text).to_bytes(4, "little"))
            case "string":
                return ref.table.pad(text.encode())
    except OSError:
        raise Refused("Invalid key") from None
    raise Refused("Inserting keys into tables of type other than ip, ipv6, string and integer is not supported")


def _choose(ref: TableRef, words: list[str], complaint: str) -> _Chosen:
    if not words:
        return _Chosen(None, None, [])
    if words[0] in ("key", "ptr"):
        if len(words) < 2:
            raise Refused("Key value expected" if words[0] == "key" else "Pointer value expected")
        if words[0] == "key":
            return _Chosen(_key(ref, words[1]), None, [])
        if not re.fullmatch(r"0x[0-9a-f]+", words[1]):
            raise Refused("Invalid pointer")
        return _Chosen(None, int(words[1], 16), [])
    if not words[0].startswith("data."):
        raise Refused(complaint)
    filters = []
    for number, at in enumerate(range(0, len(words), 3), 1):
        what = f"Filter entry #{number}:"
        if not words[at].startswith("data.") or number > _FILTERS:
            raise Refused(f"{what} {'Too many filters' if number > _FILTERS else 'Unknown data type'}")
        column = _column(ref, words[at])
        if column is None:
            known = (found := _DATA.fullmatch(words[at])) is not None and found[1] in DATA_TYPES
            raise Refused(f"{what} Data type not stored in this table" if known else f"{what} Unknown data type")
        compare = _OPERATORS.get(words[at + 1]) if at + 1 < len(words) else None
        if compare is None:
            raise Refused(f'{what} Require and operator among "eq", "ne", "le", "ge", "lt", "gt"')
        value = words[at + 2] if at + 2 < len(words) else ""
        if not re.fullmatch(r"-?\d+", value):
            raise Refused(f"{what} Require a valid integer value to compare against")
        filters.append((*column, compare, int(value)))
    return _Chosen(None, None, filters)


def _number(column: Column, index: int, data: memoryview, now: int) -> int:
    at = column.offset + index * column.width
    return frequency.read(data, at, column.period_ms, now) if column.shape is Shape.RATE else data[at]


def _entries(ref: TableRef, chosen: _Chosen, now: int) -> Iterator[list[Any]]:
    """The entries that a command is about, a stripe at a time."""
    padded = ref.table.pad
    for part in ref.table.entries(now):
        found = part
        if chosen.key is not None:
            found = [entry for entry in part if padded(entry.key) == chosen.key]
        elif chosen.base is not None:
            found = [entry for entry in part if entry.base == chosen.base]
        for column, index, compare, value in chosen.filters:
            found = [entry for entry in found if compare(_number(column, index, entry.data, now), value)]
        if found:
            yield found


def _heading(ref: TableRef) -> str:
    spec = ref.spec
    return f"# table: {spec.name}, type: {spec.type}, size:{spec.size}, used:{ref.table.used()}\n"


def _shown(ref: TableRef, entry: Any, now: int, servers: dict[int, str]) -> str:
    spec = ref.spec
    key = show_key(spec.type, entry.key)
    text = key.text if spec.type in ("ip", "ipv6") else str(key) if spec.type == "integer" else _printable(key, spec.type)
    left = max(0, entry.touched + spec.expire_ms - now) if spec.expire_ms else 0
    line = [f"0x{entry.base:x}: key={text} use={entry.holders} exp={left} shard=0"]
    for column in ref.table.columns.values():
        single = DATA_TYPES[column.name].single or column.name
        period = f"({column.period_ms})" if column.shape is Shape.RATE else ""
        for index in range(column.elements):
            value = _number(column, index, entry.data, now)
            line.append(f"{single.format(index)}{period}={servers.get(value, '-') if column.shape is Shape.KEY else value}")
    return " ".join(line) + "\n"


def _printable(key: bytes, kind: str) -> str:
    if kind == "binary":
        return key.hex().upper()
    return "".join(chr(c) if 32 < c < 127 and c not in b"\\=" else f"\\x{c:02x}" for c in key)


def _server_names(session: Session, ref: TableRef) -> dict[int, str]:
    if "server_key" not in ref.table.columns:
        return {}
    how = ref.spec.srvkey
    names = {}
    for backend in session.master.plan.backends.values():
        for server in backend.servers:
            names[server_key(server, how)] = server.name if how == "name" else f"{server.address.host}:{server.address.port}"
    return names


@command("show table", level=Level.USER, synopsis="show table <table> [<filter>]*")
def show_table(session: Session, words: list[str]) -> Iterable[str]:
    """Report the stick tables, or the entries of one.

    A filter is one or several times ``data.<type> <operator> <value>``, or ``key <key>``, or ``ptr <ptr>``."""
    if len(words) < 3:
        return [_heading(ref) for ref in session.master.plan.tables.values()]
    ref = _table(session, words[2])
    chosen = _choose(ref, words[3:], _SHOW_ARGS)
    return _dump(ref, chosen, _now(session), _server_names(session, ref))


def _dump(ref: TableRef, chosen: _Chosen, now: int, servers: dict[int, str]) -> Iterator[str]:
    alone = chosen.key is not None or chosen.base is not None
    if not alone:
        yield _heading(ref)
    for part in _entries(ref, chosen, now):
        if alone:
            yield _heading(ref)
        yield "".join([_shown(ref, entry, now, servers) for entry in part])


@command("clear table", level=Level.OPERATOR, synopsis="clear table <table> [<filter>]*")
def clear_table(session: Session, words: list[str]) -> Iterable[str]:
    """Remove entries of a stick table; those that are tracked now stay.

    Filters are those of ``show table``."""
    if len(words) < 3:
        raise Refused(_CLEAR_ARGS)
    ref = _table(session, words[2])
    chosen = _choose(ref, words[3:], _CLEAR_ARGS)
    alone = chosen.key is not None or chosen.base is not None
    return _clear(ref, chosen, _now(session), alone)


def _clear(ref: TableRef, chosen: _Chosen, now: int, alone: bool) -> Iterator[str]:
    for part in _entries(ref, chosen, now):
        for entry in part:
            if not ref.table.drop(entry.base, ref.table.pad(entry.key)) and alone:
                yield "Entry currently in use, cannot remove\n"
        yield ""


@command("set table", level=Level.OPERATOR, synopsis="set table <table> key <k> [data.* <v>]*")
def set_table(session: Session, words: list[str]) -> str:
    """Make an entry of a stick table, or change it."""
    if len(words) < 3:
        raise Refused("Required arguments: <table> key <key> [data.<store_data_type> <value>]*")
    ref = _table(session, words[2])
    args = words[3:]
    if args[:1] not in (["key"], ["ptr"]):
        raise Refused('content-based lookup is only supported with the "show" and "clear" actions')
    chosen = _choose(ref, args[:2], "")
    now = _now(session)
    changes = []
    for at in range(2, len(args), 2):
        column = _column(ref, args[at])
        if column is None or column[0].shape is Shape.KEY:
            raise Refused("Unknown data type" if column is None else "This data type cannot be set")
        value = args[at + 1] if at + 1 < len(args) else ""
        if not re.fullmatch(r"-?\d+", value):
            raise Refused("Require a valid integer value to store")
        changes.append((column[0], column[0].offset + column[1] * column[0].width, int(value)))

    def write(cells: memoryview, base: int, now: int) -> bool:
        for column, offset, value in changes:
            if column.shape is Shape.RATE:
                frequency.store(cells, base + offset, value, now)
            else:
                cells[base + offset] = value
        return True

    key = chosen.key
    if key is None:
        key = next((ref.table.pad(entry.key) for part in _entries(ref, chosen, now) for entry in part), None)
        if key is None:
            raise Refused("Entry not found")
    if ref.table.change(key, now, write) is None:
        raise Refused("Unable to allocate a new entry")
    return ""
