"""Values and records: slotted classes made from their annotations, without code generated at import.

``dataclasses`` compiles six functions for every class and imports ``inspect`` to do so, which took a fifth of the time from start to
ready. Here all classes share the functions below, which read the fields from the class; making an instance costs a little more than
a compiled constructor does, so nothing that is made for every request belongs here. Knows nothing of forkproxy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast, dataclass_transform

T = TypeVar("T")


class _Made:
    """A default that is made anew for every instance."""

    __slots__ = ("factory",)

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.factory = factory


def field(*, default_factory: Callable[[], T]) -> T:
    """The default of a field whose value ``default_factory`` makes for every instance (lists and dictionaries)."""
    return _Made(default_factory)  # type: ignore[return-value]  # what stands in the class body; instances get a T


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Class decorator: a frozen, slotted value of the annotated fields, equal to others of its class by their contents."""
    return _make(cls, {"__eq__": _eq, "__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse})


@dataclass_transform(eq_default=False, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Class decorator: a slotted class of the annotated fields, which may change; two records are never equal."""
    return _make(cls, {})


def replace(instance: T, **changes: Any) -> T:
    """A copy of a value or record with some fields changed. Raises TypeError for a field that it does not have."""
    kept = {name: getattr(instance, name) for name in instance._names}  # type: ignore[attr-defined]  # set by _make
    return type(instance)(**{**kept, **changes})


def names(instance: object) -> tuple[str, ...]:
    """The fields of a value or record."""
    found: tuple[str, ...] = instance._names  # type: ignore[attr-defined]  # set by _make
    return found


def _make(cls: type[T], methods: dict[str, Any]) -> type[T]:
    """``cls`` again, with slots, which only a new class can have; ``super()`` without arguments would mean the first one."""
    own = cls.__dict__.get("__annotations__", {})  # noqa: RUF063  # importing inspect is what is avoided here
    body = {name: what for name, what in cls.__dict__.items() if name not in own and name not in ("__dict__", "__weakref__")}
    fields: dict[str, Any] = dict(getattr(cls, "_fields", {}))
    fields.update((name, cls.__dict__.get(name, _MISSING)) for name in own)
    made = {
        "__init__": _init,
        "__repr__": _repr,
        **methods,
        **body,
        "__slots__": tuple(name for name in own if name not in getattr(cls, "_fields", ())),
        "_fields": fields,
        "_names": tuple(fields),
        "_defaults": {name: default for name, default in fields.items() if default is not _MISSING and type(default) is not _Made},
        "_made": {name: default for name, default in fields.items() if type(default) is _Made},
    }
    return cast("type[T]", type(cls.__name__, cls.__bases__, made))


_MISSING = object()
_put = object.__setattr__


def _init(self: Any, /, *args: Any, **given: Any) -> None:
    names = self._names
    if args:
        positional = dict(zip(names, args, strict=False))
        if len(args) > len(names) or not positional.keys().isdisjoint(given):
            raise TypeError(f"{type(self).__name__}: too many arguments, or a field given twice")
        given |= positional
    values = self._defaults | given
    for name, made in self._made.items():
        if name not in values:
            values[name] = made.factory()
    if len(values) != len(names):
        raise TypeError(f"{type(self).__name__}: fields that are missing or unknown: {sorted(values.keys() ^ set(names))}")
    try:
        for name in names:
            _put(self, name, values[name])
    except KeyError:
        raise TypeError(f"{type(self).__name__}: fields that are missing or unknown: {sorted(values.keys() ^ set(names))}") from None


def _contents(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name in self._names])


def _eq(self: Any, other: object) -> bool:
    return _contents(self) == _contents(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_contents(self))


def _repr(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._names)})"


def _refuse(self: Any, name: str, value: object = None) -> None:
    raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be changed")
