"""What a file does not say and a plan must: fall-backs of timeouts, limits that follow from other sections, cookies with their keys,
global identifiers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from forkproxy.config.drafts import ProxyDraft
from forkproxy.config.line import Line
from forkproxy.plan import Backend, Cookie, Timeouts
from forkproxy.state.names import backend_key, frontend_key, listener_key
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
        client_fin_s=get("client_fin_s") or None,  # without, the timer that runs goes on running (observed)
        server_fin_s=get("server_fin_s") or None,
        tarpit_s=get("tarpit_s") or connect,
    )


def full(backends: Mapping[str, Backend], leading: Mapping[str, int]) -> dict[str, Backend]:
    """``fullconn`` where it is not said: a tenth of what all frontends take that lead there by a name in the file, which is what
    ``leading`` has (manual 4.2 "fullconn")."""
    said = {name: backend.fullconn or max(1, (leading.get(name, 0) + 9) // 10) for name, backend in backends.items()}
    return {name: replace(backend, fullconn=said[name]) for name, backend in backends.items()}


def cookie(draft: ProxyDraft) -> Cookie | None:
    """What ``cookie`` and ``dynamic-cookie-key`` come to."""
    found: Cookie | None = draft.settings.get("cookie")
    key: bytes = draft.settings.get("dynamic-cookie-key", b"")
    return replace(found, key=key) if found is not None and key else found


def guids(drafts: Iterable[ProxyDraft]) -> dict[str, str]:
    """The global identifiers that were given, by the rows of those who have them (``state.names``); doubtful ones become alerts."""
    found: dict[str, str] = {}
    lines: dict[str, Line] = {}

    def give(line: Line | None, guid: str, *keys: str) -> None:
        assert line is not None  # it is somebody's who was written down
        if bad := next((c for c in guid if not (c.isascii() and (c.isalnum() or c in ".:-_"))), ""):
            line.alert(f"'guid' : character '{bad}' is not permitted in '{guid}'.")
        elif not 0 < len(guid) < 128:
            line.alert("'guid' : a global identifier has 1 to 127 characters.")
        elif guid in lines:
            line.alert(f"'guid' : '{guid}' is already used at {lines[guid].file}:{lines[guid].number}.")
        lines.setdefault(guid, line)
        found.update(dict.fromkeys(keys, guid))

    for draft in drafts:
        if guid := draft.settings.get("guid"):
            sides = (draft.is_frontend and frontend_key(draft.name), draft.is_backend and backend_key(draft.name))
            give(draft.line, guid, *(key for key in sides if key))
        for bind in draft.binds:
            for number, address in enumerate(bind.addresses, 1):
                if prefix := bind.settings.get("guid-prefix"):
                    give(bind.line, f"{prefix}-{number}", listener_key(draft.name, bind.settings.get("name") or str(address)))
        for server in draft.servers:
            if guid := server.settings.get("guid"):
                give(server.line, guid, f"{draft.name}/{server.name}")
    return found
