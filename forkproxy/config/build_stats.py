"""The statistics page of one proxy, from what its section says to the step that answers: accounts become a rule, names are resolved."""

from __future__ import annotations

from typing import Any

from forkproxy.config.build_rules import RuleSets
from forkproxy.config.diagnostics import Diagnostics
from forkproxy.config.drafts import ProxyDraft
from forkproxy.plan import StatsPage, Step, Steps
from forkproxy.registry import PAGES
from forkproxy.rules.context import RuleContext
from forkproxy.rules.ruleset import parse_rule
from forkproxy.rules.userlist import Userlist
from forkproxy.rules.words import Words
from forkproxy.values import replace

_REALM = "HAProxy Statistics"


def statistics(draft: ProxyDraft, rules: RuleSets, context: RuleContext, settings: dict[str, Any], diag: Diagnostics) -> Steps:
    """The set of one step that answers requests for the page of ``draft``; None without one. ``settings`` are the global section's."""
    page = draft.stats_page
    if page is None:
        return None
    if draft.mode != "http":
        diag.warning(f"'stats' statement ignored for {draft.label} '{draft.name}' as it requires HTTP mode.")
        return None
    steps = rules.of("stats http-request") or ()
    if steps and (page.accounts or page.realm):
        diag.alert(f"{draft.label} '{draft.name}': stats 'auth'/'realm' and 'http-request' can't be used at the same time.")
    page = replace(
        page,
        rules=(_demand(page, context),) if page.accounts else steps,
        admin=tuple(rules.conditions.get("stats admin", ())),
        scope=tuple(draft.name if name == "." else name for name in page.scope),
        node=page.node if page.node != "" else settings.get("node", ""),
        desc=page.desc if page.desc != "" else settings.get("description", ""),
    )
    return (PAGES["statistics"](page),)


def _demand(page: StatsPage, context: RuleContext) -> Step:
    """"stats auth" as a rule: ask for credentials unless those of one of the accounts are there."""
    accounts = Userlist("stats")
    for user, password in page.accounts:
        accounts.add(user.encode("utf-8", "surrogateescape"), password.encode("utf-8", "surrogateescape"), True)
    realm = (page.realm or _REALM).replace("%", "%%")
    line = Words(["auth", "realm", realm, "unless", "{", "http_auth(stats)", "}"])
    return parse_rule("http-req", line, replace(context, userlists={"stats": accounts})).step
