"""``enable``, ``disable dynamic-cookie`` and ``set dynamic-cookie-key`` (management manual 9.3): cookies made of a secret and a server's
address, for servers that have none of their own.
"""

from __future__ import annotations

from typing import Any

from forkproxy.master import lookup
from forkproxy.master.cli_session import Deferred, Refused, Session
from forkproxy.plan import Address, Backend, Server
from forkproxy.registry import Level, command
from forkproxy.rules.hashing import server_cookie
from forkproxy.values import replace


@command("enable dynamic-cookie backend", level=Level.ADMIN, synopsis="enable dynamic-cookie backend <bk>")
def enable(session: Session, words: list[str]) -> Deferred:
    """Enable dynamic cookies on a specific backend."""
    return _change(session, words, dynamic=True)


@command("disable dynamic-cookie backend", level=Level.ADMIN, synopsis="disable dynamic-cookie backend <bk>")
def disable(session: Session, words: list[str]) -> Deferred:
    """Disable dynamic cookies on a specific backend."""
    return _change(session, words, dynamic=False)


@command("set dynamic-cookie-key backend", level=Level.ADMIN, synopsis="set dynamic-cookie-key backend <bk> <k>")
def set_key(session: Session, words: list[str]) -> Deferred:
    """Change a backend secret key for dynamic cookies."""
    if len(words) > 3 and len(words) < 5:
        raise Refused("String value expected.")
    return _change(session, words, key="".join(words[4:5]).encode())


def moved(backend: Backend, server: Server, address: Address) -> bytes:
    """The cookie of a server when it is at ``address``: another one if it is made of the address."""
    cookie = backend.cookie
    if cookie is None or not cookie.dynamic or not _made(backend, server):
        return server.cookie
    return _value(cookie.key, address)


def _made(backend: Backend, server: Server) -> bool:
    """Whether a server's cookie is made of its address, or would be."""
    assert backend.cookie is not None
    return not server.cookie or (backend.cookie.dynamic and server.cookie == _value(backend.cookie.key, server.address))


def _value(key: bytes, address: Address) -> bytes:
    try:
        return server_cookie(key, address.host, address.port) if key else b""
    except ImportError:
        raise Refused("dynamic cookies need the Python package 'xxhash', which is not installed") from None


def _change(session: Session, words: list[str], **changes: Any) -> Deferred:
    backend = lookup.backend_at(session, words, 3)
    if backend.cookie is None:
        raise Refused("No cookie is configured in this backend.")
    cookie = replace(backend.cookie, **changes)
    servers = tuple(
        replace(one, cookie=_value(cookie.key, one.address) if cookie.dynamic else b"") if _made(backend, one) else one
        for one in backend.servers
    )
    for server in servers:
        session.master.health.amend(server)
    session.master.changes.backend(backend, cookie=cookie, servers=servers)
    told = {server.name: server.cookie.decode("latin-1") for server in servers}
    return session.ask("set cookies", lambda _replies: "", backend=backend.name, cookies=told)
