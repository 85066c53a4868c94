"""``add server`` and ``del server`` (management manual 9.3): servers that no file knows, until a reload begins with the file again."""

from __future__ import annotations

from forkproxy import registry
from forkproxy.config.build_server import ServerBuilder
from forkproxy.config.diagnostics import Severity
from forkproxy.config.drafts import ProxyDraft
from forkproxy.config.line import Line
from forkproxy.errors import ConfigError
from forkproxy.health.entry import Entry
from forkproxy.health.machine import Admin
from forkproxy.master import lookup
from forkproxy.master.cli_session import NOTICE, Deferred, Refused, Session
from forkproxy.master.orders import Reply
from forkproxy.plan import Backend, Plan, Server
from forkproxy.proxy.portable import pack
from forkproxy.registry import Level, command
from forkproxy.values import replace

#: What a line of a file may say and a server that is added later may not.
_NOT_LATER = frozenset({"cookie", "init-addr", "resolvers", "redir"})
#: What only the master needs to know of a server.
_OURS = ("check", "agent", "place", "saved")


@command("add server", level=Level.ADMIN, synopsis="add server <bk>/<srv>")
def add_server(session: Session, words: list[str]) -> str | Deferred:
    """Create a new server, in maintenance; "add server help" lists the keywords it may have."""
    if words[2:] == ["help"]:
        names = sorted(name for section, name in registry.KEYWORDS if section == "server" and name not in _NOT_LATER)
        return "List of keywords supported for dynamic servers:\n" + "".join(f"{name}\n" for name in names)
    of, slash, name = (words[2] if len(words) > 2 else "").partition("/")
    if not slash or not name:
        raise Refused("Require 'backend/server'.")
    backend = lookup.backend(session, of)
    if not dynamic(backend):
        raise Refused("Backend must use a dynamic load balancing to support dynamic servers.")
    if any(server.name == name for server in backend.servers):
        raise Refused("Already exists a server with the same name in backend.")
    master = session.master
    server, guid = _make(backend, name, words[3:])
    if server.track:
        server = replace(server, track=_tracked(master.plan, server))
    if guid in session.plan.objects["guids"].values():
        raise Refused(f"'guid' : '{guid}' is already used.")
    plan = replace(master.plan, backends={**master.plan.backends, backend.name: replace(backend, servers=(*backend.servers, server))})
    try:
        master.shared.extend(plan)
    except ConfigError as exc:
        raise Refused(exc.message) from None
    packed = pack(server, _OURS)
    if guid:
        session.plan.objects["guids"][server.key] = guid
    master.health.add(server)
    master.changes.backend(backend, servers=(*backend.servers, server))
    row = master.shared.state.names.row(server.key)
    return session.ask("add server", lambda _replies: session.message("New server registered.", NOTICE), server=packed, row=row)


def dynamic(backend: Backend) -> bool:
    """Whether its algorithm can take servers on and let them go (as HAProxy's can)."""
    balance = backend.balance
    return balance.algorithm in ("roundrobin", "leastconn", "first", "random") or balance.hash_method == "consistent"


def _make(backend: Backend, name: str, words: list[str]) -> tuple[Server, str]:
    """Read the rest of the command as a ``server`` line: the server, its global identifier. Raises Refused."""
    late = next((word for word in words[1:] if word in _NOT_LATER), "")
    if late:
        raise Refused(f"'{late}' option is not accepted for dynamic server")
    draft = ProxyDraft("backend", backend.name)
    draft.mode = backend.mode
    line = Line(["server", name, *words], section="backend", section_name=backend.name)
    complaints: list[str] = []
    made: tuple[Server, ...] = ()
    try:
        registry.KEYWORDS["backend", "server"].handler(draft, line, 1)
        made = ServerBuilder(draft, backend.check, {}).build()
    except ConfigError as exc:
        complaints.append(f"{exc.message}; {exc.hint}" if exc.hint else exc.message)
    complaints += [message.text for message in line.diag.messages if message.severity is Severity.ALERT]
    if complaints or len(made) != 1:
        prefix = f"'server {backend.name}/{name}' : "
        raise Refused("; ".join(text.removeprefix(prefix) for text in complaints) or "The server cannot be made.")
    server, = made
    said = draft.servers[0].settings
    taken = {other.id for other in backend.servers}
    number = said.get("id") or next(n for n in range(1, len(taken) + 2) if n not in taken)
    if number in taken:
        raise Refused(f"custom id {number} is already used in backend '{backend.name}'.")
    return replace(server, id=number, disabled=False), said.get("guid", "")


def _tracked(plan: Plan, server: Server) -> str:
    """The key of the server that ``server`` is to track. Raises Refused."""
    of, _, name = server.track.rpartition("/")
    backend = plan.backends.get(of or server.backend)
    if backend is None:
        raise Refused(f"unable to find required proxy '{of}' for tracking.")
    tracked = next((one for one in backend.servers if one.name == name), None)
    if tracked is None:
        raise Refused(f"unable to find required server '{name}' for tracking.")
    if not tracked.place.file:
        raise Refused(f"unable to use {tracked.key} for tracking as it is a dynamic server.")
    if tracked.check is None and tracked.agent is None and not tracked.track:
        raise Refused(f"unable to use {tracked.key} for tracking as it does not have any check nor agent enabled.")
    return tracked.key


def obstacle(session: Session, entry: Entry) -> str:
    """Why a server cannot be removed, as far as waiting does not help; "" when nothing is in the way."""
    plan = session.master.plan
    backend = plan.backends[entry.server.backend]
    if backend.use_server or any(server.track == entry.key for one in plan.backends.values() for server in one.servers):
        return "This server cannot be removed at runtime due to other configuration elements pointing to it."
    if not entry.admin & (Admin.FORCED_MAINT | Admin.CONFIG_MAINT):
        return "Only servers in maintenance mode can be deleted."
    return ""


@command("del server", level=Level.ADMIN, synopsis="del server <bk>/<srv>")
def del_server(session: Session, words: list[str]) -> Deferred:
    """Remove a server that is in maintenance and has no connection."""
    entry = lookup.server(session, words, 2)
    if why := obstacle(session, entry):
        raise Refused(why)
    backend = session.master.plan.backends[entry.server.backend]
    if not dynamic(backend):
        raise Refused("Backend must use a dynamic load balancing to support dynamic servers.")
    master, orders = session.master, session.master.supervisor.orders
    deferred = Deferred()

    def counted(replies: list[Reply]) -> None:
        if any(reply.value for reply in replies):
            deferred.finish(session.message("Server still has connections attached to it, cannot remove it.", 3))
            return
        master.health.remove(entry.key)
        session.plan.objects["guids"].pop(entry.key, None)
        present = master.plan.backends[backend.name]
        master.changes.backend(present, servers=tuple([one for one in present.servers if one.name != entry.server.name]))
        orders.give(master.supervisor.workers(), "del server", removed, server=entry.key)

    def removed(replies: list[Reply]) -> None:
        if len(replies) == len(master.supervisor.workers()) and not any(reply.error for reply in replies):
            master.shared.forget(entry.key)  # else somebody may still count there: the row stays taken
        deferred.finish(session.message("Server deleted.", NOTICE))

    orders.give(master.supervisor.workers(), "server busy", counted, server=entry.key)
    return deferred
