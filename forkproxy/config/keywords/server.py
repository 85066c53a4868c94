"""``server``, ``default-server`` and ``server-template`` lines (manual 4.2, 5.2). Checks of servers are in ``checks``."""

from __future__ import annotations

import re
from typing import Any

from forkproxy.config import units
from forkproxy.config.address import parse_address, resolve_host
from forkproxy.config.args import Arg, Int, OneOf, Rest, Time, Word
from forkproxy.config.drafts import ProxyDraft, ServerDraft
from forkproxy.config.keywords.caps import PROXIES, not_in_defaults
from forkproxy.config.keywords.inline import read_options
from forkproxy.config.keywords.proxy import MAXINT
from forkproxy.config.line import Line
from forkproxy.net import namespaces
from forkproxy.plan import Address
from forkproxy.registry import keyword

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_:.\-]")
_NO_ADDRESS = " Hint: no address was expected for this server."


class _Target:
    """What options of one line write into; ``proxy`` is the section, ``name`` "" for default-server."""

    __slots__ = ("name", "proxy", "settings")

    def __init__(self, proxy: ProxyDraft, name: str, settings: dict[str, Any]) -> None:
        self.proxy = proxy
        self.name = name
        self.settings = settings


def _backend_only(draft: ProxyDraft, line: Line) -> None:
    if not draft.is_backend:
        line.fail(f"'{line.words[0]}' not allowed because frontend '{draft.name}' has no backend capability.")


def _named(line: Line, index: int) -> str:
    name = line.words[index]
    if bad := _FORBIDDEN.search(name):
        line.fail(f"character '{bad[0]}' is not permitted in server name '{name}'.", index)
    return name


@keyword(PROXIES, "server", args=(Rest(),), synopsis="<name> <address>[:<port>] [param*]")
def _server(draft: ProxyDraft, line: Line, start: int) -> None:
    """One server of the backend."""
    not_in_defaults(draft, line)
    _backend_only(draft, line)
    if len(line.words) < start + 2 or not line.words[start] or not line.words[start + 1]:
        line.fail("'server' expects <name> and <addr>[:<port>] as arguments.", len(line.words) - 1)
    name = _named(line, start)
    shown = f"'server {draft.name}/{name}'"
    settings = dict(draft.default_server)
    address = _address(line, start + 1, shown)
    read_options("server", _Target(draft, name, settings), line, start + 2, shown)
    draft.servers.append(ServerDraft(line, name, shown, _settled(line, start + 1, shown, address, settings), settings))


@keyword(PROXIES, "server-template", args=(Rest(),), synopsis="<prefix> <num | range> <address>[:<port>] [param*]")
def _server_template(draft: ProxyDraft, line: Line, start: int) -> None:
    """Several servers that differ in the number at the end of their name."""
    not_in_defaults(draft, line)
    _backend_only(draft, line)
    if len(line.words) < start + 3:
        line.fail("'server-template' expects <prefix> <nb | range> <addr>[:<port>] as arguments.", len(line.words) - 1)
    prefix = _named(line, start)
    span = re.fullmatch(r"(\d+)(?:-(\d+))?", line.words[start + 1])
    low, high = (1, 0) if span is None else (1, int(span[1])) if span[2] is None else (int(span[1]), int(span[2]))
    if low > high:
        line.fail(f"Wrong server-template number or range arg '{line.words[start + 1]}'.", start + 1)
    shown = f"'server-template {draft.name}/{prefix}'"
    settings = dict(draft.default_server)
    address = _address(line, start + 2, shown)
    read_options("server", _Target(draft, prefix, settings), line, start + 3, shown)
    address = _settled(line, start + 2, shown, address, settings)
    first_id = settings.get("id")
    for offset, number in enumerate(range(low, high + 1)):
        own = dict(settings)
        if first_id is not None:
            own["id"] = first_id + offset
        name = f"{prefix}{number}"
        draft.servers.append(ServerDraft(line, name, f"'server {draft.name}/{name}'", address, own))


@keyword(PROXIES, "default-server", args=(Rest(),), synopsis="[param*]")
def _default_server(draft: ProxyDraft, line: Line, start: int) -> None:
    """Options for all servers that follow; they add up over several lines."""
    _backend_only(draft, line)
    if start >= len(line.words):
        return
    read_options("server", _Target(draft, "", draft.default_server), line, start, "'default-server'", _NO_ADDRESS)


def _address(line: Line, index: int, shown: str) -> Address:
    try:
        return parse_address(line.words[index], default_port=0, allow_offset=True, allow_fd=False, resolve=None)[0]
    except ValueError as exc:
        line.fail(f"{shown} : {exc}", index)


