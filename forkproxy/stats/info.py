"""The fields of "show info": names and order of HAProxy's, and the exporter's families of the process (``haproxy_process_*``).

Numbers that a fork shares (connections, requests, rates) are sums over all workers; what describes one process (limits) is given for
the whole service too, since
to the outside there is one. A field whose engine forkproxy does not have yet is 0, because tools read the list by name and expect
numbers; a metric family
without an engine is left out (docs/decisions/0002-metrics.md).
Source: management manual 9.3 "show info"; order and tags as HAProxy prints them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from forkproxy import COMPAT_VERSION, __date__, __version__
from forkproxy.state import layout
from forkproxy.stats.csv import json_field
from forkproxy.stats.exposition import Plain, Sample, labels
from forkproxy.stats.families import COUNTER, GAUGE
from forkproxy.values import frozen, record

#: What "show info" calls this program: monitoring tools look for this name, and compare the first two parts of the version.
NAME = "HAProxy"
VERSION = f"{COMPAT_VERSION}-forkproxy-{__version__}"


@record
class Facts:
    """What the process that answers knows of itself and of the service; times are epoch seconds, memory in bytes."""

    pid: int = 0
    workers: int = 1
    started: float = 0.0
    maxconn: int = 0
    hard_maxconn: int = 0
    maxconnrate: int = 0
    maxsessrate: int = 0
    ulimit_n: int = 0
    memmax_bytes: int = 0
    maxpipes: int = 0
    node: str = ""
    description: str = ""
    stopping: bool = False
    listeners: int = 0
    jobs: int = 0
    idle_percent: int = 100
    reloads: int = 0
    failed_reloads: int = 0
    boot_ms: int = 0


@frozen
class Field:
    """One field: its number (holes are meant), name, tags, type and value."""

    pos: int
    name: str
    tags: str
    type: str
    value: int | str


def _uptime(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{days}d {hours}h{minutes:02d}m{seconds:02d}s"


def fields(facts: Facts, totals: list[int], now: float) -> list[Field]:
    """All fields. ``totals`` are those of the process' row (``Rows.totals("")``), ``now`` is the epoch."""
    up = max(0, int(now - facts.started))
    cell = {name: totals[counter.offset] for name, counter in layout.COUNTERS.items() if counter.info}
    table: tuple[tuple[int, str, str, str, int | str], ...] = (
        (0, "Name", "POS", "str", NAME),
        (1, "Version", "POS", "str", VERSION),
        (2, "Release_date", "POS", "str", __date__),
        (3, "Nbthread", "CGS", "u32", facts.workers),
        (4, "Nbproc", "CGS", "u32", 1),
        (5, "Process_num", "KGP", "u32", 1),
        (6, "Pid", "SGP", "u32", facts.pid),
        (7, "Uptime", "MDP", "str", _uptime(up)),
        (8, "Uptime_sec", "MDP", "u32", up),
        (9, "Memmax_MB", "CLP", "u32", facts.memmax_bytes >> 20),
        (10, "PoolAlloc_MB", "MGP", "u32", 0),
        (11, "PoolUsed_MB", "MGP", "u32", 0),
        (12, "PoolFailed", "MCP", "u32", 0),
        (13, "Ulimit-n", "CLP", "u32", facts.ulimit_n),
        (14, "Maxsock", "CLP", "u32", facts.ulimit_n),
        (15, "Maxconn", "CLP", "u32", facts.maxconn),
        (16, "Hard_maxconn", "CLP", "u32", facts.hard_maxconn),
        (17, "CurrConns", "MGP", "u32", cell["conn_cur"]),
        (18, "CumConns", "MCP", "u32", cell["conn_tot"]),
        (19, "CumReq", "MCP", "u32", cell["req_tot"]),
        (20, "MaxSslConns", "MMP", "u32", 0),
        (21, "CurrSslConns", "MGP", "u32", 0),
        (22, "CumSslConns", "MCP", "u32", 0),
        (23, "Maxpipes", "CLP", "u32", facts.maxpipes),
        (24, "PipesUsed", "MGP", "u32", cell["pipes_used"]),
        (25, "PipesFree", "MGP", "u32", cell["pipes_free"]),
        (26, "ConnRate", "MRP", "u32", cell["conn_rate"]),
        (27, "ConnRateLimit", "CLP", "u32", facts.maxconnrate),
        (28, "MaxConnRate", "MMP", "u32", cell["conn_rate_max"]),
        (29, "SessRate", "MRP", "u32", cell["sess_rate"]),
        (30, "SessRateLimit", "CLP", "u32", facts.maxsessrate),
        (31, "MaxSessRate", "MMP", "u32", cell["sess_rate_max"]),
        (32, "SslRate", "MRP", "u32", 0),
        (33, "SslRateLimit", "CLP", "u32", 0),
        (34, "MaxSslRate", "MMP", "u32", 0),
        (35, "SslFrontendKeyRate", "MGP", "u32", 0),
        (36, "SslFrontendMaxKeyRate", "MMP", "u32", 0),
        (37, "SslFrontendSessionReuse_pct", "MGP", "u32", 0),
        (38, "SslBackendKeyRate", "MRP", "u32", 0),
        (39, "SslBackendMaxKeyRate", "MMP", "u32", 0),
        (40, "SslCacheLookups", "MCP", "u32", 0),
        (41, "SslCacheMisses", "MCP", "u32", 0),
        (42, "CompressBpsIn", "MRP", "u32", 0),
        (43, "CompressBpsOut", "MRP", "u32", 0),
        (44, "CompressBpsRateLim", "CLP", "u32", 0),
        (47, "Tasks", "MGP", "u32", cell["streams_cur"]),
        (48, "Run_queue", "MGP", "u32", 0),
        (49, "Idle_pct", "MaP", "u32", facts.idle_percent),
        (50, "node", "COS", "str", facts.node),
        *(((51, "description", "COS", "str", facts.description),) if facts.description else ()),
        (52, "Stopping", "MGP", "u32", int(facts.stopping)),
        (53, "Jobs", "MGP", "u32", facts.jobs or cell["conn_cur"] + facts.listeners),
        (54, "Unstoppable Jobs", "MGP", "u32", 0),
        (55, "Listeners", "MGP", "u32", facts.listeners),
        (56, "ActivePeers", "MGP", "u32", 0),
        (57, "ConnectedPeers", "MGP", "u32", 0),
        (58, "DroppedLogs", "MCP", "u32", cell["dropped_logs"]),
        (59, "BusyPolling", "MGP", "u32", 0),
        (60, "FailedResolutions", "MCP", "u32", 0),
        (61, "TotalBytesOut", "MCP", "u64", cell["bytes_out"]),
        (62, "TotalSplicedBytesOut", "MCP", "u64", cell["spliced"]),
        (63, "BytesOutRate", "MRP", "u64", cell["bytes_out_rate"]),
        (64, "DebugCommandsIssued", "MGP", "u32", 0),
        (65, "CumRecvLogs", "MCP", "u32", 0),
        (66, "Build info", "POS", "str", VERSION),
        (67, "Memmax_bytes", "CLP", "u64", facts.memmax_bytes),
        (68, "PoolAlloc_bytes", "MGP", "u64", 0),
        (69, "PoolUsed_bytes", "MGP", "u64", 0),
        (70, "Start_time_sec", "MDP", "u32", int(facts.started)),
        (71, "Tainted", "SGP", "str", "0"),
        (72, "TotalWarnings", "MCP", "u32", cell["warnings"]),
        (73, "MaxconnReached", "MCP", "u32", 0),
        (74, "BootTime_ms", "MCP", "u32", facts.boot_ms),
        (75, "Niced_tasks", "MGP", "u32", 0),
    )
    return [Field(*line) for line in table]


