"""Commands of the runtime CLI: one file per command (or family), each registered by ``registry.command``."""

from __future__ import annotations

import importlib
import pkgutil


def register() -> None:
    """Import every file of this package, so that the registry knows all commands. Idempotent."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
