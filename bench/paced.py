"""Latency at a given rate, not at the proxy's own: ``python -m bench.paced PORT RATE SECONDS CONNECTIONS [WARM]``, and the case of it.

Open loop: requests arrive by chance (exponential gaps) whether or not earlier ones were answered; one that finds no free connection
waits for one, and its latency counts from the moment it should have left. The generator's own share of the latency is measured too,
by asking the origin directly.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import random
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

from bench.cases import Case
from bench.idle import REQUEST
from bench.load import ready, sample
from bench.processes import LOAD_CORE
from bench.sides import HERE, Ways, World, running

SHARE = 0.3


def generate(
    port: int, rate: float, seconds: float, connections: int, patience: float = 5.0,
    warm: float = 0.0, say: Callable[[str], None] | None = None,
) -> tuple[list[float], int]:  # fmt: skip
    """Send at ``rate`` requests a second; returns latencies in seconds and how many requests got no right answer, those included that
    had none ``patience`` seconds after the last one. For ``warm`` seconds before, latencies do not count. ``say`` is told when what counts
    has ``begun``, and when it is ``done`` and all connections still stand."""
    with contextlib.ExitStack() as open_, select.epoll() as epoll:
        sockets = {}
        for _ in range(connections):
            sock = open_.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            sockets[sock.fileno()] = sock
            epoll.register(sock.fileno(), select.EPOLLIN)
        early = _drive(epoll, sockets, rate, warm, patience)[1] if warm else 0
        if say is not None:
            say("begun")
        latencies, wrong = _drive(epoll, sockets, rate, seconds, patience)
        if say is not None:
            say("done")
        return latencies, early + wrong


def _drive(epoll: select.epoll, sockets: dict[int, socket.socket], rate: float, seconds: float, patience: float) -> tuple[list[float], int]:
    free = deque(sockets)
    requests = [REQUEST % (i * 7919 % 10007, i % 13, i * 2654435761) for i in range(512)]
    due_of: dict[int, float] = {}
    waiting: deque[float] = deque()
    latencies: list[float] = []
    wrong = sent = 0
    now, choose = time.perf_counter, random.Random(1).expovariate
    begin = due = now()
    end = begin + seconds
    while True:
        at = now()
        while due <= at and due < end:
            waiting.append(due)
            due += choose(rate)
        while waiting and free:
            fd = free.popleft()
            due_of[fd] = waiting.popleft()
            sent += 1
            sockets[fd].send(requests[sent & 511])
        if at >= end and (not due_of or at > end + patience):
            break
        # select() waits for parts of a millisecond, epoll does not; and waiting awake would take the core from the origin.
        select.select([epoll.fileno()], [], [], max(0.0, due - now()) if due < end else 0.05)
        for fd, _ in epoll.poll(0):
            data = sockets[fd].recv(65536)
            if fd in due_of:
                latencies.append(now() - due_of.pop(fd))
                free.append(fd)
                wrong += not (data.startswith(b"HTTP/1.1 200 ") and data.endswith(b"x" * 128))
            if not data:
                raise ConnectionError("a connection was closed")
    return latencies, wrong + len(due_of) + len(waiting)


def command(port: int, rate: float, seconds: float, connections: int) -> list[str]:
    """The words that start a run as a process of its own, on the load's core; what comes of it: :func:`main`."""
    words = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "bench.paced"]
    return [*words, str(port), f"{rate:.1f}", f"{seconds:g}", str(connections)]


def _run(port: int, rate: float, seconds: float, connections: int) -> dict[str, float]:
    words = command(port, rate, seconds, connections)
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=HERE.parent, timeout=seconds + 60)
    count, wrong, p50, p99, p999 = done.stdout.split()
    if int(wrong):
        raise RuntimeError(f"{wrong} of {count} paced requests went wrong")
    return {"requests": float(count), "p50_us": float(p50), "p99_us": float(p99), "p999_us": float(p999)}


def measure(case: Case, ways: Ways, world: World, rounds: int, seconds: float) -> tuple[str, dict[str, Any]]:
    """The case: haproxy's maximum first, then all sides at a share of it."""
    with running(case, ways, world) as sides:
        for side in sides:
            ready(case, side, world)
        rate = SHARE * sample(replace(case, connections=32), sides[0], min(3.0, seconds), world).rate
        for side in sides:
            _run(side.port, rate, 1.0, case.connections)
        each: list[list[dict[str, float]]] = [[] for _ in sides]
        for _ in range(rounds):
            for k, side in enumerate(sides):
                each[k].append(_run(side.port, rate, seconds, case.connections))
    names = [*ways.names, "the origin alone"]
    each.append([_run(world.origin_port, rate, seconds, case.connections)])
    medians = [{key: float(median(m[key] for m in of_side)) for key in of_side[0]} for of_side in each]
    rows = "".join(
        f"| {name} | {m['requests']:,.0f} | {m['p50_us'] / 1000:.2f} | {m['p99_us'] / 1000:.2f} | {m['p999_us'] / 1000:.2f} |\n"
        for name, m in zip(names, medians, strict=True)
    )
    head = f"| at {rate:,.0f} requests/s | requests in a round | p50 ms | p99 ms | p99.9 ms |\n|---|---:|---:|---:|---:|\n"
    said = f"## {case.name}\n\n{case.what}; {case.connections} connections.\n\n{head}{rows}"
    return said, {"medians": medians, "rate": rate, "rounds": each}


def main() -> None:
    """One run: count, wrong ones, p50, p99, p99.9 in µs. With WARM seconds of load before, a line at the begin and one at the end."""
    port, rate, seconds, connections = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    gc.disable()
    warm = float(sys.argv[5]) if len(sys.argv) > 5 else 0.0
    latencies, wrong = generate(port, rate, seconds, connections, warm=warm, say=functools.partial(print, flush=True) if warm else None)
    latencies.sort()
    at = [latencies[min(len(latencies) - 1, int(len(latencies) * q))] * 1e6 for q in (0.5, 0.99, 0.999)]
    print(len(latencies), wrong, *(f"{value:.1f}" for value in at))


if __name__ == "__main__":
    main()
