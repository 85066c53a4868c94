"""Rules as files of HAProxy before 2.1 have them: ``block`` and the ``req*``/``rsp*`` family (manuals 1.4 to 2.0, 4.2).

Those that refuse a message still work. Those that edit or let pass are refused with the line that replaces them, written out as far as the
old expression says what it means: it was matched against the request line and every header line as a whole.
"""

from __future__ import annotations

import re
from typing import NoReturn

from forkproxy.config.args import Rest
from forkproxy.config.drafts import ProxyDraft, RuleDraft
from forkproxy.config.keywords.caps import PROXIES, named_defaults_only
from forkproxy.config.line import Line
from forkproxy.registry import keyword


@keyword(PROXIES, "block", args=(Rest(),), synopsis="{ if | unless } <condition>")
def _block(draft: ProxyDraft, line: Line, start: int) -> None:
    """The old form of http-request deny; evaluated before all http-request rules."""
    named_defaults_only(draft, line)
    if start >= len(line.words) or line.words[start] not in ("if", "unless"):
        line.fail("'block' requires either 'if' or 'unless' followed by a condition.", start)
    draft.rules.append(RuleDraft("block", line, start))


def _denying(name: str, what: str, after: str) -> None:
    def rule(draft: ProxyDraft, line: Line, start: int) -> None:
        named_defaults_only(draft, line)
        if start >= len(line.words):
            line.fail(f"'{name}' expects a regular expression.", start)
        draft.rules.append(RuleDraft(name, line, start))

    rule.__doc__ = f"Refuse a {what} whose first line, or one of whose header lines, an expression matches; evaluated after {after} rules."
    keyword(PROXIES, name, args=(Rest(),), synopsis="<search> [ { if | unless } <condition> ]")(rule)


_denying("reqdeny", "request (403)", "http-request")
_denying("reqideny", "request (403)", "http-request")
_denying("rspdeny", "response (502)", "http-response")
_denying("rspideny", "response (502)", "http-response")


def _shown(word: str) -> str:
    """``word`` as it is written on a line."""
    return re.sub(r"([\\ \"'#])", r"\\\1", word)


def _header(search: str) -> tuple[str, str] | None:
    """(name, expression of the value) of a search for one header field; None for another one."""
    found = re.fullmatch(r"\^([A-Za-z0-9-]+):(?:\\ |\\s|[ *+?])*(.*)", search)
    return (found[1], found[2] or ".*") if found is not None else None


def modern(name: str, words: list[str]) -> str:
    """The line of today that means what ``name words`` meant."""
    side = "http-request" if name.startswith("req") else "http-response"
    kind = name[3:].removeprefix("i") if name[3:4] == "i" else name[3:]
    icase = " -i" if name[3:4] == "i" else ""
    search = words[0] if words else "<search>"
    at = 2 if kind == "rep" else 1
    rest = "".join(f" {w}" for w in words[at:])
    header = _header(search)
    if kind == "add":
        field, _, value = search.partition(":")
        return f"{side} add-header {field.strip()} {_shown(value.strip())}{rest}"
    if kind == "del":
        return f"{side} del-header {header[0]}{rest}" if header is not None else f"{side} del-header {_shown(search)} -m reg{rest}"
    if kind == "rep":
        string = words[1] if len(words) > 1 else "<string>"
        if header is not None:
            put = _header("^" + string)
            wanted, given = ("(?i)" if icase else "") + "^" + header[1], string if put is None else put[1]
            return f"{side} replace-header {header[0]} {_shown(wanted)} {_shown(given)}{rest}"
        return f"{side} replace-uri <regex of the target> <its replacement>{rest}"
    action = {"allow": "allow", "pass": "allow", "tarpit": "tarpit"}[kind]
    if header is not None:
        test = f"{{ {'req' if side == 'http-request' else 'res'}.hdr({header[0]}) -m reg{icase} {_shown('^' + header[1])} }}"
    else:
        test = f"{{ url_reg{icase} <regex of the target> }}"
    condition = f" {' '.join(words[at + 1:])}" if len(words) > at else ""
    return f"{side} {action} if {test}{condition}"


def _editing(name: str, instead: str) -> None:
    def gone(draft: ProxyDraft, line: Line, start: int) -> NoReturn:
        line.fail(
            f"The '{name}' directive is not supported anymore since HAProxy 2.1. Use '{instead}' instead.",
            hint=f"today's line: {modern(name, line.words[start:])}",
        )

    gone.__doc__ = "Refused as by HAProxy, with what replaces it."
    keyword(PROXIES, name, args=(Rest(),))(gone)


for _name, _instead in (
    ("reqadd", "http-request add-header"), ("reqallow", "http-request allow"), ("reqiallow", "http-request allow"),
    ("reqdel", "http-request del-header"), ("reqidel", "http-request del-header"), ("reqpass", "http-request allow"),
    ("reqipass", "http-request allow"),
    ("reqrep", "http-request replace-path', 'http-request replace-uri' or 'http-request replace-header"),
    ("reqirep", "http-request replace-path', 'http-request replace-uri' or 'http-request replace-header"),
    ("reqtarpit", "http-request tarpit"), ("reqitarpit", "http-request tarpit"), ("rspadd", "http-response add-header"),
    ("rspdel", "http-response del-header"), ("rspidel", "http-response del-header"), ("rsprep", "http-response replace-header"),
    ("rspirep", "http-response replace-header"),
):  # fmt: skip
    _editing(_name, _instead)
