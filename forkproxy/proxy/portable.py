"""Values of the plan on their way from the master to a worker that lives: as JSON has them, and back.

What a file says crosses the fork in memory; what the operator says later goes over the control channel. Functions do not: whoever sends a
value leaves fields out that hold some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forkproxy import plan
from forkproxy.values import names


def pack(value: Any, without: tuple[str, ...] = ()) -> Any:
    """A value as JSON has it. The fields ``without`` of a value of the plan are left out (they have defaults). Raises TypeError for what
    cannot be sent."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    if isinstance(value, (tuple, list)):
        return [pack(one) for one in value]
    if isinstance(value, Mapping):
        return {"mapping": {name: pack(one) for name, one in value.items()}}
    kind = type(value).__name__
    if getattr(plan, kind, None) is not type(value):
        raise TypeError(f"cannot be sent: {value!r}")
    return {"plan": kind, "fields": {name: pack(getattr(value, name)) for name in names(value) if name not in without}}


def unpack(packed: Any) -> Any:
    """The inverse of :func:`pack`; lists become tuples."""
    if isinstance(packed, list):
        return tuple([unpack(one) for one in packed])
    if not isinstance(packed, dict):
        return packed
    if "bytes" in packed:
        return packed["bytes"].encode("latin-1")
    if "mapping" in packed:
        return {name: unpack(one) for name, one in packed["mapping"].items()}
    return getattr(plan, packed["plan"])(**{name: unpack(one) for name, one in packed["fields"].items()})
