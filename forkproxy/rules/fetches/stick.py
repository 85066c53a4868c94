"""Fetches from stick tables: sc_*, sc0_* to sc2_* (entries that the stream tracks), src_* (the client's address looked up), table_cnt,
table_avl (manual 7.3.3).

All are made from one list: what can be read of an entry, changed in it, and in which forms that is offered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from forkproxy.registry import Needs, Type, fetch
from forkproxy.rules import phases, tables
from forkproxy.rules.args import Arg, Context, Int
from forkproxy.rules.context import RuleContext
from forkproxy.rules.expr import FetchFn, Texted
from forkproxy.rules.fetches.l4 import src
from forkproxy.rules.tables import Read, TableName, now_ms
from forkproxy.rules.types import find_cast
from forkproxy.state.stickspec import HOLDERS, TableRef

if TYPE_CHECKING:
    from forkproxy.rules.txn import Txn
    from forkproxy.state.sticktable import Table

#: ``make(ref, index) -> Read``: what to do with an entry of a table, None where that does not store what is asked for
Make = Callable[[TableRef, int], Read | None]

_SC: dict[str, Any] = {"needs": Needs.L4, "uses": phases.RUNNING}
_SRC: dict[str, Any] = {"needs": Needs.L4, "uses": phases.CLIENT}
_NUMBER = Int(lo=0, hi=99)
_TABLE = TableName(own=False)


def plain(name: str) -> Make:
    """The number of a data type."""
    return lambda ref, index: tables.reader(ref, name)


def kbytes(name: str) -> Make:
    """The number of a data type, divided by 1024."""

    def make(ref: TableRef, index: int) -> Read | None:
        read = tables.reader(ref, name)
        return None if read is None else lambda cells, base, now: read(cells, base, now) >> 10

    return make


def of_array(array: str, single: str) -> Make:
    """An element of an array; ``single`` is the data type that is the element's older form ("{}" for its number)."""

    def make(ref: TableRef, index: int) -> Read | None:
        return tables.reader(ref, array, index) or (tables.reader(ref, single.format(index)) if single else None)

    return make


def count(ref: TableRef, index: int) -> Read | None:
    """Count in a general purpose counter, give the new number."""
    event = tables.gpc_event(ref, index)
    return None if event is None else tables.adder(event)


def clear(ref: TableRef, index: int) -> Read | None:
    """Set a general purpose counter to zero, give the number that it had."""
    event = tables.gpc_event(ref, index)
    return None if event is None else tables.clearer(event)


def only_array(make: Make) -> Make:
    """Nothing where the table has ``gpc0`` and ``gpc1`` instead of an array."""
    return lambda ref, index: make(ref, index) if any(store.name in ("gpc", "gpc_rate") for store in ref.spec.stores) else None


def trackers(ref: TableRef, index: int) -> Read:
    """Who holds the entry."""
    return lambda cells, base, now: cells[base + HOLDERS]


