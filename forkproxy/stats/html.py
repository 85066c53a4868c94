"""The statistics page as HTML: rows of ``model`` in, text out. Whole without scripts; ``page.js`` makes it live, ``page.css`` is its look.

Cells hold plain numbers with the number of their column; the script shows them with units, renews them from ``;csv`` and draws the charts.
Nothing is loaded from anywhere else. Everything that comes from a file or a request is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from forkproxy.plan import StatsPage
from forkproxy.stats.columns import NUMBER, WIDTH, Kind, Row
from forkproxy.stats.forms import ACTIONS, MEANING

if TYPE_CHECKING:
    from forkproxy.stats.context import Context
    from forkproxy.stats.history import History
    from forkproxy.stats.page import Query

_N = NUMBER
#: (heading of the group, ((heading, column, unit), …)); units: n a number, b bytes, s seconds, m milliseconds, t text
GROUPS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    ("Queue", (("Cur", "qcur", "n"), ("Max", "qmax", "n"), ("Limit", "qlimit", "n"))),
    ("Session rate", (("Cur", "rate", "n"), ("Max", "rate_max", "n"), ("Limit", "rate_lim", "n"))),
    (
        "Sessions",
        (("Cur", "scur", "n"), ("Max", "smax", "n"), ("Limit", "slim", "n"), ("Total", "stot", "n"), ("LbTot", "lbtot", "n"),
         ("Last", "lastsess", "s")),
    ),
    ("Bytes", (("In", "bin", "b"), ("Out", "bout", "b"))),
    ("Denied", (("Req", "dreq", "n"), ("Resp", "dresp", "n"))),
    ("Errors", (("Req", "ereq", "n"), ("Conn", "econ", "n"), ("Resp", "eresp", "n"))),
    ("Warnings", (("Retr", "wretr", "n"), ("Redis", "wredis", "n"))),
    (
        "Server",
        (("Since", "lastchg", "s"), ("LastChk", "check_status", "t"), ("Wght", "weight", "n"), ("Act", "act", "n"), ("Bck", "bck", "n"),
         ("Chk", "chkfail", "n"), ("Dwn", "chkdown", "n"), ("Dwntme", "downtime", "s"), ("Thrtle", "throttle", "n")),
    ),
)  # fmt: skip
#: With "stats show-modules", behind the dash of CSV.
TIMES = ("Answers, ms", (("50 %", WIDTH + 1, "m"), ("95 %", WIDTH + 2, "m"), ("99 %", WIDTH + 3, "m")))
_ABORTS = (("Aborted by clients", "cli_abrt"), ("Aborted by servers", "srv_abrt"))
#: What lies behind a number, on hovering: column → lines of (what, column), those without a value left out. The script has them, too.
TIPS: dict[str, tuple[tuple[str, str], ...]] = {
    "rate": (("Connections per second", "conn_rate"), ("Sessions per second", "rate"), ("Requests per second", "req_rate")),
    "rate_max": (("Connections per second", "conn_rate_max"), ("Sessions per second", "rate_max"), ("Requests per second", "req_rate_max")),
    "scur": (
        ("Connections in use", "used_conn_cur"), ("Idle", "srv_icur"), ("of them for anybody", "safe_conn_cur"),
        ("Limit of idle ones", "src_ilim"), ("Estimated need", "need_conn_est"),
    ),
    "stot": (
        ("Connections", "conn_tot"), ("Connections opened", "connect"), ("Connections used again", "reuse"), ("Requests", "req_tot"),
        ("Answers 1xx", "hrsp_1xx"), ("Answers 2xx", "hrsp_2xx"), ("Answers 3xx", "hrsp_3xx"), ("Answers 4xx", "hrsp_4xx"),
        ("Answers 5xx", "hrsp_5xx"), ("Other answers", "hrsp_other"), ("Answered by the proxy", "intercepted"),
        ("Failed rewrites", "wrew"), ("Internal errors", "eint"),
        ("Average ms in the queue", "qtime"), ("to connect", "ctime"), ("to answer", "rtime"), ("in all", "ttime"),
        ("Most ms in the queue", "qtime_max"), ("to connect", "ctime_max"), ("to answer", "rtime_max"), ("in all", "ttime_max"),
    ),
    "dreq": (("Denied connections", "dcon"), ("Denied sessions", "dses"), ("Denied requests", "dreq")),
    "econ": _ABORTS,
    "eresp": _ABORTS,
    "status": (("Tracks", "tracked"), ("Agent", "agent_status"), ("Agent said", "last_agt")),
    "check_status": (
        ("", "check_desc"), ("", "last_chk"), ("ms taken", "check_duration"), ("Health", "check_health"), ("rise", "check_rise"),
        ("fall", "check_fall"),
    ),
}  # fmt: skip
_TIPS = {NUMBER[name]: tuple((what, NUMBER[column]) for what, column in lines) for name, lines in TIPS.items()}


@lru_cache(1)
def _tips() -> str:
    """The table of :data:`TIPS` by numbers, for the script."""
    return json.dumps(_TIPS, separators=(",", ":"))


@lru_cache(1)
def assets() -> tuple[str, str]:
    """(style sheet, script), read once."""
    here = Path(__file__).parent
    return (here / "page.css").read_text("utf-8"), (here / "page.js").read_text("utf-8")


def condition(status: str) -> str:
    """What a status means to somebody who looks from afar: the class of its colour."""
    if status.startswith(("OPEN", "UP", "no check")):
        return "turning" if "/" in status else "up"
    if status.startswith("DOWN"):
        return "turning" if "/" in status else "down"
    return {"MAINT": "maint", "DRAIN": "drain", "NOLB": "drain"}.get(status.split(" ")[0], "maint")


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def render(
    rows: Iterable[Row], page: StatsPage, query: Query, uri: str, context: Context, history: History | None, *, admin: bool
) -> Iterator[str]:
    """The page in slices. ``uri`` is its prefix, ``admin`` whether forms are offered."""
    facts = {field.name: field.value for field in context.info()}
    said = context.notes()
    style, script = assets()
    every = page.refresh_s if query.refresh else 0
    proxies: dict[str, list[Row]] = {}
    for row in rows:
        proxies.setdefault(str(row[_N["pxname"]]), []).append(row)
        yield ""  # a pause for the loop
    node = f" on {page.node}" if page.node else ""
    news = f"{uri};csv;norefresh{query.suffix().replace(';norefresh', '')}"
    yield f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta name="referrer" content="same-origin">
<title>Statistics{_text(node)}</title><link rel="icon" href="data:,">
{f'<noscript><meta http-equiv="refresh" content="{every}"></noscript>' if every else ''}
<style>{style}</style></head>
<body data-csv="{_text(news)}" data-every="{page.refresh_s}" data-live="{int(every > 0)}">
<header><div class="name"><h1>Statistics<span>{_text(node)}</span></h1>
<p>{_text(page.desc) if page.desc else ''}</p></div>
<dl class="facts">{''.join(f'<div><dt>{name}</dt><dd>{_text(value)}</dd></div>' for name, value in _facts(facts, page))}</dl></header>
{_message(query)}
<div class="tiles" hidden></div>
<nav>{_find(uri, query)}
<span class="choice" role="group" aria-label="Which rows"><button type="button" data-show="all" aria-pressed="true">All</button>
<button type="button" data-show="trouble" aria-pressed="false">Trouble</button>
<button type="button" data-show="busy" aria-pressed="false">Busy</button></span>
<button type="button" id="live" aria-pressed="false" hidden>Live</button>
<button type="button" id="theme" aria-label="Light or dark" hidden>◐</button>
<span class="links">{_links(uri, query, page)}</span></nav>
<main>
"""
    for name, group in proxies.items():
        yield from _proxy(name, said.get(name, ""), group, page, query, uri, admin)
    yield f"""</main><p id="nothing" hidden>Nothing matches.</p>
<footer>{len(proxies)} {'proxy' if len(proxies) == 1 else 'proxies'} · sums of all workers</footer>
<script type="application/json" id="tips">{_tips()}</script>
<script type="application/json" id="history">{_history(proxies, history)}</script>
<script>{script}</script></body></html>
"""


