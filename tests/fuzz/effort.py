"""How hard the fuzz targets try: a little in ``make test``, long in ``make fuzz``."""

from __future__ import annotations

import os

LONG = os.environ.get("FORKPROXY_FUZZ") == "long"


def examples(count: int) -> int:
    """``count`` examples for a run of the tests, fifty times as many for a long one."""
    return count * 50 if LONG else count
