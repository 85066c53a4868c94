"""Actions on stick tables: track-sc*, sc-inc-gpc*, sc-add-gpc, sc-set-gpt* (manual 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from forkproxy.plan import Step
from forkproxy.registry import Type, action
from forkproxy.rules import tables
from forkproxy.rules.action import EVERYWHERE, HTTP_REQ, HTTP_RES, TCP_CONN, TCP_CONT, TCP_SESS, Parser
from forkproxy.rules.expr import ExprError, cast_sample
from forkproxy.rules.tables import Read, now_ms
from forkproxy.state.stickspec import TableRef

if TYPE_CHECKING:
    from forkproxy.rules.txn import Txn
    from forkproxy.state.sticktable import Table

#: general purpose counters and tags are numbered below this
_ELEMENTS = 100
_MAX = (1 << 32) - 1


@action("track-sc*", at=(TCP_CONN, TCP_SESS, TCP_CONT, HTTP_REQ, HTTP_RES), synopsis="track-sc<id> <key> [table <table>]")
def track(p: Parser) -> Step:
    """Count what the client does in an entry of a stick table until the connection (or the stream) ends.

    The first rule with a number decides: one that comes later with the same number does nothing.
    """
    number = _number(p, p.name.removeprefix("track-sc"))
    size = p.ctx.stick_counters
    at = p.words.pos
    sample = p.sample()
    name = p.word("the name of a table") if p.words.accept("table") else ""
    try:
        ref = tables.find(name, p.ctx)
        fetch = cast_sample(sample, tables.KEY_TYPES[ref.spec.type]).fetch
    except ExprError:
        p.words.fail(f"stick-table '{name or p.ctx.name}' uses a type incompatible with the 'track-sc{number}' rule", at)
    except ValueError as err:
        p.words.fail(f"{err} referenced by track-sc{number}", p.words.pos - 1)
    make_key = tables.key_maker(ref)
    of_connection, of_response = p.kind in (TCP_CONN, TCP_SESS), p.kind == HTTP_RES
    # Requests are counted when their head is there; the content rules of a frontend come before that, those of a backend after.
    of_request = p.kind == HTTP_REQ or of_response or (p.kind == TCP_CONT and p.ctx.mode == "http" and p.ctx.caps != "backend")

    verdicts = tables.VERDICTS if p.ctx.verdicts is None else p.ctx.verdicts

    def step(txn: Txn) -> None:
        mine = txn.origin.tracked if of_connection else txn.tracked
        if mine is not None and mine[number] is not None:
            return
        value = fetch(txn)
        if value is None:
            return
        table: Table = ref.table
        got = (table.hold_request if of_request else table.hold_connection)(make_key(value), int(txn.clock.now * 1000.0))
        if got is not None:
            if mine is None:
                mine = [None] * size
                if of_connection:
                    txn.origin.tracked = mine
                else:
                    txn.tracked = mine
            mine[number] = got
            if of_response and txn.res is not None and txn.res.status in verdicts:  # what other entries had counted when the answer came
                table.count(got, now_ms(txn), tuple([(table.events[name], 1) for name in verdicts[txn.res.status]]))

    return step


def _number(p: Parser, text: str) -> int:
    if not text.isdecimal():
        p.words.fail(f"Wrong track-sc number '{text}'")
    if int(text) >= p.ctx.stick_counters:
        p.words.fail(
            f"{text} track-sc number exceeding {p.ctx.stick_counters - 1} (MAX_SESS_STKCTR-1) value",
            hint="tune.stick-counters allows more",
        )
    return int(text)


def _wrong(p: Parser, form: str) -> NoReturn:
    p.words.fail(f"'{p.name}' expects '{p.name}({form})'")


def _arguments(p: Parser, indexed: bool) -> tuple[int, int]:
    """(number of the element, number of the tracked entry) in the parentheses; without ``indexed`` only the latter is there."""
    parts = p.inside.split(",")
    form = "<idx>,<sc-id>" if indexed else "<sc-id>"
    if len(parts) != 1 + indexed or not all(part.strip().isdecimal() for part in parts):
        _wrong(p, form)
    index, number = int(parts[0]) if indexed else 0, int(parts[-1])
    if index >= _ELEMENTS:
        p.words.fail(f"invalid index {index}: the greatest is {_ELEMENTS - 1}")
    if number >= p.ctx.stick_counters:
        p.words.fail(f"invalid stick table track ID. The max allowed ID is {p.ctx.stick_counters - 1}")
    return index, number


def _at(number: int, make: Any) -> Step:
    """A step that changes the entry held as ``number`` by what ``make(ref)`` gave for its table; ``make`` is asked once per table."""
    known: dict[int, Any] = {}

    def step(txn: Txn) -> None:
        held = tables.held(txn, number)
        if held is None:
            return
        table = held[0]
        change = known.get(table.number, known)
        if change is known:
            change = known[table.number] = make(TableRef(table.spec))
        if change is not None:
            table.with_held(held, now_ms(txn), change(txn))

    return step


def _count(p: Parser, index: int, number: int) -> Step:
    def make(ref: TableRef) -> Any:
        event = tables.gpc_event(ref, index)
        if event is None:
            return None
        add = tables.adder(event)
        return lambda txn: add

    return _at(number, make)


@action("sc-inc-gpc0", "sc-inc-gpc1", at=EVERYWHERE, prefix=True, synopsis="(<sc-id>)")
def inc_gpc01(p: Parser) -> Step:
    """Count in the first (or second) general purpose counter of a tracked entry."""
    return _count(p, int(p.name[-1]), _arguments(p, False)[1])


@action("sc-inc-gpc", at=EVERYWHERE, prefix=True, synopsis="(<idx>,<sc-id>)")
def inc_gpc(p: Parser) -> Step:
    """Count in a general purpose counter of a tracked entry."""
    return _count(p, *_arguments(p, True))


@action("sc-add-gpc", at=EVERYWHERE, prefix=True, synopsis="(<idx>,<sc-id>) { <int> | <expr> }")
def add_gpc(p: Parser) -> Step:
    """Add a number to a general purpose counter of a tracked entry."""
    index, number = _arguments(p, True)
    amount = _amount(p)

    def make(ref: TableRef) -> Any:
        event = tables.gpc_event(ref, index)
        return None if event is None else lambda txn: tables.adder(event, amount(txn))

    return _at(number, make)


def _set_tag(p: Parser, index: int, number: int) -> Step:
    amount = _amount(p)

    def make(ref: TableRef) -> Any:
        offset = tables.tag_offset(ref, index)
        if offset is None:
            return None

        def change(txn: Txn) -> Read:
            value = amount(txn)
            return lambda cells, base, now: cells.__setitem__(base + offset, value)

        return change

    return _at(number, make)


@action("sc-set-gpt0", at=EVERYWHERE, prefix=True, synopsis="(<sc-id>) { <int> | <expr> }")
def set_gpt0(p: Parser) -> Step:
    """Set the first general purpose tag of a tracked entry."""
    return _set_tag(p, 0, _arguments(p, False)[1])


@action("sc-set-gpt", at=EVERYWHERE, prefix=True, synopsis="(<idx>,<sc-id>) { <int> | <expr> }")
def set_gpt(p: Parser) -> Step:
    """Set a general purpose tag of a tracked entry."""
    return _set_tag(p, *_arguments(p, True))


def _amount(p: Parser) -> Any:
    """The number in the next word, or what makes one of a stream (0 where the sample is absent)."""
    text = p.words.peek() or ""
    if text.isdecimal():
        constant = p.integer("a number", 0, _MAX)
        return lambda txn: constant
    fetch = p.sample(Type.SINT).fetch
    return lambda txn: max(0, min(_MAX, fetch(txn) or 0))
