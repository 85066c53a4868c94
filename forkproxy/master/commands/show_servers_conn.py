"""``show servers conn`` and ``show backend`` (management manual 9.3)."""

from __future__ import annotations

from collections.abc import Iterator

from forkproxy.master import lookup
from forkproxy.master.cli_session import Session
from forkproxy.plan import Server
from forkproxy.registry import Level, command
from forkproxy.state import layout
from forkproxy.state.counters import Rows


@command("show backend", level=Level.USER, synopsis="show backend")
def show_backend(session: Session, words: list[str]) -> str:
    """List backends in the current running config."""
    return "# name\n" + "".join(f"{name}\n" for name in session.master.plan.backends)


@command("show servers conn", level=Level.USER, synopsis="show servers conn [<backend>]")
def show_servers_conn(session: Session, words: list[str]) -> Iterator[str]:
    """Dump server connections status (all or for a single backend)."""
    backends = list(session.master.plan.backends.values())
    if len(words) > 3:
        backends = [lookup.backend(session, words[3], "Can't find backend.")]
    rows = session.master.shared.state.rows
    slots = rows.segment.live()
    yield (
        "# bkname/svname bkid/svid addr port - purge_delay served used_cur used_max need_est idle_sess unsafe_nb safe_nb idle_lim idle_cur "
        f"idle_per_thr[{len(slots)}]\n"
    )
    for backend in backends:
        for server in backend.servers:
            yield f"{server.key} {backend.id}/{server.id} {_numbers(rows, server)}\n"


def _numbers(rows: Rows, server: Server) -> str:
    inet = server.address.family in ("ipv4", "ipv6")
    totals = rows.totals(server.key)
    used = totals[layout.USED_CUR]
    idle = rows.each(server.key, layout.IDLE_CUR)
    unsafe, safe = totals[layout.IDLE_UNSAFE], totals[layout.IDLE_SAFE]
    return " ".join(
        map(
            str,
            (
                server.address.host if inet else "-", server.address.port if inet else 0, "-", int(server.pool_purge_delay_s * 1000), used,
                used, totals[layout.SESS_MAX], used + unsafe + safe, 0, unsafe, safe, server.pool_max_conn, totals[layout.IDLE_CUR],
                *idle.values(),
            ),
        )
    )  # fmt: skip
