"""Python time of one exchange of any case of ``bench.cases``, without a kernel: ``python -m bench.micro_case CASE [--clients N]``.

The case's own configuration is read by the real reader and served by a worker's real runtime; only sockets and epoll are not there: they
answer at once. So what is printed is what Python costs, and the best of many short stretches does not depend on what else the machine
does. With ``--loop SECONDS`` it goes on for a profiler (``py-spy record -- python -m bench.micro_case …``).
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.cases import CASES, Case
from bench.configs import Place, host
from bench.processes import BODY
from forkproxy.clock import Clock
from forkproxy.config.load import load
from forkproxy.config.options import Options
from forkproxy.master.shared import Shared
from forkproxy.net.loop import READ, Loop
from forkproxy.proxy import listener, runtime
from forkproxy.state.servers import RUNNING, SCALE

FIELDS = (
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.7,de;q=0.3\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Referer: https://www.example.com/start?from=newsletter\r\nUpgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\n"
    b"Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nPriority: u=0, i\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 11:11:27 GMT\r\nContent-Type: text/html\r\n"
    b"Content-Length: 128\r\nConnection: keep-alive\r\n\r\n" + BODY
)
SECTIONS = ("shop/products", "articles", "api/v2/items", "shop/account", "img/icons", "shop/search", "checkout", "css/main")


class Wire:
    """A socket that is not there: gives ``data`` once, takes everything. ``last`` is the one that was sent to last."""

    __slots__ = ("data", "fd")
    last: Wire | None = None
    made = 1000

    def __init__(self) -> None:
        Wire.made += 1
        self.fd = Wire.made
        self.data = b""

    def fileno(self) -> int:
        return self.fd

    def recv(self, _size: int) -> bytes:
        data, self.data = self.data, b""
        if not data:
            raise BlockingIOError
        return data

    def send(self, data: Any) -> int:
        Wire.last = self
        return len(data)

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 80)

    def setsockopt(self, *_: Any) -> None:
        pass

    def getsockopt(self, *_: Any) -> int:
        return 0

    def shutdown(self, _how: int) -> None:
        pass

    def close(self) -> None:
        pass


class Epoll:
    """Instead of the kernel's."""

    def register(self, fd: int, mask: int) -> None: ...
    def modify(self, fd: int, mask: int) -> None: ...
    def unregister(self, fd: int) -> None: ...
    def close(self) -> None: ...


def requests(case: Case) -> list[bytes]:
    """As the case's Lua script makes them."""
    made = []
    for i in range(1000):
        name = host(i * 617 % 1000) if case.lua == "hosts" else "www.example.com"
        path = f"/{SECTIONS[i % 8]}/{i * 7919 % 10007}/view?page={i % 13}&ref=mail"
        if case.lua == "keys":
            path = f"/small?id=k{i * 7919 % case.entries}"
        cookie = f"session={i * 2654435761 % 2**64:016x}; theme=dark; seen={i}"
        if case.lua == "production" and i % 4:
            cookie += f"; SRV=app{i % 4}"
        close = "Connection: close\r\n" if case.close else ""  # before Host, as wrk does
        head = f"GET {path} HTTP/1.1\r\n{close}Host: {name}\r\nCookie: {cookie}\r\n".encode()
        made.append(head + (FIELDS if case.lua else b"") + b"\r\n")
    return made


class Stand:
    """A runtime for a case, and the exchanges that it is put through."""

    def __init__(self, case: Case, directory: Path) -> None:
        place = Place(80, 81, directory / "sink", directory / "cli", directory)
        (directory / "cfg").write_text(case.config(case, place))
        began = time.perf_counter()
        plan = load([str(directory / "cfg")], Options()).plan
        self.reading_s = time.perf_counter() - began
        assert plan is not None, "the configuration is refused"
        self.case = case
        self.loop = Loop(Clock())
        self.loop.poller.close()
        self.loop.poller.epoll = self.loop.poller.behind = Epoll()  # type: ignore[assignment]
        shared = Shared(plan, 1, self.loop.clock)
        for backend in plan.backends.values():
            for server in backend.servers:
                shared.state.servers.set(server.key, srv_op=RUNNING, weight=SCALE, uweight=1)
        slot = shared.take_slot(os.getpid())
        assert slot is not None
        heritage = types.SimpleNamespace(state=shared.state, slot=slot, number=1, plan=plan, ledger=shared.ledger(slot, plan))
        self.rt = runtime.make(heritage, self.loop)
        self.fe = next(iter(self.rt.frontends.values()))
        self.bind = self.fe.plan.binds[0]
        self.requests = requests(case)
        self.clients: list[Wire] = []
        self.rt.connect = connect

    def client(self) -> Wire:
        """A client connects."""
        wire = Wire()
        at = self.fe.binds[self.bind.id]
        at.door.enter(self.loop.clock.now)
        listener.admit(self.rt, at, wire, ("127.0.0.1", 40000))
        return wire

    def exchange(self, wire: Wire, request: bytes) -> None:
        """One request and its answer."""
        wire.data = request
        self.tell(wire)
        self.rt.outbox.send()
        back = Wire.last
        assert back is not None
        assert back is not wire
        back.data = ANSWER
        self.tell(back)
        self.rt.outbox.send()
        assert Wire.last is wire

    def tell(self, wire: Wire) -> None:
        """``wire`` is readable."""
        w = self.loop.watcher(wire.fd)
        assert w is not None
        w.ready(w, READ)

    def turn(self) -> None:
        """The end of a turn of the loop."""
        for _ in range(len(self.loop._soon)):
            fn, args = self.loop._soon.popleft()
            fn(*args)
        self.rt._turn()


def connect(_way: Any) -> tuple[Any, bool]:
    """A server's connection that stands at once."""
    return Wire(), True


def stretch(stand: Stand, clients: list[Wire], at: int, count: int) -> None:
    """So many exchanges; a turn ends after sixteen."""
    made = stand.requests
    close = stand.case.close
    for i in range(at, at + count):
        stand.exchange(stand.client() if close else clients[i % len(clients)], made[i % 1000])
        if not i % 16:
            stand.turn()


def main() -> None:
    """Print the cost of an exchange."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--clients", type=int, default=0)
    parser.add_argument("--loop", type=float, default=0.0)
    options = parser.parse_args()
    case = CASES[options.case]
    assert case.mode == "http", "there are no streams of bytes here"
    with tempfile.TemporaryDirectory() as directory:
        stand = Stand(case, Path(directory))
        clients = [stand.client() for _ in range(options.clients or case.connections)]
        stretch(stand, clients, 0, 3000)
        gc.collect()
        gc.freeze()
        run(stand, clients, options.loop)


def run(stand: Stand, clients: list[Wire], seconds: float, rounds: int = 400) -> None:
    """Measure."""
    costs: list[float] = []
    clock: Callable[[], float] = time.perf_counter
    end = clock() + seconds
    at = 0
    while len(costs) < rounds or clock() < end:
        began = clock()
        stretch(stand, clients, at, 100)
        costs.append((clock() - began) / 100)
        at += 100
    costs.sort()
    print(
        f"{stand.case.name}: best {costs[0] * 1e6:.2f} µs, a tenth within {costs[len(costs) // 10] * 1e6:.2f}, "
        f"median {costs[len(costs) // 2] * 1e6:.2f} µs; the file was read in {stand.reading_s:.2f} s"
    )


if __name__ == "__main__":
    main()
