"""What a file does not say and a plan must: fall-backs of timeouts, limits that follow from other sections, cookies with their keys."""

from __future__ import annotations

from collections.abc import Mapping

from forkproxy.config.drafts import ProxyDraft
from forkproxy.plan import Backend, Cookie, Frontend, Timeouts
from forkproxy.values import replace


def timeouts(said: Mapping[str, float]) -> Timeouts:
    """The timeouts in force: what is not said, or said to be 0, falls back as the manual has it (4.2, each "timeout …")."""
    get = said.get
    client, server, connect = get("client_s") or None, get("server_s") or None, get("connect_s") or None
    request = get("http_request_s") or client
    return Timeouts(
        client_s=client,
        server_s=server,
        connect_s=connect,
        queue_s=get("queue_s") or connect,
        http_request_s=request,
        http_keep_alive_s=get("http_keep_alive_s") or request,
        tunnel_s=get("tunnel_s") or None,
        client_fin_s=get("client_fin_s") or client,
        server_fin_s=get("server_fin_s") or server,
        tarpit_s=get("tarpit_s") or connect,
    )


def full(backends: dict[str, Backend], frontends: list[Frontend]) -> dict[str, Backend]:
    """``fullconn`` where it is needed and not said: a tenth of what the frontends that lead to the backend take (manual 4.2 "fullconn")."""
    leading: dict[str, int] = {}
    for frontend in frontends:
        leading[frontend.default_backend] = leading.get(frontend.default_backend, 0) + frontend.maxconn
    result = {}
    for name, backend in backends.items():
        if not backend.fullconn and any(s.minconn for s in backend.servers):
            backend = replace(backend, fullconn=max(1, (leading.get(name, 0) + 9) // 10))
        result[name] = backend
    return result


def cookie(draft: ProxyDraft) -> Cookie | None:
    """What ``cookie`` and ``dynamic-cookie-key`` come to."""
    found: Cookie | None = draft.settings.get("cookie")
    key: bytes = draft.settings.get("dynamic-cookie-key", b"")
    return replace(found, key=key) if found is not None and key else found
