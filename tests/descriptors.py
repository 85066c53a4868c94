"""Whether something leaves descriptors open, for tests in a process that is full of what other tests left: see :func:`none_left`."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


def _open() -> dict[int, str]:
    """The descriptors of this process, by what each is."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            pass  # the listing's own
    return found


@contextmanager
def none_left() -> Iterator[None]:
    """The block closes what it opens, and nothing else. No garbage is collected within it: what other tests left (segments in cycles)
    would close descriptors in between (once eight), and what the block itself forgot in a cycle would look closed."""
    collects = gc.isenabled()
    gc.disable()
    try:
        before = _open()
        yield
        assert _open() == before
    finally:
        if collects:
            gc.enable()