def _settled(line: Line, index: int, shown: str, address: Address, settings: dict[str, Any]) -> Address:
    """``address`` with its host name resolved in the way that ``init-addr`` asks for; still a name where only a state file may know it."""
    methods = settings.pop("init-addr", ("last", "libc"))
    if address.family != "name":
        return address
    settings.pop("last-address", None)
    for method in methods:
        if method == "last":
            settings["last-address"] = True  # the builder knows it, if anybody does
        elif method == "libc":
            found = resolve_host(address.host)
            if found is not None:
                return Address(found[0], found[1], address.port, address.kind, address.port_relative)
        elif method == "none":
            # as HAProxy: the server is there, in maintenance until somebody gives it an address
            settings["disabled"] = True
            settings["options"] = {**settings.get("options", {}), "fqdn": address.host}
            return Address("ipv4", "0.0.0.0", address.port, address.kind, address.port_relative)
        else:
            literal = parse_address(method, allow_port=False)[0]
            return Address(literal.family, literal.host, address.port, address.kind, address.port_relative)
    if "last" not in methods:
        line.fail(f"{shown} : could not resolve address '{address.host}'.", index)
    return address


# -- options with a value or none: name, field, argument, reference entry -----------------------------------------------------

_VALUES: tuple[tuple[str, str, Arg, str], ...] = (
    ("cookie", "cookie", Word("a value"), "What stands for this server in a persistence cookie."),
    ("maxconn", "maxconn", Int(0, MAXINT), "The most streams on the server at a time, over all workers; others wait. 0: no limit."),
    ("maxqueue", "maxqueue", Int(0, MAXINT), "The most streams waiting for the server; more go elsewhere. 0: no limit."),
    ("minconn", "minconn", Int(0, MAXINT), "The limit while the backend is idle; it grows to maxconn with the load (see fullconn)."),
    ("pool-low-conn", "pool_low_conn", Int(0, MAXINT), "So many idle connections, over all workers, are kept though unused."),
    ("pool-max-conn", "pool_max_conn", Int(-1, MAXINT), "The most idle connections that all workers together keep; -1: no limit, 0: none."),
    ("max-reuse", "max_reuse", Int(-1, MAXINT), "How often an idle connection is used again; -1: no limit."),
    ("pool-purge-delay", "pool_purge_delay_s", Time("ms"), "A connection that is idle for twice as long is closed; 0: none is kept."),
    ("slowstart", "slowstart_s", Time("ms"), "How long a server that comes back takes to reach its full weight."),
    ("track", "track", Word("[<proxy>/]<server>"), "Take over the state of another server."),
    ("redir", "redir", Word("<prefix>"), "Answer GET and HEAD with a redirect to this prefix in place of the server."),
    ("hash-key", "hash_key", OneOf("id", "addr", "addr-port"), "What places the server on a consistent hash ring."),
    ("init-state", "init_state", OneOf("fully-up", "up", "down", "fully-down", "none"), "What is believed before the first check."),
    ("on-error", "on_error", OneOf("fastinter", "fail-check", "sudden-death", "mark-down"), "What observed errors lead to (see observe)."),
    ("on-marked-down", "on_marked_down", OneOf("shutdown-sessions"), "What happens to streams when the server goes down."),
    ("on-marked-up", "on_marked_up", OneOf("shutdown-backup-sessions"), "What happens to streams on backups when the server comes up."),
    ("inter", "check.inter_s", Time("ms"), "Time between two checks."),
    ("fastinter", "check.fastinter_s", Time("ms"), "Time between two checks while the state is about to change."),
    ("downinter", "check.downinter_s", Time("ms"), "Time between two checks while the server is down."),
    ("agent-inter", "agent.inter_s", Time("ms"), "Time between two questions to the agent."),
)

_BYTES = frozenset({"cookie", "redir"})


def _value(name: str, field: str, arg: Arg, doc: str) -> None:
    def value(target: _Target, line: Line, got: Any) -> None:
        target.settings[field] = got.encode("utf-8", "surrogateescape") if field in _BYTES else got

    value.__doc__ = doc
    if field in ("check.inter_s", "check.fastinter_s", "check.downinter_s", "agent.inter_s"):
        keyword("server", name, args=(arg,))(_interval(name, field, doc))
        return
    keyword("server", name, args=(arg,))(value)


@keyword("server", "weight", args=(Int(),), default=1)
def _weight(target: _Target, line: Line, value: int) -> None:
    """The server's share of the load, 0 to 256; 0: only persistent streams."""
    if not 0 <= value <= 256:
        line.fail(f"weight of server {target.name} is not within 0 and 256 ({value}).", line.kwlen)
    target.settings["weight"] = value


def _interval(name: str, field: str, doc: str) -> Any:
    def interval(target: _Target, line: Line, value_s: float) -> None:
        if value_s <= 0:
            line.fail(f"invalid value 0 for argument '{name}' of server {target.name}.", line.kwlen)
        target.settings[field] = value_s

    interval.__doc__ = doc
    return interval


