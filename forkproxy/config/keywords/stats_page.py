"""The ``stats`` keywords of proxy sections (manual 4.2 "stats enable" and its kin): the statistics page that an HTTP proxy answers with.

Any of them enables the page. What they say gathers in one frozen value per section, so that a section that inherits it changes its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forkproxy.config.args import Rest, Time
from forkproxy.config.drafts import ProxyDraft
from forkproxy.config.keywords.caps import PROXIES, end_of_line, not_in_defaults
from forkproxy.config.keywords.rules import collect
from forkproxy.config.line import Line
from forkproxy.plan import StatsPage
from forkproxy.registry import keyword
from forkproxy.values import replace


def _say(draft: ProxyDraft, **fields: Any) -> None:
    """Enable the page of this section, with ``fields``."""
    draft.stats_page = replace(draft.stats_page or StatsPage(), **fields)


def _word(line: Line, start: int, complaint: str) -> str:
    """The one argument of the line."""
    if start >= len(line.words) or not line.words[start]:
        line.fail(f"'{line.words[1]}' needs {complaint}.", start)
    end_of_line(line, start + 1)
    return line.words[start]


def _switch(name: str, doc: str, **fields: Any) -> None:
    def switch(draft: ProxyDraft, line: Line) -> None:
        _say(draft, **fields)

    switch.__doc__ = doc
    keyword(PROXIES, f"stats {name}", args=())(switch)


_switch("enable", "Answer requests for the statistics page, with all defaults.")
_switch("hide-version", "The statistics page does not tell the version (the default).", show_version=False)
_switch("show-version", "The statistics page tells the version.", show_version=True)
_switch("show-legends", "The statistics page tells identifiers, addresses, cookies and modes, too.", show_legends=True)
_switch(
    "show-modules",
    "The statistics page, and its CSV behind the dash, show what HAProxy has no columns for: the milliseconds within which 50, 95 and 99 "
    "of 100 answers came (in TCP mode: sessions ended). Distributions of times are kept then.",
    show_modules=True,
)


@keyword(PROXIES, "stats uri", args=(Rest(),), default="/haproxy?stats", synopsis="<prefix>")
def _uri(draft: ProxyDraft, line: Line, start: int) -> None:
    """The statistics page answers requests whose target begins so."""
    _say(draft, uri=_word(line, start, "an URI prefix").encode("utf-8", "surrogateescape"))


@keyword(PROXIES, "stats realm", args=(Rest(),), default="HAProxy Statistics", synopsis="<realm>")
def _realm(draft: ProxyDraft, line: Line, start: int) -> None:
    """The realm that browsers show when they ask for a password."""
    _say(draft, realm=_word(line, start, "an realm name"))


@keyword(PROXIES, "stats auth", args=(Rest(),), synopsis="<user>:<passwd>")
def _auth(draft: ProxyDraft, line: Line, start: int) -> None:
    """Only who knows one of these passwords (in clear) sees the statistics page."""
    user, colon, password = _word(line, start, "a user:password account").partition(":")
    if not user or not colon:
        line.fail("'auth' needs a user:password account.", start)
    page = draft.stats_page or StatsPage()
    _say(draft, accounts=(*(a for a in page.accounts if a[0] != user), (user, password)))


@keyword(PROXIES, "stats scope", args=(Rest(),), synopsis="{ <name> | . }")
def _scope(draft: ProxyDraft, line: Line, start: int) -> None:
    """The statistics page shows only proxies of these names; a dot is the section itself."""
    name = _word(line, start, "a proxy name")
    page = draft.stats_page or StatsPage()
    _say(draft, scope=(*page.scope, name))


@keyword(PROXIES, "stats refresh", args=(Time("s"),))
def _refresh(draft: ProxyDraft, line: Line, every_s: float) -> None:
    """The statistics page renews itself so often."""
    _say(draft, refresh_s=int(every_s))


@keyword(PROXIES, "stats show-node", args=(Rest(),), synopsis="[ <name> ]")
def _show_node(draft: ProxyDraft, line: Line, start: int) -> None:
    """The statistics page names the node: this one, or that of the global section."""
    name = line.words[start] if start < len(line.words) else ""
    bad = next((c for c in name if not (c.isalnum() or c in "._-")), "")
    if bad:
        line.fail(f"'stats show-node' invalid node name - should be a string with digits, letters, '.', '-' or '_', not '{bad}'.", start)
    end_of_line(line, start + 1)
    _say(draft, node=name)


@keyword(PROXIES, "stats show-desc", args=(Rest(),), synopsis="[ <description> ]")
def _show_desc(draft: ProxyDraft, line: Line, start: int) -> None:
    """The statistics page shows this description, or that of the global section."""
    _say(draft, desc=" ".join(line.words[start:]))


def _rule(name: str, synopsis: str, doc: str, check: Callable[[Line, int], None]) -> None:
    def rule(draft: ProxyDraft, line: Line, start: int) -> None:
        not_in_defaults(draft, line)
        check(line, start)
        _say(draft)
        collect(draft, line, f"stats {name}", start)

    rule.__doc__ = doc
    keyword(PROXIES, f"stats {name}", args=(Rest(),), synopsis=synopsis)(rule)


def _check_admin(line: Line, start: int) -> None:
    if start >= len(line.words) or line.words[start] not in ("if", "unless"):
        line.fail("'stats admin' requires either 'if' or 'unless' followed by a condition.", start)


def _check_http_request(line: Line, start: int) -> None:
    if start >= len(line.words) or line.words[start] not in ("allow", "deny", "auth"):
        line.fail("'stats http-request' expects 'allow', 'deny' or 'auth'.", start)


_rule(
    "admin", "{ if | unless } <condition>", "Who the condition holds for may change servers by forms of the statistics page.", _check_admin
)
_rule(
    "http-request", "{ allow | deny | auth [ realm <realm> ] } [ { if | unless } <condition> ]",
    "Who may see the statistics page: the first rule that matches decides.", _check_http_request,
)  # fmt: skip
