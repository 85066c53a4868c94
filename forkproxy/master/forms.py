"""Forms of the statistics page, carried out: what the runtime CLI does to one server, for several, on the same roads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from forkproxy.plan import Backend, Plan
from forkproxy.stats.forms import ALIASES

if TYPE_CHECKING:
    from forkproxy.master.master import Master


def carry_out(master: Master, action: str, name: str, servers: Iterable[str]) -> str:
    """Do ``action`` to the ``servers`` of backend ``name``; one of ``stats.forms.MEANING``. A server that cannot do it (it has no checks)
    is passed over, one that does not exist makes the result partial."""
    do = _doing(master).get(ALIASES.get(action, action))
    backend = _backend(master.plan, name)
    if do is None or backend is None:
        return "ERRP"
    wanted = list(servers)
    known = {server.name: server.key for server in backend.servers}
    done = passed_over = 0
    for server in wanted:
        key = known.get(server)
        if key is None:
            continue
        try:
            do(key)
            done += 1
        except (KeyError, ValueError):
            passed_over += 1
    if not done:
        return "NONE" if passed_over else "ERRP"
    return "DONE" if done + passed_over == len(wanted) else "PART"


def _doing(master: Master) -> dict[str, Callable[[str], None]]:
    """What each action does to a server; they raise KeyError or ValueError where it cannot be done."""
    health, board, supervisor = master.health, master.health.board, master.supervisor
    return {
        "ready": lambda key: board.set_state(key, "ready"),
        "drain": lambda key: board.set_state(key, "drain"),
        "maint": lambda key: board.set_state(key, "maint"),
        "dhlth": health.suspend,
        "ehlth": health.resume,
        "hrunn": lambda key: board.set_health(key, "up"),
        "hnolb": lambda key: board.set_health(key, "stopping"),
        "hdown": lambda key: board.set_health(key, "down"),
        "dagent": lambda key: health.suspend(key, agent=True),
        "eagent": lambda key: health.resume(key, agent=True),
        "arunn": lambda key: board.set_agent(key, True),
        "adown": lambda key: board.set_agent(key, False),
        "shutdown": lambda key: supervisor.orders.give(supervisor.workers(), "shutdown sessions server", server=key),
    }


def _backend(plan: Plan, name: str) -> Backend | None:
    found = plan.backends.get(name)
    if found is None and name[:1] == "#":
        found = next((b for b in plan.backends.values() if str(b.id) == name[1:]), None)
    return found