for _row in _VALUES:
    _value(*_row)

#: name, field, value it sets, reference entry
_SWITCHES: tuple[tuple[str, str, Any, str], ...] = (
    ("backup", "backup", True, "Use the server only when no other one is left."),
    ("no-backup", "backup", False, "Undo a backup of default-server."),
    ("disabled", "disabled", True, "Start in maintenance."),
    ("enabled", "disabled", False, "Undo a disabled of default-server."),
    ("check", "check", True, "Check the server's health."),
    ("agent-check", "agent", True, "Ask a program beside the server for its state, weight and limit (see agent-port)."),
    ("no-agent-check", "agent", False, "Undo an agent-check of default-server."),
    ("no-check", "check", False, "Undo a check of default-server."),
    ("check-send-proxy", "check.send_proxy", True, "Begin checks with a PROXY protocol header."),
    ("no-check-send-proxy", "check.send_proxy", False, "Undo a check-send-proxy of default-server."),
    ("send-proxy", "send_proxy", 1, "Begin every connection with a PROXY protocol header of version 1."),
    ("send-proxy-v2", "send_proxy", 2, "Begin every connection with a PROXY protocol header of version 2."),
    ("no-send-proxy", "send_proxy", 0, "Undo a send-proxy of default-server."),
    ("no-send-proxy-v2", "send_proxy", 0, "Undo a send-proxy-v2 of default-server."),
    ("tfo", "tfo", True, "Send data with the first packet (TCP fast open)."),
    ("no-tfo", "tfo", False, "Undo a tfo of default-server."),
    ("strict-maxconn", "strict_maxconn", True, "Let maxconn limit connections, too: none is kept idle."),
    ("non-stick", "non_stick", True, "Never learn this server in stick tables."),
    ("stick", "non_stick", False, "Undo a non-stick of default-server."),
)


def _switch(name: str, field: str, value: Any, doc: str) -> None:
    def switch(target: _Target, line: Line) -> None:
        target.settings[field] = value

    switch.__doc__ = doc
    keyword("server", name)(switch)


for _choice in _SWITCHES:
    _switch(*_choice)



def _never_on(name: str, what: str) -> None:
    def undo(target: _Target, line: Line) -> None:
        return None

    undo.__doc__ = f"Undo a {what} of default-server."
    keyword("server", name, note=f"forkproxy does not have '{what}' yet, so that it is never on")(undo)


