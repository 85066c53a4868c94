"""``http-check`` rules (manual 4.2); their order is checked by ``build_checks``."""

from __future__ import annotations

import re
from typing import Any

from forkproxy.config.args import Rest
from forkproxy.config.drafts import Later, ProxyDraft
from forkproxy.config.keywords.caps import PROXIES, backend_side
from forkproxy.config.keywords.check_rules import (
    Reader,
    add,
    check_regex,
    read_comment,
    read_connect,
    read_expect,
    read_variable,
)
from forkproxy.config.line import Line
from forkproxy.registry import keyword

_MATCHES = ("status", "rstatus", "string", "rstring", "string-lf", "hdr", "fhdr")
_METHODS = ("str", "beg", "end", "sub", "reg")


@keyword(PROXIES, "http-check comment", args=(Rest(),), synopsis="<text>")
def _comment(draft: ProxyDraft, line: Line, start: int) -> None:
    """What logs say when the next rule fails."""
    read_comment(draft, line, start)


@keyword(PROXIES, "http-check disable-on-404")
def _disable_on_404(draft: ProxyDraft, line: Line) -> None:
    """A check answered with 404 takes the server out of balancing and leaves its sessions alone."""
    if backend_side(draft, line):
        draft.settings["check_disable_on_404"] = True


@keyword(PROXIES, "http-check send-state")
def _send_state(draft: ProxyDraft, line: Line) -> None:
    """Tell servers with each check what is thought of them, in X-Haproxy-Server-State."""
    if backend_side(draft, line):
        draft.settings["check_send_state"] = True


@keyword(
    PROXIES, "http-check connect", args=(Rest(),),
    synopsis="[ default ] [ port <expr> ] [ addr <ip> ] [ send-proxy ] [ linger ] [ comment <text> ]",
)  # fmt: skip
def _connect(draft: ProxyDraft, line: Line, start: int) -> None:
    """Open a connection for the rules that follow; the one before is closed."""
    read_connect(draft, line, start)


@keyword(
    PROXIES, "http-check send", args=(Rest(),),
    synopsis="[ meth <method> ] [ uri <uri> | uri-lf <fmt> ] [ ver <version> ] [ hdr <name> <fmt> ]* [ body <text> | body-lf <fmt> ] "
    "[ comment <text> ]",
)  # fmt: skip
def _send(draft: ProxyDraft, line: Line, start: int) -> None:
    """What the request of a check looks like."""
    if not backend_side(draft, line):
        return
    read = Reader(line, start)
    args: dict[str, Any] = {}
    headers: list[tuple[str, Any]] = []
    comment = ""
    names = {"meth": "method", "uri": "uri", "ver": "version", "body": "body"}
    while read.word:
        word = read.take()
        if word in names:
            args[names[word]] = read.value(f"'{word}' expects a string as argument.")
        elif word in ("uri-lf", "body-lf"):
            args[word[:-3]] = read.later("format", f"'{word}' expects a string as argument.")
        elif word == "hdr":
            name = read.value("'hdr' expects <name> and <value> as arguments.")
            text = read.value("'hdr' expects <name> and <value> as arguments.")
            if name.lower() in ("content-length", "transfer-encoding"):
                continue  # as the manual says: made from the body, never taken from here
            headers.append((name, Later("format", read.at - 1) if "%" in text else text))
        elif word == "comment":
            comment = read.value("'comment' expects a string as argument.")
        else:
            read.back(f"expects 'comment', 'meth', 'uri', 'uri-lf', 'ver', 'hdr', 'body' or 'body-lf' but got '{word}' as argument.")
    if headers:
        args["headers"] = tuple(headers)
    add(draft, line, "send", args, comment)


@keyword(
    PROXIES, "http-check expect", args=(Rest(),),
    synopsis="[ min-recv <n> ] [ comment <text> ] [ ok-status <st> ] [ error-status <st> ] [ tout-status <st> ] [ on-success <fmt> ] "
    "[ on-error <fmt> ] [ status-code <expr> ] [!] <match> <pattern>",
)  # fmt: skip
def _expect(draft: ProxyDraft, line: Line, start: int) -> None:
    """What makes an answer a good one."""
    shown = "'[!]string', '[!]rstring', '[!]string-lf', '[!]status', '[!]rstatus', [!]hdr, [!]fhdr"
    read_expect(draft, line, start, _MATCHES, shown, _match)


def _match(read: Reader, word: str, args: dict[str, Any]) -> None:
    if word in ("hdr", "fhdr"):
        _header_match(read, word, args)
        return
    wanted = f"'{word}' expects a <pattern> as argument."
    if word == "string-lf":
        args["pattern"] = read.later("format", wanted)
        return
    args["pattern"] = pattern = read.value(wanted)
    if word == "status":
        _check_codes(read, pattern)
    elif word in ("rstatus", "rstring"):
        check_regex(read, pattern)


def _header_match(read: Reader, word: str, args: dict[str, Any]) -> None:
    for part in ("name", "value"):
        if read.word not in (part, f"{part}-lf"):
            if part == "value":
                break
            read.fail(f"'{word}' expects 'name' and optionally 'value' as arguments.")
        lively = read.take().endswith("-lf")
        method = "str"
        if read.word == "-m":
            read.take()
            method = read.value(f"'{part}' : '-m' expects a matching method.")
            if method not in _METHODS:
                read.fail(f"'{part}' : unsupported header matching method '{method}'.")
        if lively:
            if method == "reg":
                read.fail(f"'{part}-lf' cannot be used with the matching method 'reg'.")
            args[part] = (method, read.later("format", f"'{part}' expects a <pattern> as argument."))
            continue
        text = read.value(f"'{part}' expects a <pattern> as argument.")
        if method == "reg":
            check_regex(read, text)
        args[part] = (method, text)


def _check_codes(read: Reader, text: str) -> None:
    for part in text.split(","):
        bad = re.search(r"[^0-9-]", part)
        low, dash, high = part.partition("-")
        if bad or not low or (dash and not high):
            read.back(f"invalid character '{bad[0] if bad else '-'}' in the list of status codes.")
        if dash and int(low) > int(high):
            read.back(f"invalid range of status codes '{part}'.")


@keyword(
    PROXIES, "http-check", args=(Rest(),),
    synopsis="{ set-var(<name>[,<cond>]) <expr> | set-var-fmt(<name>[,<cond>]) <fmt> | unset-var(<name>) }",
)  # fmt: skip
def _others(draft: ProxyDraft, line: Line, start: int) -> None:
    """Set a variable that the rules after it can use (scopes check, sess and proc), or forget one."""
    if read_variable(draft, line, start):
        return
    got = line.words[start] if start < len(line.words) else ""
    line.fail(
        "'http-check' only supports 'disable-on-404', 'send-state', 'comment', 'connect', 'send', 'expect', 'set-var', 'set-var-fmt', "
        f"'unset-var' but got '{got}'", start,
    )  # fmt: skip
