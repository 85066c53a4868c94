"""Dropping privileges in a process that serves: chroot, supplementary groups, group, user (manual 3.1 "chroot", "user", "group").

The master keeps what it was started with, as HAProxy's does, so that a reload can bind low ports again. So does the one process of ``-d``
when it can be reloaded (``-W``); otherwise it drops them once everything is bound.
"""

from __future__ import annotations

import os

from forkproxy.plan import Global
from forkproxy.values import frozen


@frozen
class Privileges:
    """What to drop to; None or "" leaves that part alone."""

    uid: int | None = None
    gid: int | None = None
    chroot: str = ""

    @classmethod
    def of(cls, settings: Global) -> Privileges:
        """What the ``global`` section asks for."""
        return cls(settings.uid, settings.gid, settings.chroot)


def drop(privileges: Privileges) -> None:
    """Drop them, in the only order that works. Raises OSError when the system refuses."""
    if privileges.chroot:
        os.chroot(privileges.chroot)
        os.chdir("/")
    if privileges.gid is not None:
        if os.geteuid() == 0:
            os.setgroups([privileges.gid])
        os.setgid(privileges.gid)
    if privileges.uid is not None:
        os.setuid(privileges.uid)
