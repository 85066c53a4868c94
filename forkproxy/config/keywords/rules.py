"""Rule keywords of the proxy sections (acl, http-request, use_backend …): lines are collected, ``build`` has them compiled by ``rules``.

Only the order of kinds is looked at here, because HAProxy evaluates kinds in a fixed order and warns of a file that reads differently.
"""

from __future__ import annotations

from typing import NoReturn

from forkproxy.config.args import Rest, Time
from forkproxy.config.drafts import ProxyDraft, RuleDraft
from forkproxy.config.keywords.caps import PROXIES, backend_side, frontend_side, named_defaults_only, not_in_defaults
from forkproxy.config.line import Line
from forkproxy.registry import keyword

#: Evaluation order, and how messages name a kind that came too early.
ORDER = (
    ("tcp-request connection", "a 'tcp-request connection'"),
    ("tcp-request session", "a 'tcp-request session'"),
    ("tcp-request content", "a 'tcp-request content'"),
    ("monitor fail", "a 'monitor fail'"),
    ("http-request", "an 'http-request'"),
    ("redirect", "a 'redirect'"),
    ("use_backend", "a 'use_backend'"),
    ("use-server", "a 'use-server'"),
)
_RANK = {kind: rank for rank, (kind, _) in enumerate(ORDER)}


def collect(draft: ProxyDraft, line: Line, kind: str, start: int) -> None:
    """Keep one rule line, warning when a kind that is evaluated later stands before it."""
    rank = _RANK.get(kind)
    if rank is not None:
        for later, shown in ORDER[rank + 1 :]:
            if later in draft.seen:
                name = kind if kind == "monitor fail" else line.words[0]
                line.warn(f"a '{name}' rule placed after {shown} rule will still be processed before.")
                break
        draft.seen.add(kind)
    draft.rules.append(RuleDraft(kind, line, start))


@keyword(PROXIES, "acl", args=(Rest(),), synopsis="<name> <criterion> [flags] [operator] <value> ...")
def _acl(draft: ProxyDraft, line: Line, start: int) -> None:
    """Name a test; tests of the same name are alternatives."""
    named_defaults_only(draft, line)
    name = line.words[start] if start < len(line.words) else ""
    bad = next((c for c in name if not (c.isalnum() or c in "-_.:")), "")
    if bad:
        line.fail(f"character '{bad}' is not permitted in acl name '{name}'.", start)
    if name.lower() == "or":
        line.fail(f"acl name '{name}' will never match. 'or' is used to express a logical disjunction within a condition.", start)
    draft.rules.append(RuleDraft("acl", line, start))


@keyword(PROXIES, "use_backend", args=(Rest(),), synopsis="<backend> [ { if | unless } <condition> ]")
def _use_backend(draft: ProxyDraft, line: Line, start: int) -> None:
    """Send what matches to a backend; its name may be a log-format expression."""
    not_in_defaults(draft, line)
    if not frontend_side(draft, line):
        return
    if start >= len(line.words) or not line.words[start]:
        line.fail("'use_backend' expects a backend name.", start)
    if start + 1 < len(line.words) and line.words[start + 1] not in ("if", "unless"):
        line.fail(
            f"unexpected keyword '{line.words[start + 1]}' after switching rule, only 'if' and 'unless' are allowed.", start + 1
        )
    collect(draft, line, "use_backend", start)


@keyword(PROXIES, "use-server", args=(Rest(),), synopsis="<server> { if | unless } <condition>")
def _use_server(draft: ProxyDraft, line: Line, start: int) -> None:
    """Send what matches to one server of the backend when that is up; its name may be a log-format expression."""
    not_in_defaults(draft, line)
    if not backend_side(draft, line):
        return
    if start >= len(line.words) or not line.words[start]:
        line.fail("'use-server' expects a server name.", start)
    if start + 1 >= len(line.words) or line.words[start + 1] not in ("if", "unless"):
        line.fail("'use-server' requires either 'if' or 'unless' followed by a condition.", start + 1)
    collect(draft, line, "use-server", start)


@keyword(PROXIES, "monitor fail", args=(Rest(),), synopsis="{ if | unless } <condition>")
def _monitor_fail(draft: ProxyDraft, line: Line, start: int) -> None:
    """When the condition holds, ``monitor-uri`` answers 503."""
    not_in_defaults(draft, line)
    if not frontend_side(draft, line):
        return
    if start >= len(line.words) or line.words[start] not in ("if", "unless"):
        line.fail("'monitor fail' requires either 'if' or 'unless' followed by a condition.", start)
    collect(draft, line, "monitor fail", start)


@keyword(PROXIES, "monitor", args=(Rest(),))
def _monitor_unknown(draft: ProxyDraft, line: Line, start: int) -> NoReturn:
    """Catches what ``monitor`` does not have."""
    not_in_defaults(draft, line)
    line.fail("'monitor' only supports 'fail'.", start)


