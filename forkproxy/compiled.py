"""What the compiled build (setup.py) has to be told in the source. In a checkout all of it means nothing. Knows nothing of forkproxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:

    def mypyc_attr(**_attributes):
        """Class decorator: ``allow_interpreted_subclasses`` lets classes of modules that are not compiled inherit from this one."""
        return lambda cls: cls


__all__ = ["mypyc_attr"]
