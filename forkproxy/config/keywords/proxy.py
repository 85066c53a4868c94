"""Keywords of the proxy sections that set one value each (manual 4.2): mode, limits, identity, captures, retries, source …"""

from __future__ import annotations

import os
from typing import NoReturn

from forkproxy.config.address import parse_address
from forkproxy.config.args import Int, OneOf, Opt, Rest, Time, Word
from forkproxy.config.drafts import ProxyDraft, RuleDraft
from forkproxy.config.keywords.caps import PROXIES, REAL_PROXIES, backend_side, end_of_line, frontend_side, not_in_defaults
from forkproxy.config.line import Line
from forkproxy.plan import Address
from forkproxy.registry import keyword

MAXINT = 2**31 - 1
RETRY_WORDS = frozenset({"conn-failure", "empty-response", "junk-response", "response-timeout", "0rtt-rejected"})
RETRY_STATUS = frozenset({"401", "403", "404", "408", "421", "425", "429", "500", "501", "502", "503", "504"})
ALL_RETRYABLE = RETRY_WORDS | {"500", "502", "503", "504"}


@keyword(PROXIES, "mode", args=(Rest(),), default="tcp", synopsis="{ tcp | http }")
def _mode(draft: ProxyDraft, line: Line, start: int) -> None:
    """What the proxy understands: bytes (tcp) or requests and responses (http)."""
    mode = line.words[start] if start < len(line.words) else ""
    if mode == "health":
        line.fail("'mode health' doesn't exist anymore. Please use 'http-request return status 200' instead.", start)
    if mode in ("log", "spop", "haterm"):
        line.fail(f"proxy mode '{mode}' is known to HAProxy, not supported by forkproxy yet", start)
    if mode not in ("tcp", "http"):
        line.fail(f"unknown proxy mode '{mode}'.", start)
    end_of_line(line, start + 1)
    draft.mode = mode


@keyword(REAL_PROXIES, "id", args=(Rest(),), synopsis="<number>")
def _id(draft: ProxyDraft, line: Line, start: int) -> None:
    """A fixed number for the proxy, shown as iid; otherwise proxies are numbered in the order of the file."""
    word = line.words[start] if start < len(line.words) else ""
    if not word:
        line.fail("'id' expects an integer argument.", start)
    if not (word.isascii() and word.isdigit()) or not 0 < int(word) <= MAXINT:
        line.fail("custom id has to be > 0.", start)
    end_of_line(line, start + 1)
    draft.id = int(word)


@keyword(REAL_PROXIES, "description", args=(Rest(),), synopsis="<text>")
def _description(draft: ProxyDraft, line: Line, start: int) -> None:
    """A sentence about the proxy for statistics."""
    if start >= len(line.words):
        line.fail("'description' expects a string argument.", start)
    draft.description = " ".join(line.words[start:])


@keyword(PROXIES, "disabled")
def _disabled(draft: ProxyDraft, line: Line) -> None:
    """The proxy is read but not started."""
    draft.disabled = True


@keyword(PROXIES, "enabled")
def _enabled(draft: ProxyDraft, line: Line) -> None:
    """Undo an inherited ``disabled``."""
    draft.disabled = False


@keyword(REAL_PROXIES, "guid", args=(Rest(1),), synopsis="<text>")
def _guid(draft: ProxyDraft, line: Line, start: int) -> None:
    """A global identifier, by which ``stats-file`` knows the proxy under another name, too."""
    end_of_line(line, start + 1)
    draft.settings["guid"] = line.words[start]


@keyword(PROXIES, "maxconn", args=(Int(0, MAXINT),), default=0)
def _maxconn(draft: ProxyDraft, line: Line, value: int) -> None:
    """The most connections of the frontend at a time; more wait in the system's queue."""
    if frontend_side(draft, line, hint=" Maybe you want 'fullconn' instead ?"):
        draft.maxconn = value


@keyword(PROXIES, "backlog", args=(Int(0, MAXINT),), default=0)
def _backlog(draft: ProxyDraft, line: Line, value: int) -> None:
    """How many connections the system may hold for the frontend before they are accepted (0: as many as maxconn)."""
    if frontend_side(draft, line):
        draft.backlog = value


