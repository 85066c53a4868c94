"""``set server`` (management manual 9.3): state, weight, health, address, limits of one server while the service runs."""

from __future__ import annotations

from forkproxy.config.address import parse_address
from forkproxy.health.entry import Entry
from forkproxy.master import lookup
from forkproxy.master.cli_session import WARNING, Deferred, Refused, Session
from forkproxy.master.commands import dynamic_cookie, maxconn, weight
from forkproxy.plan import Address, Check
from forkproxy.registry import Level, command
from forkproxy.values import replace

_BY = "by 'stats socket command'"
_USAGE = (
    "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | check-addr | check-port | fqdn | health | "
    "ssl | state | weight"
)


@command("set server", level=Level.ADMIN, synopsis="set server <bk>/<srv> [opts]")
def set_server(session: Session, words: list[str]) -> str | Deferred:
    """Change a server's state, weight, address or limits."""
    entry = lookup.server(session, words, 2)
    what, value = (words[3] if len(words) > 3 else ""), (words[4] if len(words) > 4 else "")
    board = session.master.health.board
    match what:
        case "weight":
            weight.change(session, entry, value)
        case "maxconn":
            return maxconn.change(session, entry, value)
        case "state":
            if value not in ("ready", "drain", "maint"):
                raise Refused("'set server <srv> state' expects 'ready', 'drain' and 'maint'.")
            board.set_state(entry.key, value)
        case "health":
            if entry.server.track:
                raise Refused("cannot change health on a tracking server.")
            if value not in ("up", "stopping", "down"):
                raise Refused("'set server <srv> health' expects 'up', 'stopping', or 'down'.")
            board.set_health(entry.key, value)
        case "addr":
            return _address(session, entry, words[4:])
        case "check-addr" | "check-port":
            _check(session, entry, what, words[4:])
        case "agent" | "agent-addr" | "agent-port" | "agent-send":
            _agent(session, entry, what, words[4:])
        case "fqdn":
            raise Refused("set server <b>/<s> fqdn failed because no resolution is configured.")
        case "ssl":
            raise Refused("'set server <srv> ssl' cannot be set.  default-server should define ssl settings")
        case _:
            raise Refused(_USAGE)
    return ""


def _parse(text: str) -> Address:
    (address,) = parse_address(text, allow_port=False, allow_fd=False, resolve=None)
    if address.family not in ("ipv4", "ipv6"):
        raise ValueError(text)
    return address


def _address(session: Session, entry: Entry, words: list[str]) -> Deferred | str:
    """``addr <address> [port <port>]``. The answer tells what changed, as HAProxy's does."""
    if not words:
        raise Refused("set server <b>/<s> addr requires an address and optionally a port.")
    old = entry.server.address
    if old.family not in ("ipv4", "ipv6"):
        raise Refused("Update for the current server address family is only supported through configuration file.")
    try:
        new = replace(_parse(words[0]), port=old.port, port_relative=old.port_relative)
    except ValueError:
        raise Refused(f"Invalid addr '{words[0]}' {_BY}") from None
    told = [f"IP changed from '{old.host}' to '{new.host}'" if new.host != old.host else "no need to change the addr"]
    if words[1:2] == ["port"]:
        text = words[2] if len(words) > 2 else ""
        if not text.lstrip("+-").isdecimal() or abs(int(text)) > 65535:
            raise Refused(f"{told[0]}, Invalid port value '{text}' {_BY}" if text else f"{told[0]}, missing port value {_BY}")
        relative = text[0] in "+-"
        check = entry.server.check
        if relative and not old.port_relative and check is not None and not check.port:
            raise Refused(
                f"{told[0]}, can't change <port> to port map because it is incompatible with current health check port configuration "
                f"(use 'port' statement from the 'server' directive. {_BY}"
            )
        new = replace(new, port=int(text), port_relative=relative)
        if (new.port, relative) != (old.port, old.port_relative):
            told.append(f"port changed from '{_port(old)}' to '{_port(new)}'")
        else:
            told.append("no need to change the port")
    answer = session.message(f"{', '.join(told)} {_BY}", WARNING)
    if new == old:
        return answer
    cookie = dynamic_cookie.moved(session.master.plan.backends[entry.server.backend], entry.server, new)
    session.master.changes.server(entry, address=new, cookie=cookie)
    packed = [new.family, new.host, new.port, new.port_relative]
    return session.ask("set server address", lambda _replies: answer, server=entry.key, address=packed, cookie=cookie.decode("latin-1"))


def _port(address: Address) -> str:
    return f"{address.port:+d}" if address.port_relative else str(address.port)


def _agent(session: Session, entry: Entry, what: str, words: list[str]) -> None:
    """``agent up|down``, ``agent-addr <address> [port <port>]``, ``agent-port <port>``, ``agent-send <text>``."""
    agent = entry.server.agent
    if agent is None or not session.master.health.runs(entry.key, agent=True):
        raise Refused(f"agent checks are not enabled on this server{'.' if what in ('agent', 'agent-send') else ''}")
    value = words[0] if words else ""
    if what == "agent":
        if value not in ("up", "down"):
            raise Refused("'set server <srv> agent' expects 'up' or 'down'.")
        session.master.health.board.set_agent(entry.key, value == "up")
    elif what == "agent-send":
        session.master.changes.server(entry, agent=replace(agent, options={**agent.options, "send": value.encode()}))
    else:
        session.master.changes.server(entry, agent=_place(agent, what, words))


def _place(check: Check, what: str, words: list[str]) -> Check:
    """A check at another place: ``<address> [port <port>]`` or ``<port>``. Raises Refused."""
    address = what.endswith("-addr")
    if not words:
        raise Refused(f"set server <b>/<s> {what} requires {'an address and optionally a port' if address else 'a port'}.")
    port = (words[2] if words[1:2] == ["port"] and len(words) > 2 else "") if address else words[0]
    if port and not port.isdecimal():
        raise Refused("provided port is not an integer")
    if port and not 0 < int(port) < 65536:
        raise Refused("provided port is invalid")
    changed = replace(check, port=int(port)) if port else check
    try:
        return replace(changed, address=_parse(words[0])) if address else changed
    except ValueError:
        raise Refused(f"invalid addr '{words[0]}'") from None


def _check(session: Session, entry: Entry, what: str, words: list[str]) -> None:
    """``check-addr <address> [port <port>]`` and ``check-port <port>``."""
    check = entry.server.check
    if check is None:
        raise Refused("health checks are not enabled on this server")
    session.master.changes.server(entry, check=_place(check, what, words))