@keyword(PROXIES, "force-be-switch", args=(Rest(),), synopsis="{ if | unless } <condition>")
def _force_be_switch(draft: ProxyDraft, line: Line, start: int) -> None:
    """What matches is sent to backends that are disabled or unpublished, too."""
    not_in_defaults(draft, line)
    if not frontend_side(draft, line):
        return
    if start >= len(line.words) or line.words[start] not in ("if", "unless"):
        line.fail("'force-be-switch' requires either 'if' or 'unless' followed by a condition.", start)
    collect(draft, line, "force-be-switch", start)


@keyword(PROXIES, "redirect", args=(Rest(1),), synopsis="{ location | prefix | scheme } <target> [options] [ { if | unless } <condition> ]")
def _redirect(draft: ProxyDraft, line: Line, start: int) -> None:
    """Answer with a redirect; evaluated after all http-request rules."""
    not_in_defaults(draft, line)
    collect(draft, line, "redirect", start)


def _http_rules(name: str, doc: str) -> None:
    def rule(draft: ProxyDraft, line: Line, start: int) -> None:
        named_defaults_only(draft, line)
        if start >= len(line.words):
            line.fail(f"'{name}' expects an action (missing argument).", start)
        collect(draft, line, name, start)

    rule.__doc__ = doc
    keyword(PROXIES, name, args=(Rest(),), synopsis="<action> [options] [ { if | unless } <condition> ]")(rule)


_http_rules("http-request", "One rule on requests, before a server is chosen.")
_http_rules("http-response", "One rule on the responses of servers.")
_http_rules("http-after-response", "One rule on every response that goes to a client, our own included.")


def _tcp_rules(name: str, doc: str) -> None:
    direction, _, phase = name.partition(" ")

    def rule(draft: ProxyDraft, line: Line, start: int) -> None:
        _tcp_place(draft, line, direction, phase)
        if start >= len(line.words):
            line.fail(f"'{name}' expects an action in {draft.label} '{draft.name}' (got '').", start)
        collect(draft, line, name, start)

    rule.__doc__ = doc
    keyword(PROXIES, name, args=(Rest(),), synopsis="<action> [ { if | unless } <condition> ]")(rule)


def _tcp_place(draft: ProxyDraft, line: Line, direction: str, phase: str) -> None:
    named_defaults_only(draft, line)
    if direction == "tcp-response" and not draft.is_backend:
        line.fail(f"tcp-response {phase} is only allowed in 'backend' sections or 'defaults' section with a name")
    if phase in ("connection", "session") and not draft.is_frontend:
        line.fail(f"{direction} {phase} is not allowed because {draft.label} {draft.name} is not a frontend")


_tcp_rules("tcp-request connection", "One rule on connections just accepted: addresses only.")
_tcp_rules("tcp-request session", "One rule on sessions, once PROXY protocol and TLS are done.")
_tcp_rules("tcp-request content", "One rule on the first bytes of a session.")
_tcp_rules("tcp-response content", "One rule on the first bytes of a server.")


@keyword(PROXIES, "tcp-request inspect-delay", args=(Time("ms"),))
def _inspect_delay(draft: ProxyDraft, line: Line, value_s: float) -> None:
    """How long content rules wait for bytes that they need."""
    _tcp_place(draft, line, "tcp-request", "inspect-delay")
    draft.inspect_delay_s = value_s


@keyword(PROXIES, "tcp-response inspect-delay", args=(Time("ms"),))
def _response_inspect_delay(draft: ProxyDraft, line: Line, value_s: float) -> None:
    """How long response content rules wait for bytes that they need."""
    _tcp_place(draft, line, "tcp-response", "inspect-delay")
    draft.settings["tcp-response-inspect-delay-s"] = value_s


@keyword(PROXIES, "tcp-request", args=(Rest(),))
def _tcp_request_unknown(draft: ProxyDraft, line: Line, start: int) -> NoReturn:
    """Catches what ``tcp-request`` does not have."""
    if start >= len(line.words):
        line.fail(f"missing argument for 'tcp-request' in {draft.label} '{draft.name}'", start)
    line.fail(
        "'tcp-request' expects 'inspect-delay', 'connection', 'session' or 'content'"
        f" in {draft.label} '{draft.name}' (got '{line.words[start]}')", start,
    )  # fmt: skip


@keyword(PROXIES, "tcp-response", args=(Rest(),))
def _tcp_response_unknown(draft: ProxyDraft, line: Line, start: int) -> NoReturn:
    """Catches what ``tcp-response`` does not have."""
    got = line.words[start] if start < len(line.words) else ""
    line.fail(f"'tcp-response' expects 'inspect-delay' or 'content' in {draft.label} '{draft.name}' (got '{got}')", start)
