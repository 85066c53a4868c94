"""For all tests: what a process inherits from its starter, or how busy the machine is, must not decide what a test sees."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

import forkproxy.stats.service  # noqa: F401  # registers what files may name and config cannot import, as the program does
import tests.peers  # noqa: F401  # the path of what is started, before anything looks for a program
from tests.build import COMPILED, MODULE
from tests.fuzz.effort import LONG

# A shell starts background jobs with SIGINT ignored, and a child would inherit that: with a handler here it gets the default back.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A caller that keeps Python from writing byte code would have every process that a test starts compile the whole program again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The same examples in every run, however slow the machine; a long run looks for new ones.
settings.register_profile("forkproxy", deadline=None, derandomize=not LONG)
settings.load_profile("forkproxy")

_SYSTEM = Path(__file__).parent / "system"


def pytest_report_header() -> str:
    """Which forkproxy is tested: the checkout, or a compiled one (``make compiled``)."""
    return f"forkproxy: {MODULE}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever stands in ``tests/system`` is a system test, marked or not; some tests are not for the compiled build."""
    for item in items:
        if COMPILED and item.get_closest_marker("interpreted"):
            item.add_marker(pytest.mark.skip("what it looks at, or puts something in the place of, is not there in compiled modules"))
        if item.path.is_relative_to(_SYSTEM):
            item.add_marker("system")
