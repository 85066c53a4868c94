"""Network namespaces, as ``ip netns`` keeps them: sockets of another one (manual "namespace" of bind and server). It takes root."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

PLACE = "/var/run/netns"
#: linux/sched.h
_CLONE_NEWNET = 0x40000000


def exists(name: str) -> bool:
    """Whether there is a namespace of that name."""
    return bool(name) and "/" not in name and os.path.exists(f"{PLACE}/{name}")


class Namespace:
    """Within it, this thread's new sockets belong to the named network namespace. Raises OSError."""

    __slots__ = ("_back", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._back = -1

    def __enter__(self) -> None:
        self._back = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(f"{PLACE}/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(there)
            finally:
                os.close(there)
        except BaseException:
            os.close(self._back)
            raise

    def __exit__(self, *exc_info: object) -> None:
        try:
            _setns(self._back)
        finally:
            os.close(self._back)


def _setns(fd: int) -> None:
    call, errno = _system()
    if call(fd, _CLONE_NEWNET):
        code = errno()
        raise OSError(code, os.strerror(code))


@functools.cache
def _system() -> tuple[Any, Callable[[], int]]:
    import ctypes  # for those who have namespaces

    return ctypes.CDLL(None, use_errno=True).setns, ctypes.get_errno  # os.setns came with 3.12