def _facts(facts: dict[str, int | str], page: StatsPage) -> Iterator[tuple[str, object]]:
    if page.show_version:
        yield "Version", facts["Version"]
    yield "Pid", facts["Pid"]
    yield "Workers", facts["Nbthread"]
    yield "Up for", _span(int(facts["Uptime_sec"]))
    yield "Connections", f"{facts['CurrConns']} of {facts['Maxconn']}"
    yield "Requests", facts["CumReq"]
    yield "Idle", f"{facts['Idle_pct']} %"


def _span(seconds: int) -> str:
    """A time as people say it: its two greatest units."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def _message(query: Query) -> str:
    if not query.status:
        return ""
    well, text = MEANING.get(query.status, MEANING["UNKN"])
    return f'<p class="message {"well" if well else "ill"}" role="status">{text}</p>'


def _find(uri: str, query: Query) -> str:
    """The field that filters: at once by the script, without one by the server. The form's fields become the target's query, so what
    the prefix has of one must be among them."""
    path, _, already = uri.partition("?")
    pairs = [pair.partition("=") for pair in already.split("&") if pair]
    hidden = "".join(f'<input type="hidden" name="{_text(name)}" value="{_text(value)}">' for name, _, value in pairs)
    return f"""<form class="find" method="get" action="{_text(path)}">{hidden}<input type="search" id="find" name="scope"
