"""``option …`` of the proxy sections (manual 4.2, "option"): switches in one table, options with arguments as functions.

A switch ends up in ``plan.Proxy.options`` when it is on; what it does is said in its row and done in the rooms that look it up there.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from forkproxy.config.args import Rest
from forkproxy.config.drafts import ProxyDraft, RuleDraft
from forkproxy.config.keywords.caps import PROXIES, backend_side, end_of_line, frontend_side
from forkproxy.config.line import Line
from forkproxy.registry import keyword

FRONT, BACK = 1, 2
BOTH = FRONT | BACK

#: name, sides, needs HTTP mode, reference entry
SWITCHES: tuple[tuple[str, int, bool, str], ...] = (
    ("abortonclose", BOTH, False, "A client that closes while it waits aborts its request, in the queue too."),
    ("accept-unsafe-violations-in-http-request", FRONT, True, "Relax the validation of requests where that is known to be needed."),
    ("accept-unsafe-violations-in-http-response", BACK, True, "Relax the validation of responses where that is known to be needed."),
    ("allbackups", BACK, False, "Balance over all backup servers when the others are down, not only the first one."),
    ("checkcache", BACK, True, "Refuse with a 502 responses that set a cookie and that caches would store."),
    ("clitcpka", FRONT, False, "TCP keep-alive probes towards clients."),
    ("contstats", FRONT, False, "Count bytes while they flow, not when the stream ends."),
    ("disable-h2-upgrade", FRONT, True, "Never upgrade a clear-text client to HTTP/2."),
    ("dontlog-normal", FRONT, False, "Log only streams that had an error, a timeout, a retry or a redispatch, or a status from 500."),
    ("dontlognull", FRONT, False, "Do not log connections on which nothing was exchanged."),
    ("h1-case-adjust-bogus-client", FRONT, True, "Write field names to clients in the case that ``h1-case-adjust`` tells."),
    ("h1-case-adjust-bogus-server", BACK, True, "Write field names to servers in the case that ``h1-case-adjust`` tells."),
    ("http-buffer-request", BOTH, True, "Wait for the whole request body, or a full buffer, before rules and server choice go on."),
    ("http-drop-request-trailers", BACK, True, "Do not send servers the fields that follow a chunked request body."),
    ("http-drop-response-trailers", FRONT, True, "Do not send clients the fields that follow a chunked response body."),
    ("http-ignore-probes", FRONT, True, "Close silently, without log or 400/408, clients that send nothing."),
    ("http-no-delay", BOTH, True, "Ask for the lowest latency on both sides; forkproxy never delays segments (TCP_NODELAY)."),
    ("http-pretend-keepalive", BACK, True, "Announce keep-alive to servers even when the connection will be closed."),
    ("http-use-proxy-header", FRONT, True, "Ask clients for proxy credentials (407) when their request's target is not a path."),
    ("idle-close-on-response", FRONT, True, "At a soft stop, close idle clients only after their next response."),
    ("independent-streams", BOTH, False, "Sending does not refresh the timeout of receiving on the same side."),
    ("log-health-checks", BACK, False, "Log every change in a check's result, not only state changes."),
    ("log-separate-errors", FRONT, False, "Raise the level of logs of erroneous streams from info to err."),
    ("logasap", FRONT, False, "Log as soon as the response head is there; total time and bytes get a leading plus sign."),
    ("nolinger", BOTH, False, "Close with a reset, leaving no TIME_WAIT behind."),
    ("persist", BACK, False, "Send streams with persistence to their server even while it is down."),
    ("prefer-last-server", BACK, True, "Stay on the server of the client connection's previous request where balancing allows it."),
    ("socket-stats", FRONT, False, "Keep counters per listening socket too."),
    ("splice-auto", BOTH, False, "Let the proxy decide when to move bytes with splice."),
    ("splice-request", BOTH, False, "Always splice from client to server when possible."),
    ("splice-response", BOTH, False, "Always splice from server to client when possible."),
    ("srvtcpka", BACK, False, "TCP keep-alive probes towards servers."),
    ("tcp-smart-accept", FRONT, False, "Save an acknowledgement by delaying it until the request was processed."),
    ("tcp-smart-connect", BACK, False, "Save a packet by connecting with the first data or delayed acknowledgement."),
    ("transparent", BACK, False, "Without a server, connect to the address that the client meant."),
)

#: switches whose effect forkproxy has anyway: what is said about them
NOTES = {
    "disable-h2-upgrade": "forkproxy speaks HTTP/1 to clients",
    "http-no-delay": "forkproxy never delays segments",
    "splice-auto": "forkproxy always decides by itself when to move bytes with splice",
    "idle-close-on-response": "at a soft stop forkproxy always answers one more request of an idle client before it closes",
}

HTTP_ONLY = frozenset(name for name, _, http, _ in SWITCHES if http)
FRONT_ONLY = frozenset(name for name, sides, _, _ in SWITCHES if sides == FRONT)
BACK_ONLY = frozenset(name for name, sides, _, _ in SWITCHES if sides == BACK)


def _allowed(draft: ProxyDraft, line: Line, sides: int, name: str) -> bool:
    if sides == FRONT:
        return frontend_side(draft, line, name)
    return sides != BACK or backend_side(draft, line, name)


def _switch(name: str, sides: int, doc: str, note: str = "", stored: str = "") -> None:
    stored = stored or name

    def switch(draft: ProxyDraft, line: Line) -> None:
        if not _allowed(draft, line, sides, name):
            return
        if line.default:
            draft.options.pop(stored, None)
        else:
            draft.options[stored] = not line.negated

    switch.__doc__ = doc
    keyword(PROXIES, f"option {name}", note=note)(switch)


for _name, _sides, _http, _doc in SWITCHES:
    _switch(_name, _sides, _doc, NOTES.get(_name, ""))
_switch("use-small-buffers", BACK, "Use small buffers where they suffice.", "forkproxy allocates what a message needs")


for _side, _of in (("request", FRONT), ("response", BACK)):
    _new = f"accept-unsafe-violations-in-http-{_side}"
    _switch(f"accept-invalid-http-{_side}", _of, f"Former name of ``{_new}``.", f"please write '{_new}'", _new)


def _no_negation(line: Line) -> None:
    if line.negated or line.default:
        line.fail(f"negation/default is not supported for option '{line.words[1]}'.", 1)


@keyword(PROXIES, "option http-use-htx", note="messages have one form inside, as in HAProxy since 2.1")
def _http_use_htx(draft: ProxyDraft, line: Line) -> None:
    """Once chose between two forms of messages inside HAProxy."""


@keyword(PROXIES, "option tcpka")
def _tcpka(draft: ProxyDraft, line: Line) -> None:
    """TCP keep-alive probes on both sides: ``clitcpka`` and ``srvtcpka`` together."""
    _no_negation(line)
    if draft.is_frontend:
        draft.options["clitcpka"] = True
    if draft.is_backend:
        draft.options["srvtcpka"] = True


def _connection_mode(name: str, mode: str, doc: str, note: str = "") -> None:
    def choose(draft: ProxyDraft, line: Line) -> None:
        if line.default or (line.negated and draft.connection_mode == mode):
            draft.connection_mode = "keep-alive"
        elif not line.negated:
            draft.connection_mode = mode

    choose.__doc__ = doc
    keyword(PROXIES, f"option {name}", note=note)(choose)


_connection_mode("http-keep-alive", "keep-alive", "Keep connections on both sides after a response (the default).")
_connection_mode("http-server-close", "http-server-close", "Keep the client's connection, close the server's after each response.")
_connection_mode("httpclose", "httpclose", "Close both sides after each response.")
_connection_mode(
    "forceclose", "httpclose", "Former name of ``httpclose``.",
    "please write 'option httpclose'; HAProxy has refused this name since 2.0",
)  # fmt: skip
_connection_mode(
    "http-tunnel", "tunnel", "Look at the first request and response of a connection only, then pass bytes on as they are.",
    "what follows the first exchange meets no rule and no log; HAProxy has refused this since 2.1",
)  # fmt: skip


@keyword(PROXIES, "option redispatch", args=(Rest(),), synopsis="[ <interval> ]")
def _redispatch(draft: ProxyDraft, line: Line, start: int) -> None:
    """Let a retry go to another server: every ``interval`` retries, or (negative) counted from the last one."""
    if not backend_side(draft, line, "redispatch"):
        return
    if line.default:
        draft.redispatch = None
        return
    if line.negated:
        draft.redispatch = 0
        return
    draft.redispatch = -1
    if start < len(line.words):
        try:
            draft.redispatch = int(line.words[start])
        except ValueError:
            line.fail(f"'option redispatch' expects an integer argument (got '{line.words[start]}').", start)
        end_of_line(line, start + 1)


def network_test(text: str) -> Callable[[str], bool]:
    """``test(address as text) -> bool`` for ``address[/mask]``. Raises ValueError."""
    host, slash, mask = text.partition("/")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bits = 128 if family == socket.AF_INET6 else 32
    try:
        raw = socket.inet_pton(family, host)
        if "." in mask and family == socket.AF_INET:
            wanted = int.from_bytes(socket.inet_pton(family, mask), "big")
        else:
            length = int(mask) if slash else bits
            if not 0 <= length <= bits:
                raise ValueError("prefix length out of range")
            wanted = ((1 << length) - 1) << (bits - length)
    except OSError:
        raise ValueError(f"invalid network '{text}'") from None
    network = int.from_bytes(raw, "big") & wanted

    def test(address: str) -> bool:
        try:
            return int.from_bytes(socket.inet_pton(family, address), "big") & wanted == network
        except OSError:
            return False

    return test


def _address_header(line: Line, start: int, header: bytes, words: tuple[str, ...]) -> tuple[bytes, Callable[[str], bool] | None, bool]:
    name = line.words[1]
    excepted: Callable[[str], bool] | None = None
    if_none = False
    index = start
    while index < len(line.words):
        word = line.words[index]
        value = line.words[index + 1] if index + 1 < len(line.words) else ""
        if word == "except":
            try:
                excepted = network_test(value)
            except ValueError:
                line.fail(f"'option {name} except' expects <address>[/mask] as argument.", index + 1)
            index += 2
        elif word == "header":
            if not value:
                line.fail(f"'option {name} header' expects <header_name> as argument.", index + 1)
            header = os.fsencode(value)
            index += 2
        elif word == "if-none" and "if-none" in words:
            if_none = True
            index += 1
        else:
            listed = ", ".join(f"'{w}'" for w in words[:-1]) + f" and '{words[-1]}'"
            line.fail(f"'option {name}' only supports optional values: {listed}.", index)
    return header, excepted, if_none


@keyword(PROXIES, "option forwardfor", args=(Rest(),), synopsis="[ except <network> ] [ header <name> ] [ if-none ]")
def _forwardfor(draft: ProxyDraft, line: Line, start: int) -> None:
    """Add the client's address to the request in X-Forwarded-For, or in the header named."""
    _no_negation(line)
    draft.forwardfor = _address_header(line, start, b"x-forwarded-for", ("except", "header", "if-none"))


