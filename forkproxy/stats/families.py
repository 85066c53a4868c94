"""The metric families: which column shows under which name, in which scope, as what type and in which unit.

Names are those of HAProxy's exporter, since dashboards and alerts ask for them. What is missing here and why:
docs/decisions/0002-metrics.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from forkproxy.stats.columns import NUMBER, Kind

COUNTER, GAUGE = "counter", "gauge"


@dataclass(frozen=True, slots=True)
class Family:
    """One family of one scope.

    ``column`` is the number of the column it shows; ``states``: the column is a word and every possible word gets a sample, 1 for the
    one that is;
    ``label`` a fixed extra label ("code", "1xx"); ``milli`` says the column counts milliseconds, shown as seconds.
    """

    name: str
    type: str
    help: str
    column: int
    milli: bool = False
    label: tuple[str, str] | None = None
    states: str = ""  # "" | "status" | "check" | "agg"
    nan: bool = False  # HAProxy shows NaN where there is no value, instead of no sample


#: column: what it tells, in words
HELP: dict[str, str] = {
    "qcur": "Requests waiting in the queue at this moment",
    "qmax": "Most requests ever seen waiting at once",
    "scur": "Sessions in progress",
    "smax": "Most sessions ever in progress at once",
    "slim": "Limit of sessions: maxconn, or fullconn of a backend",
    "stot": "Sessions so far",
    "bin": "Bytes received from clients",
    "bout": "Bytes sent to clients",
    "dreq": "Requests denied by rules",
    "dresp": "Responses denied by rules",
    "ereq": "Requests that were invalid, incomplete or aborted by the client",
    "econ": "Requests whose connection to a server failed",
    "eresp": "Responses that were invalid or broken off",
    "wretr": "Connections to a server that were tried again",
    "wredis": "Requests moved to another server after a failure",
    "status": "State of the object, one sample per possible state",
    "weight": "Effective weight; of a backend: the sum over its usable servers",
    "act": "Usable servers that are not backups; of a server: whether it is not a backup",
    "bck": "Usable backup servers; of a server: whether it is a backup",
    "chkfail": "Failed checks while the server was up",
    "chkdown": "Transitions from up to down",
    "lastchg": "Seconds since the state last changed",
    "downtime": "Seconds spent down",
    "qlimit": "Limit of the server's queue (maxqueue)",
    "throttle": "Percentage of weight and maxconn that slowstart allows",
    "lbtot": "Times the server was chosen by load balancing",
    "rate": "Sessions in the last second",
    "rate_lim": "Limit of new sessions per second",
    "rate_max": "Most sessions ever seen in one second",
    "check_status": "How the last check ended, one sample per possible outcome",
    "check_code": "Application code of the last check",
    "check_duration": "How long the last check took",
    "hrsp_1xx": "HTTP responses by class of status code",
    "req_rate": "HTTP requests in the last second",
    "req_rate_max": "Most HTTP requests ever seen in one second",
    "req_tot": "HTTP requests",
    "cli_abrt": "Transfers that the client broke off",
    "srv_abrt": "Transfers that the server broke off",
    "lastsess": "Seconds since the last session (-1: none yet)",
    "qtime": "Average time in the queue, last 1024 requests",
    "ctime": "Average time to connect, last 1024 requests",
    "rtime": "Average time to the response's head, last 1024 requests",
    "ttime": "Average total time, last 1024 requests",
    "conn_rate": "Connections in the last second",
    "conn_rate_max": "Most connections ever seen in one second",
    "conn_tot": "Connections accepted",
    "intercepted": "Requests answered without a server (redirects, services, monitoring)",
    "dcon": "Connections refused by tcp-request connection rules",
    "dses": "Sessions refused by tcp-request session rules",
    "wrew": "Header rewrites that failed",
    "connect": "Attempts to connect to a server",
    "reuse": "Requests sent over a connection that existed already",
    "srv_icur": "Idle connections to the server",
    "src_ilim": "Limit of idle connections to the server (pool-max-conn)",
    "qtime_max": "Longest time in the queue",
    "ctime_max": "Longest time to connect",
    "rtime_max": "Longest time to the response's head",
    "ttime_max": "Longest total time",
    "eint": "Errors of the proxy itself",
    "idle_conn_cur": "Idle connections that may be used for another client only with care",
    "safe_conn_cur": "Idle connections that may be used for any client",
    "used_conn_cur": "Connections to the server in use",
    "need_conn_est": "Estimate of the connections needed",
    "priv_idle_cur": "Idle connections bound to one client",
    "uweight": "Configured weight; of a backend: the sum over its usable servers",
    "agg_server_status": "Servers of the backend by state",
    "agg_server_check_status": "Servers of the backend by state",
    "agg_check_status": "Servers of the backend by outcome of their last check",
}

#: suffix, column, scopes, flags (c: counter, m: milliseconds, status/check/agg: states)
_TABLE: tuple[tuple[str, str, str, str], ...] = (
    ("current_queue", "qcur", "BS", ""),
    ("max_queue", "qmax", "BS", ""),
    ("current_sessions", "scur", "FBS", ""),
    ("max_sessions", "smax", "FBS", ""),
    ("limit_sessions", "slim", "FBS", ""),
    ("sessions_total", "stot", "FBS", "c"),
    ("bytes_in_total", "bin", "FBS", "c"),
    ("bytes_out_total", "bout", "FBS", "c"),
    ("requests_denied_total", "dreq", "FB", "c"),
    ("responses_denied_total", "dresp", "FBS", "c"),
    ("request_errors_total", "ereq", "F", "c"),
    ("connection_errors_total", "econ", "BS", "c"),
    ("response_errors_total", "eresp", "BS", "c"),
    ("retry_warnings_total", "wretr", "BS", "c"),
    ("redispatch_warnings_total", "wredis", "BS", "c"),
    ("status", "status", "FBS", "status"),
    ("weight", "weight", "BS", ""),
    ("active_servers", "act", "B", ""),
    ("active", "act", "S", ""),
    ("backup_servers", "bck", "B", ""),
    ("backup", "bck", "S", ""),
    ("check_failures_total", "chkfail", "S", "c"),
    ("check_up_down_total", "chkdown", "BS", "c"),
    ("check_last_change_seconds", "lastchg", "BS", ""),
    ("downtime_seconds_total", "downtime", "BS", "c"),
    ("queue_limit", "qlimit", "S", ""),
    ("current_throttle", "throttle", "S", ""),
    ("loadbalanced_total", "lbtot", "BS", "c"),
    ("current_session_rate", "rate", "FBS", ""),
    ("limit_session_rate", "rate_lim", "F", ""),
    ("max_session_rate", "rate_max", "FBS", ""),
    ("check_status", "check_status", "S", "check"),
    ("check_code", "check_code", "S", ""),
    ("check_duration_seconds", "check_duration", "S", "m"),
    ("http_responses_total", "hrsp_1xx", "FBS", "c1xx"),
    ("http_responses_total", "hrsp_2xx", "FBS", "c2xx"),
    ("http_responses_total", "hrsp_3xx", "FBS", "c3xx"),
    ("http_responses_total", "hrsp_4xx", "FBS", "c4xx"),
    ("http_responses_total", "hrsp_5xx", "FBS", "c5xx"),
    ("http_responses_total", "hrsp_other", "FBS", "cother"),
    ("http_requests_rate_max", "req_rate_max", "F", ""),
    ("http_requests_total", "req_tot", "FBS", "c"),
    ("client_aborts_total", "cli_abrt", "BS", "c"),
    ("server_aborts_total", "srv_abrt", "BS", "c"),
    ("connections_rate_max", "conn_rate_max", "F", ""),
    ("connections_total", "conn_tot", "F", "c"),
    ("intercepted_requests_total", "intercepted", "F", "c"),
    ("denied_connections_total", "dcon", "F", "c"),
    ("denied_sessions_total", "dses", "F", "c"),
    ("failed_header_rewriting_total", "wrew", "FBS", "c"),
    ("connection_attempts_total", "connect", "BS", "c"),
    ("connection_reuses_total", "reuse", "BS", "c"),
    ("last_session_seconds", "lastsess", "BS", ""),
    ("queue_time_average_seconds", "qtime", "BS", "m"),
    ("connect_time_average_seconds", "ctime", "BS", "m"),
    ("response_time_average_seconds", "rtime", "BS", "m"),
    ("total_time_average_seconds", "ttime", "BS", "m"),
    ("max_queue_time_seconds", "qtime_max", "BS", "m"),
    ("max_connect_time_seconds", "ctime_max", "BS", "m"),
    ("max_response_time_seconds", "rtime_max", "BS", "m"),
    ("max_total_time_seconds", "ttime_max", "BS", "m"),
    ("internal_errors_total", "eint", "FBS", "c"),
    ("idle_connections_current", "srv_icur", "S", ""),
    ("idle_connections_limit", "src_ilim", "S", ""),
    ("unsafe_idle_connections_current", "idle_conn_cur", "S", ""),
    ("safe_idle_connections_current", "safe_conn_cur", "S", ""),
    ("private_idle_connections_current", "priv_idle_cur", "S", ""),
    ("used_connections_current", "used_conn_cur", "S", ""),
    ("need_connections_current", "need_conn_est", "S", ""),
    ("uweight", "uweight", "BS", ""),
    ("agg_server_status", "agg_server_status", "B", "agg"),
    ("agg_server_check_status", "agg_server_check_status", "B", "agg"),
    ("agg_check_status", "agg_check_status", "B", "agg"),
    # exact twins: what a frontend or backend receives of requests, and sends of responses
    ("req_bytes_in_total", "bin", "FB", "c"),
    ("res_bytes_out_total", "bout", "FB", "c"),
)
#: Columns that every server (or backend) has in principle, shown as NaN where unset.
_NAN = frozenset({"slim", "qlimit", "src_ilim", "downtime", "chkfail", "chkdown", "throttle"})
_SCOPES = {"F": (Kind.FRONTEND, "frontend"), "B": (Kind.BACKEND, "backend"), "S": (Kind.SERVER, "server")}


def _build() -> dict[Kind, tuple[Family, ...]]:
    out: dict[Kind, list[Family]] = {kind: [] for kind, _ in _SCOPES.values()}
    for suffix, column, scopes, flags in _TABLE:
        for letter in scopes:
            kind, word = _SCOPES[letter]
            states = flags if flags in ("status", "check", "agg") else ""
            counter = flags.startswith("c") and not states
            code = flags[1:] if counter else ""
            out[kind].append(
                Family(
                    f"haproxy_{word}_{suffix}",
                    COUNTER if counter else GAUGE,
                    HELP["hrsp_1xx" if code else column],
                    NUMBER[column],
                    flags == "m",
                    ("code", code) if code else None,
                    states,
                    column in _NAN,
                )
            )
    return {kind: tuple(families) for kind, families in out.items()}


FAMILIES: dict[Kind, tuple[Family, ...]] = _build()

#: States that an object's ``status`` can show, as the exporter names them.
PROXY_STATES = ("DOWN", "UP")
SERVER_STATES = ("DOWN", "UP", "MAINT", "DRAIN", "NOLB")


def state_of(status: str) -> str:
    """The exporter's word for a ``status`` column: "UP 1/3" and "no check" are UP, "MAINT (via …)" is MAINT."""
    if status in ("no check", "OPEN"):
        return "UP"
    word = status.split(" ", 1)[0]
    return word if word in SERVER_STATES else "DOWN"
