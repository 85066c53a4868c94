"""For tests of what only CAP_NET_ADMIN may do: who does not have it runs them in a network namespace of his own, in which he has.

Source: capabilities(7), user_namespaces(7), netdevice(7).
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import socket
import struct
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

_CAP_NET_ADMIN = 12
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_FAILED, _REFUSED = 1, 77


def has_net_admin() -> bool:
    """Whether this process may configure its network."""
    status = Path("/proc/self/status").read_text()
    (effective,) = (line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _CAP_NET_ADMIN & 1)


def net_admin(test: Callable[[], None]) -> Callable[[], None]:
    """``test``, which has no fixtures, with CAP_NET_ADMIN: here, or in a child with a namespace. Skips where the system refuses that."""

    @functools.wraps(test)
    def run() -> None:
        if has_net_admin():
            test()
            return
        child = os.fork()
        if not child:
            _in_namespace(test)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == _REFUSED:
            pytest.skip("neither CAP_NET_ADMIN nor a user namespace")
        assert code == 0, "it failed in its namespace; the traceback is above"

    return run


def _in_namespace(test: Callable[[], None]) -> None:
    """In the child; does not return."""
    code = _FAILED
    try:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
            code = _REFUSED
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
            test()
            code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