@keyword(
    PROXIES, "option forwarded", args=(Rest(),),
    synopsis="[ proto ] [ host | host-expr <expr> ] [ by | by-expr <expr> ] [ by_port | by_port-expr <expr> ] [ for | for-expr <expr> ] "
    "[ for_port | for_port-expr <expr> ]",
)  # fmt: skip
def _forwarded(draft: ProxyDraft, line: Line, start: int) -> None:
    """Add a Forwarded field to requests (RFC 7239); without words as with ``proto for``."""
    if backend_side(draft, line, "forwarded"):
        draft.settings["forwarded"] = None if line.negated or line.default else RuleDraft("option forwarded", line, start)


@keyword(PROXIES, "option originalto", args=(Rest(),), synopsis="[ except <network> ] [ header <name> ]")
def _originalto(draft: ProxyDraft, line: Line, start: int) -> None:
    """Add the address that the client connected to in X-Original-To, or in the header named."""
    _no_negation(line)
    draft.originalto = _address_header(line, start, b"x-original-to", ("except", "header"))


_FORMAT_NAMES = {
    "httplog": "option httplog", "clf": "option httplog clf", "tcplog": "option tcplog", "tcpclf": "option tcplog clf",
    "httpslog": "option httpslog", "custom": "log-format",
}  # fmt: skip