@keyword(PROXIES, "fullconn", args=(Int(0, MAXINT),))
def _fullconn(draft: ProxyDraft, line: Line, value: int) -> None:
    """The number of the backend's streams at which servers with ``minconn`` get their full ``maxconn``."""
    if backend_side(draft, line, hint=" Maybe you want 'maxconn' instead ?"):
        draft.fullconn = value


@keyword(PROXIES, "retries", args=(Int(0, MAXINT),), default=3)
def _retries(draft: ProxyDraft, line: Line, value: int) -> None:
    """How many more attempts follow a failed one."""
    if backend_side(draft, line):
        draft.retries = value


@keyword(PROXIES, "retry-on", args=(Rest(),), default="conn-failure", synopsis="[ none | conn-failure | … | <status> ]*")
def _retry_on(draft: ProxyDraft, line: Line, start: int) -> None:
    """What is worth another attempt."""
    if not draft.is_backend:
        line.fail("'retry-on' only available in backend or listen section")
    words = line.words[start:]
    if not words:
        line.fail("'retry-on' needs at least one keyword to specify when to retry", start)
    chosen: set[str] = set()
    for index, word in enumerate(words, start):
        if word == "none":
            if len(words) > 1:
                line.fail("'retry-on' 'none' keyword only usable alone", index)
        elif word == "all-retryable-errors":
            chosen |= ALL_RETRYABLE
        elif word in RETRY_WORDS or word in RETRY_STATUS:
            chosen.add(word)
        else:
            line.fail(f"'retry-on': unknown keyword '{word}'", index)
    draft.retry_on = frozenset(chosen)


@keyword(PROXIES, "http-reuse", args=(Rest(),), default="safe", synopsis="{ never | safe | aggressive | always }")
def _http_reuse(draft: ProxyDraft, line: Line, start: int) -> None:
    """When a request may travel over an idle server connection that another client's request opened."""
    if not backend_side(draft, line):
        return
    word = line.words[start] if start < len(line.words) else ""
    if word not in ("never", "safe", "aggressive", "always"):
        line.fail("'http-reuse' only supports 'never', 'safe', 'aggressive', 'always'.", start)
    end_of_line(line, start + 1)
    draft.http_reuse = word


@keyword(PROXIES, "default_backend", args=(Rest(),), synopsis="<backend>")
def _default_backend(draft: ProxyDraft, line: Line, start: int) -> None:
    """The backend for what no ``use_backend`` rule sends elsewhere."""
    if not frontend_side(draft, line):
        return
    if start >= len(line.words) or not line.words[start]:
        line.fail("'default_backend' expects a backend name.", start)
    end_of_line(line, start + 1)
    draft.default_backend = RuleDraft("default_backend", line, start)


@keyword(PROXIES, "monitor-uri", args=(Rest(),), synopsis="<uri>")
def _monitor_uri(draft: ProxyDraft, line: Line, start: int) -> None:
    """Requests for exactly this URI are answered by the frontend itself: 200, or 503 when a ``monitor fail`` holds."""
    if not frontend_side(draft, line):
        return
    if start >= len(line.words) or not line.words[start]:
        line.fail("'monitor-uri' expects an URI.", start)
    end_of_line(line, start + 1)
    draft.monitor_uri = line.words[start].encode("utf-8", "surrogateescape")


@keyword(PROXIES, "monitor-net", args=(Rest(),))
def _monitor_net(draft: ProxyDraft, line: Line, start: int) -> NoReturn:
    """Refused as by HAProxy, with what replaces it."""
    net = line.words[start] if start < len(line.words) else "<network>"
    line.fail(f"'monitor-net' doesn't exist anymore. Please use 'http-request return status 200 if {{ src {net} }}' instead.")


@keyword(PROXIES, "rate-limit sessions", args=(Int(0, MAXINT),))
def _rate_limit(draft: ProxyDraft, line: Line, value: int) -> None:
    """The most new sessions per second of the frontend; more wait in the system's queue. 0: no limit."""
    if not draft.is_frontend:
        line.warn(f"rate-limit sessions will be ignored because backend '{draft.name}' has no frontend capability")
        return
    draft.rate_limit_sessions = value


