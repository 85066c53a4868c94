"""TCP ports of loopback for what a test starts: nobody else gets them meanwhile, not even another run of the tests on this machine."""

from __future__ import annotations

import socket
from collections import deque

#: bound and never listening, with which a listener may share its port; the last ones only, so that descriptors do not run out
_held: deque[socket.socket] = deque()
_MOST = 200


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, reserved until so many more were asked for: the kernel gives them to nobody who asks for any port,
    but a listener with SO_REUSEADDR (all balancers and servers set it) may bind them. Until then they refuse connections."""
    found = []
    for _ in range(count):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        _held.append(sock)
        found.append(int(sock.getsockname()[1]))
    while len(_held) > _MOST:
        _held.popleft().close()
    return found


def listener(backlog: int = 128) -> socket.socket:
    """A listener on a port of its own that stays reserved when it is closed: who still connects there (checks, say) must not meet the next
    test's."""
    return socket.create_server(("127.0.0.1", free_ports(1)[0]), backlog=backlog)
