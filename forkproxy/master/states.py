"""What SIGHUP writes in the single-run modes: the state of every server and proxy, in HAProxy's words."""

from __future__ import annotations

from collections.abc import Iterator

from forkproxy.health.board import Board
from forkproxy.plan import Plan
from forkproxy.state.counters import Rows
from forkproxy.state.layout import QUEUE_CUR, SESS_CUR, SESS_TOT
from forkproxy.state.names import backend_key, frontend_key


def describe(plan: Plan, board: Board, rows: Rows) -> Iterator[str]:
    """One line per server, and one per proxy after its servers."""
    yield "SIGHUP received, dumping servers states."
    names = dict.fromkeys([*(f.name for f in plan.frontends), *plan.backends])
    fronts = {f.name for f in plan.frontends}
    nothing = [0] * len(rows.totals(""))
    for name in names:
        backend = plan.backends.get(name)
        for server in backend.servers if backend is not None else ():
            totals = rows.totals(server.key)
            state = "UP" if board.entries[server.key].status().startswith(("UP", "no check", "DRAIN", "NOLB")) else "DOWN"
            yield (
                f"SIGHUP: Server {server.key} is {state}. "
                f"Conn: {totals[SESS_CUR]} act, {totals[QUEUE_CUR]} pend, {totals[SESS_TOT]} tot."
            )
        fe = rows.totals(frontend_key(name)) if name in fronts else nothing
        be = rows.totals(backend_key(name)) if backend is not None else nothing
        waiting = be[QUEUE_CUR]
        tail = (
            f"Conn: act(FE+BE): {fe[SESS_CUR]}+{be[SESS_CUR]}, {waiting} pend ({waiting} unass), "
            f"tot(FE+BE): {fe[SESS_TOT]}+{be[SESS_TOT]}."
        )
        if backend is None or not backend.servers:
            yield f"SIGHUP: Proxy {name} has no servers. {tail}"
            continue
        group = board.groups[name]
        if not group.active + group.backups:
            yield f"SIGHUP: Proxy {name} has no server available ! {tail}"
        else:
            yield (
                f"SIGHUP: Proxy {name} has {group.active} active servers and {group.backups} backup servers available"
                f"{' (running on backups)' if not group.active else ''}. {tail}"
            )
