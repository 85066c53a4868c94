"""Programs that the master starts and waits for without blocking: external checks.

Each runs in a session of its own, with nothing open but /dev/null, as the user that workers run as (but not in their chroot), and not
longer than it may: then its whole process group is asked to end, and killed a second later. The kernel tells of its end through a pidfd.
At most :data:`LIMIT` run at a time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from forkproxy.net.loop import READ, Loop, Timer, Watched

if TYPE_CHECKING:
    import subprocess

LIMIT = 32
_GRACE_S = 1.0

#: ``done(returncode)``: the exit status, negative for a signal; None: its time was over.
Done = Callable[[int | None], object]


class Errand(Watched):
    """One program on its way; :meth:`drop` ends it without a word to anybody."""

    __slots__ = ("_errands", "_kill", "_pid", "done", "process")

    def __init__(self, errands: Errands, process: subprocess.Popen[bytes], done: Done) -> None:
        super().__init__(os.pidfd_open(process.pid), _ended, _late)
        self._errands = errands
        self._kill: Timer | None = None
        self.process = process
        self.done: Done | None = done

    def drop(self) -> None:
        """Nobody wants to know any more."""
        self.done = None
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # it has just ended, or became somebody else

    def _finish(self) -> None:
        code = self.process.poll()
        if code is None:
            return
        loop = self._errands.loop
        loop.remove(self)
        os.close(self.fd)
        if self._kill is not None:
            self._kill.cancel()
        self._errands.running.discard(self)
        if self.done is not None:
            self.done(code)

    def _too_late(self) -> None:
        done, self.done = self.done, None
        self._signal(signal.SIGTERM)
        self._kill = self._errands.loop.call_later(_GRACE_S, self.drop)
        if done is not None:
            done(None)


class Errands:
    """All programs of one loop. ``credentials`` are the ``user`` and ``group`` of ``subprocess.Popen``, or empty."""

    __slots__ = ("credentials", "loop", "running")

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.credentials: dict[str, Any] = {}
        self.running: set[Errand] = set()

    @property
    def full(self) -> bool:
        """Whether another one has to wait."""
        return len(self.running) >= LIMIT

    def start(self, argv: Sequence[str], env: Mapping[str, str], limit_s: float, done: Done) -> Errand:
        """Run a program; ``done`` is called once, never before this returns. Raises OSError when it cannot be started."""
        import subprocess  # with the first program that runs

        process = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, **self.credentials,
        )  # fmt: skip
        errand = Errand(self, process, done)
        self.running.add(errand)
        self.loop.add(errand, READ)
        self.loop.set_deadline(errand, self.loop.clock.now + limit_s)
        return errand

    def stop(self) -> None:
        """Kill all that run, and wait for their end."""
        if not self.running:
            return
        import subprocess

        for errand in list(self.running):
            errand.drop()
            try:
                errand.process.wait(1.0)
            except subprocess.TimeoutExpired:
                continue  # stuck in the kernel: it is init's now
            errand._finish()


def _ended(errand: Errand, _mask: int) -> None:
    errand._finish()


def _late(errand: Errand) -> None:
    errand._too_late()
