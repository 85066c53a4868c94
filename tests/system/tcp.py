"""What tests of TCP mode share: a scripted server, a file of one listener, its metrics."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from tests.system.conftest import get

MIB = 1 << 20


class Origin:
    """A server that runs ``script`` for each connection in a thread."""

    def __init__(self, script: Callable[[socket.socket], object], address: object = ("127.0.0.1", 0), backlog: int = 1024) -> None:
        family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
        self.sock = socket.socket(family)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(address)  # type: ignore[arg-type]
        self.sock.listen(backlog)
        self.port = self.sock.getsockname()[1] if family == socket.AF_INET else 0
        self.script = script
        self.count = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self.sock.accept()
            except OSError:
                return
            self.count += 1
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            self.script(peer)


def echo(sock: socket.socket) -> None:
    while data := sock.recv(65536):
        sock.sendall(data)


def receive(sock: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        data = sock.recv(min(65536, count - len(got)))
        if not data:
            break
        got += data
    return got


def config(ports: list[int], server: str, *lines: str, workers: int = 1, section: str = "", settings: str = "") -> str:
    """One listener of one server, and the endpoint for metrics."""
    extra = "".join(f"  {line}\n" for line in lines)
    return f"""
global
  nbthread {workers}
  stats-endpoint 127.0.0.1:{ports[1]}
{settings}
defaults
  mode tcp
  timeout connect 2s
  timeout client 20s
  timeout server 20s
listen t
  bind 127.0.0.1:{ports[0]}
{extra}
  server s {server}
{section}
"""


def metric(port: int, name: str, **labels: str) -> float:
    """The sum of one metric over the lines that carry the labels."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    text = get(port, "/metrics")[1].decode()
    lines = [x for x in text.splitlines() if x.startswith((name + "{", name + " ")) and all(w in x for w in wanted)]
    return sum(float(x.rsplit(" ", 1)[1]) for x in lines)
