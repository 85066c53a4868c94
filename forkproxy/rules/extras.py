"""Packages that only some rules need: extras of pyproject.toml, asked for when a rule that needs one is read.

Whoever does not write such a rule neither installs nor imports them.
"""

from __future__ import annotations

from importlib import import_module


def need(package: str, extra: str) -> None:
    """Make sure that ``package`` can be imported. Raises ValueError with the line that installs it, as the ``extra`` of forkproxy."""
    try:
        import_module(package)
    except ImportError:
        raise ValueError(
            f"it needs the Python package '{package}', which is not installed : pip install 'forkproxy[{extra}]'"
        ) from None
