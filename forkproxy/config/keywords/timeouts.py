"""``timeout …`` of the proxy sections (manual 4.2): the draft keeps seconds under the field names of ``plan.Timeouts``."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from forkproxy.config.args import Rest, Time
from forkproxy.config.drafts import ProxyDraft
from forkproxy.config.keywords.caps import PROXIES
from forkproxy.config.line import Line
from forkproxy.registry import keyword

FRONT, BACK = 1, 2

#: name, field of plan.Timeouts, sides, reference entry
_TIMEOUTS = (
    ("client", "client_s", FRONT, "Longest inactivity of a client while it is expected to send or take data."),
    ("client-fin", "client_fin_s", FRONT, "The inactivity allowed to a client after one direction was shut (default: timeout client)."),
    ("server", "server_s", BACK, "Longest inactivity of a server while it is expected to send or take data."),
    ("server-fin", "server_fin_s", BACK, "The inactivity allowed to a server after one direction was shut (default: timeout server)."),
    ("connect", "connect_s", BACK, "How long one attempt to connect to a server may take."),
    ("queue", "queue_s", BACK, "How long a stream waits for a free slot of a server (default: timeout connect)."),
    ("check", "check_s", BACK, "How long a connected health check may take to answer (default: inter)."),
    ("tunnel", "tunnel_s", BACK, "Longest inactivity of both sides of a tunnel; replaces client and server timeouts there."),
    ("http-request", "http_request_s", FRONT | BACK, "How long a client has for the whole request head (default: timeout client)."),
    ("http-keep-alive", "http_keep_alive_s", FRONT | BACK, "How long an idle client is kept (default: http-request, then client)."),
    ("tarpit", "tarpit_s", FRONT | BACK, "How long a request is held in the tarpit (default: timeout connect)."),
)


def _register(name: str, attribute: str, sides: int, doc: str) -> None:
    def timeout(draft: ProxyDraft, line: Line, value_s: float) -> None:
        if not ((draft.is_frontend and sides & FRONT) or (draft.is_backend and sides & BACK)):
            missing = "frontend" if sides & FRONT else "backend"
            line.warn(f"'timeout {name}' will be ignored because {draft.kind} '{draft.name}' has no {missing} capability", 1)
            return
        draft.timeouts[attribute] = value_s

    timeout.__doc__ = doc
    keyword(PROXIES, f"timeout {name}", args=(Time("ms"),))(timeout)


for _row in _TIMEOUTS:
    _register(*_row)


@keyword(PROXIES, "timeout client-hs", args=(Time("ms"),), note="forkproxy has no TLS handshake with clients yet; timeout client applies")
def _client_hs(draft: ProxyDraft, line: Line, value_s: float) -> None:
    """How long a client has for its TLS handshake."""


def _former(name: str, now: str) -> Callable[..., None]:
    def former(draft: ProxyDraft, line: Line, start: int) -> NoReturn:
        line.fail(f"the '{name}' directive is not supported anymore since HAProxy 2.1. Use '{now}'.")

    former.__doc__ = f"Former spelling of ``{now}``; refused as by HAProxy."
    return former


for _old, _now in (("clitimeout", "timeout client"), ("srvtimeout", "timeout server"), ("contimeout", "timeout connect")):
    keyword(PROXIES, _old, args=(Rest(),))(_former(_old, _now))


@keyword(PROXIES, "timeout", args=(Rest(),))
def _unknown_timeout(draft: ProxyDraft, line: Line, start: int) -> NoReturn:
    """Catches the names that no timeout has."""
    names = [f"'{row[0]}'" for row in _TIMEOUTS]
    got = line.words[start] if start < len(line.words) else ""
    line.fail(f"'timeout' supports {', '.join(names[:-1])} and {names[-1]} (got '{got}')", start)
