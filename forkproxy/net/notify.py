"""What systemd wants to hear and what it hands over: sd_notify(3) and socket activation (sd_listen_fds(3)). Knows only the environment."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, MutableMapping

#: Where socket activation begins to count (SD_LISTEN_FDS_START).
_FIRST = 3


def sd_notify(state: str, environ: Mapping[str, str] | None = None) -> bool:
    """Send ``state`` (lines such as ``READY=1``) to the service manager; False when there is none or it does not listen. Never blocks."""
    path = (os.environ if environ is None else environ).get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return False
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.sendto(state.encode(), socket.MSG_NOSIGNAL, address)
    except OSError:
        return False  # the service must not fail because its manager is deaf
    return True


def listen_fds(environ: MutableMapping[str, str] | None = None) -> list[tuple[int, str]]:
    """The descriptors that socket activation handed to this process, with their names ("" without one); the caller's.

    They are made close-on-exec and the variables are removed, so that no child takes them for its own.
    """
    env = os.environ if environ is None else environ
    pid, count, names = env.pop("LISTEN_PID", ""), env.pop("LISTEN_FDS", ""), env.pop("LISTEN_FDNAMES", "")
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    labels = names.split(":") if names else []
    found: list[tuple[int, str]] = []
    for i in range(int(count)):
        fd = _FIRST + i
        try:
            os.set_inheritable(fd, False)
        except OSError:
            continue  # announced and not there
        found.append((fd, labels[i] if i < len(labels) else ""))
    return found


def name_listen_fds(environ: MutableMapping[str, str] | None = None) -> list[int]:
    """Take what socket activation handed over, and name it in the environment, so that a configuration can say ``bind fd@${http}`` for
    what a socket unit calls ``FileDescriptorName=http`` (``fd@3`` works without). Further ones of the same name are ``http_2`` …;
    characters that a variable cannot have become ``_``; variables that exist are left alone. Returns the descriptors.
    """
    env = os.environ if environ is None else environ
    seen: dict[str, int] = {}
    found = listen_fds(env)
    for fd, label in found:
        name = re.sub(r"\W", "_", label, flags=re.ASCII)
        if not name or name[0].isdigit() or label == "unknown":
            continue
        seen[name] = seen.get(name, 0) + 1
        env.setdefault(name if seen[name] == 1 else f"{name}_{seen[name]}", str(fd))
    return [fd for fd, _label in found]
