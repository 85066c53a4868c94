"""What is measured: one :class:`Case` per kind of traffic, and which of them make the rows of the table that is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench import configs
from bench.configs import Place


@dataclass(frozen=True, slots=True)
class Case:
    """``kind`` is who measures it: ``load`` (wrk: cost, rate and latency of as many requests as the proxy can serve), ``idle``
    (memory per idle client), ``paced`` (latency at a given rate), ``steady`` (cost at a given rate), ``scaling`` (rate with two workers
    against one).

    ``path`` is what is asked of the origin, ``lua`` a script that makes the requests instead and ``entries`` its choice of keys;
    ``logged`` adds log, forwardfor and all timeouts; ``settle``: seconds of load before, where connecting takes long."""

    name: str
    what: str
    kind: str = "load"
    config: Callable[[Case, Place], str] = configs.plain
    mode: str = "http"
    path: str = "/small"
    connections: int = 32
    close: bool = False
    logged: bool = False
    lua: str = ""
    servers: int = 1
    balance: str = ""
    entries: int = 0
    settle: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: what of ``cases`` is held against ``wanted``.

    ``figure``: ``cost`` (CPU per request, ours by haproxy's), ``memory`` (bytes per idle client), ``p99`` (ours by haproxy's),
    ``scaling`` (our gain by the second worker, by haproxy's), ``flat`` (our cost in the dearest case by that in the cheapest)."""

    what: str
    figure: str
    wanted: float
    cases: tuple[str, ...]


def _flat(name: str, sizes: tuple[int, ...], what: str, make: Callable[[str, str, int], Case]) -> tuple[Case, ...]:
    return tuple(make(f"{name}-{size}", what.format(f"{size:,}"), size) for size in sizes)


CASES = {
    case.name: case
    for case in (
        Case("http-keepalive", "12 browser fields, path and cookies vary, httplog, forwardfor", logged=True, lua="realistic"),
        Case("http-production", "the same with a production configuration", config=configs.production, logged=True, lua="production"),
        Case("http-keepalive-1", "a single connection: nothing is batched", logged=True, lua="realistic", connections=1),
        Case("http-small", "keep-alive, one field, no log"),
        Case("http-close", "one connection per request", close=True),
        Case("start", "512 clients begin at once, a slow origin: see p99", path="/slow", logged=True, lua="start", connections=512),
        Case("http-10k", "keep-alive, 10 KiB answers", path="/10k"),
        Case("http-1m", "keep-alive, 1 MiB answers", path="/1m", connections=8),
        Case("http-upload", "keep-alive, 1 MiB uploads", path="/upload", connections=8, lua="upload"),
        Case("tcp-small", "TCP mode, small exchanges on kept connections", mode="tcp"),
        Case("tcp-conn", "TCP mode, one connection per exchange", mode="tcp", close=True),
        Case("tcp-1m", "TCP mode, 1 MiB answers on kept connections", mode="tcp", path="/1m", connections=8),
        Case("tcp-100m", "TCP mode, 100 MiB answers on kept connections", mode="tcp", path="/100m", connections=2),
        Case("route-map", "1,000 backends chosen by host through a map", config=configs.by_map, logged=True, lua="hosts"),
        Case("route-lines", "1,000 backends chosen by host, a use_backend line each", config=configs.by_lines, logged=True, lua="hosts"),
        Case("idle-memory", "8,000 idle keep-alive clients after a request each", "idle", logged=True, connections=8_000),
        Case("paced-p99", "open loop at 30 % of what haproxy can do", "paced", logged=True, lua="realistic", connections=64),
        Case("scaling", "one worker and two, all on two cores", "scaling", logged=True, lua="realistic"),
        *_flat(
            "conns", (32, 512, 4096), "as http-keepalive with {} clients",
            lambda name, what, n: Case(name, what, logged=True, lua="realistic", connections=n, settle=2.0),
        ),
        *_flat(
            "steady", (32, 512, 4096), "requests at one rate from {} clients",
            lambda name, what, n: Case(name, what, "steady", logged=True, lua="realistic", connections=n),
        ),
        *_flat(
            "servers", (2, 100, 1000), "as http-keepalive, roundrobin among {} servers",
            lambda name, what, n: Case(name, what, logged=True, lua="realistic", servers=n, balance="roundrobin"),
        ),
        *_flat(
            "leastconn", (2, 100, 1000), "as http-keepalive, leastconn among {} servers",
            lambda name, what, n: Case(name, what, logged=True, lua="realistic", servers=n, balance="leastconn"),
        ),
        *_flat(
            "stick", (1_000, 100_000, 1_000_000), "each request tracks one of {} entries of a stick table",
            lambda name, what, n: Case(name, what, config=configs.tracked, logged=True, lua="keys", entries=n),
        ),
    )
}  # fmt: skip


def _group(prefix: str) -> tuple[str, ...]:
    return tuple(name for name in CASES if name.rpartition("-")[0] == prefix)


#: The issue's table.
ROWS = (
    Row("HTTP keep-alive, small answer, 12 realistic fields, all different", "cost", 1.3, ("http-keepalive",)),
    Row("the same with a 60-line production configuration", "cost", 1.6, ("http-production",)),
    Row("HTTP, new connection per request", "cost", 1.3, ("http-close",)),
    Row("HTTP 10 KiB answers", "cost", 1.2, ("http-10k",)),
    Row("HTTP 1 MiB answers", "cost", 1.0, ("http-1m",)),
    Row("HTTP 1 MiB uploads", "cost", 1.0, ("http-upload",)),
    Row("TCP small exchanges", "cost", 1.0, ("tcp-small",)),
    Row("TCP new connections", "cost", 1.2, ("tcp-conn",)),
    Row("TCP 1 MiB bulk", "cost", 1.0, ("tcp-1m",)),
    Row("TCP 100 MiB bulk", "cost", 1.0, ("tcp-100m",)),
    Row("routing among 1,000 backends through a map", "cost", 1.3, ("route-map",)),
    Row("routing among 1,000 backends by 1,000 use_backend lines", "cost", 0.5, ("route-lines",)),
    Row("memory per idle keep-alive client, bytes", "memory", 3072.0, ("idle-memory",)),
    Row("p99 at 30 % of haproxy's maximum rate", "p99", 1.5, ("paced-p99",)),
    Row("gain by a second worker, as haproxy's by a second thread", "scaling", 1.0, ("scaling",)),
    Row("cost per request with 32, 512, 4,096 connections that share one rate", "flat", 1.2, _group("steady")),
    Row("the same, each asking again as soon as it is answered", "flat", 1.2, _group("conns")),
    Row("cost per request with 2, 100, 1,000 servers (roundrobin)", "flat", 1.2, _group("servers")),
    Row("cost per request with 2, 100, 1,000 servers (leastconn)", "flat", 1.2, _group("leastconn")),
    Row("cost per request with 1k, 100k, 1M entries of a stick table", "flat", 1.2, _group("stick")),
)

#: Names for groups of cases.
SETS = {
    "all": tuple(CASES),
    "wanted": tuple(name for row in ROWS for name in row.cases),
    "http": tuple(name for name in CASES if name.startswith("http-")),
    "tcp": tuple(name for name in CASES if name.startswith("tcp-")),
    "route": tuple(name for name in CASES if name.startswith("route-")),
    "flat": tuple(name for row in ROWS if row.figure == "flat" for name in row.cases),
    **{prefix: _group(prefix) for prefix in ("steady", "conns", "servers", "leastconn", "stick")},
}
