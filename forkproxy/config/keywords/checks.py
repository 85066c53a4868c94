"""``http-check`` rules (manual 4.2): lines are read at once into the steps that ``health`` runs; their order is checked by ``build``."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from forkproxy.config.address import parse_address
from forkproxy.config.args import Rest
from forkproxy.config.drafts import CheckLine, ProxyDraft
from forkproxy.config.keywords.caps import PROXIES, backend_side, end_of_line
from forkproxy.config.known import refusal
from forkproxy.config.line import Line
from forkproxy.plan import CheckStep
from forkproxy.registry import keyword

_STATUSES = {
    "ok-status": ("L7OK", "L7OKC", "L6OK", "L4OK"),
    "error-status": ("L7OKC", "L7RSP", "L7STS", "L6RSP", "L4CON"),
    "tout-status": ("L7TOUT", "L6TOUT", "L4TOUT"),
}
_MATCHES = ("status", "rstatus", "string", "rstring", "hdr", "fhdr")
_METHODS = ("str", "beg", "end", "sub", "reg")
#: arguments that are log-format strings or expressions, evaluated while a check runs
_DYNAMIC = frozenset({"uri-lf", "body-lf", "string-lf", "name-lf", "value-lf", "on-success", "on-error", "status-code"})


class _Reader:
    """A cursor over the words of one rule that complains in the name of that rule."""

    __slots__ = ("at", "line", "shown")

    def __init__(self, line: Line, start: int) -> None:
        self.line = line
        self.at = start
        self.shown = f"'{line.keyword}'"

    @property
    def word(self) -> str:
        """The next word, or ""."""
        return self.line.words[self.at] if self.at < len(self.line.words) else ""

    def take(self) -> str:
        word = self.word
        self.at += 1
        return word

    def value(self, what: str) -> str:
        """The word after the one just taken; ``what`` completes the complaint when there is none."""
        if not self.word:
            self.fail(what)
        return self.take()

    def fail(self, message: str) -> NoReturn:
        self.line.fail(f"{self.shown} : {message}", min(self.at, len(self.line.words)))


def _refuse_dynamic(read: _Reader, word: str) -> None:
    if word in _DYNAMIC:
        read.fail(refusal(word))


def _add(draft: ProxyDraft, line: Line, kind: str, args: dict[str, Any], comment: str = "") -> None:
    draft.check_steps.append(CheckLine(line, CheckStep(kind=kind, args=args, comment=comment)))


@keyword(PROXIES, "http-check comment", args=(Rest(),), synopsis="<text>")
def _comment(draft: ProxyDraft, line: Line, start: int) -> None:
    """What logs say when the next rule fails."""
    if not backend_side(draft, line):
        return
    if start >= len(line.words) or not line.words[start]:
        line.fail("'http-check comment' : expects a string as argument.", start)
    end_of_line(line, start + 1)
    _add(draft, line, "comment", {}, line.words[start])


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
    synopsis="[ default ] [ port <port> ] [ addr <ip> ] [ send-proxy ] [ linger ] [ comment <text> ]",
)  # fmt: skip
def _connect(draft: ProxyDraft, line: Line, start: int) -> None:
    """Open a connection for the rules that follow."""
    if not backend_side(draft, line):
        return
    read = _Reader(line, start)
    args: dict[str, Any] = {}
    comment = ""
    while read.word:
        match read.take():
            case "default":
                pass
            case "port":
                text = read.value("'port' expects a port number or a sample expression as argument.")
                if not (text.isascii() and text.isdigit()):
                    read.at -= 1
                    read.fail(f"port expression '{text}' : {refusal('port <expression>')}")
                if not 1 <= int(text) <= 65535:
                    read.at -= 1
                    read.fail(f"expects a valid TCP port (from range 1 to 65535), got {text}.")
                args["port"] = int(text)
            case "addr":
                text = read.value("'addr' expects <ipv4|ipv6> as argument.")
                try:
                    args["address"] = parse_address(text, allow_port=False, allow_fd=False)[0]
                except ValueError as exc:
                    read.at -= 1
                    read.fail(f"'addr' : {exc}.")
            case "send-proxy":
                args["send_proxy"] = True
            case "linger":
                args["linger"] = True
            case "comment":
                comment = read.value("'comment' expects a string as argument.")
            case "via-socks4" | "ssl" | "sni" | "alpn" | "proto" as word:
                read.at -= 1
                read.fail(refusal(word))
            case word:
                read.at -= 1
                read.fail(f"expects 'comment', 'port', 'addr', 'send-proxy', 'linger' or 'default' but got '{word}' as argument.")
    _add(draft, line, "connect", args, comment)


@keyword(
    PROXIES, "http-check send", args=(Rest(),),
    synopsis="[ meth <method> ] [ uri <uri> ] [ ver <version> ] [ hdr <name> <value> ]* [ body <text> ] [ comment <text> ]",
)  # fmt: skip
def _send(draft: ProxyDraft, line: Line, start: int) -> None:
    """What the request of a check looks like."""
    if not backend_side(draft, line):
        return
    read = _Reader(line, start)
    args: dict[str, Any] = {}
    headers: list[tuple[str, str]] = []
    comment = ""
    names = {"meth": "method", "uri": "uri", "ver": "version", "body": "body"}
    while read.word:
        word = read.take()
        _refuse_dynamic(read, word)
        if word in names:
            args[names[word]] = read.value(f"'{word}' expects a string as argument.")
        elif word == "hdr":
            name = read.value("'hdr' expects <name> and <value> as arguments.")
            text = read.value("'hdr' expects <name> and <value> as arguments.")
            if "%[" in text:
                read.at -= 1
                read.fail(f"'hdr' : {refusal('log-format in checks')}")
            if name.lower() in ("content-length", "transfer-encoding"):
                continue  # as the manual says: made from the body, never taken from here
            headers.append((name, text.replace("%%", "%")))
        elif word == "comment":
            comment = read.value("'comment' expects a string as argument.")
        else:
            read.at -= 1
            read.fail(f"expects 'comment', 'meth', 'uri', 'uri-lf', 'ver', 'hdr', 'body' or 'body-lf' but got '{word}' as argument.")
    if headers:
        args["headers"] = tuple(headers)
    _add(draft, line, "send", args, comment)


@keyword(
    PROXIES, "http-check expect", args=(Rest(),),
    synopsis="[ min-recv <n> ] [ comment <text> ] [ ok-status <st> ] [ error-status <st> ] [ tout-status <st> ] [!] <match> <pattern>",
)  # fmt: skip
def _expect(draft: ProxyDraft, line: Line, start: int) -> None:
    """What makes an answer a good one."""
    if not backend_side(draft, line):
        return
    read = _Reader(line, start)
    if not read.word:
        read.fail("expects at least a matching pattern as arguments.")
    args: dict[str, Any] = {"negate": False}
    comment = ""
    while read.word:
        word = read.take()
        _refuse_dynamic(read, word.lstrip("!"))
        if word == "min-recv":
            text = read.value("'min-recv' expects an integer as argument.")
            if not text.removeprefix("-").isdigit() or int(text) < -1:
                read.fail("'min-recv' must be >= -1.")
            args["min_recv"] = int(text)
        elif word == "comment":
            comment = read.value("'comment' expects a string as argument.")
        elif word in _STATUSES:
            value = read.value(f"'{word}' expects a string as argument.").upper()
            if value not in _STATUSES[word]:
                read.fail(f"'{word}' only supports {', '.join(_STATUSES[word])} (got '{value}').")
            args[word.replace("-", "_")] = value
        else:
            if "match" in args:
                read.at -= 1
                if word.lstrip("!") in _MATCHES:
                    read.fail("only one pattern expected.")
                _no_such_match(read)
            _match(read, word, args)
    if "match" not in args:
        read.fail("expects at least a matching pattern as arguments.")
    _add(draft, line, "expect", args, comment)


def _no_such_match(read: _Reader) -> NoReturn:
    read.fail(
        "only supports min-recv, '[!]string', '[!]rstring', '[!]string-lf', '[!]status', '[!]rstatus',"
        f" [!]hdr, [!]fhdr or comment but got '{read.word}' as argument."
    )


def _match(read: _Reader, word: str, args: dict[str, Any]) -> None:
    """``[!] <match> <pattern>``, where the mark may stand apart."""
    if word.startswith("!"):
        args["negate"] = True
        word = word.lstrip("!") or read.take()
    if word not in _MATCHES:
        read.at -= 1
        _no_such_match(read)
    args["match"] = word
    if word in ("hdr", "fhdr"):
        _header_match(read, word, args)
        return
    args["pattern"] = pattern = read.value(f"'{word}' expects a <pattern> as argument.")
    if word == "status":
        _check_codes(read, pattern)
    elif word in ("rstatus", "rstring"):
        _check_regex(read, pattern)


def _header_match(read: _Reader, word: str, args: dict[str, Any]) -> None:
    if read.take() not in ("name", "name-lf"):
        read.at -= 1
        read.fail(f"'{word}' expects 'name' and optionally 'value' as arguments.")
    for part in ("name", "value"):
        if part == "value":
            if read.word not in ("value", "value-lf"):
                break
            read.take()
        _refuse_dynamic(read, read.line.words[read.at - 1])
        method = "str"
        if read.word == "-m":
            read.take()
            method = read.value(f"'{part}' : '-m' expects a matching method.")
            if method not in _METHODS:
                read.fail(f"'{part}' : unsupported header matching method '{method}'.")
        text = read.value(f"'{part}' expects a <pattern> as argument.")
        if method == "reg":
            _check_regex(read, text)
        args[part] = (method, text)


def _check_codes(read: _Reader, text: str) -> None:
    for part in text.split(","):
        bad = re.search(r"[^0-9-]", part)
        low, dash, high = part.partition("-")
        if bad or not low or (dash and not high):
            read.at -= 1
            read.fail(f"invalid character '{bad[0] if bad else '-'}' in the list of status codes.")
        if dash and int(low) > int(high):
            read.at -= 1
            read.fail(f"invalid range of status codes '{part}'.")


def _check_regex(read: _Reader, text: str) -> None:
    try:
        re.compile(text)
    except re.error as exc:
        read.at -= 1
        read.fail(f"regex '{text}' is invalid (error={exc.msg}, erroffset={exc.pos or 0}).")


@keyword(PROXIES, "http-check", args=(Rest(),))
def _unknown(draft: ProxyDraft, line: Line, start: int) -> NoReturn:
    """Catches what ``http-check`` does not have."""
    got = line.words[start] if start < len(line.words) else ""
    if got.startswith(("set-var", "unset-var")):
        line.fail(refusal(f"http-check {got.partition('(')[0]}"), start)
    line.fail(f"'http-check' only supports 'disable-on-404', 'send-state', 'comment', 'connect', 'send', 'expect' but got '{got}'", start)
