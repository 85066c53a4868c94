"""What ``tcp-check`` and ``http-check`` rules have in common (manual 4.2): a cursor, ``connect``, the options of ``expect``, variables.

Formats and expressions are kept as ``drafts.Later``: they are compiled when the plan is built, where the section is known.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from forkproxy.config.address import parse_address
from forkproxy.config.drafts import CheckLine, Later, ProxyDraft
from forkproxy.config.keywords.caps import backend_side, end_of_line
from forkproxy.config.known import refusal
from forkproxy.config.line import Line
from forkproxy.plan import CheckStep

_STATUSES = {
    "ok-status": ("L7OK", "L7OKC", "L6OK", "L4OK"),
    "error-status": ("L7OKC", "L7RSP", "L7STS", "L6RSP", "L4CON"),
    "tout-status": ("L7TOUT", "L6TOUT", "L4TOUT"),
}
_LATER = {"on-success": "format", "on-error": "format", "status-code": "sample"}


class Reader:
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

    def later(self, kind: str, what: str) -> Later:
        """The same, compiled later."""
        self.value(what)
        return Later(kind, self.at - 1)

    def back(self, message: str) -> NoReturn:
        """Complain about the word just taken."""
        self.at -= 1
        self.fail(message)

    def fail(self, message: str) -> NoReturn:
        self.line.fail(f"{self.shown} : {message}", min(self.at, len(self.line.words)))


def add(draft: ProxyDraft, line: Line, kind: str, args: dict[str, Any], comment: str = "") -> None:
    """Keep a rule."""
    draft.check_steps.append(CheckLine(line, CheckStep(kind=kind, args=args, comment=comment)))


def read_comment(draft: ProxyDraft, line: Line, start: int) -> None:
    """``comment <text>``"""
    if not backend_side(draft, line):
        return
    if start >= len(line.words) or not line.words[start]:
        line.fail(f"'{line.keyword}' : expects a string as argument.", start)
    end_of_line(line, start + 1)
    add(draft, line, "comment", {}, line.words[start])


def read_connect(draft: ProxyDraft, line: Line, start: int) -> None:
    """``connect …``"""
    if not backend_side(draft, line):
        return
    read = Reader(line, start)
    args: dict[str, Any] = {}
    comment = ""
    while read.word:
        match read.take():
            case "default":
                args["default"] = True
            case "port":
                args["port"] = _port(read)
            case "addr":
                text = read.value("'addr' expects <ipv4|ipv6> as argument.")
                try:
                    args["address"] = parse_address(text, allow_port=False, allow_fd=False)[0]
                except ValueError as exc:
                    read.back(f"'addr' : {exc}.")
            case "send-proxy":
                args["send_proxy"] = True
            case "linger":
                args["linger"] = True
            case "comment":
                comment = read.value("'comment' expects a string as argument.")
            case "via-socks4" | "ssl" | "sni" | "alpn" | "proto" as word:
                read.back(refusal(word))
            case word:
                read.back(f"expects 'comment', 'port', 'addr', 'send-proxy', 'linger' or 'default' but got '{word}' as argument.")
    add(draft, line, "connect", args, comment)


def _port(read: Reader) -> int | Later:
    text = read.value("'port' expects a port number or a sample expression as argument.")
    if not (text.isascii() and text.isdigit()):
        return Later("port", read.at - 1)
    if not 1 <= int(text) <= 65535:
        read.back(f"expects a valid TCP port (from range 1 to 65535), got {text}.")
    return int(text)


def read_variable(draft: ProxyDraft, line: Line, start: int) -> bool:
    """``set-var(…) …``, ``set-var-fmt(…) …`` and ``unset-var(…)``; False when it is none of them."""
    word = line.words[start] if start < len(line.words) else ""
    name = word.partition("(")[0]
    if name not in ("set-var", "set-var-fmt", "unset-var"):
        return False
    if backend_side(draft, line):
        add(draft, line, "unset-var" if name == "unset-var" else "set-var", {"step": Later("action", start)})
    return True


def read_condition(read: Reader, word: str, args: dict[str, Any]) -> bool:
    """An option of ``expect`` that both kinds have (``comment`` is left to the caller); False when ``word`` is none."""
    if word == "min-recv":
        text = read.value("'min-recv' expects an integer as argument.")
        if not re.fullmatch(r"-?[0-9]+", text) or int(text) < -1:
            read.fail("'min-recv' must be >= -1.")
        args["min_recv"] = int(text)
    elif word in _STATUSES:
        value = read.value(f"'{word}' expects a string as argument.").upper()
        if value not in _STATUSES[word]:
            read.fail(f"'{word}' only supports {', '.join(_STATUSES[word])} (got '{value}').")
        args[word.replace("-", "_")] = value
    elif word in _LATER:
        args[word.replace("-", "_")] = read.later(_LATER[word], f"'{word}' expects a string as argument.")
    else:
        return False
    return True


def read_expect(draft: ProxyDraft, line: Line, start: int, matches: tuple[str, ...], shown: str, read_match: Any) -> None:
    """``expect …``: options and exactly one match, read by ``read_match(read, word, args)``; ``shown`` lists what there is."""
    if not backend_side(draft, line):
        return
    read = Reader(line, start)
    if not read.word:
        read.fail("expects at least a matching pattern as arguments.")
    args: dict[str, Any] = {"negate": False}
    comment = ""
    while read.word:
        word = read.take()
        if word == "comment":
            comment = read.value("'comment' expects a string as argument.")
        elif not read_condition(read, word, args):
            if word.startswith("!"):
                args["negate"] = True
                word = word.lstrip("!") or read.take()
            if word not in matches:
                read.back(f"only supports min-recv, {shown} or comment but got '{read.line.words[read.at - 1]}' as argument.")
            if "match" in args:
                read.back("only one pattern expected.")
            args["match"] = word
            read_match(read, word, args)
    if "match" not in args:
        read.fail("expects at least a matching pattern as arguments.")
    add(draft, line, "expect", args, comment)


def check_regex(read: Reader, text: str) -> None:
    """Refuse a regular expression that is none."""
    try:
        re.compile(text)
    except re.error as exc:
        read.back(f"regex '{text}' is invalid (error={exc.msg}, erroffset={exc.pos or 0}).")