_ABSENT = ("ssl", "check-ssl", "sni-auto", "check-sni-auto", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn", "check-reuse-pool")
for _negation in _ABSENT:
    _never_on(f"no-{_negation}", _negation)


@keyword("server", "id", args=(Word("a number"),))
def _id(target: _Target, line: Line, text: str) -> None:
    """A fixed number for the server, shown as sid and used by hashing."""
    if not target.name:
        line.fail("'id' option is not accepted in default-server sections", line.kwlen - 1)
    if not (text.isascii() and text.isdigit()) or int(text) <= 0:
        line.fail("'id' : custom id has to be > 0.", line.kwlen)
    target.settings["id"] = int(text)


def _at_least_one(name: str, field: str, message: str, doc: str) -> None:
    def count(target: _Target, line: Line, text: str) -> None:
        if not (text.isascii() and text.isdigit()) or int(text) <= 0:
            line.fail(message, line.kwlen)
        target.settings[field] = int(text)

    count.__doc__ = doc
    keyword("server", name, args=(Word("a number"),))(count)


_at_least_one("rise", "check.rise", "'rise' has to be > 0.", "How many good checks in a row bring a server up.")
_at_least_one("fall", "check.fall", "'fall' has to be > 0.", "How many failed checks in a row take a server down.")
_at_least_one("error-limit", "error_limit", "error-limit has to be > 0.", "How many errors in a row trigger on-error (see observe).")


@keyword("server", "agent-port", args=(Int(1, 65535),))
def _agent_port(target: _Target, line: Line, value: int) -> None:
    """The port that the agent listens on."""
    target.settings["agent.port"] = value


@keyword("server", "agent-send", args=(Word("a text"),))
def _agent_send(target: _Target, line: Line, text: str) -> None:
    """What the agent is sent upon connection."""
    target.settings["agent.send"] = text.encode("utf-8", "surrogateescape")


@keyword("server", "agent-addr", args=(Word("<ipv4|ipv6>"),))
def _agent_addr(target: _Target, line: Line, text: str) -> None:
    """The address that the agent listens on, if it is not the server's."""
    target.settings["agent.address"] = _check_address(line, text, "agent-addr")


@keyword("server", "port", args=(Int(0, 65535),))
def _port(target: _Target, line: Line, value: int) -> None:
    """The port that checks go to."""
    target.settings["check.port"] = value


@keyword("server", "addr", args=(Word("<ipv4|ipv6>"),))
def _addr(target: _Target, line: Line, text: str) -> None:
    """The address that checks go to."""
    target.settings["check.address"] = _check_address(line, text, "addr")


def _check_address(line: Line, text: str, name: str) -> Address:
    try:
        address = parse_address(text, allow_port=False, allow_fd=False)[0]
    except ValueError as exc:
        line.fail(f"'{name}' : {exc}.", line.kwlen)
    if address.family == "name":
        found = resolve_host(address.host)
        if found is None:
            line.fail(f"'{name}' : could not resolve address '{address.host}'.", line.kwlen)
        return Address(found[0], found[1], 0)
    return address


@keyword("server", "observe", args=(OneOf("none", "layer4", "layer7"),))
def _observe(target: _Target, line: Line, value: str) -> None:
    """Judge the server's health by its live traffic, too: by connections (layer4), or by answers as well (layer7). See on-error."""
    if value == "layer7" and target.proxy.mode != "http" and target.proxy.kind != "defaults":
        line.fail("'layer7' can only be used in http proxies.", line.kwlen)
    target.settings["observe"] = "" if value == "none" else value


@keyword("server", "tcp-ut", args=(Word("a positive delay in milliseconds"),))
def _tcp_ut(target: _Target, line: Line, text: str) -> None:
    """How long sent bytes may stay unacknowledged before the system gives up the connection."""
    try:
        target.settings["tcp_ut_ms"] = int(units.parse_time(text, "ms") * 1000)
    except units.UnitError:
        line.fail("'tcp-ut' : expects a positive delay in milliseconds.", line.kwlen)


@keyword("server", "namespace", args=(Word("<name>"),), synopsis="<name>")
def _namespace(target: _Target, line: Line, name: str) -> None:
    """The network namespace in which the server is connected to, as ``ip netns`` keeps it. It needs root."""
    if name == "*":
        line.fail("'namespace' : '*' is known to HAProxy, not supported by forkproxy yet", line.kwlen)
    if not namespaces.exists(name):
        line.fail(f"Cannot open namespace '{name}'.", line.kwlen)
    target.settings["namespace"] = name


#: options of the header of version 2, of which the others tell of TLS
_HEADER_OPTIONS = frozenset({"crc32c", "unique-id"})
_OF_TLS = frozenset({"ssl", "cert-cn", "ssl-cipher", "cert-sig", "cert-key", "authority"})


@keyword("server", "proxy-v2-options", args=(Word("a list of options"),), synopsis="{ crc32c | unique-id }[,...]*")
def _proxy_v2_options(target: _Target, line: Line, text: str) -> None:
    """What else ``send-proxy-v2`` tells: a checksum of the header, the unique id of the frontend's ``unique-id-format``."""
    names = text.split(",")
    for name in names:
        if name in _OF_TLS:
            line.fail(f"'proxy-v2-options' : '{name}' is known to HAProxy, not supported by forkproxy yet", line.kwlen)
        if name not in _HEADER_OPTIONS:
            line.fail(f"'{name}' : proxy v2 option not implemented.", line.kwlen)
    target.settings["proxy_options"] = tuple(sorted({*target.settings.get("proxy_options", ()), *names}))


@keyword("server", "init-addr", args=(Word("a list of methods"),), default="last,libc", synopsis="{ last | libc | none | <ip> }[,...]*")
def _init_addr(target: _Target, line: Line, text: str) -> None:
    """Where the address of a server given by name comes from at start: the first method that gives one."""
    methods = tuple(text.split(","))
    for method in methods:
        if method in ("last", "libc", "none"):
            continue
        try:
            if parse_address(method, allow_port=False, resolve=None)[0].family == "name":
                raise ValueError(method)
        except ValueError:
            line.fail(
                f"'init-addr' : unknown init-addr method '{method}', supported methods are 'libc', 'last', 'none'.", line.kwlen
            )
    target.settings["init-addr"] = methods


@keyword("server", "proto", args=(Word("a protocol"),), synopsis="h1")
def _proto(target: _Target, line: Line, text: str) -> None:
    """State the protocol of the server's connections: h1 in HTTP mode, none in TCP mode. Any other is an error."""
    if text in ("h2", "fcgi", "quic", "spop"):
        line.fail(f"'proto' : '{text}' is known to HAProxy, not supported by forkproxy yet", line.kwlen)
    if text not in ("h1", "none"):
        line.fail(f"'proto' :  unknown MUX protocol '{text}'.", line.kwlen)
    target.settings["proto"] = text


@keyword("server", "guid", args=(Word("a text"),))
def _guid(target: _Target, line: Line, text: str) -> None:
    """A global identifier, by which ``stats-file`` knows the server under another name, too."""
    target.settings["guid"] = text
