"""The environment that a configuration asks for (manual 3.1 "setenv", "presetenv", "unsetenv", "resetenv"), made of the one that the
program was started with. A reload begins with that one again, as if the program had been started anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from forkproxy.plan import Plan

#: What the program was started with.
base: dict[str, str] = dict(os.environ)


def apply(plan: Plan) -> None:
    """Make the process's environment the one of ``plan``."""
    changes: Mapping[str, str | None] = plan.global_.options.get("environment", {})
    _become({**base, **changes})


@contextmanager
def original() -> Iterator[None]:
    """Within, the environment is the one of the start."""
    held = dict(os.environ)
    _become(base)
    try:
        yield
    finally:
        _become(held)


def _become(wanted: Mapping[str, str | None]) -> None:
    for name in [n for n in os.environ if wanted.get(n) is None]:
        del os.environ[name]
    for name, value in wanted.items():
        if value is not None and os.environ.get(name) != value:
            os.environ[name] = value
