"""The redirect action, also the ``redirect`` keyword of a section (manual 4.2 "redirect")."""

from __future__ import annotations

from typing import Any

from forkproxy.plan import Render, Step
from forkproxy.registry import Ends, action
from forkproxy.rules.action import HTTP_REQ, HTTP_RES, Parser
from forkproxy.rules.verdict import Reply
from forkproxy.rules.web import path_of, path_query_of, query_of
from forkproxy.rules.words import to_bytes

_CODES = (301, 302, 303, 307, 308)
_SYNOPSIS = (
    "{ location <fmt> | prefix <fmt> | scheme <fmt> } [ code <code> ] [ drop-query ] [ append-slash ] [ keep-query ] "
    "[ ignore-empty ] [ set-cookie <name>[=<value>] ] [ set-cookie-fmt <fmt> ] [ clear-cookie <name>[=] ]"
)


@action("redirect", at=(HTTP_REQ, HTTP_RES), ends=Ends.STREAM, synopsis=_SYNOPSIS)
def redirect(p: Parser) -> Step:
    """Send the client elsewhere."""
    words = p.words
    kind = ""
    target: Render | None = None
    constant: bytes | None = None
    code = 302
    options: set[str] = set()
    cookie: Render | None = None
    while not p.at_end():
        word = words.next()
        match word:
            case "location" | "prefix" | "scheme" | "to":
                if word == "to":
                    word = "location"
                if kind:
                    words.fail(f"'redirect' takes only one of location, prefix and scheme, '{kind}' was given")
                if p.kind == HTTP_RES and word != "location":
                    words.fail("only 'location' is allowed for http-response redirects")
                kind = word
                made = p.format(f"a value after '{word}'")
                target, constant = made.render, made.constant
            case "code":
                code = p.integer("a status code", 100, 999)
                if code not in _CODES:
                    words.fail(f"unsupported HTTP code '{code}'", hint="one of 301, 302, 303, 307 or 308")
            case "drop-query" | "append-slash" | "keep-query" | "ignore-empty":
                options.add(word)
            case "set-cookie":
                value = to_bytes(p.word("a cookie"))
                cookie = _constant(value + b"; path=/;")
            case "set-cookie-fmt":
                cookie = p.format("a cookie").render
            case "clear-cookie":
                value = to_bytes(p.word("a cookie"))
                cookie = _constant(value + b"; path=/; Max-Age=0;")
            case _:
                words.fail(f"unknown redirect keyword '{word}'", hint="location, prefix, scheme, code, set-cookie, clear-cookie, "
                           "drop-query, append-slash, keep-query or ignore-empty")  # fmt: skip
    if target is None:
        words.fail("redirection type expected", hint="'prefix', 'location' or 'scheme'")
    locate = _locator(kind, target, constant, options)
    skip_empty = "ignore-empty" in options

    def step(txn: Any) -> Reply | None:
        place = locate(txn)
        if place is None or (skip_empty and not place):
            return None
        headers = [(b"location", place)]
        if code in (302, 303, 307):
            headers.append((b"cache-control", b"no-cache"))
        if cookie is not None:
            headers.append((b"set-cookie", cookie(txn)))
        return Reply("reply", status=code, headers=lambda txn: headers)

    return step


def _constant(value: bytes) -> Render:
    return lambda txn: value


def _locator(kind: str, target: Render, constant: bytes | None, options: set[str]) -> Any:
    drop, slash, keep = "drop-query" in options, "append-slash" in options, "keep-query" in options

    def path(txn: Any) -> bytes:
        found = path_of(txn.req.target) if drop else path_query_of(txn.req.target)
        if found is None:
            return b"/"
        if slash and drop and found[-1:] != b"/":
            found += b"/"
        return found

    if kind == "location":

        def location(txn: Any) -> bytes:
            place = target(txn)
            if keep and place and txn.req is not None and (query := query_of(txn.req.target)):
                place += (b"&" if b"?" in place else b"?") + query
            return place

        return location
    if kind == "prefix":
        if constant == b"/":
            return path
        return lambda txn: target(txn) + path(txn)
    return lambda txn: b"%b://%b%b" % (target(txn), txn.req.get(b"host") or b"", path(txn))
