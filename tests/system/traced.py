"""What a process asks of the kernel during an exchange, as strace tells it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


def traced(pid: int, calls: str, exchange: Callable[[], object], where: Path) -> list[str]:
    """The lines of strace for these system calls (``trace=`` of its manual); the test is skipped where strace may not attach."""
    out = where / "strace"
    tracer = subprocess.Popen(["strace", "-f", "-e", f"trace={calls}", "-o", str(out), "-p", str(pid)], stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    with tracer.stderr:
        if b"attached" not in tracer.stderr.readline():
            tracer.wait(5)
            pytest.skip("strace may not attach here")
        try:
            exchange()
        finally:
            tracer.terminate()
            tracer.wait(5)
    return out.read_text().splitlines()