def to_text(shown: Iterable[Field], *, desc: bool = False) -> Iterator[str]:
    """``Name: value`` lines; with ``desc`` followed by what the field means."""
    for one in shown:
        yield f"{one.name}: {one.value}{_meaning(one) if desc else ''}\n"


def to_typed(shown: Iterable[Field], *, desc: bool = False) -> Iterator[str]:
    """``pos.name.1:tags:type:value`` lines; with ``desc`` followed by what the field means."""
    for one in shown:
        persistence = "P" if one.tags[:2] in ("MC", "MR") else "V"
        yield f"{one.pos}.{one.name}.1:{one.tags}{persistence}:{one.type}:{one.value}{_meaning(one) if desc else ''}\n"


def _meaning(one: Field) -> str:
    return f':"{HELP.get(one.name, _NO_ENGINE)}"'


def to_json(shown: Iterable[Field]) -> str:
    """One JSON list without extra white space."""
    values = [json_field(one.pos, one.name, one.tags, one.type, one.value, {}) for one in shown]
    return json.dumps(values, separators=(",", ":")) + "\n"


#: suffix, field of "show info", type, help
_FAMILIES: tuple[tuple[str, str, str, str], ...] = (
    ("nbthread", "Nbthread", GAUGE, "Workers that serve."),
    ("nbproc", "Nbproc", GAUGE, "Services behind these numbers, always 1."),
    ("relative_process_id", "Process_num", GAUGE, "Number of the process, always 1: workers are shown together."),
    ("uptime_seconds", "Uptime_sec", GAUGE, "Seconds since the service was started; a reload does not change it."),
    ("start_time_seconds", "Start_time_sec", GAUGE, "Epoch at which the service was started."),
    ("max_memory_bytes", "Memmax_bytes", GAUGE, "Limit of memory of a worker (-m), 0: none."),
    ("max_fds", "Ulimit-n", GAUGE, "Limit of descriptors of a process."),
    ("max_sockets", "Maxsock", GAUGE, "Limit of sockets of a process."),
    ("max_connections", "Maxconn", GAUGE, "Limit of client connections."),
    ("hard_max_connections", "Hard_maxconn", GAUGE, "Limit of client connections that can be set at run time."),
    ("current_connections", "CurrConns", GAUGE, "Client connections now."),
    ("connections_total", "CumConns", COUNTER, "Client connections so far."),
    ("requests_total", "CumReq", COUNTER, "HTTP requests so far."),
    ("max_pipes", "Maxpipes", GAUGE, "Limit of pipes for splicing, 0: by the limit of connections."),
    ("pipes_used_total", "PipesUsed", COUNTER, "Pipes in use."),
    ("pipes_free_total", "PipesFree", COUNTER, "Pipes that wait for use."),
    ("current_connection_rate", "ConnRate", GAUGE, "Connections in the last second."),
    ("max_connection_rate", "MaxConnRate", GAUGE, "Most connections ever seen in one second."),
    ("limit_connection_rate", "ConnRateLimit", GAUGE, "Limit of connections in a second (maxconnrate), 0: none."),
    ("current_session_rate", "SessRate", GAUGE, "Sessions in the last second."),
    ("max_session_rate", "MaxSessRate", GAUGE, "Most sessions ever seen in one second."),
    ("limit_session_rate", "SessRateLimit", GAUGE, "Limit of sessions in a second (maxsessrate), 0: none."),
    ("current_tasks", "Tasks", GAUGE, "Streams and connections at work."),
    ("idle_time_percent", "Idle_pct", GAUGE, "Share of the last second spent waiting, mean of the workers."),
    ("stopping", "Stopping", GAUGE, "1 while the service is stopping."),
    ("jobs", "Jobs", GAUGE, "Connections and listeners."),
    ("listeners", "Listeners", GAUGE, "Listening sockets in use."),
    ("dropped_logs_total", "DroppedLogs", COUNTER, "Log lines that could not be sent."),
    ("bytes_out_total", "TotalBytesOut", COUNTER, "Bytes sent to clients."),
    ("spliced_bytes_out_total", "TotalSplicedBytesOut", COUNTER, "Bytes sent to clients through a kernel pipe."),
    ("bytes_out_rate", "BytesOutRate", GAUGE, "Bytes sent to clients in the last second."),
    ("total_warnings", "TotalWarnings", COUNTER, "Warnings written so far."),
)


