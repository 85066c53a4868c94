"""The programs that tests compare with or talk to: where they are found, and how a test says that it needs one.

The Makefile installs them (``install-peers.sh``); a test whose peer is not there is skipped, and pytest's summary says why.
"""

from __future__ import annotations

import os
import shutil

import pytest

# where Debian puts haproxy, nginx and others, which an ordinary user's path leaves out
os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))


def _missing(programs: tuple[str, ...]) -> str:
    return ", ".join(program for program in programs if shutil.which(program) is None)


def needs(*programs: str) -> pytest.MarkDecorator:
    """The mark of a test that can do nothing without these."""
    missing = _missing(programs)
    return pytest.mark.skipif(bool(missing), reason=f"needs {missing}")


def rest_needs(*programs: str) -> None:
    """What stands above it in a test was asserted; what follows is skipped without these."""
    if missing := _missing(programs):
        pytest.skip(f"the rest needs {missing}")
