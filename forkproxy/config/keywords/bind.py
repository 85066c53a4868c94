"""``bind`` lines and their options (manual 4.2 "bind", 5.1). The options also serve ``stats socket`` and other listening lines."""

from __future__ import annotations

import grp
import pwd

from forkproxy.config.address import parse_addresses
from forkproxy.config.args import Rest, Word
from forkproxy.config.drafts import BindDraft, ProxyDraft
from forkproxy.config.keywords.caps import PROXIES, frontend_side, not_in_defaults
from forkproxy.config.keywords.inline import read_options
from forkproxy.config.line import Line
from forkproxy.config.units import UnitError, parse_time
from forkproxy.registry import keyword


@keyword(PROXIES, "bind", args=(Rest(),), synopsis="<address>[, ...] [param*]")
def _bind(draft: ProxyDraft, line: Line, start: int) -> None:
    """Listen on one or several addresses."""
    not_in_defaults(draft, line)
    if not frontend_side(draft, line):
        return
    if start >= len(line.words) or not line.words[start]:
        line.fail("'bind' expects {<path>|[addr1]:port1[-end1]}{,[addr]:port[-end]}... as arguments.", start)
    draft.binds.append(read_bind(line, start, f"'bind {line.words[start]}' in section '{line.section}'"))


def read_bind(line: Line, index: int, shown: str) -> BindDraft:
    """The bind whose addresses stand at word ``index`` and whose options follow. Raises ConfigError."""
    try:
        addresses = parse_addresses(line.words[index])
    except ValueError as exc:
        line.fail(f"'bind' : {exc}", index)
    bind = BindDraft(line, addresses)
    read_options("bind", bind, line, index + 1, shown)
    return bind


def _number(line: Line, text: str, what: str = "an integer argument") -> int:
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit()):
        line.fail(f"'{line.keyword}' : expects {what}, found '{text}'", line.kwlen)
    return int(text)


def _switch(name: str, field: str, doc: str) -> None:
    def switch(bind: BindDraft, line: Line) -> None:
        bind.settings[field] = True

    switch.__doc__ = doc
    keyword("bind", name)(switch)


_switch("accept-proxy", "accept_proxy", "Expect a PROXY protocol header before anything else on every connection.")
_switch("defer-accept", "defer_accept", "Accept a connection only once its first bytes are there.")
_switch("tfo", "tfo", "Take data in the first packet (TCP fast open).")
_switch("transparent", "transparent", "Accept connections to addresses that this machine does not have.")
_switch("v4v6", "v4v6", "Let the IPv6 wildcard accept IPv4 clients too.")
_switch("v6only", "v6only", "Keep IPv4 clients away from the IPv6 wildcard.")


@keyword("bind", "tcp-ss", args=(Word("1 or 2"),))
def _tcp_ss(bind: BindDraft, line: Line, value: str) -> None:
    """Let the kernel keep the first packet of every connection for fc_saved_syn: 1 its IP and TCP headers, 2 its Ethernet header too."""
    if value not in ("1", "2"):
        line.fail(f"'{line.keyword}' : expects 1 or 2, found '{value}'", line.kwlen)
    bind.settings["save_syn"] = int(value)


def _text(name: str, field: str, what: str, doc: str) -> None:
    def text(bind: BindDraft, line: Line, value: str) -> None:
        bind.settings[field] = value

    text.__doc__ = doc
    keyword("bind", name, args=(Word(what),))(text)


_text("interface", "interface", "an interface name", "Listen on one network interface only.")
_text("name", "name", "a name", "The name of the listener in statistics.")
_text("namespace", "namespace", "a namespace id", "Listen in a network namespace.")


@keyword("bind", "id", args=(Word("an integer"),))
def _id(bind: BindDraft, line: Line, text: str) -> None:
    """A fixed number for the listener in statistics."""
    value = _number(line, text)
    if value <= 0:
        line.fail("'id' : custom id has to be > 0", line.kwlen)
    bind.settings["id"] = value


def _positive(name: str, field: str, doc: str) -> None:
    def positive(bind: BindDraft, line: Line, text: str) -> None:
        value = _number(line, text)
        if value < 0:
            line.fail(f"'{name}' : invalid value {value}, must be > 0", line.kwlen)
        bind.settings[field] = value

    positive.__doc__ = doc
    keyword("bind", name, args=(Word("an integer"),))(positive)


_positive("backlog", "backlog", "How many connections the system may hold before they are accepted.")
_positive("maxconn", "maxconn", "The most connections over this listener at a time.")


@keyword("bind", "mss", args=(Word("a number"),))
def _mss(bind: BindDraft, line: Line, text: str) -> None:
    """The segment size announced to clients; negative: that much less than usual."""
    digits = text.lstrip("-")
    if not (digits.isascii() and digits.isdigit()) or not 1 <= int(digits) <= 65535:
        line.fail("'mss' : expects an MSS with and absolute value between 1 and 65535", line.kwlen)
    bind.settings["mss"] = int(text)


