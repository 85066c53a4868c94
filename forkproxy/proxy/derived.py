"""What frontends and backends derive in the same way from their proxy's plan. Knows plan only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from forkproxy.http.case import adjuster
from forkproxy.http.reader import Limits
from forkproxy.registry import Needs

if TYPE_CHECKING:
    from collections.abc import Callable

    from forkproxy import plan as plans


#: of a proxy's needs: whether its rules look at bodies of requests, and whether they leave it to us to wait for those
BODY_FIRST = Needs.BODY | Needs.BODY_RULED

#: the options that what passes bytes both ways asks for
RELAY = frozenset({"splice-request", "splice-response", "independent-streams"})


def head_limits(settings: plans.Global, relaxed: bool) -> Limits:
    """What the heads of messages may be."""
    options = settings.options
    return Limits(
        head_bytes=settings.bufsize_bytes - settings.maxrewrite_bytes,
        max_fields=settings.maxhdr - 1,
        relaxed=relaxed,
        any_payload="h1-accept-payload-with-any-method" in options,
        keeps_ambiguous="h1-do-not-close-on-insecure-transfer-encoding" in options,
    )


def restriction(plan: plans.Proxy) -> str:
    """What becomes of request fields with unusual names: "delete", "reject", or "" for nothing."""
    policy: str = plan.capabilities.get("restrict-names", "preserve")
    return "" if policy == "preserve" else policy


def case_adjuster(settings: plans.Global, plan: plans.Proxy, option: str) -> Callable[[bytes], bytes] | None:
    """How field names are written where ``option`` asks for another case than the usual one (manual 3.1: h1-case-adjust)."""
    options = settings.options
    names = {**options.get("h1-case-adjust-file", {}), **options.get("h1-case-adjust", {})}
    return adjuster(names) if names and option in plan.options else None


def keepalive_options(plan: plans.Proxy, name: str) -> dict[str, Any]:
    """Arguments for ``net.sockets.keepalive``, empty when the option is off."""
    if name not in plan.options:
        return {}
    more = plan.capabilities
    return {
        "count": int(more.get(f"{name}-cnt", 0)),
        "idle_s": float(more.get(f"{name}-idle", 0.0)),
        "interval_s": float(more.get(f"{name}-intvl", 0.0)),
    }


def naming(field: bytes) -> Callable[[bytes, bytes], bytes]:
    """``name(request, server)``: the request with the server's name in ``field``, and nothing else there (manual 4.2
    "http-send-name-header")."""
    without = re.compile(rb"(?mi)^" + re.escape(field) + rb":.*\n")
    start = field + b": "

    def name(request: bytes, server: bytes) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        return without.sub(b"", head + b"\r\n") + start + server + b"\r\n\r\n" + body

    return name


def address_field(rule: tuple[bytes, Any, bool] | None) -> Callable[[Any, str], bytes] | None:
    """``line(s, address)``: the field that tells ``address`` (options forwardfor, originalto), or nothing where the plan makes an exception
    (except, if-none)."""
    if rule is None:
        return None
    name, excepted, if_none = rule
    form, lower = name.replace(b"%", b"%%") + b": %b\r\n", name.lower()
    if excepted is None and not if_none:
        return lambda s, address: form % address.encode()

    def line(s: Any, address: str) -> bytes:
        if if_none and s.req.get(lower) is not None:
            return b""
        return b"" if excepted is not None and excepted(address) else form % address.encode()

    return line
