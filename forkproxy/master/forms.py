"""Forms of the statistics page, carried out: what the runtime CLI does to one server, for several, on the same roads."""

from __future__ import annotations

from collections.abc import Iterable

from forkproxy.health.board import Board
from forkproxy.plan import Backend, Plan
from forkproxy.stats.forms import ACTIONS, ALIASES

_HEALTH = {"hrunn": "up", "hnolb": "stopping", "hdown": "down"}


def carry_out(plan: Plan, board: Board, action: str, name: str, servers: Iterable[str]) -> str:
    """Do ``action`` to the ``servers`` of backend ``name``; one of ``stats.forms.MEANING``. A server that cannot do it (its health is not
    checked) is passed over, one that does not exist makes the result partial."""
    action = ALIASES.get(action, action)
    backend = _backend(plan, name)
    if action not in ACTIONS or backend is None:
        return "ERRP"
    wanted = list(servers)
    known = {server.name: server.key for server in backend.servers}
    done = passed_over = 0
    for server in wanted:
        key = known.get(server)
        if key is None:
            continue
        try:
            if action in _HEALTH:
                board.set_health(key, _HEALTH[action])
            else:
                board.set_state(key, action)
            done += 1
        except ValueError:
            passed_over += 1
    if not done:
        return "NONE" if passed_over else "ERRP"
    return "DONE" if done + passed_over == len(wanted) else "PART"


def _backend(plan: Plan, name: str) -> Backend | None:
    found = plan.backends.get(name)
    if found is None and name[:1] == "#":
        found = next((b for b in plan.backends.values() if str(b.id) == name[1:]), None)
    return found