@keyword("bind", "nice", args=(Word("a number"),), note="forkproxy serves all streams of a worker in turn")
def _nice(bind: BindDraft, line: Line, text: str) -> None:
    """How much the listener's streams give way to others (positive) or go before them (negative)."""
    value = _number(line, text)
    if not -1024 <= value <= 1024:
        line.fail(f"'nice' : invalid value {value}, allowed range is -1024..1024", line.kwlen)


@keyword("bind", "tcp-ut", args=(Word("a positive delay in milliseconds"),))
def _tcp_ut(bind: BindDraft, line: Line, text: str) -> None:
    """How long sent bytes may stay unacknowledged before the system gives up the connection."""
    try:
        bind.settings["tcp_ut_ms"] = int(parse_time(text, "ms") * 1000)
    except UnitError:
        line.fail("'tcp-ut' : expects a positive delay in milliseconds", line.kwlen)


@keyword("bind", "mode", args=(Word("an octal mode"),))
def _mode(bind: BindDraft, line: Line, text: str) -> None:
    """The permissions of a unix socket, in octal."""
    try:
        mode = int(text, 8)
        if not text.isdigit() or mode > 0o7777:
            raise ValueError(text)
    except ValueError:
        line.fail(f"'mode' : missing or invalid mode '{text}' (octal integer expected)", line.kwlen)
    bind.settings["mode"] = mode


@keyword("bind", "uid", args=(Word("a user id"),))
def _uid(bind: BindDraft, line: Line, text: str) -> None:
    """The owner of a unix socket, by number."""
    bind.settings["uid"] = _number(line, text)


@keyword("bind", "gid", args=(Word("a group id"),))
def _gid(bind: BindDraft, line: Line, text: str) -> None:
    """The group of a unix socket, by number."""
    bind.settings["gid"] = _number(line, text)


@keyword("bind", "user", args=(Word("a user name"),))
def _user(bind: BindDraft, line: Line, text: str) -> None:
    """The owner of a unix socket."""
    try:
        bind.settings["uid"] = pwd.getpwnam(text).pw_uid
    except KeyError:
        line.fail(f"'user' : unknown user name '{text}'", line.kwlen)


@keyword("bind", "group", args=(Word("a group name"),))
def _group(bind: BindDraft, line: Line, text: str) -> None:
    """The group of a unix socket."""
    try:
        bind.settings["gid"] = grp.getgrnam(text).gr_gid
    except KeyError:
        line.fail(f"'group' : unknown group name '{text}'", line.kwlen)


@keyword("bind", "level", args=(Word("a level"),), default="operator", synopsis="{ user | operator | admin }")
def _level(bind: BindDraft, line: Line, text: str) -> None:
    """What the users of a CLI socket may do."""
    if text not in ("user", "operator", "admin"):
        line.fail(f"'level' only supports 'user', 'operator', and 'admin' (got '{text}')", line.kwlen)
    bind.settings["level"] = text


@keyword("bind", "severity-output", args=(Word("a format"),), default="none", synopsis="{ none | number | string }")
def _severity_output(bind: BindDraft, line: Line, text: str) -> None:
    """How a CLI socket marks the severity of its answers."""
    if text not in ("none", "number", "string"):
        line.fail(f"'severity-output' only supports 'none', 'number', and 'string' (got '{text}')", line.kwlen)
    bind.settings.setdefault("options", {})["severity-output"] = text


@keyword("bind", "expose-fd", args=(Word("a fd type"),), synopsis="listeners")
def _expose_fd(bind: BindDraft, line: Line, text: str) -> None:
    """Let another process fetch our listening sockets over this CLI socket."""
    if text != "listeners":
        line.fail(f"'expose-fd' only supports 'listeners' (got '{text}')", line.kwlen)
    bind.settings["expose_fd_listeners"] = True


@keyword("bind", "proto", args=(Word("a protocol"),), synopsis="h1")
def _proto(bind: BindDraft, line: Line, text: str) -> None:
    """State the protocol of the clients' connections: h1 in HTTP mode, none in TCP mode. Any other is an error."""
    if text in ("h2", "fcgi", "quic", "spop"):
        line.fail(f"'proto' : '{text}' is known to HAProxy, not supported by forkproxy yet", line.kwlen)
    if text not in ("h1", "none"):
        line.fail(f"'proto' :  unknown MUX protocol '{text}'", line.kwlen)
    bind.settings["proto"] = text


def _tuning(name: str, what: str, doc: str) -> None:
    def tuning(bind: BindDraft, line: Line, value: str) -> None:
        return None

    tuning.__doc__ = doc
    note = "every worker of forkproxy accepts on every listener; the kernel spreads connections"
    keyword("bind", name, args=(Word(what),), note=note)(tuning)


_tuning("process", "a set of processes", "Which processes and threads listen.")
_tuning("thread", "a set of threads", "Which threads listen.")
_tuning("shards", "a number", "Into how many sockets the listener is split.")


@keyword("bind", "guid-prefix", args=(Word("a prefix"),))
def _guid_prefix(bind: BindDraft, line: Line, value: str) -> None:
    """What the listeners' global identifiers begin with, by which ``stats-file`` knows them; then ``-`` and their number on the line."""
    bind.settings["guid-prefix"] = value
