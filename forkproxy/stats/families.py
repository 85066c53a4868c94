"""The metric families of frontends, backends and servers: which column shows under which name, as what type and in which unit.

Most come straight from ``state.layout`` (one declaration there is a cell, a column and a family); here are only those that are
computed: limits, states, sums.
Names are those of HAProxy's exporter, since dashboards and alerts ask for them. What is missing and why: docs/decisions/0002-metrics.md.
"""

from __future__ import annotations

from forkproxy.state import layout
from forkproxy.stats.columns import HIDDEN, NUMBER, Kind
from forkproxy.values import frozen

COUNTER, GAUGE = "counter", "gauge"


@frozen
class Family:
    """One family of one scope.

    ``column`` is the number of the column it shows; ``states``: the column is a word and every possible word gets a sample, 1 for the
    one that is;
    ``label`` a fixed extra label ("code", "1xx"); ``milli`` says that the column counts milliseconds, shown as seconds.
    """

    name: str
    type: str
    help: str
    column: int
    milli: bool = False
    label: tuple[str, str] | None = None
    states: str = ""  # "" | "status" | "check" | "agg"
    nan: bool = False  # HAProxy shows NaN where there is no value, instead of no sample


#: suffix, column, scopes, states, help
_COMPUTED: tuple[tuple[str, str, str, str, str], ...] = (
    ("limit_sessions", "slim", "FBSL", "", "Limit of sessions: maxconn, or fullconn of a backend."),
    ("status", "status", "FBSL", "status", "State of the object, one sample per possible state."),
    ("active_servers", "act", "B", "", "Usable servers that are not backups."),
    ("active", "act", "S", "", "1 for a server that is not a backup."),
    ("backup_servers", "bck", "B", "", "Usable backup servers."),
    ("backup", "bck", "S", "", "1 for a backup server."),
    ("queue_limit", "qlimit", "S", "", "Limit of the server's queue (maxqueue)."),
    ("limit_session_rate", "rate_lim", "F", "", "Limit of new sessions per second (rate-limit sessions)."),
    ("check_status", "check_status", "S", "check", "How the last check ended, one sample per possible outcome."),
    ("idle_connections_limit", "src_ilim", "S", "", "Limit of idle connections (pool-max-conn)."),
    ("agg_server_status", "agg_server_status", "B", "agg", "Servers by state."),
    ("agg_server_check_status", "agg_server_check_status", "B", "agg", "Servers by state (an older name of agg_server_status)."),
    ("agg_check_status", "agg_check_status", "B", "agg", "Servers by outcome of their last check."),
)
#: Columns that every server (or backend) has in principle, shown as NaN where unset.
_NAN = frozenset({"slim", "qlimit", "src_ilim", "downtime", "chkfail", "chkdown", "throttle"})
_SCOPES = {"F": (Kind.FRONTEND, "frontend"), "B": (Kind.BACKEND, "backend"), "S": (Kind.SERVER, "server"), "L": (Kind.LISTENER, "listener")}

#: column → what it tells, for "show stat typed desc"
HELP: dict[str, str] = {}


def _build() -> dict[Kind, tuple[Family, ...]]:
    out: dict[Kind, list[Family]] = {kind: [] for kind, _ in _SCOPES.values()}
    for counter in layout.COUNTERS.values():
        for letter, suffix in counter.family.items():
            if letter in _SCOPES:
                kind, word = _SCOPES[letter]
                column = NUMBER[counter.csv] if counter.csv else HIDDEN[counter.name]
                type_ = COUNTER if suffix.endswith("_total") else GAUGE
                nan = counter.csv in _NAN
                name = f"haproxy_{word}_{suffix}"
                out[kind].append(Family(name, type_, counter.help, column, counter.scale == 0.001, counter.label, "", nan))
        if counter.csv:
            HELP.setdefault(counter.csv, counter.help)
    for suffix, csv, scopes, states, help_ in _COMPUTED:
        HELP.setdefault(csv, help_)
        for letter in scopes:
            kind, word = _SCOPES[letter]
            out[kind].append(Family(f"haproxy_{word}_{suffix}", GAUGE, help_, NUMBER[csv], False, None, states, csv in _NAN))
    # by column, so that the members of a family stand together
    return {kind: tuple(sorted(families, key=lambda f: f.column)) for kind, families in out.items()}


FAMILIES: dict[Kind, tuple[Family, ...]] = _build()

#: States that an object's ``status`` can show, as the exporter names them.
PROXY_STATES = ("DOWN", "UP")
LISTENER_STATES = ("WAITING", "OPEN", "FULL")
SERVER_STATES = ("DOWN", "UP", "MAINT", "DRAIN", "NOLB")


def state_of(status: str, uweight: object = None) -> str:
    """The exporter's word for a ``status`` column: "UP 1/3" and "no check" are UP, "MAINT (via …)" is MAINT. A server that would take
    clients but for a weight (``uweight``) of 0 is DRAIN here, though not in the column, as with HAProxy."""
    word = "UP" if status in ("no check", "OPEN") else status.split(" ", 1)[0]
    if word == "UP" and uweight == 0:
        return "DRAIN"
    return word if word in SERVER_STATES else "DOWN"
