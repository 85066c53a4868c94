"""The order that changes lists of patterns in this worker (``add map``, ``set-map`` in another worker …)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkproxy.registry import order
from forkproxy.rules.patternfiles import Op

if TYPE_CHECKING:
    from forkproxy.proxy.runtime import Runtime


@order("patterns")
def change(runtime: Runtime, ops: list[Op]) -> None:
    """Carry out changes that the master made on its own copy."""
    runtime.plan.objects["patterns"].apply(ops)