value="{_text(query.scope)}" placeholder="Filter by name…" aria-label="Filter by name" autocomplete="off"></form>"""


def _links(uri: str, query: Query, page: StatsPage) -> str:
    quiet = "" if query.refresh else ";norefresh"
    links = [(f"{uri}{quiet}" if query.up else f"{uri};up{quiet}", "Show all servers" if query.up else "Hide DOWN servers")]
    if page.refresh_s:
        suffix = query.suffix().replace(";norefresh", "")
        links.append((f"{uri}{suffix}" + (";norefresh" if query.refresh else ""), "Stop refresh" if query.refresh else "Refresh"))
    links += [(f"{uri};csv{quiet}", "CSV"), (f"{uri};json{quiet}", "JSON"), (f"{uri};json-schema", "Schema")]
    return " ".join(f'<a href="{_text(href)}">{title}</a>' for href, title in links)


def _proxy(name: str, said: str, rows: list[Row], page: StatsPage, query: Query, uri: str, admin: bool) -> Iterator[str]:
    """One card: heading, table, and the form where servers can be changed."""
    kinds = {row[_N["type"]] for row in rows}
    what = "listen" if {Kind.FRONTEND, Kind.BACKEND} <= kinds else "frontend" if Kind.FRONTEND in kinds else "backend"
    side = "F" if Kind.FRONTEND in kinds else "B"
    form = admin and Kind.SERVER in kinds
    legend = f" <small>id {rows[0][_N['iid']]}, mode {_text(rows[0][_N['mode']])}</small>" if page.show_legends else ""
    box = '<th rowspan="2" class="box"></th>' if form else ""
    words = f'<span class="said">{_text(said)}</span>' if said else ""
    yield f"""<section class="proxy" data-name="{_text(name)}" id="{_text(name)}"><h2><a href="#{_text(name)}">{_text(name)}</a>
