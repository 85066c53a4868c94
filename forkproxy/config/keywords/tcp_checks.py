"""``tcp-check`` rules (manual 4.2)."""

from __future__ import annotations

from typing import Any, NoReturn

from forkproxy.config.args import Rest
from forkproxy.config.drafts import ProxyDraft
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
from forkproxy.rules.words import to_bytes

_MATCHES = ("string", "rstring", "string-lf", "binary", "rbinary", "binary-lf")
_OPTIONS = (
    "[ min-recv <n> ] [ comment <text> ] [ ok-status <st> ] [ error-status <st> ] [ tout-status <st> ] [ on-success <fmt> ] "
    "[ on-error <fmt> ] [ status-code <expr> ] [!] <match> <pattern>"
)


@keyword(PROXIES, "tcp-check comment", args=(Rest(),), synopsis="<text>")
def _comment(draft: ProxyDraft, line: Line, start: int) -> None:
    """What logs say when the next rule fails."""
    read_comment(draft, line, start)


@keyword(
    PROXIES, "tcp-check connect", args=(Rest(),),
    synopsis="[ default ] [ port <expr> ] [ addr <ip> ] [ send-proxy ] [ linger ] [ comment <text> ]",
)  # fmt: skip
def _connect(draft: ProxyDraft, line: Line, start: int) -> None:
    """Open a connection for the rules that follow; the one before is closed."""
    read_connect(draft, line, start)


def _hex(read: Reader, text: str) -> bytes:
    if len(text) % 2:
        read.back("hex string length is not even.")
    try:
        return bytes.fromhex(text)
    except ValueError:
        read.back(f"hex string contains non-hex characters '{text}'.")


def _send(name: str, binary: bool, lively: bool, doc: str) -> None:
    def send(draft: ProxyDraft, line: Line, start: int) -> None:
        if not backend_side(draft, line):
            return
        read = Reader(line, start)
        wanted = f"expects a {'binary ' if binary else ''}string as argument."
        args: dict[str, Any] = {"hex": binary}
        if lively:
            args["data"] = read.later("format", wanted)
        else:
            text = read.value(wanted)
            args["data"] = _hex(read, text) if binary else to_bytes(text)
        comment = ""
        if read.word:
            if read.take() != "comment":
                read.back(f"expects 'comment' but got '{read.line.words[read.at - 1]}' as argument.")
            comment = read.value("'comment' expects a string as argument.")
            if read.word:
                read.fail(f"unexpected argument '{read.word}'.")
        add(draft, line, "send", args, comment)

    send.__doc__ = doc
    what = "<hexfmt>" if binary and lively else "<hexstring>" if binary else "<fmt>" if lively else "<data>"
    keyword(PROXIES, f"tcp-check {name}", args=(Rest(),), synopsis=f"{what} [ comment <text> ]")(send)


_send("send", False, False, "Send a text.")
_send("send-lf", False, True, "Send what a log format makes.")
_send("send-binary", True, False, "Send bytes, given by their hexadecimal digits.")
_send("send-binary-lf", True, True, "Send bytes whose hexadecimal digits a log format makes.")


def _match(read: Reader, word: str, args: dict[str, Any]) -> None:
    wanted = f"'{word}' expects a <pattern> as argument."
    if word.endswith("-lf"):
        args["pattern"] = read.later("format", wanted)
        return
    args["shown"] = text = read.value(wanted)
    if word == "binary":
        args["pattern"] = _hex(read, text)
    elif word == "string":
        args["pattern"] = to_bytes(text)
    else:
        check_regex(read, text)
        args["pattern"] = text


@keyword(PROXIES, "tcp-check expect", args=(Rest(),), synopsis=_OPTIONS)
def _expect(draft: ProxyDraft, line: Line, start: int) -> None:
    """What has to be, or must not be, in what the server says."""
    shown = "'[!]binary', '[!]string', '[!]rstring', '[!]rbinary', '[!]string-lf', '[!]binary-lf'"
    read_expect(draft, line, start, _MATCHES, shown, _match)


@keyword(
    PROXIES, "tcp-check", args=(Rest(),),
    synopsis="{ set-var(<name>[,<cond>]) <expr> | set-var-fmt(<name>[,<cond>]) <fmt> | unset-var(<name>) }",
)  # fmt: skip
def _others(draft: ProxyDraft, line: Line, start: int) -> None:
    """Set a variable that the rules after it can use (scopes check, sess and proc), or forget one."""
    if not read_variable(draft, line, start):
        _unknown(line, start)


def _unknown(line: Line, start: int) -> NoReturn:
    got = line.words[start] if start < len(line.words) else ""
    line.fail(
        "'tcp-check' only supports 'comment', 'connect', 'send', 'send-binary', 'send-lf', 'send-binary-lf', 'expect', 'set-var', "
        f"'set-var-fmt', 'unset-var' but got '{got}'", start,
    )  # fmt: skip
