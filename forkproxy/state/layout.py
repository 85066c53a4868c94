"""THE table of everything that is counted: one declaration gives a number its cell, CSV column, metric family, help and doc.

A row of the shared segment is :data:`ROW_CELLS` cells of eight bytes; every row has every counter, whatever it describes, so the
offset of a counter is one constant and ``cells[base + REQ_TOT] += 1`` is all that a worker does. Row 0 of a slot is the process's
own, the others belong to frontends, backends, servers and listeners (``state.names``).

To add a counter, add one declaration. Offsets may change between versions: a program that takes over the segment of another one compares
:data:`FINGERPRINT` first.

Scopes are letters: L listener, F frontend, B backend, S server, P process (all workers together), W one worker. Sources: management
manual 9.1 (``show stat``), 9.4 ``show info``; the exporter's list of families.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Final

from forkproxy.values import field, frozen


class Kind(Enum):
    """How a cell is written, summed up over the slots, and treated when its worker is gone."""

    COUNTER = "counter"  # only grows; the sum; folded into the retired slot
    GAUGE = "gauge"  # up and down; the sum; zeroed
    MAX = "max"  # the greatest ever; the greatest; folded by the greatest
    STAMP = "stamp"  # epoch seconds of the last event (0: never); the latest; folded by the latest
    RATE = "rate"  # two cells about a counter, see state.rates; the sum of the rates; zeroed
    MEAN = "mean"  # a sliding sum, see state.rates; the mean over all samples; folded
    HISTOGRAM = "histogram"  # buckets (see HISTOGRAM_S) and a sum in microseconds; all only grow; folded into the retired slot
    STATE = "state"  # the master's alone, read from its slot


#: Upper bounds of a histogram's buckets in seconds, but for the last one, which has none: half a millisecond, doubled again and again.
HISTOGRAM_S: Final = tuple(0.0005 * 2**k for k in range(16))


@frozen
class Counter:
    """One line of the table.

    ``scopes`` is where it is counted. ``csv`` is the column of ``show stat`` and ``csv_in`` the scopes in which that column is
    filled. ``family`` is the metric without ``haproxy_<scope>_``, by scope letter; ``label`` the (name, value) that tells the
    members of a family apart. ``scale`` turns the cell into the metric's unit. ``info`` is the field of ``show info`` (scope P).
    ``of`` names, for a MAX, what it is the maximum of (a GAUGE or RATE whose present sum counts too), and for a MEAN the cell with
    the number of samples.
    """

    name: str
    kind: Kind
    scopes: str
    offset: int
    help: str
    csv: str = ""
    csv_in: str = ""
    family: Mapping[str, str] = field(default_factory=dict)
    label: tuple[str, str] | None = None
    scale: float = 1.0
    info: str = ""
    of: str = ""

    @property
    def width(self) -> int:
        """How many cells it takes."""
        if self.kind is Kind.HISTOGRAM:
            return len(HISTOGRAM_S) + 2
        return 2 if self.kind is Kind.RATE else 1


COUNTERS: dict[str, Counter] = {}
#: What an ordinary request writes in its server's row stands together: two cache lines instead of five, where a thousand servers each
#: have a row that has left the cache. One cell each; the last nine are those of ``rates.times``.
_TOGETHER = (
    "sess_tot", "req_tot", "lbtot", "reuses", "bytes_in", "bytes_out", "hrsp_2xx", "last_sess", "sess_cur", "sess_max",
    "times", "qtime", "ctime", "rtime", "ttime", "qtime_max", "ctime_max", "rtime_max", "ttime_max",
)  # fmt: skip
_next = len(_TOGETHER)


def _declare(
    name: str,
    kind: Kind,
    scopes: str,
    help: str,
    *,
    csv: str = "",
    csv_in: str | None = None,
    family: str = "",
    family_in: str | None = None,
    also: Mapping[str, str] | None = None,
    label: tuple[str, str] | None = None,
    scale: float = 1.0,
    info: str = "",
    of: str = "",
) -> int:
    """Add a line; returns the offset of its first cell: the next one, or its place in :data:`_TOGETHER`. ``family`` holds in ``family_in``
    (all of the scopes L to S), ``also`` gives others."""
    global _next
    if name in COUNTERS:
        raise RuntimeError(f"declared twice: {name}")
    families = dict.fromkeys(scopes.translate(_ONLY_OBJECTS) if family_in is None else family_in, family) if family else {}
    families.update(also or {})
    COUNTERS[name] = counter = Counter(
        name=name, kind=kind, scopes=scopes, offset=_TOGETHER.index(name) if name in _TOGETHER else _next, help=help,
        csv=csv, csv_in=(scopes.translate(_ONLY_OBJECTS) if csv_in is None else csv_in) if csv else "",
        family=families, label=label, scale=scale, info=info, of=of,
    )  # fmt: skip
    if name not in _TOGETHER:
        _next += counter.width
    return counter.offset


# The exporter has no families for listeners unless asked, and rows P and W name theirs in ``also``.
_ONLY_OBJECTS = str.maketrans("", "", "PW")
_C, _G, _M, _R, _T = Kind.COUNTER, Kind.GAUGE, Kind.MAX, Kind.RATE, Kind.STATE

# -- connections, sessions, requests
CONN_TOT: Final = _declare(
    "conn_tot", _C, "FP", "Connections accepted.",
    csv="conn_tot", family="connections_total", also={"P": "connections_total"}, info="CumConns",
)  # fmt: skip
SESS_TOT: Final = _declare("sess_tot", _C, "LFBSP", "Sessions.", csv="stot", family="sessions_total")
REQ_TOT: Final = _declare(
    "req_tot", _C, "FBSP", "HTTP requests.",
    csv="req_tot", csv_in="FB", family="http_requests_total", also={"P": "requests_total"}, info="CumReq",
)  # fmt: skip
LBTOT: Final = _declare("lbtot", _C, "BS", "Times that balancing chose it.", csv="lbtot", family="loadbalanced_total")
CONNECTS: Final = _declare("connects", _C, "BS", "Attempts to connect.", csv="connect", family="connection_attempts_total")
REUSES: Final = _declare("reuses", _C, "BS", "Connections used again.", csv="reuse", family="connection_reuses_total")
H1_SESS: Final = _declare("h1_sess", _C, "F", "HTTP/1 sessions.", csv="h1_sess")
SESS_OTHER: Final = _declare("sess_other", _C, "F", "Sessions that are not HTTP.", csv="sess_other")
H1_REQ: Final = _declare("h1_req", _C, "F", "HTTP/1 requests.", csv="h1req")
REQ_OTHER: Final = _declare("req_other", _C, "F", "Streams that are not HTTP.", csv="req_other")

# -- bytes
BYTES_IN: Final = _declare("bytes_in", _C, "LFBS", "Bytes of requests.", csv="bin", family="bytes_in_total")
BYTES_OUT: Final = _declare(
    "bytes_out", _C, "LFBSP", "Bytes of responses.",
    csv="bout", family="bytes_out_total", also={"P": "bytes_out_total"}, info="TotalBytesOut",
)  # fmt: skip
REQ_IN: Final = _declare("req_in", _C, "FBS", "Bytes of requests as received.", family="req_bytes_in_total")
REQ_OUT: Final = _declare("req_out", _C, "FBS", "Bytes of requests as sent on.", family="req_bytes_out_total")
RES_IN: Final = _declare("res_in", _C, "FBS", "Bytes of responses as received.", family="res_bytes_in_total")
RES_OUT: Final = _declare("res_out", _C, "FBS", "Bytes of responses as sent on.", family="res_bytes_out_total")
SPLICED: Final = _declare(
    "spliced", _C, "P", "Bytes of responses that went through a kernel pipe.",
    also={"P": "spliced_bytes_out_total"}, info="TotalSplicedBytesOut",
)  # fmt: skip

# -- what was refused and what failed
REQ_DENIED: Final = _declare("req_denied", _C, "LFB", "Requests denied by rules.", csv="dreq", family="requests_denied_total")
RESP_DENIED: Final = _declare("resp_denied", _C, "LFBS", "Responses denied by rules.", csv="dresp", family="responses_denied_total")
DENIED_CONN: Final = _declare("denied_conn", _C, "LF", "Connections that rules denied.", csv="dcon", family="denied_connections_total")
DENIED_SESS: Final = _declare("denied_sess", _C, "LF", "Sessions that rules denied.", csv="dses", family="denied_sessions_total")
INTERCEPTED: Final = _declare(
    "intercepted", _C, "FB", "Requests answered here (statistics, monitor).",
    csv="intercepted", family="intercepted_requests_total", family_in="F",
)  # fmt: skip
REQ_ERRORS: Final = _declare(
    "req_errors", _C, "LF", "Requests that were invalid or never complete.", csv="ereq", family="request_errors_total"
)
CONN_ERRORS: Final = _declare("conn_errors", _C, "BS", "Requests without a connection.", csv="econ", family="connection_errors_total")
RESP_ERRORS: Final = _declare("resp_errors", _C, "BS", "Invalid or broken responses.", csv="eresp", family="response_errors_total")
RETRIES: Final = _declare("retries", _C, "BS", "Connections tried again.", csv="wretr", family="retry_warnings_total")
REDISPATCHES: Final = _declare("redispatches", _C, "BS", "Requests sent elsewhere.", csv="wredis", family="redispatch_warnings_total")
CLI_ABORTS: Final = _declare(
    "cli_aborts", _C, "LFBS", "Cut by clients.", csv="cli_abrt", csv_in="BS", family="client_aborts_total", family_in="BS"
)
SRV_ABORTS: Final = _declare(
    "srv_aborts", _C, "LFBS", "Cut by servers.", csv="srv_abrt", csv_in="BS", family="server_aborts_total", family_in="BS"
)
FAILED_REWRITES: Final = _declare(
    "failed_rewrites", _C, "LFBS", "Header changes that failed.", csv="wrew", family="failed_header_rewriting_total"
)
INTERNAL_ERRORS: Final = _declare("internal_errors", _C, "LFBS", "Our own faults.", csv="eint", family="internal_errors_total")

# -- responses by class; HRSP[status // 100] finds the cell, anything else is HRSP_OTHER
_HELP = "HTTP responses by class of status."
HRSP_1XX: Final = _declare("hrsp_1xx", _C, "FBS", _HELP, csv="hrsp_1xx", family="http_responses_total", label=("code", "1xx"))
HRSP_2XX: Final = _declare("hrsp_2xx", _C, "FBS", _HELP, csv="hrsp_2xx", family="http_responses_total", label=("code", "2xx"))
HRSP_3XX: Final = _declare("hrsp_3xx", _C, "FBS", _HELP, csv="hrsp_3xx", family="http_responses_total", label=("code", "3xx"))
HRSP_4XX: Final = _declare("hrsp_4xx", _C, "FBS", _HELP, csv="hrsp_4xx", family="http_responses_total", label=("code", "4xx"))
HRSP_5XX: Final = _declare("hrsp_5xx", _C, "FBS", _HELP, csv="hrsp_5xx", family="http_responses_total", label=("code", "5xx"))
HRSP_OTHER: Final = _declare("hrsp_other", _C, "FBS", _HELP, csv="hrsp_other", family="http_responses_total", label=("code", "other"))
HRSP: Final = (HRSP_OTHER, HRSP_1XX, HRSP_2XX, HRSP_3XX, HRSP_4XX, HRSP_5XX, HRSP_OTHER, HRSP_OTHER, HRSP_OTHER, HRSP_OTHER)

# -- present numbers and their maxima
SESS_CUR: Final = _declare("sess_cur", _G, "LFBS", "Sessions now.", csv="scur", family="current_sessions")
SESS_MAX: Final = _declare("sess_max", _M, "LFBS", "Most sessions at once.", csv="smax", family="max_sessions", of="sess_cur")
CONN_CUR: Final = _declare("conn_cur", _G, "P", "Client connections now.", also={"P": "current_connections"}, info="CurrConns")
QUEUE_CUR: Final = _declare("queue_cur", _G, "BS", "Streams waiting now.", csv="qcur", family="current_queue")
QUEUE_MAX: Final = _declare("queue_max", _M, "BS", "Most streams waiting at once.", csv="qmax", family="max_queue", of="queue_cur")
IDLE_CUR: Final = _declare("idle_cur", _G, "S", "Idle connections now.", csv="srv_icur", family="idle_connections_current")
IDLE_UNSAFE: Final = _declare(
    "idle_unsafe", _G, "S", "Idle connections that served one request only.", csv="idle_conn_cur", family="unsafe_idle_connections_current"
)
IDLE_SAFE: Final = _declare(
    "idle_safe", _G, "S", "Idle connections that served several requests.", csv="safe_conn_cur", family="safe_idle_connections_current"
)
IDLE_PRIVATE: Final = _declare(
    "idle_private", _G, "S", "Idle connections of one client.", csv="priv_idle_cur", family="private_idle_connections_current"
)
USED_CUR: Final = _declare("used_cur", _G, "S", "Connections in use now.", csv="used_conn_cur", family="used_connections_current")
NEED_CUR: Final = _declare("need_cur", _G, "S", "Connections that will be needed.", csv="need_conn_est", family="need_connections_current")
LAST_SESS: Final = _declare("last_sess", Kind.STAMP, "BS", "Epoch of the last session.", csv="lastsess", family="last_session_seconds")

# -- rates (two cells, the maximum right behind: written once a second by state.rates.close_second, never per event)
SESS_RATE: Final = _declare(
    "sess_rate", _R, "FBSP", "Sessions in the last second.",
    csv="rate", family="current_session_rate", also={"P": "current_session_rate"}, info="SessRate", of="sess_tot",
)  # fmt: skip
SESS_RATE_MAX: Final = _declare(
    "sess_rate_max", _M, "FBSP", "Most sessions in one second.",
    csv="rate_max", family="max_session_rate", also={"P": "max_session_rate"}, info="MaxSessRate", of="sess_rate",
)  # fmt: skip
CONN_RATE: Final = _declare(
    "conn_rate",
    _R,
    "FP",
    "Connections in the last second.",
    csv="conn_rate",
    also={"P": "current_connection_rate"},
    info="ConnRate",
    of="conn_tot",
)
CONN_RATE_MAX: Final = _declare(
    "conn_rate_max", _M, "FP", "Most connections in one second.",
    csv="conn_rate_max", family="connections_rate_max", also={"P": "max_connection_rate"}, info="MaxConnRate", of="conn_rate",
)  # fmt: skip
REQ_RATE: Final = _declare("req_rate", _R, "F", "HTTP requests in the last second.", csv="req_rate", of="req_tot")
REQ_RATE_MAX: Final = _declare(
    "req_rate_max", _M, "F", "Most HTTP requests in one second.", csv="req_rate_max", family="http_requests_rate_max", of="req_rate"
)
BYTES_OUT_RATE: Final = _declare(
    "bytes_out_rate",
    _R,
    "P",
    "Bytes sent to clients in the last second.",
    also={"P": "bytes_out_rate"},
    info="BytesOutRate",
    of="bytes_out",
)
BYTES_OUT_RATE_MAX: Final = _declare("bytes_out_rate_max", _M, "P", "Most bytes sent in one second.", of="bytes_out_rate")

# -- times in milliseconds (state.rates.times writes these nine; keep them together and in this order)
TIMES: Final = _declare("times", _G, "BS", "Samples in the sliding means of times, at most 1024.")
_MS = 0.001
QTIME: Final = _declare(
    "qtime",
    Kind.MEAN,
    "BS",
    "Time in queue, mean of the last 1024.",
    csv="qtime",
    family="queue_time_average_seconds",
    scale=_MS,
    of="times",
)
CTIME: Final = _declare(
    "ctime",
    Kind.MEAN,
    "BS",
    "Time to connect, mean of the last 1024.",
    csv="ctime",
    family="connect_time_average_seconds",
    scale=_MS,
    of="times",
)
RTIME: Final = _declare(
    "rtime",
    Kind.MEAN,
    "BS",
    "Time to respond, mean of the last 1024.",
    csv="rtime",
    family="response_time_average_seconds",
    scale=_MS,
    of="times",
)
TTIME: Final = _declare(
    "ttime", Kind.MEAN, "BS", "Whole time, mean of the last 1024.", csv="ttime", family="total_time_average_seconds", scale=_MS, of="times"
)
QTIME_MAX: Final = _declare("qtime_max", _M, "BS", "Longest in queue.", csv="qtime_max", family="max_queue_time_seconds", scale=_MS)
CTIME_MAX: Final = _declare("ctime_max", _M, "BS", "Longest to connect.", csv="ctime_max", family="max_connect_time_seconds", scale=_MS)
RTIME_MAX: Final = _declare("rtime_max", _M, "BS", "Longest to respond.", csv="rtime_max", family="max_response_time_seconds", scale=_MS)
TTIME_MAX: Final = _declare("ttime_max", _M, "BS", "Longest as a whole.", csv="ttime_max", family="max_total_time_seconds", scale=_MS)

# -- what live traffic says of a server (observe); written by workers, read one by one by the master
OBSERVED_GOOD: Final = _declare("observed_good", _G, "S", "Good events of an observed server.")
OBSERVED_BAD: Final = _declare("observed_bad", _G, "S", "Bad events of an observed server.")
OBSERVED_RUN: Final = _declare("observed_run", _G, "S", "Bad events since the last good one.")
OBSERVED_WHY: Final = _declare("observed_why", _G, "S", "What the last bad event was (health.observed).")

# -- distributions of times, where metrics are asked for (proxy.histograms)
QUEUE_HISTOGRAM: Final = _declare("queue_histogram", Kind.HISTOGRAM, "FBS", "Time in queue.")
CONNECT_HISTOGRAM: Final = _declare("connect_histogram", Kind.HISTOGRAM, "FBS", "Time to connect.")
RESPONSE_HISTOGRAM: Final = _declare("response_histogram", Kind.HISTOGRAM, "FBS", "Time to respond.")
TOTAL_HISTOGRAM: Final = _declare("total_histogram", Kind.HISTOGRAM, "FBS", "Whole time.")

# -- of the process, row 0
DROPPED_LOGS: Final = _declare(
    "dropped_logs", _C, "P", "Log lines that could not be sent.", also={"P": "dropped_logs_total"}, info="DroppedLogs"
)
PIPES_USED: Final = _declare("pipes_used", _G, "P", "Pipes in use.", also={"P": "pipes_used_total"}, info="PipesUsed")
PIPES_FREE: Final = _declare("pipes_free", _G, "P", "Pipes that wait for use.", also={"P": "pipes_free_total"}, info="PipesFree")
STREAMS_CUR: Final = _declare("streams_cur", _G, "P", "Streams and connections at work.", also={"P": "current_tasks"}, info="Tasks")
SECOND: Final = _declare("second", _G, "W", "Monotonic milliseconds at which the present second of the rates began.")
PULSE: Final = _declare("pulse", _G, "W", "Monotonic milliseconds of the last turn of the loop: the sign of life that the master watches.")
PID: Final = _declare("pid", _G, "W", "Process id of who writes this slot.")
GENERATION: Final = _declare("generation", _G, "W", "Which reload this worker was born in.")
DRAINING: Final = _declare("draining", _G, "W", "1 while it finishes what it has.")
TURNS: Final = _declare("turns", _C, "W", "Turns of the loop.", also={"W": "loop_turns_total"})
BUSY_US: Final = _declare("busy_us", _C, "W", "Time at work, not waiting.", also={"W": "loop_busy_seconds_total"}, scale=1e-6)
LAG_US: Final = _declare("lag_us", _G, "W", "Longest turn of late.", also={"W": "loop_lag_seconds"}, scale=1e-6)
IDLE_PERCENT: Final = _declare("idle_percent", _G, "W", "Share of the last second spent waiting.", also={"W": "idle_time_percent"})
HANDLER_ERRORS: Final = _declare("handler_errors", _C, "W", "Exceptions that handlers let out.", also={"W": "handler_errors_total"})

# -- the master's, about servers and backends (state.servers); written in the master's slot only
EPOCH: Final = _declare("epoch", _T, "P", "Number of changes of servers' states and weights.")
WARNINGS: Final = _declare("warnings", _T, "P", "Warnings so far.", also={"P": "total_warnings"}, info="TotalWarnings")
SRV_OP: Final = _declare("srv_op", _T, "S", "Operational state: 0 stopped, 1 starting, 2 running, 3 stopping.")
SRV_ADMIN: Final = _declare("srv_admin", _T, "S", "Administrative state, a mask.")
SRV_DISABLED: Final = _declare("srv_disabled", _T, "S", "1: the file says disabled.")
SRV_HEALTH: Final = _declare("srv_health", _T, "S", "Health, from 0 to rise + fall - 1.", csv="check_health")
WEIGHT: Final = _declare(
    "weight", _T, "BS", "Effective weight, in sixteenths (state.servers.SCALE).", csv="weight", family="weight", scale=1 / 16
)
UWEIGHT: Final = _declare("uweight", _T, "BS", "The operator's weight.", csv="uweight", family="uweight")
THROTTLE: Final = _declare(
    "throttle", _T, "S", "Percent of the weight while starting slowly; 0: not starting.", csv="throttle", family="current_throttle"
)
CHECK_STATUS: Final = _declare("check_status", _T, "S", "How the last check ended (health.status).")
CHECK_CODE: Final = _declare("check_code", _T, "S", "Code of the last check's answer.", csv="check_code", family="check_code")
CHECK_MS: Final = _declare(
    "check_duration_ms", _T, "S", "Duration of the last check.", csv="check_duration", family="check_duration_seconds", scale=_MS
)
FAILED_HANA: Final = _declare("failed_hana", _T, "S", "Times that live traffic had too many errors in a row (observe).", csv="hanafail")
AGENT_STATUS: Final = _declare("agent_status", _T, "S", "How the last agent check ended (health.status).")
AGENT_CODE: Final = _declare("agent_code", _T, "S", "Code of the last agent check.", csv="agent_code")
AGENT_MS: Final = _declare("agent_duration_ms", _T, "S", "Duration of the last agent check.", csv="agent_duration")
AGENT_HEALTH: Final = _declare("agent_health", _T, "S", "What the agent says: 1 up, 0 down.", csv="agent_health")
CHECK_LOOK: Final = _declare("check_look", _T, "S", "Its checks: 0 between two, 1 one is in flight, 2 suspended.")
AGENT_LOOK: Final = _declare("agent_look", _T, "S", "The questions to its agent: as its checks.")
CHK_FAIL: Final = _declare("chk_fail", _T, "S", "Failed checks while up.", csv="chkfail", family="check_failures_total")
CHK_DOWN: Final = _declare("chk_down", _T, "BS", "Changes from up to down.", csv="chkdown", family="check_up_down_total")
LAST_CHANGE: Final = _declare("last_change", _T, "BS", "Epoch of the last change.", csv="lastchg", family="check_last_change_seconds")
DOWNTIME: Final = _declare(
    "downtime_s", _T, "BS", "Seconds down before the present state.", csv="downtime", family="downtime_seconds_total"
)

#: Cells of a row: whole cache lines.
ROW_CELLS: Final = -(-_next // 8) * 8
#: Tells whether two programs mean the same cells.
FINGERPRINT: Final = int.from_bytes(
    hashlib.blake2b(repr([(c.name, c.kind.value, c.offset) for c in COUNTERS.values()] + [ROW_CELLS]).encode(), digest_size=7).digest(),
    "big",
)


def offset(name: str) -> int:
    """The offset of a counter by name (``errors.StreamError.counter``). Raises KeyError."""
    return COUNTERS[name].offset


def of_kind(*kinds: Kind) -> tuple[Counter, ...]:
    """All counters of some kinds, in the order of the table."""
    return tuple(c for c in COUNTERS.values() if c.kind in kinds)
