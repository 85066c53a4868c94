"""What an idle keep-alive client costs in memory: many of them are opened, each asks once, and the proxy's own memory is compared.

PSS of the process tree, which the kernel's sockets are no part of. The first thousand clients are not counted: they pay for what is
allocated once.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

from bench.cases import Case
from bench.probes import check
from bench.processes import Usage, stop
from bench.sides import Side, Ways, World, open_side

FIRST = 1000
REQUEST = (
    b"GET /products/%d/view.html?page=%d HTTP/1.1\r\nHost: www.example.com\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\nAccept: text/html,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.7,de;q=0.3\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://www.example.com/start\r\n"
    b"Cookie: session=%016x; theme=dark; consent=1\r\nUpgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\n"
    b"Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nPriority: u=0, i\r\n\r\n"
)


def _open(port: int, numbers: range, clients: list[socket.socket]) -> None:
    """Connect and ask once each, some at a time; the answers must come."""
    some = 50
    for begin in range(numbers.start, numbers.stop, some):
        fresh = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(min(some, numbers.stop - begin))]
        clients += fresh
        for k, client in enumerate(fresh, begin):
            client.sendall(REQUEST % (k, k % 13, k * 2654435761 % 2**64))
        for client in fresh:
            answer = b""
            while b"x" * 128 not in answer:
                data = client.recv(65536)
                if not data:
                    raise RuntimeError(f"an idle client was closed after {answer!r}")
                answer += data


def _sample(case: Case, side: Side) -> dict[str, float]:
    clients: list[socket.socket] = []
    try:
        _open(side.port, range(FIRST), clients)
        time.sleep(0.5)
        before = Usage.of(side.process.pid).pss_bytes
        _open(side.port, range(FIRST, FIRST + case.connections), clients)
        time.sleep(0.5)
        after = Usage.of(side.process.pid).pss_bytes
        _still_there(clients)
        return {"bytes": (after - before) / case.connections, "before_bytes": before, "after_bytes": after}
    finally:
        for client in clients:
            client.close()


def _still_there(clients: list[socket.socket]) -> None:
    """Nobody was closed meanwhile, and the first one is served again."""
    for client in clients:
        client.setblocking(False)
        try:
            raise RuntimeError(f"an idle client got {client.recv(100)!r}")
        except BlockingIOError:
            continue
    clients[0].setblocking(True)
    clients[0].sendall(REQUEST % (1, 1, 1))
    if not clients[0].recv(65536).startswith(b"HTTP/1.1 200 "):
        raise RuntimeError("an idle client is not served any more")


@contextlib.contextmanager
def closing_side(case: Case, name: str, ways: Ways, world: World) -> Iterator[Side]:
    """One side alone, ended at the end."""
    side = open_side(case, name, ways, world)
    try:
        yield side
    finally:
        stop(side.process)


def measure(case: Case, ways: Ways, world: World, _rounds: int, _seconds: float) -> tuple[str, dict[str, Any]]:
    """The case: one round, because a second one on the same process would find the memory of the first."""
    medians = []
    for name in ways.names:
        with closing_side(case, name, ways, world) as side:
            wrong = check(case, side.port, world.sink)
            if wrong:
                raise RuntimeError(f"{name}: {wrong[:3]}")
            medians.append(_sample(case, side))
    rows = "".join(
        f"| {name} | {m['bytes']:,.0f} | {m['before_bytes'] / 2**20:.1f} | {m['after_bytes'] / 2**20:.1f} |\n"
        for name, m in zip(ways.names, medians, strict=True)
    )
    head = f"| | bytes per client | PSS MiB with {FIRST:,} | PSS MiB with {FIRST + case.connections:,} |\n|---|---:|---:|---:|\n"
    return f"## {case.name}\n\n{case.what}.\n\n{head}{rows}", {"medians": medians}
