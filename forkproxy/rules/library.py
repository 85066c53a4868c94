"""Imports every file of fetches, converters and actions, so that the registry is complete: a new file needs no other mention."""

from __future__ import annotations

from forkproxy.registry import gather

for _kind in ("fetches", "converters", "actions"):
    gather(f"forkproxy.rules.{_kind}")
