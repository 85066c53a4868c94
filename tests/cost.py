"""What work costs in CPU time, for tests that must notice when it grows with the square of what it is given.

The machine is shared and the process is full of what other tests left, so a single measurement says little: see :func:`cpu_s`.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable


def cpu_s(work: Callable[[], object], limit: float, tries: int = 4) -> float:
    """CPU seconds of ``work``: the least of up to ``tries`` runs, of which the first below ``limit`` is the last. No garbage is collected
    meanwhile: that costs by the size of the whole process (once 0.23 s in the middle of 0.01 s)."""
    least = float("inf")
    collects = gc.isenabled()
    for _ in range(tries):
        gc.collect()
        gc.disable()
        try:
            start = time.process_time()
            work()
            least = min(least, time.process_time() - start)
        finally:
            if collects:
                gc.enable()
        if least < limit:
            break
    return least
