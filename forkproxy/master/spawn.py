"""How a worker comes to life: by fork, or inline on the master's loop (``-d``). One interface, so that nothing else asks.

Knows processes and descriptors; knows nothing of why a worker is wanted.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Callable
from typing import Protocol

from forkproxy.master import daemon
from forkproxy.net.loop import Loop, Watched
from forkproxy.worker import main as worker_main
from forkproxy.worker.heritage import Heritage, RuntimeFactory
from forkproxy.worker.inbox import Ends
from forkproxy.worker.privileges import Privileges


class Spawner(Protocol):
    """Starts workers."""

    rendezvous: socket.socket | None
    successor: int
    inbox: Ends | None

    def spawn(self, heritage: Heritage, loop: Loop, on_exit: Callable[[int], None]) -> tuple[int, Watched | None]:
        """Start a worker; ``on_exit(status)`` is called when it is gone. Returns its pid and the watcher of its process (None: there is
        no process of its own). Owns ``heritage.channel`` from now on."""


class Forker:
    """Workers as processes. ``inherited`` are descriptors that were open when we were started: children keep them."""

    def __init__(self, factory: RuntimeFactory, inherited: frozenset[int]) -> None:
        self.factory = factory
        self.inherited = inherited
        self.rendezvous: socket.socket | None = None
        self.successor = -1
        self.inbox: Ends | None = None

    def spawn(self, heritage: Heritage, loop: Loop, on_exit: Callable[[int], None]) -> tuple[int, Watched | None]:
        """Fork; the child runs the worker and never returns from here. Raises OSError when there can be no process."""
        gc.freeze()
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self._child(heritage, loop)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            gc.unfreeze()
        heritage.channel.close()
        return pid, process_watcher(pid, on_exit)

    def _child(self, heritage: Heritage, loop: Loop) -> None:
        try:
            gc.freeze()
            loop.close()
            keep = set(self.inherited) | {0, 1, 2, heritage.channel.fileno(), heritage.state.segment.fd}
            keep.update(entry[2].fileno() for entry in heritage.escrow.values())
            if heritage.handover is not None:
                keep.add(heritage.handover.fileno())
            keep.add(heritage.successor)
            keep.update(heritage.state.limits.bells)
            keep.update(heritage.memories().values())
            if heritage.inbox is not None:
                keep.update(end.fileno() for end in heritage.inbox)
            close_others(keep)
            let_go = daemon.parting() if daemon.waited() else None
            worker_main.run(heritage, self.factory, drop_to=Privileges.of(heritage.plan.global_), let_go=let_go)
        finally:
            os._exit(70)


class Inline:
    """The one worker of ``-d``: a role on the master's loop."""

    def __init__(self, factory: RuntimeFactory) -> None:
        self.factory = factory
        self.rendezvous: socket.socket | None = None
        self.successor = -1
        self.inbox: Ends | None = None

    def spawn(self, heritage: Heritage, loop: Loop, on_exit: Callable[[int], None]) -> tuple[int, Watched | None]:
        """Attach the role. It gets copies of the descriptors, as a process of its own would."""
        heritage.inline = True
        heritage.escrow = {name: (fe, bind, sock.dup()) for name, (fe, bind, sock) in heritage.escrow.items()}
        if heritage.inbox is not None:
            heritage.inbox = (heritage.inbox[0].dup(), heritage.inbox[1].dup())
        worker_main.WorkerRole(heritage, loop, self.factory, lambda status: loop.call_soon(on_exit, status << 8))
        return os.getpid(), None


def process_watcher(pid: int, on_exit: Callable[[int], None]) -> Watched:
    """Watches the end of a child of ours: reaps it and calls ``on_exit(status)``. The pidfd is the caller's to close after that."""

    def ready(_w: Watched, _mask: int) -> None:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            on_exit(status)

    return Watched(os.pidfd_open(pid), ready)


def open_descriptors() -> frozenset[int]:
    """The descriptors that are open now (Linux)."""
    names = os.listdir("/proc/self/fd")
    found = set()
    for name in names:
        try:
            os.fstat(int(name))
        except OSError:
            continue  # the one that listed them
        found.add(int(name))
    return frozenset(found)


def close_others(keep: set[int]) -> None:
    """Close every descriptor but these."""
    for fd in open_descriptors() - keep:
        try:
            os.close(fd)
        except OSError:
            pass


def cannot_watch() -> str:
    """The complaint about a kernel that cannot tell of the end of a process (before Linux 5.3); "" when it can."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as exc:
        return f"[forkproxy.main()] The kernel cannot watch processes, for which Linux 5.3 or later is needed: pidfd_open: {exc.strerror}."
    return ""
