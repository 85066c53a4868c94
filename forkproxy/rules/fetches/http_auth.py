"""Fetches of a request's credentials (manual 7.3.6, RFC 7617, RFC 6750)."""

from __future__ import annotations

from typing import Any

from forkproxy.registry import Needs, Type, acl_alias, fetch
from forkproxy.rules import phases
from forkproxy.rules.args import Context, Str
from forkproxy.rules.context import RuleContext
from forkproxy.rules.expr import FetchFn, Multi
from forkproxy.rules.userlist import basic_credentials
from forkproxy.rules.words import to_text

_REQ: dict[str, Any] = {"needs": Needs.HEADERS, "uses": phases.REQUEST}



@fetch("http_auth", out=Type.BOOL, args=(Str("user list"), Context()), **_REQ)
def http_auth(name: bytes, ctx: RuleContext) -> FetchFn:
    """True when the request's credentials (Basic) are those of a user of the list."""
    users = ctx.userlist(to_text(name))

    def get(txn: Any) -> bool | None:
        found = _basic(txn)
        return None if found is None else users.check(*found)

    return get


@fetch("http_auth_group", out=Type.STR, args=(Str("user list"), Context()), **_REQ)
def http_auth_group(name: bytes, ctx: RuleContext) -> Multi:
    """The groups of the authenticated user."""
    users = ctx.userlist(to_text(name))

    def groups(txn: Any) -> list[bytes]:
        found = _basic(txn)
        return users.groups(found[0]) if found is not None and users.check(*found) else []

    return Multi(lambda txn: found[0] if (found := groups(txn)) else None, groups)


def _basic(txn: Any) -> tuple[bytes, bytes] | None:
    return basic_credentials(_credentials(txn))


def _credentials(txn: Any) -> bytes | None:
    """The field with the client's credentials; another one where it takes us for its proxy (option http-use-proxy-header)."""
    if txn.req is None:
        return None
    proxied = txn.req.target[:1] not in (b"/", b"*") and "http-use-proxy-header" in txn.fe.plan.options
    found: bytes | None = txn.req.get(b"proxy-authorization" if proxied else b"authorization")
    return found


@fetch("http_auth_user", out=Type.STR, **_REQ)
def http_auth_user() -> FetchFn:
    """The user name of the request's credentials."""
    return lambda txn: found[0] if (found := _basic(txn)) is not None else None


@fetch("http_auth_pass", out=Type.STR, **_REQ)
def http_auth_pass() -> FetchFn:
    """The password of the request's credentials."""
    return lambda txn: found[1] if (found := _basic(txn)) is not None else None


@fetch("http_auth_type", out=Type.STR, **_REQ)
def http_auth_type() -> FetchFn:
    """The scheme of the request's credentials, for example "Basic"."""

    def get(txn: Any) -> bytes | None:
        value = _credentials(txn)
        return value.partition(b" ")[0] if value else None

    return get


@fetch("http_auth_bearer", out=Type.STR, args=(Str(optional=True, default=b"authorization"),), **_REQ)
def http_auth_bearer(header: bytes) -> FetchFn:
    """The token of a Bearer authorization; in another header field than Authorization the whole value."""
    name = header.lower()

    def get(txn: Any) -> bytes | None:
        value = txn.req.get(name) if txn.req is not None else None
        if not value:
            return None
        scheme, blank, token = value.partition(b" ")
        if scheme.lower() == b"bearer" and blank:
            return bytes(token.strip())
        return None if name == b"authorization" else bytes(value)

    return get


acl_alias("http_auth_group", "http_auth_group", "str")