def choose_log_format(draft: ProxyDraft, line: Line, kind: str) -> bool:
    """Note which log format rules from here on; False where it has no effect."""
    if not draft.is_frontend:
        shown = f"'{line.keyword}'" if kind == "custom" else f"'option {line.words[1]}'"
        line.warn(f"backend '{draft.name}' : {shown} directive is ignored in backends.")
        return False
    before, now = draft.log_format_kind, _FORMAT_NAMES[kind].removesuffix(" clf")
    if before and before != kind and draft.kind == "defaults":
        line.warn(f"'{now}' overrides previous '{_FORMAT_NAMES[before]}' in 'defaults' section.")
    draft.log_format_kind = kind
    draft.settings["log-format-line"] = line
    draft.log_format = None
    return True


def _clf(line: Line, start: int) -> bool:
    if start >= len(line.words):
        return False
    if line.words[start] != "clf":
        line.fail(f"keyword '{line.words[1]}' only supports option 'clf'.", start)
    end_of_line(line, start + 1)
    return True


@keyword(PROXIES, "option httplog", args=(Rest(),), synopsis="[ clf ]")
def _httplog(draft: ProxyDraft, line: Line, start: int) -> None:
    """Log requests in HAProxy's HTTP format, or in the common log format."""
    _no_negation(line)
    choose_log_format(draft, line, "clf" if _clf(line, start) else "httplog")


@keyword(PROXIES, "option tcplog", args=(Rest(),), synopsis="[ clf ]")
def _tcplog(draft: ProxyDraft, line: Line, start: int) -> None:
    """Log connections in HAProxy's TCP format, or in the common log format."""
    _no_negation(line)
    choose_log_format(draft, line, "tcpclf" if _clf(line, start) else "tcplog")


@keyword(PROXIES, "option httpslog")
def _httpslog(draft: ProxyDraft, line: Line) -> None:
    """Log requests in HAProxy's HTTPS format."""
    _no_negation(line)
    choose_log_format(draft, line, "httpslog")
