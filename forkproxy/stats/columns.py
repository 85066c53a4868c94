"""The columns of "show stat": number, name, tags and type of each, in the order that tools count on.

Source: management manual 9.1 (order and names) and 9.2 (tags: origin, nature, scope, persistence). Rows are plain lists indexed by
these numbers, None
where an object has no value. Knows nothing of where values come from.
"""

from __future__ import annotations

from enum import IntEnum

from forkproxy.values import frozen


class Kind(IntEnum):
    """What a row describes; the number is the ``type`` column."""

    FRONTEND = 0
    BACKEND = 1
    SERVER = 2
    LISTENER = 3

    @property
    def letter(self) -> str:
        """As in typed output."""
        return "FBSL"[self]

    @property
    def title(self) -> str:
        """As in JSON output."""
        return ("Frontend", "Backend", "Server", "Listener")[self]


@frozen
class Column:
    """``tags`` are three letters (the fourth, persistence, follows from the nature), ``type`` one of str u32 s32 u64."""

    name: str
    tags: str
    type: str

    def tags_of(self, kind: Kind) -> str:
        """What they are in rows of this kind: whether one server is active is a status, how many are is a metric."""
        return "SGP" if kind is Kind.SERVER and self.name in ("act", "bck") else self.tags

    def all_tags(self, kind: Kind) -> str:
        """With persistence: counters and rates live in the shared segment and survive a reload."""
        tags = self.tags_of(kind)
        return tags + ("P" if tags[0] == "M" and tags[1] in "CR" else "V")


#: Name, tags, type. The manual calls column 101 agg_server_status_check; what comes out, and tools know, is agg_server_check_status.
_TABLE = """
pxname KNS str | svname KNS str | qcur MGP u32 | qmax MMP u32 | scur MGP u32 | smax MMP u32 | slim CLP u32 | stot MCP u64 | bin MCP u64
bout MCP u64 | dreq MCP u64 | dresp MCP u64 | ereq MCP u64 | econ MCP u64 | eresp MCP u64 | wretr MCP u64 | wredis MCP u64
status SGP str | weight MaP u32 | act MGP u32 | bck MGP u32 | chkfail MCP u64 | chkdown MCP u64 | lastchg MAP u32 | downtime MCP u32
qlimit CGS u32 | pid KGP u32 | iid KGS u32 | sid KGS u32 | throttle MaP u32 | lbtot MCP u64 | tracked CNS str | type CGS u32
rate MRP u32 | rate_lim CLP u32 | rate_max MMP u32 | check_status MOP str | check_code MOP u32 | check_duration MDP u64
hrsp_1xx MCP u64 | hrsp_2xx MCP u64 | hrsp_3xx MCP u64 | hrsp_4xx MCP u64 | hrsp_5xx MCP u64 | hrsp_other MCP u64 | hanafail MCP u64
req_rate MRP u32 | req_rate_max MMP u32 | req_tot MCP u64 | cli_abrt MCP u64 | srv_abrt MCP u64 | comp_in MCP u64 | comp_out MCP u64
comp_byp MCP u64 | comp_rsp MCP u64 | lastsess MAP s32 | last_chk MOP str | last_agt MOP str | qtime MaP u32 | ctime MaP u32
rtime MaP u32 | ttime MaP u32 | agent_status MOP str | agent_code MOP u32 | agent_duration MDP u64 | check_desc MOP str
agent_desc MOP str | check_rise CGS u32 | check_fall CGS u32 | check_health CGS u32 | agent_rise CGS u32 | agent_fall CGS u32
agent_health CGS u32 | addr CGS str | cookie CNS str | mode CGS str | algo CGS str | conn_rate MRP u32 | conn_rate_max MMP u32
conn_tot MCP u64 | intercepted MCP u64 | dcon MCP u64 | dses MCP u64 | wrew MCP u64 | connect MCP u64 | reuse MCP u64
cache_lookups MCP u64 | cache_hits MCP u64 | srv_icur MGP u32 | src_ilim CLP u32 | qtime_max MMP u32 | ctime_max MMP u32
rtime_max MMP u32 | ttime_max MMP u32 | eint MCP u64 | idle_conn_cur MGP u32 | safe_conn_cur MGP u32 | used_conn_cur MGP u32
need_conn_est MGP u32 | uweight MaP u32 | agg_server_status MGP u32 | agg_server_check_status MGP u32 | agg_check_status MGP u32
srid CGS u32 | sess_other MCP u64 | h1_sess MCP u64 | h2_sess MCP u64 | h3_sess MCP u64 | req_other MCP u64 | h1req MCP u64
h2req MCP u64 | h3req MCP u64 | proto CGS str | priv_idle_cur MGP u32
"""

COLUMNS: tuple[Column, ...] = tuple(Column(*cell.split()) for line in _TABLE.strip().splitlines() for cell in line.split(" | "))
#: name → number
NUMBER: dict[str, int] = {column.name: number for number, column in enumerate(COLUMNS)}
WIDTH = len(COLUMNS)
#: Numbers behind the columns that have a metric family but no column in the manual: counter → place in a row.
HIDDEN: dict[str, int] = {name: WIDTH + number for number, name in enumerate(("req_in", "req_out", "res_in", "res_out"))}

Value = int | str | None
Row = list[Value]


def empty_row() -> Row:
    """A row without any value."""
    return [None] * (WIDTH + len(HIDDEN))