<small class="kind">{what}</small>{legend}{words}<span class="spark" data-chart="{side}/{_text(name)}"></span></h2>
"""
    if form:
        yield f'<form method="post" action="{_text(uri + query.suffix())}">'
    # columns that nobody here has a value for are left out
    every = [(title, tuple((heading, _N[column], unit) for heading, column, unit in columns)) for title, columns in GROUPS]
    if page.show_modules:
        every.append(TIMES)
    groups = [(title, [c for c in columns if any(row[c[1]] is not None for row in rows)]) for title, columns in every]
    yield f'<div class="wide"><table><thead><tr>{box}<th rowspan="2" class="who">Name</th><th rowspan="2" class="status">Status</th>'
    yield "".join(f'<th colspan="{len(columns)}">{title}</th>' for title, columns in groups if columns) + "</tr><tr>"
    yield "".join(f"<th>{title}</th>" for _, columns in groups for title, _, _ in columns) + "</tr></thead><tbody>\n"
    cells = [(f"{group} {title}".removeprefix("Server "), number, unit) for group, columns in groups for title, number, unit in columns]
    for row in rows:
        yield _row(row, cells, page, form)
    yield "</tbody></table></div>"
    if form:
        options = "".join(f'<option value="{value}">{title}</option>' for value, title in ACTIONS.items())
        yield f"""<p class="acts"><label>Chosen servers:
<select name="action"><option value="" disabled selected>choose…</option>{options}</select></label>
<input type="hidden" name="b" value="#{rows[-1][_N['iid']]}"><button type="submit">Apply</button></p></form>"""
    yield "</section>\n"


def _row(row: Row, columns: list[tuple[str, int, str]], page: StatsPage, form: bool) -> str:
    kind = Kind(int(row[_N["type"]] or 0))
    name, status = str(row[_N["svname"]]), str(row[_N["status"]])
    shown = name.capitalize() if kind in (Kind.FRONTEND, Kind.BACKEND) else name
    box = ""
    if form:
        inner = f'<input type="checkbox" name="s" value="{_text(name)}" aria-label="choose {_text(name)}">' if kind is Kind.SERVER else ""
        box = f'<td class="box">{inner}</td>'
    values = [("" if row[number] is None else _text(row[number]), number, title, unit) for title, number, unit in columns]
    cells = [f'<td data-c="{n}" data-u="{unit}" data-l="{title}"{_tip(row, n)}>{value}</td>' for value, n, title, unit in values]
    return (
        f'<tr class="{kind.title.lower()} {condition(status)}" data-k="{_text(row[_N["pxname"]])}/{_text(name)}">{box}'
        f'<th scope="row" class="who">{_text(shown)}{_legend(row, page)}</th>'
        f'<td class="status"><b data-c="{_N["status"]}" data-u="t"{_tip(row, _N["status"])}>{_text(status)}</b></td>{"".join(cells)}</tr>\n'
    )


def _legend(row: Row, page: StatsPage) -> str:
    if not page.show_legends:
        return ""
    parts = [f"id {row[_N['sid']]}" if row[_N["sid"]] else "", row[_N["addr"]], f"cookie {row[_N['cookie']]}" if row[_N["cookie"]] else "",
             f"balance {row[_N['algo']]}" if row[_N["algo"]] else ""]  # fmt: skip
    said = ", ".join(str(part) for part in parts if part)
    return f"<small>{_text(said)}</small>" if said else ""


def _tip(row: Row, number: int) -> str:
    """What lies behind a number."""
    found = ((what, row[column]) for what, column in _TIPS.get(number, ()))
    said = "\n".join(f"{what}: {value}" if what else str(value) for what, value in found if value is not None and value != "")
    return f' title="{_text(said)}"' if said else ""


def _history(proxies: Iterable[str], history: History | None) -> str:
    charts = {} if history is None else dict(history.charts([f"{side}/{name}" for name in proxies for side in "FB"]))
    found = {name: [[round(value, 1) for value in point] for point in points] for name, points in charts.items()}
    made = json.dumps({"step": history.STEP_S if history is not None else 5, "charts": found}, separators=(",", ":"))
    return made.replace("<", "\\u003c")