#: (name in sc_* and table_*, what it does, documentation)
READS: tuple[tuple[str, Make, str], ...] = (
    ("bytes_in_rate", plain("bytes_in_rate"), "Bytes per period from clients."),
    ("bytes_out_rate", plain("bytes_out_rate"), "Bytes per period to clients."),
    ("conn_cnt", plain("conn_cnt"), "Connections so far."),
    ("conn_cur", plain("conn_cur"), "Connections that track the entry now."),
    ("conn_rate", plain("conn_rate"), "Connections per period."),
    ("glitch_cnt", plain("glitch_cnt"), "Glitches of clients so far."),
    ("glitch_rate", plain("glitch_rate"), "Glitches per period."),
    ("gpc0_rate", lambda ref, index: of_array("gpc_rate", "gpc{}_rate")(ref, 0), "Increments per period of the first counter."),
    ("gpc1_rate", lambda ref, index: of_array("gpc_rate", "gpc{}_rate")(ref, 1), "Increments per period of the second counter."),
    ("http_err_cnt", plain("http_err_cnt"), "Requests with errors of clients."),
    ("http_err_rate", plain("http_err_rate"), "Requests with errors of clients per period."),
    ("http_fail_cnt", plain("http_fail_cnt"), "Answers with errors of servers."),
    ("http_fail_rate", plain("http_fail_rate"), "Answers with errors of servers per period."),
    ("http_req_cnt", plain("http_req_cnt"), "HTTP requests so far."),
    ("http_req_rate", plain("http_req_rate"), "HTTP requests per period."),
    ("kbytes_in", kbytes("bytes_in_cnt"), "Kilobytes from clients."),
    ("kbytes_out", kbytes("bytes_out_cnt"), "Kilobytes to clients."),
    ("sess_cnt", plain("sess_cnt"), "Sessions so far."),
    ("sess_rate", plain("sess_rate"), "Sessions per period."),
)
#: the same for what has another name in table_* (last)
GPCS: tuple[tuple[str, Make, str, str], ...] = (
    ("get_gpc0", lambda ref, index: of_array("gpc", "gpc{}")(ref, 0), "The first general purpose counter.", "gpc0"),
    ("get_gpc1", lambda ref, index: of_array("gpc", "gpc{}")(ref, 1), "The second general purpose counter.", "gpc1"),
    ("get_gpt0", lambda ref, index: of_array("gpt", "gpt{}")(ref, 0), "The first general purpose tag.", "gpt0"),
)
#: what changes an entry
CHANGES: tuple[tuple[str, Make, str], ...] = (
    ("clr_gpc0", lambda ref, index: clear(ref, 0), "Clear the first general purpose counter, give what it was."),
    ("clr_gpc1", lambda ref, index: clear(ref, 1), "Clear the second general purpose counter, give what it was."),
    ("inc_gpc0", lambda ref, index: count(ref, 0), "Count in the first general purpose counter, give the new number."),
    ("inc_gpc1", lambda ref, index: count(ref, 1), "Count in the second general purpose counter, give the new number."),
)
#: the same with the number of an element as the first argument
ELEMENTS: tuple[tuple[str, Make, str, str], ...] = (
    ("get_gpc", of_array("gpc", ""), "A general purpose counter by its number.", "gpc"),
    ("get_gpt", of_array("gpt", ""), "A general purpose tag by its number.", "gpt"),
    ("gpc_rate", of_array("gpc_rate", ""), "Increments per period of a general purpose counter.", "gpc_rate"),
)
ELEMENT_CHANGES: tuple[tuple[str, Make, str], ...] = (
    ("clr_gpc", only_array(clear), "Clear a general purpose counter, give what it was."),
    ("inc_gpc", only_array(count), "Count in a general purpose counter, give the new number."),
)


# -- entries that are tracked


def tracked(number: int, ref: TableRef | None, make: Make, index: int, changes: bool, ctx: RuleContext) -> FetchFn:
    """What ``make`` does with the entry that is tracked as ``number``, or with the one in table ``ref`` that has its key."""
    if number >= ctx.stick_counters:
        return lambda txn: None
    of_table: Table | None = None  # the table that was tracked last, and what to do with its entries: it is always the same, mostly
    of_entry: Read | None = None

    def here(txn: Txn) -> Any:
        nonlocal of_table, of_entry
        mine = txn.tracked
        if (mine is None or (held := mine[number]) is None) and (held := tables.held(txn, number)) is None:
            return None
        table: Table = held[0]
        if table is not of_table:
            of_table, of_entry = table, make(TableRef(table.spec), index)
        if of_entry is None:
            return None
        if changes:
            return table.with_held(held, now_ms(txn), of_entry)
        return of_entry(table.cells, held[1], int(txn.clock.now * 1000.0))

    if ref is None:
        return here
    act = make(ref, index)

    def there(txn: Txn) -> Any:
        held = tables.held(txn, number)
        if held is None:
            return None
        table, other = ref.table, held[0]
        if table is other:
            return here(txn)
        if table.key_cells != other.key_cells:
            return None
        return _at_key(table, other.key(held[1]), now_ms(txn), act, changes)

    return there


def _at_key(table: Table, key: bytes, now: int, act: Read | None, changes: bool) -> Any:
    """What ``act`` does with an entry: 0 where there is none, None where the table does not store what it wants."""
    if act is None:
        return None if table.look(key, now, _is_there) else 0
    found = table.change(key, now, act) if changes else table.look(key, now, act)
    return 0 if found is None else found


def _is_there(cells: memoryview, base: int, now: int) -> bool:
    return True


def _tracked_fetches(name: str, make: Make, doc: str, changes: bool, indexed: bool) -> None:
    element = (_NUMBER,) if indexed else ()

    def by_number(*values: Any) -> FetchFn:
        # (element,) number, table, context
        *index, number, ref, ctx = values
        return tracked(number, ref, make, index[0] if index else 0, changes, ctx)

    by_number.__doc__ = doc
    fetch(f"sc_{name}", out=Type.SINT, args=(*element, _NUMBER, _TABLE, Context()), **_SC)(by_number)
    # Of those with an element HAProxy has one form with the number in its name.
    for fixed in range(3) if not indexed else (1,) if name == "clr_gpc" else ():

        def of_one(*values: Any, fixed: int = fixed) -> FetchFn:
            *index, ref, ctx = values
            return tracked(fixed, ref, make, index[0] if index else 0, changes, ctx)

        of_one.__doc__ = doc
        fetch(f"sc{fixed}_{name}", out=Type.SINT, args=(*element, _TABLE, Context()), **_SC)(of_one)


