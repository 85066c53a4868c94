"""Variables (manual 2.8): names with a scope, and where each scope is kept.

``txn``, ``req``, ``res`` and ``check`` live in ``txn.vars``, ``sess`` in ``txn.origin.vars``, ``proc`` in this process's
:data:`PROCESS` (a worker's own copy of what the configuration set).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

SCOPES = ("proc", "sess", "txn", "req", "res", "check")
#: proc.* variables of this process
PROCESS: dict[str, Any] = {}



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

        def get_sess(txn: Any) -> Any:
            held = txn.origin.vars
            return held.get(name) if held is not None else None

        return get_sess

    def get(txn: Any) -> Any:
        held = txn.vars
        return held.get(name) if held is not None else None

    return get


def setter(name: str) -> Setter:
    """``set(txn, value)`` for a checked name; a value of None removes the variable."""
    scope = name.partition(".")[0]
    if scope == "proc":

        def set_proc(txn: Any, value: Any) -> None:
            if value is None:
                PROCESS.pop(name, None)
            else:
                PROCESS[name] = value

        return set_proc
    at_origin = scope == "sess"

    def set_one(txn: Any, value: Any) -> None:
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

    def set_if(txn: Any, value: Any) -> None:
        old = get(txn)
        if all(test(old, value) for test in tests):
            store(txn, value)

    return set_if