@keyword(PROXIES, "rate-limit", args=(Rest(),))
def _rate_limit_unknown(draft: ProxyDraft, line: Line, start: int) -> NoReturn:
    """Catches what ``rate-limit`` does not have."""
    got = line.words[start] if start < len(line.words) else ""
    line.fail(f"'rate-limit' only supports 'sessions' (got '{got}')", start)


def _capture_spec(line: Line, start: int, usage: str) -> tuple[bytes, int]:
    words = line.words[start:]
    if len(words) < 3 or not words[0] or words[1] != "len" or not (words[2].isascii() and words[2].isdigit()):
        line.fail(f"'capture{usage}", min(start + len(words), len(line.words)) - 1)
    return os.fsencode(words[0]), int(words[2])


def _capture_headers(direction: str, slots: str, doc: str) -> None:
    def capture(draft: ProxyDraft, line: Line, start: int) -> None:
        not_in_defaults(draft, line)
        if not frontend_side(draft, line):
            return
        spec = _capture_spec(line, start, f" {direction}' expects 'header' <header_name> 'len' <len>.")
        if start + 3 < len(line.words):
            line.fail(f"'capture {direction}' cannot handle unexpected argument '{line.words[start + 3]}'.", start + 3)
        name, length = spec
        getattr(draft, slots).append((name.lower(), length))

    capture.__doc__ = doc
    keyword(PROXIES, f"capture {direction} header", args=(Rest(),), synopsis="<name> len <length>")(capture)


_capture_headers("request", "capture_request", "Keep the first ``len`` bytes of a request header for the log.")
_capture_headers("response", "capture_response", "Keep the first ``len`` bytes of a response header for the log.")


@keyword(PROXIES, "capture cookie", args=(Rest(),), synopsis="<name>[=] len <length>")
def _capture_cookie(draft: ProxyDraft, line: Line, start: int) -> None:
    """Keep one cookie of request and response for the log: the first whose name begins with ``name`` (is ``name``, with an equal sign)."""
    not_in_defaults(draft, line)
    if not frontend_side(draft, line):
        return
    name, length = _capture_spec(line, start, "' expects 'cookie' <cookie_name> 'len' <len>.")
    end_of_line(line, start + 3)
    exact = name.endswith(b"=")
    draft.capture_cookie = (name[:-1] if exact else name, length, not exact)


@keyword(REAL_PROXIES, "declare capture", args=(OneOf("request", "response"), OneOf("len"), Int(1, MAXINT)))
def _declare_capture(draft: ProxyDraft, line: Line, direction: str, _len: str, length: int) -> None:
    """Reserve a slot that rules capture into by its number."""
    if not draft.is_frontend:
        line.fail("'declare capture' only available in frontend or listen section")
    (draft.capture_request if direction == "request" else draft.capture_response).append((b"", length))


@keyword(PROXIES, "capture", args=(Rest(),))
def _capture_unknown(draft: ProxyDraft, line: Line, start: int) -> NoReturn:
    """Catches what ``capture`` does not have."""
    line.fail("'capture' expects 'cookie' or 'request header' or 'response header'.", start)


def address_word(line: Line, index: int, shown: str, *, allow_port: bool = True) -> Address:
    """The one address that word ``index`` spells."""
    try:
        return parse_address(line.words[index], default_port=0, allow_port=allow_port, allow_fd=False)[0]
    except ValueError as exc:
        line.fail(f"'{shown}' : {exc}", index)


@keyword(PROXIES, "http-send-name-header", args=(Rest(),), synopsis="<header>")
def _send_name_header(draft: ProxyDraft, line: Line, start: int) -> None:
    """Tell each server its name in this field of its requests, in the place of what a client says there."""
    name = line.words[start] if start < len(line.words) else ""
    if not name:
        line.fail("'http-send-name-header' requires a header string.", start)
    end_of_line(line, start + 1)
    if name.lower() in ("host", "content-length", "transfer-encoding", "connection"):
        line.fail(f"'http-send-name-header' cannot be used with the header '{name}'.", start)
    if backend_side(draft, line):
        draft.settings["name-header"] = os.fsencode(name.lower())


