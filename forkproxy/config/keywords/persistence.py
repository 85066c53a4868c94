"""Persistence in the proxy sections (manual 4.2): ``cookie``, ``dynamic-cookie-key``, ``persist``, ``force-`` and ``ignore-persist``."""

from __future__ import annotations

import math
import re
from typing import Any, NoReturn

from forkproxy.config import units
from forkproxy.config.args import Rest
from forkproxy.config.drafts import ProxyDraft
from forkproxy.config.keywords.caps import PROXIES, backend_side, not_in_defaults
from forkproxy.config.keywords.rules import collect
from forkproxy.config.line import Line
from forkproxy.plan import Cookie
from forkproxy.registry import keyword

_MODES = ("rewrite", "insert", "prefix")
_FLAGS = ("indirect", "nocache", "postonly", "preserve", "dynamic")
_ATTRIBUTES = {"httponly": "; HttpOnly", "secure": "; Secure"}
_BAD_DOMAIN = re.compile(r"[^!-:<-~]")
_BAD_ATTRIBUTE = re.compile(r"[\x00-\x1f\x7f;]")
_LONGEST_S = 2**31 - 1


@keyword(
    PROXIES, "cookie", args=(Rest(),),
    synopsis="<name> [ rewrite | insert | prefix ] [ indirect ] [ nocache ] [ postonly ] [ preserve ] [ httponly ] [ secure ] "
    "[ domain <domain> ]* [ maxidle <time> ] [ maxlife <time> ] [ dynamic ] [ attr <value> ]*",
)  # fmt: skip
def _cookie(draft: ProxyDraft, line: Line, start: int) -> None:
    """Keep clients on their server by a cookie of this name: made by us, or a server's that we complete."""
    words = line.words
    if start >= len(words) or not words[start]:
        line.fail("'cookie' expects <cookie_name> as argument.", start)
    if not backend_side(draft, line):
        return
    said: dict[str, Any] = {}
    modes: list[str] = []
    domains, switches, attributes = "", set(), ""
    index = start + 1
    while index < len(words):
        word = words[index]
        index += 1
        if word in _MODES:
            modes.append(word)
        elif word in _FLAGS:
            said[word] = True
        elif word in _ATTRIBUTES:
            switches.add(word)
        elif word == "domain":
            domains += f"; domain={_domain(line, index)}"
            index += 1
        elif word == "attr":
            attributes += f"; {_attribute(line, index)}"
            index += 1
        elif word in ("maxidle", "maxlife"):
            said[f"{word}_s"] = _seconds(line, index, word)
            index += 1
        else:
            line.fail(
                "'cookie' supports 'rewrite', 'insert', 'prefix', 'indirect', 'nocache', 'postonly', 'domain', 'maxidle', 'dynamic', "
                "'maxlife' and 'attr' options.", index - 1,
            )  # fmt: skip
    if len(set(modes)) > 1:
        line.fail("cookie 'rewrite', 'insert' and 'prefix' modes are incompatible.", start)
    mode = modes[0] if modes else ""
    if mode == "rewrite" and said.get("indirect"):
        line.fail("cookie 'rewrite' and 'indirect' modes are incompatible.", start)
    if said.get("preserve") and mode != "insert" and not said.get("indirect"):
        line.fail("cookie 'preserve' requires at least 'insert' or 'indirect'.", start)
    tail = domains + "".join(text for word, text in _ATTRIBUTES.items() if word in switches) + attributes
    draft.settings["cookie"] = Cookie(name=_bytes(words[start]), mode=mode, tail=_bytes(tail), **said)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _domain(line: Line, index: int) -> str:
    if index >= len(line.words):
        line.fail("'domain' expects <domain> as argument.", index)
    domain = line.words[index]
    if "." not in domain:
        line.warn(
            f"domain '{domain}' contains no embedded dot, this configuration may not work properly (see RFC6265#5.2.3).", index
        )
    if bad := _BAD_DOMAIN.search(domain):
        line.fail(f"character '{bad[0]}' is not permitted in domain name '{domain}'.", index)
    return domain


