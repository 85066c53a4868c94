"""Actions that answer the client: return, deny, tarpit, auth, with all forms of a reply (manual 4.4 "return")."""

from __future__ import annotations

from typing import Any

from forkproxy.net.pipes import Content
from forkproxy.plan import Render, Step
from forkproxy.registry import Ends, action
from forkproxy.rules.action import HTTP_REQ, HTTP_RES, Parser
from forkproxy.rules.logencode import http_safe
from forkproxy.rules.verdict import Reply
from forkproxy.rules.words import to_bytes

#: bytes from which a constant body leaves by sendfile
LARGE = 65536
#: the codes that have an error message of their own (manual 4.2 "errorfile")
HANDLED = (200, 400, 401, 403, 404, 405, 407, 408, 410, 413, 414, 421, 422, 425, 429, 431, 500, 501, 502, 503, 504)

Headers = list[tuple[bytes, Render]]


def read_reply(p: Parser, kind: str, status: int, denied: bool) -> Reply:
    """The arguments that ``return``, ``deny``, ``tarpit`` and ``http-error`` share, as the reply that they describe."""
    words = p.words
    given: int | None = None
    bare = denied  # the page of the status is the answer: nothing says otherwise, and "status" alone does
    content_type = b""
    form, argument, column = "", "", -1
    fmt: Render | None = None
    headers: Headers = []
    while not p.at_end():
        word = words.next()
        match word:
            case "status" | "deny_status" if word == "status" or denied:
                given = p.integer("a status code", 200, 599)
                bare = bare and word == "deny_status"
            case "content-type":
                content_type = to_bytes(p.word("a content type"))
            case "default-errorfiles" | "errorfile" | "errorfiles" | "file" | "lf-file" | "string" | "lf-string":
                if form:
                    words.fail(f"'{word}' cannot be used together with '{form}'")
                form = word
                column = words.pos
                if word == "lf-string":
                    fmt = p.format().render
                elif word != "default-errorfiles":
                    argument = p.word(f"an argument after '{word}'")
            case "hdr":
                name = p.header_name()
                headers.append((name, p.format().render))
            case _:
                words.fail(
                    f"'{p.name}' does not know '{word}'",
                    hint="status, content-type, default-errorfiles, errorfile, errorfiles, file, lf-file, string, lf-string or hdr",
                )
    code = given if given is not None else status
    if form in ("default-errorfiles", "errorfile", "errorfiles") and code not in HANDLED:
        words.fail(f"status code {code} has no error message", hint="one of " + " ".join(map(str, HANDLED)))
    if form == "errorfiles":
        return _from_section(p, argument, column, kind, code, denied)
    if form == "errorfile":
        return Reply(kind, status=code, denied=denied, close=True, raw=_read(p, argument, column))
    if form == "default-errorfiles" or (not form and bare and not headers):
        return Reply(kind, status=code, denied=denied, default_error=True)
    body, size = _body(p, form, argument, column, fmt)
    if body is not None and size and not content_type:
        words.fail(f"a content-type must be given with '{form}'", column - 1, hint="content-type text/plain")
    return Reply(
        kind, status=code, denied=denied, headers=_render_headers(headers), body=body or (lambda txn: b""), content_type=content_type,
        large=Content(body(None)) if form == "file" and body is not None and size >= LARGE else None,
    )  # fmt: skip


def _read(p: Parser, name: str, column: int) -> bytes:
    try:
        with open(name, "rb") as f:
            return f.read()
    except OSError as err:
        p.words.fail(f"cannot read '{name}' : {err.strerror}", column)


def _body(p: Parser, form: str, argument: str, column: int, fmt: Render | None) -> tuple[Render | None, int]:
    """How the body is made, and whether there is anything in it."""
    if form == "lf-string":
        return fmt, 1
    if form == "lf-file":
        text = _read(p, argument, column)
        return p.text_format(text.decode("utf-8", "surrogateescape")).render, len(text)
    if form in ("file", "string"):
        data = _read(p, argument, column) if form == "file" else to_bytes(argument)
        return (lambda txn: data), len(data)
    return None, 0


def _from_section(p: Parser, name: str, column: int, kind: str, code: int, denied: bool) -> Reply:
    section = p.ctx.errors.get(name)
    if section is None:
        p.words.fail(f"unknown http-errors section '{name}'", column)
    found = section.get(code)
    if found is None:
        return Reply(kind, status=code, denied=denied, default_error=True)
    if found.raw is not None:
        return Reply(kind, status=code, denied=denied, close=True, raw=found.raw)
    return Reply(kind, status=code, denied=denied, default_error=True)


def _render_headers(headers: Headers) -> Any:
    if not headers:
        return None

    def render(txn: Any) -> list[tuple[bytes, bytes]]:
        return [(name, value) for name, fmt in headers if (value := fmt(txn))]  # HAProxy adds no empty ones (observed)

    return render


_REPLY_SYNOPSIS = (
    "[ status <code> ] [ content-type <type> ] [ { default-errorfiles | errorfile <file> | errorfiles <name> | "
    "file <file> | lf-file <file> | string <str> | lf-string <fmt> } ] [ hdr <name> <fmt> ]*"
)


@action("return", at=(HTTP_REQ, HTTP_RES), ends=Ends.STREAM, synopsis=_REPLY_SYNOPSIS)
def return_(p: Parser) -> Step:
    """Answer the client with a response made here."""
    reply = read_reply(p, "reply", 200, denied=False)
    return lambda txn: reply


@action("deny", at=(HTTP_REQ, HTTP_RES), ends=Ends.STREAM, synopsis=_REPLY_SYNOPSIS.replace("status", "{ status | deny_status }", 1))
def deny(p: Parser) -> Step:
    """Refuse the request (403) or the response (502)."""
    reply = read_reply(p, "deny", 403 if p.kind == HTTP_REQ else 502, denied=True)
    return lambda txn: reply


@action("block", at=(HTTP_REQ,), ends=Ends.STREAM)
def block(p: Parser) -> Step:
    """The old name of deny."""
    return deny(p)


@action("tarpit", at=(HTTP_REQ,), ends=Ends.STREAM, synopsis=_REPLY_SYNOPSIS.replace("status", "{ status | deny_status }", 1))
def tarpit(p: Parser) -> Step:
    """Hold the client for "timeout tarpit", then refuse its request (500)."""
    reply = read_reply(p, "tarpit", 500, denied=True)
    return lambda txn: reply


@action("auth", at=(HTTP_REQ,), ends=Ends.STREAM, synopsis="[ realm <realm> ]")
def auth(p: Parser) -> Step:
    """Ask for credentials: 401, or 407 to a client that speaks to a proxy (option http-use-proxy-header)."""
    realm: Render | None = None
    if p.words.accept("realm"):
        realm = p.format("a realm").render
    name = p.ctx.name.encode()

    def challenge(field: bytes) -> Any:
        def render(txn: Any) -> list[tuple[bytes, bytes]]:
            text = realm(txn) if realm is not None else name
            return [(field, b'Basic realm="' + http_safe(text).replace(b'"', b'\\"') + b'"')]

        return render

    direct = Reply("auth", status=401, headers=challenge(b"www-authenticate"), default_error=True)
    proxied = Reply("auth", status=407, headers=challenge(b"proxy-authenticate"), default_error=True)

    def step(txn: Any) -> Reply:
        to_proxy = "http-use-proxy-header" in txn.fe.plan.options and txn.req.target[:1] not in (b"/", b"*")
        return proxied if to_proxy else direct

    return step