@keyword(PROXIES, "transparent")
def _transparent(draft: ProxyDraft, line: Line) -> None:
    """The older form of ``option transparent``."""
    if backend_side(draft, line):
        draft.options["transparent"] = True


@keyword(PROXIES, "dispatch", args=(Rest(),), synopsis="<addr>:<port>")
def _dispatch(draft: ProxyDraft, line: Line, start: int) -> None:
    """The one address that everything goes to; a server of weight 1 without a check does the same and counts."""
    not_in_defaults(draft, line)
    if not backend_side(draft, line):
        return
    if start >= len(line.words):
        line.fail("'dispatch' expects <ipaddress>:<port> as argument.", start)
    try:
        address = parse_address(line.words[start], default_port=None, allow_fd=False)[0]
    except ValueError as exc:
        line.fail(f"'dispatch' : {exc}", start)
    end_of_line(line, start + 1)
    draft.dispatch = (line, address)


def _keepalive(side: str, which: str, arg: Int | Time, doc: str) -> None:
    name = f"{side}tcpka-{which}"

    def tune(draft: ProxyDraft, line: Line, value: float) -> None:
        if (frontend_side if side == "cli" else backend_side)(draft, line):
            draft.settings[name] = int(value)

    tune.__doc__ = doc
    keyword(PROXIES, name, args=(arg,))(tune)


for _side, _who in (("cli", "clients"), ("srv", "servers")):
    _keepalive(_side, "cnt", Int(1, 127), f"Unanswered keep-alive probes after which a connection to {_who} counts as dead.")
    _keepalive(_side, "idle", Time("s"), f"Idle time before the first keep-alive probe towards {_who} (whole seconds).")
    _keepalive(_side, "intvl", Time("s"), f"Time between keep-alive probes towards {_who} (whole seconds).")


@keyword(PROXIES, "max-keep-alive-queue", args=(Int(-1, MAXINT),), default=-1)
def _max_keep_alive_queue(draft: ProxyDraft, line: Line, value: int) -> None:
    """The length of a server's queue from which on a kept-alive client is no longer held to that server; -1: none."""
    if backend_side(draft, line):
        draft.settings["max-keep-alive-queue"] = value


@keyword(PROXIES, "max-session-srv-conns", args=(Int(0, MAXINT),), default="5")
def _max_session_srv_conns(draft: ProxyDraft, line: Line, value: int) -> None:
    """How many idle connections, each to another server, are kept for one client alone (``http-reuse never``, NTLM)."""
    if frontend_side(draft, line):
        draft.settings["max-session-srv-conns"] = value


@keyword(PROXIES, "load-server-state-from-file", args=(OneOf("global", "local", "none"),), default="none")
def _load_server_state(draft: ProxyDraft, line: Line, where: str) -> None:
    """Where server states are read from at start: the file of the global section, one of the backend's own, or none. A reload keeps the
    states that it knows."""
    if backend_side(draft, line):
        draft.settings["load-server-state"] = where


@keyword(PROXIES, "server-state-file-name", args=(Opt(Word("a file name"), ""),), synopsis="[ use-backend-name | <file> ]")
def _server_state_file_name(draft: ProxyDraft, line: Line, name: str) -> None:
    """The backend's own file of server states (default: the backend's name), for ``load-server-state-from-file local``."""
    if backend_side(draft, line):
        draft.settings["server-state-file-name"] = "" if name == "use-backend-name" else name


def _gone(name: str, advice: str) -> None:
    def gone(draft: ProxyDraft, line: Line, start: int) -> NoReturn:
        line.fail(advice)

    gone.__doc__ = "Refused as by HAProxy, with what replaces it."
    keyword(PROXIES, name, args=(Rest(),))(gone)


_gone("grace", "the 'grace' keyword is not supported any more since HAProxy version 2.5.")
_gone("bind-process", "the 'bind-process' keyword is not supported any more since HAProxy version 2.7.")
_gone("redispatch", "keyword 'redispatch' directive is not supported anymore since HAProxy 2.1. Use 'option redispatch'.")