#: What fields mean that are no metric; the others have the words of their family.
HELP: dict[str, str] = {
    "Name": "What this program answers to.",
    "Version": "HAProxy's version whose behaviour it has, and its own.",
    "Release_date": "When this version was made.",
    "Pid": "Process that answers.",
    "Uptime": "Time since the service was started.",
    "Memmax_MB": "Limit of memory of a worker (-m), 0: none.",
    "node": "Name of this node.",
    "description": "What the file says of this node.",
    "Build info": "Version of this program.",
    "BootTime_ms": "Time from the start to the first worker's readiness.",
    **{field: help_ for _suffix, field, _type, help_ in _FAMILIES},
}
_NO_ENGINE = "Always 0 here: there is nothing like it in forkproxy."


def families(shown: Iterable[Field]) -> list[Plain]:
    """The families of the process."""
    values = {one.name: one.value for one in shown}
    found = [
        Plain(f"haproxy_process_{suffix}", type_, help_, (Sample(int(values[name])),)) for suffix, name, type_, help_ in _FAMILIES
    ]
    build = labels(version=str(values["Version"]))
    found.append(Plain("haproxy_process_build_info", GAUGE, "Version that this program answers with.", (Sample(1, build),)))
    found.append(Plain("haproxy_process_node", GAUGE, "Name of this node.", (Sample(1, labels(node=str(values["node"]))),)))
    return found
