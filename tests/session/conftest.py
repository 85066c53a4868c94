"""What every transcript needs: a test closes what it opened."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.session.stage import OPEN


@pytest.fixture(autouse=True)
def descriptors_are_closed() -> Iterator[None]:
    yield
    while OPEN:
        os.close(OPEN.pop())
