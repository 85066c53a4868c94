"""Variables (manual 2.8): names with a scope, and where each scope is kept.

``txn``, ``req``, ``res`` and ``check`` live in ``txn.vars``, ``sess`` in ``txn.origin.vars``, ``proc`` in this process's
:data:`PROCESS`: every process has a copy of them, and what a rule, a check or the operator sets goes to all by way of the master
(:class:`Shared`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from forkproxy.rules.types import Addr

if TYPE_CHECKING:
    from forkproxy.rules.txn import Txn

SCOPES = ("proc", "sess", "txn", "req", "res", "check")
#: proc.* variables of this process
PROCESS: dict[str, Any] = {}
#: A larger value stays in the process that set it: a message could not hold it.
LARGEST = 24_000


@contextmanager
def process(held: dict[str, Any]) -> Iterator[None]:
    """Let ``held`` be the process-wide variables for a while: the configuration is read in a process that may serve with others."""
    before = dict(PROCESS)
    begin(held)
    try:
        yield
    finally:
        begin(before)


def begin(held: Mapping[str, Any]) -> None:
    """Let the process-wide variables be those of ``held`` and no others."""
    PROCESS.clear()
    PROCESS.update(held)


#: One change: name, value as :func:`pack` gives it, number of the worker whose rule it was (0: the operator, or a check).
Op = list[Any]


def pack(value: Any) -> Any:
    """A value as JSON has it; None, which is no value, stays None."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, Addr):
        return [value.text]
    return value


def unpack(packed: Any) -> Any:
    """The inverse of :func:`pack`."""
    if isinstance(packed, str):
        return packed.encode("latin-1")
    if isinstance(packed, list):
        return Addr(packed[0])
    return packed


def put(held: dict[str, Any], name: str, value: Any) -> None:
    """Set a variable, or forget it (None)."""
    if value is None:
        held.pop(name, None)
    else:
        held[name] = value


class Shared:
    """One process's side of the agreement on ``proc`` variables: what it changed and what all know of it.

    Theory. The master hears of changes in some order, which is the order that counts, and tells them to all workers, the one that made
    the change included. That one goes by its own until it has heard all of its own changes of that name again: what it hears of others
    meanwhile came before, and its own is the last word. So all agree in the end, and a worker that counts never loses its own count to
    the echo of an earlier one.

    ``wake`` is called when there is something to :meth:`collect`; while it is None nobody wants to know. ``number`` is the worker's, 0
    the master's."""

    __slots__ = ("_owed", "_waiting", "number", "wake")

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, number: int, wake: Callable[[], object] | None = None) -> None:
        """A new life: nothing has changed yet."""
        self.number = number
        self.wake = wake
        self._waiting: set[str] = set()  # changed, not told yet
        self._owed: dict[str, int] = {}  # told, not heard again yet

    def changed(self, name: str) -> None:
        """A rule of this process set or forgot a variable."""
        if self.wake is not None:
            if not self._waiting:
                self.wake()
            self._waiting.add(name)

    def collect(self) -> list[Op]:
        """What is to be told to the master now: the last value of each variable that changed."""
        ops: list[Op] = []
        for name in self._waiting:
            value = PROCESS.get(name)
            if not isinstance(value, bytes) or len(value) <= LARGEST:
                self._owed[name] = self._owed.get(name, 0) + 1
                ops.append([name, pack(value), self.number])
        self._waiting.clear()
        return ops

    def apply(self, ops: Iterable[Op]) -> None:
        """What the master says."""
        for name, packed, number in ops:
            if number == self.number and (owed := self._owed.pop(name, 0)) > 1:
                self._owed[name] = owed - 1
            if name not in self._owed and name not in self._waiting:
                put(PROCESS, name, unpack(packed))


#: This process's.
SHARED = Shared()

_NAME = re.compile(r"(\w+)\.([A-Za-z0-9_.]+)")

Getter = Callable[[Any], Any]
Setter = Callable[[Any, Any], None]


def check_name(name: str) -> str:
    """``name`` if it is a valid variable name. Raises ValueError."""
    scope, dot, _ = name.partition(".")
    if scope not in SCOPES or not dot:
        raise ValueError(f"invalid variable name '{name}'. A variable name must be start by its scope. The scope can be "
                         "'proc', 'sess', 'txn', 'req', 'res' or 'check'")  # fmt: skip
    if not _NAME.fullmatch(name):
        raise ValueError(f"invalid variable name '{name}' : only letters, digits, '.' and '_' are allowed")
    return name


def getter(name: str) -> Getter:
    """``get(txn) -> value | None`` for a checked name."""
    scope = name.partition(".")[0]
    if scope == "proc":
        return lambda txn: PROCESS.get(name)
    if scope == "sess":

        def get_sess(txn: Txn) -> Any:
            held = txn.origin.vars
            return held.get(name) if held is not None else None

        return get_sess

    def get(txn: Txn) -> Any:
        held = txn.vars
        return held.get(name) if held is not None else None

    return get


def setter(name: str) -> Setter:
    """``set(txn, value)`` for a checked name; a value of None removes the variable."""
    scope = name.partition(".")[0]
    if scope == "proc":
        changed = SHARED.changed

        def set_proc(txn: Any, value: Any) -> None:
            before = PROCESS.get(name)
            if value != before or type(value) is not type(before):  # True is 1 to Python
                put(PROCESS, name, value)
                changed(name)

        return set_proc
    at_origin = scope == "sess"

    def set_one(txn: Txn, value: Any) -> None:
        owner = txn.origin if at_origin else txn
        held = owner.vars
        if value is None:
            if held is not None:
                held.pop(name, None)
        elif held is None:
            owner.vars = {name: value}
        else:
            held[name] = value

    return set_one


#: ``set-var(name,cond…)`` conditions (manual 4.4 "set-var"): each tells from (old, new) whether to set
_CONDITIONS: dict[str, Callable[[Any, Any], bool]] = {
    "ifexists": lambda old, new: old is not None,
    "ifnotexists": lambda old, new: old is None,
    "ifempty": lambda old, new: new == b"",
    "ifnotempty": lambda old, new: new != b"",
    "ifset": lambda old, new: new is not None,
    "ifnotset": lambda old, new: new is None,
    "ifgt": lambda old, new: isinstance(old, int) and isinstance(new, int) and old > new,
    "iflt": lambda old, new: isinstance(old, int) and isinstance(new, int) and old < new,
}


def conditional_setter(name: str, conditions: list[str]) -> Setter:
    """A setter that asks all of ``conditions`` first. Raises ValueError for an unknown one."""
    store = setter(name)
    if not conditions:
        return store
    for word in conditions:
        if word not in _CONDITIONS:
            raise ValueError(f"unknown condition '{word}', expected one of {', '.join(_CONDITIONS)}")
    tests = [_CONDITIONS[word] for word in conditions]
    get = getter(name)

    def set_if(txn: Txn, value: Any) -> None:
        old = get(txn)
        if all(test(old, value) for test in tests):
            store(txn, value)

    return set_if
