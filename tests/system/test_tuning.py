"""How much a worker takes from the kernel at once: connections of a listener, events of a turn."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers import needs
from tests.system.conftest import DEFAULTS, Proxy
from tests.system.traced import traced

Serve = Callable[..., Proxy]
pytestmark = needs("strace")


def calls_for(proxy: Proxy, port: int, clients: int, where: Path) -> list[str]:
    """What the one worker asks of the kernel for so many clients that wait when it comes to itself; all of them get an answer."""
    (worker,) = proxy.workers

    def exchange() -> None:
        with contextlib.ExitStack() as stack:
            worker.send_signal(signal.SIGSTOP)
            socks = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(clients)]
            for sock in socks:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            worker.send_signal(signal.SIGCONT)
            for sock in socks:
                assert sock.recv(100).startswith(b"HTTP/1.1 200")

    return traced(worker.pid, "accept4,epoll_wait", exchange, where)


def config(port: int, setting: str) -> str:
    return f"global\n  nbthread 1\n  {setting}\n{DEFAULTS}\nfrontend f\n  bind 127.0.0.1:{port}\n  http-request return status 200\n"


@pytest.mark.parametrize(
    ("setting", "clients", "at_once"),
    [("tune.maxaccept 2", 7, 2), ("tune.maxaccept 1", 3, 1), ("", 70, 64), ("tune.maxaccept 0", 70, 64), ("tune.maxaccept -1", 70, 70)],
)
def test_so_many_are_accepted_in_a_row(
    serve: Serve, ports: list[int], tmp_path: Path, setting: str, clients: int, at_once: int
) -> None:
    rows, row = [], 0
    for line in calls_for(serve(config(ports[0], setting)), ports[0], clients, tmp_path):
        if "accept4" not in line:
            rows.append(row)
            row = 0
        elif "EAGAIN" not in line:
            row += 1
    rows.append(row)
    assert sum(rows) == clients
    assert max(rows) == at_once


@pytest.mark.parametrize(("setting", "events"), [("tune.maxpollevents 3", 3), ("", 200), ("tune.maxpollevents 0", 200)])
def test_so_many_events_make_a_turn(serve: Serve, ports: list[int], tmp_path: Path, setting: str, events: int) -> None:
    lines = calls_for(serve(config(ports[0], setting)), ports[0], 9, tmp_path)
    asked = [int(found[1]) for line in lines if (found := re.search(r"epoll_wait\(.*\], (\d+), ", line))]
    assert set(asked) == {events, min(events, 64)}  # of those who come first, and of clients behind them
