"""What keeps the service from starting is told in a line."""

from __future__ import annotations

import errno
import os

import pytest

from forkproxy.config.options import Options
from forkproxy.master.main import run
from forkproxy.state.segment import Segment
from tests.unit.config.reading import good


def test_no_memory_to_share(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(slots: int, rows: int) -> Segment:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))  # ``-m 50``

    monkeypatch.setattr(Segment, "create", refuse)
    assert run(good("frontend f\n  bind 127.0.0.1:1\n"), Options(debug=True)) == 1
    assert "No memory to share between the processes: [Errno 12]" in capsys.readouterr().err


def test_a_kernel_that_cannot_watch_processes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(pid: int) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert run(good("frontend f\n  bind 127.0.0.1:1\n"), Options()) == 1
    said = capsys.readouterr().err
    assert "Linux 5.3 or later is needed: pidfd_open: Function not implemented." in said
    assert said.count("\n") == 1
