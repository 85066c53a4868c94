"""``show servers state`` (management manual 9.3): the format that state files have."""

from __future__ import annotations

from collections.abc import Iterator

from forkproxy.health.entry import Entry
from forkproxy.health.machine import Admin
from forkproxy.health.status import Status
from forkproxy.master.cli_session import Refused, Session
from forkproxy.master.health_runner import Runner
from forkproxy.plan import Backend
from forkproxy.registry import Level, command

HEADER = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change "
    "srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port "
    "srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n"
)
#: srv_check_state: configured and enabled, paused in maintenance.
_CONFIGURED, _ENABLED, _PAUSED, _AGENT = 0x02, 0x04, 0x08, 0x10

@command("show servers state", level=Level.USER, synopsis="show servers state [<backend>]")
def show_servers_state(session: Session, words: list[str]) -> Iterator[str]:
    """Dump volatile server information (all or for a single backend)."""
    backends = session.master.plan.backends
    if len(words) > 3:
        wanted = words[3]
        chosen = [b for b in backends.values() if b.name == wanted or str(b.id) == wanted.removeprefix("#")]
        if not chosen:
            raise Refused("Can't find backend.")
    else:
        chosen = list(backends.values())
    return _lines(session, chosen)


def _lines(session: Session, backends: list[Backend]) -> Iterator[str]:
    entries = session.master.health.board.entries
    now = session.master.loop.clock.wall
    yield HEADER
    for backend in backends:
        for server in backend.servers:
            yield _line(backend, entries[server.key], now, session.master.health)


def _line(backend: Backend, entry: Entry, now: float, runner: Runner) -> str:
    server, machine, check = entry.server, entry.machine, entry.server.check
    status, result = 1, 0
    health = 0 if entry.admin.maint else 2
    state = _PAUSED if server.disabled else 0
    admin = int(entry.admin)
    if server.disabled:  # that the file said so stays visible; while it holds it is a forced one, too
        admin |= Admin.CONFIG_MAINT | (Admin.FORCED_MAINT if entry.admin & Admin.CONFIG_MAINT else 0)
    if machine is not None:
        status = int(machine.result.status)
        result = _result(machine.result.status)
        health = 0 if entry.admin.maint else machine.health
        state = _CONFIGURED | (_ENABLED if runner.runs(server.key) else 0) | (_PAUSED if entry.admin.maint else 0)
    inet = server.address.family in ("ipv4", "ipv6")
    address = server.address.host if inet else "-"
    port = server.address.port if inet else 0
    check_port = check.port if check is not None else 0
    check_addr = check.address.host if check is not None and check.address is not None else "-"
    agent = server.agent
    agent_state, agent_addr, agent_port = 0, "-", 0
    if agent is not None:
        agent_state, agent_port = _CONFIGURED | _AGENT | (_ENABLED if runner.runs(server.key, agent=True) else 0), agent.port
        agent_addr = agent.address.host if agent.address is not None else "-"
    return (
        f"{backend.id} {backend.name} {server.id} {server.name} {address} {int(entry.op)} {admin} "
        f"{entry.uweight} {server.weight} {max(0, int(now - entry.since))} "
        f"{status} {result} {health} {state} {agent_state} 0 0 - {port} - 0 {check_port} {check_addr} {agent_addr} {agent_port}\n"
    )


def _result(status: Status) -> int:
    """CHK_RES_*: 0 unknown, 2 failed, 3 passed, 4 passed under condition."""
    if status in (Status.UNK, Status.INI):
        return 0
    if status is Status.L7OKC:
        return 4
    return 3 if status.passed else 2
