"""Going into the background and the pid file (management manual chapter 3, ``-D``, ``-p``)."""

from __future__ import annotations

import os
from collections.abc import Callable


def detach() -> int | None:
    """Fork into the background. In the parent: returns the exit status, after waiting for the child to be ready (0) or to fail (1).
    In the child: returns None, in a session of its own; call :func:`ready` once the service stands."""
    global _tell
    read_end, _tell = os.pipe()
    pid = os.fork()
    if pid:
        os.close(_tell)
        _tell = -1
        answer = os.read(read_end, 1)
        return 0 if answer else 1
    os.close(read_end)
    os.set_inheritable(_tell, False)
    os.setsid()
    return None


#: The child's end of the pipe to the waiting parent; -1: nobody waits. One per process, as daemons are.
_tell = -1


def waited() -> bool:
    """Whether a parent waits for :func:`ready`: a daemon is starting."""
    return _tell >= 0


def parting() -> Callable[[], None]:
    """What makes the process leave the terminal, or the pipe of whoever started us and reads to its end. Every process of a daemon must,
    once it serves. To be called before the process changes its root, where there may be no /dev/null; the result at most once."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def let_go() -> None:
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        if null > 2:
            os.close(null)

    return let_go


def ready() -> None:
    """Let the waiting parent end with status 0, and let go of the terminal."""
    global _tell
    if _tell < 0:
        return
    parting()()
    os.write(_tell, b"1")
    os.close(_tell)
    _tell = -1


def write_pid_file(path: str, pid: int) -> str:
    """Write ``pid`` and a newline; returns what to tell the operator when that fails, else ""."""
    if not path:
        return ""
    try:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    except OSError as exc:
        return f"[forkproxy.main()] Cannot create pidfile {path}: {exc.strerror}"
    with os.fdopen(fd, "w") as file:
        file.write(f"{pid}\n")
    return ""