# -- the client's address looked up


def _src_fetch(name: str, make: Make, doc: str, changes: bool, indexed: bool) -> None:
    get = src()
    source = get.fn if isinstance(get, Texted) else get

    def factory(*values: Any) -> FetchFn:
        *index, ref = values
        return of_source(ref, make(ref, index[0] if index else 0), source, changes)

    args: tuple[Arg, ...] = ((_NUMBER,) if indexed else ()) + (TableName(),)
    factory.__doc__ = doc
    fetch(f"src_{name}", out=Type.SINT, args=args, **_SRC)(factory)


def of_source(ref: TableRef, act: Read | None, source: FetchFn, changes: bool) -> FetchFn:
    """What ``act`` does with the entry of the client's address in ``ref``."""
    wanted = tables.KEY_TYPES[ref.spec.type]
    cast = find_cast(Type.ADDR, wanted)
    make_key = tables.key_maker(ref)

    def look(txn: Txn) -> Any:
        value = source(txn)
        if value is not None and cast is not None:
            value = cast(value)
        if value is None:
            return None
        return _at_key(ref.table, make_key(value), now_ms(txn), act, changes)

    return look


for _name, _make, _doc in READS:
    _tracked_fetches(_name, _make, _doc, False, False)
    _src_fetch(_name, _make, _doc, False, False)
for _name, _make, _doc, _ in GPCS:
    _tracked_fetches(_name, _make, _doc, False, False)
    _src_fetch(_name, _make, _doc, False, False)
for _name, _make, _doc in CHANGES:
    _tracked_fetches(_name, _make, _doc, True, False)
    _src_fetch(_name, _make, _doc, True, False)
for _name, _make, _doc, _ in ELEMENTS:
    _tracked_fetches(_name, _make, _doc, False, True)
    _src_fetch(_name, _make, _doc, False, True)
for _name, _make, _doc in ELEMENT_CHANGES:
    _tracked_fetches(_name, _make, _doc, True, True)
    _src_fetch(_name, _make, _doc, True, True)
_tracked_fetches("trackers", trackers, "Streams and connections that track the entry now.", False, False)


def _count_connection(ref: TableRef, index: int) -> Read | None:
    event = tables.number_event(ref, "conn_cnt")
    return None if event is None else tables.adder(event)


_src_fetch("updt_conn_cnt", _count_connection, "Count a connection of the client's address, give the number.", True, False)


# -- whether, and what


def _is_tracked(number: int, ref: TableRef | None, ctx: RuleContext) -> FetchFn:
    if number >= ctx.stick_counters:
        return lambda txn: False
    return lambda txn: (held := tables.held(txn, number)) is not None and (ref is None or held[0] is ref.table)


def _key(number: int, ctx: RuleContext) -> FetchFn:
    if number >= ctx.stick_counters:
        return lambda txn: None

    def key(txn: Txn) -> Any:
        held = tables.held(txn, number)
        return None if held is None else tables.show_key(held[0].spec.type, held[0].key(held[1]))

    return key


@fetch("sc_tracked", out=Type.BOOL, args=(_NUMBER, _TABLE, Context()), **_SC)
def sc_tracked(number: int, ref: TableRef | None, ctx: RuleContext) -> FetchFn:
    """Whether an entry is tracked under this number."""
    return _is_tracked(number, ref, ctx)


@fetch("sc_key", out=Type.ANY, args=(_NUMBER, Context()), **_SC)
def sc_key(number: int, ctx: RuleContext) -> FetchFn:
    """The key of the entry that is tracked under this number."""
    return _key(number, ctx)


def _fixed(number: int) -> None:
    def is_tracked(ref: TableRef | None, ctx: RuleContext) -> FetchFn:
        return _is_tracked(number, ref, ctx)

    is_tracked.__doc__ = "Whether an entry is tracked under this number."
    fetch(f"sc{number}_tracked", out=Type.BOOL, args=(_TABLE, Context()), **_SC)(is_tracked)

    def key(ctx: RuleContext) -> FetchFn:
        return _key(number, ctx)

    key.__doc__ = "The key of the entry that is tracked under this number."
    fetch(f"sc{number}_key", out=Type.ANY, args=(Context(),), **_SC)(key)


for _number in range(3):
    _fixed(_number)


@fetch("table_cnt", out=Type.SINT, args=(TableName(),), uses=phases.RUNNING)
def table_cnt(ref: TableRef) -> FetchFn:
    """Entries of a table."""
    return lambda txn: ref.table.used()


@fetch("table_avl", out=Type.SINT, args=(TableName(),), uses=phases.RUNNING)
def table_avl(ref: TableRef) -> FetchFn:
    """Entries for which a table has room."""
    return lambda txn: max(0, ref.spec.size - ref.table.used())
