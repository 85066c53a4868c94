"""The order that changes process-wide variables in this worker (``set var``, ``set-var(proc.x)`` in another worker …)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkproxy.registry import order
from forkproxy.rules.variables import SHARED, Op

if TYPE_CHECKING:
    from forkproxy.proxy.runtime import Runtime


@order("variables")
def change(runtime: Runtime, ops: list[Op]) -> None:
    """Carry out changes that the master made on its own copy."""
    SHARED.apply(ops)
