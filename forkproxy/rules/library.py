"""Imports every file of fetches, converters and actions, so that the registry is complete: a new file needs no other mention."""

from __future__ import annotations

import importlib
import pkgutil

from forkproxy.rules import actions, converters, fetches

for _package in (fetches, converters, actions):
    for _module in pkgutil.iter_modules(_package.__path__):
        importlib.import_module(f"{_package.__name__}.{_module.name}")