def _attribute(line: Line, index: int) -> str:
    if index >= len(line.words):
        line.fail("'attr' expects <value> as argument.", index)
    if bad := _BAD_ATTRIBUTE.search(line.words[index]):
        line.fail(f"character '%x{ord(bad[0]):02X}' is not permitted in attribute value.", index)
    return line.words[index]


def _seconds(line: Line, index: int, word: str) -> int:
    if index >= len(line.words):
        what = "idletime" if word == "maxidle" else "lifetime"
        line.fail(f"'{word}' expects <{what}> in seconds as argument.", index)
    text = line.words[index]
    try:
        return math.ceil(units.parse_time(text, "s", limit_ms=_LONGEST_S * 1000))
    except units.UnitError as exc:
        if exc.kind == "overflow":
            line.fail(f"timer overflow in argument <{text}> to <{word}>, maximum value is {_LONGEST_S} s (~68 years).", index)
        line.fail(f"{exc} in argument to <{word}>.", index)


@keyword(PROXIES, "dynamic-cookie-key", args=(Rest(),), synopsis="<string>")
def _dynamic_cookie_key(draft: ProxyDraft, line: Line, start: int) -> None:
    """The secret from which ``cookie … dynamic`` makes the values of servers that have none of their own."""
    if start >= len(line.words) or not line.words[start]:
        line.fail("'dynamic-cookie-key' expects <secret_key> as argument.", start)
    if backend_side(draft, line):
        draft.settings["dynamic-cookie-key"] = _bytes(line.words[start])


@keyword(PROXIES, "persist rdp-cookie", synopsis="or persist rdp-cookie(<name>)")
def _persist_rdp(draft: ProxyDraft, line: Line) -> None:
    """Send sessions of the Remote Desktop Protocol to the server whose address their cookie tells (default name: msts)."""
    if backend_side(draft, line):
        draft.settings["rdp-cookie"] = b"msts"


@keyword(PROXIES, "persist", args=(Rest(),))
def _persist(draft: ProxyDraft, line: Line, start: int) -> None:
    """Catches the method with a name in parentheses, and what ``persist`` does not have."""
    if not backend_side(draft, line):
        return
    word = line.words[start] if start < len(line.words) else ""
    if not word:
        line.fail("missing persist method.", start)
    found = re.fullmatch(r"rdp-cookie\((.+)\)", word)
    if found is None:
        if word.startswith("rdp-cookie("):
            line.fail("persist rdp-cookie(name)' requires an rdp cookie name.", start)
        line.fail("unknown persist method.", start)
    draft.settings["rdp-cookie"] = _bytes(found[1])


def _conditional(name: str, doc: str) -> None:
    def rule(draft: ProxyDraft, line: Line, start: int) -> None:
        not_in_defaults(draft, line)
        if not backend_side(draft, line):
            return
        if start >= len(line.words) or line.words[start] not in ("if", "unless"):
            line.fail(f"'{name}' requires either 'if' or 'unless' followed by a condition.", start)
        collect(draft, line, name, start)

    rule.__doc__ = doc
    keyword(PROXIES, name, args=(Rest(),), synopsis="{ if | unless } <condition>")(rule)


_conditional("force-persist", "What matches goes to the server of its cookie even while that is down, and nowhere else.")
_conditional("ignore-persist", "What matches is balanced as if it had no cookie, and gets none.")


@keyword(PROXIES, "appsession", args=(Rest(),), synopsis="<cookie> len <length> timeout <time>")
def _appsession(draft: ProxyDraft, line: Line, start: int) -> NoReturn:
    """Refused as by HAProxy; ``cookie … prefix`` and ``stick on req.cook(name)`` with a stick table replace it."""
    line.fail(
        "'appsession' is not supported anymore since HAProxy 1.6.", 0,
        "Use 'cookie' in prefix mode, or a stick table with 'stick store-response res.cook(name)' and 'stick match req.cook(name)'.",
    )  # fmt: skip
