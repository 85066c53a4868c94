"""Check rules and options of one backend to the ``plan.Check`` that its servers share, and what is wrong with their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forkproxy.config.build_rules import cursor
from forkproxy.config.drafts import CheckLine, GlobalDraft, Later, ProxyDraft
from forkproxy.errors import ConfigError
from forkproxy.plan import Check, CheckStep, Timeouts
from forkproxy.registry import ACTIONS, Type
from forkproxy.rules.action import CHECK, Parser
from forkproxy.rules.context import RuleContext
from forkproxy.rules.expr import compile_sample
from forkproxy.rules.logformat import compile_format
from forkproxy.values import replace

#: kinds of checks that have rules, and the keyword of these
_RULES = {"http": "http-check", "tcp-check": "tcp-check"}
_OPTIONS = {"httpchk": "http-check", "tcp-check": "tcp-check"}


def build_check(draft: ProxyDraft, timeouts: Timeouts, context: RuleContext, global_draft: GlobalDraft) -> Check:
    """What the servers of ``draft`` share; wrong formats and expressions become alerts."""
    kind = draft.settings.get("check_kind", "tcp")
    steps = [(line, _compiled(line, context.at(CHECK))) for line in draft.check_steps]  # all of them, so that a wrong one never hides
    rules = [line for line, _ in steps if line.line.words[0] == _RULES.get(kind)]
    _order(rules)
    unused = next((line for line, _ in steps if line not in rules), None)
    if unused is not None:
        option = next(option for option, word in _OPTIONS.items() if word == unused.line.words[0])
        unused.line.note(f"'{unused.line.words[0]}' rules are not used here: {draft.label} '{draft.name}' has no 'option {option}'.")
    options = _request_options(draft.httpchk) if kind == "http" and draft.httpchk else dict(draft.settings.get("check_options", {}))
    if kind == "external-check":
        options = _external(draft, global_draft)
    return Check(
        kind=kind,
        timeout_s=draft.timeouts.get("check_s") or None,
        connect_timeout_s=timeouts.connect_s,
        steps=tuple(step for line, step in steps if step is not None and line in rules),
        disable_on_404=bool(draft.settings.get("check_disable_on_404")),
        send_state=bool(draft.settings.get("check_send_state")),
        log_checks=draft.on("log-health-checks"),
        bufsize_bytes=global_draft.settings["bufsize_bytes"],
        options=options,
    )


def _compiled(line: CheckLine, context: RuleContext) -> CheckStep | None:
    """The step with its formats and expressions compiled; None after an alert."""

    def value(given: Any) -> Any:
        if isinstance(given, tuple):
            return tuple(value(part) for part in given)
        return _compile(line, given, context) if isinstance(given, Later) else given

    try:
        return replace(line.step, args={name: value(given) for name, given in line.step.args.items()})
    except ConfigError as exc:
        exc.message = f"'{line.line.keyword}' : {exc.message}"
        line.line.diag.error(exc)
        return None


def _compile(line: CheckLine, later: Later, context: RuleContext) -> Any:
    words = cursor(line.line, later.index)
    if later.kind == "format":
        return compile_format(words, context, style="raw").render
    if later.kind == "action":
        word = words.next()
        name, _, inside = word.partition("(")
        if not inside.endswith(")"):
            words.fail(f"missing ')' in '{word}'")
        entry = ACTIONS[CHECK, name]
        step = entry.factory(Parser(words, context, CHECK, name, inside[:-1]))
        words.end(f"'{name}'")
        return step
    return compile_sample(words, context, want=Type.SINT if later.kind == "port" else Type.ANY).fetch


def _external(draft: ProxyDraft, global_draft: GlobalDraft) -> dict[str, Any]:
    """What ``health.external`` needs to know; alerts where something is missing."""
    allowed = global_draft.options.get("external_check")
    command = draft.settings.get("external_command", "")
    for missing, what in ((not allowed, "global.external-check"), (not command, "external-check command")):
        if missing:
            assert draft.line is not None
            draft.line.diag.alert(f"Proxy '{draft.name}' : 'option external-check' unable to find required '{what}'.")
    addresses = [address for bind in draft.binds for address in bind.addresses if address.family in ("ipv4", "ipv6", "unix")]
    return {
        "command": command,
        "path": draft.settings.get("external_path", ""),
        "preserve": allowed == "preserve",
        "listener": addresses[0] if addresses else None,
    }


def _request_options(said: Mapping[str, str]) -> dict[str, Any]:
    """``option httpchk`` in the form that ``health`` reads."""
    options: dict[str, Any] = {name: said[name] for name in ("method", "uri", "version")}
    headers = [
        (name.strip(), value.strip()) for name, colon, value in (h.partition(":") for h in said.get("headers", "").split("\r\n")) if colon
    ]
    if said.get("host"):
        headers.append(("host", said["host"]))
    if headers:
        options["headers"] = tuple(headers)
    if said.get("body"):
        options["body"] = said["body"]
    return options


def _order(lines: list[CheckLine]) -> None:
    """Refuse a sequence that connects, but not first (manual 4.2 "tcp-check connect")."""
    rules = [line for line in lines if line.step.kind not in ("comment", "set-var", "unset-var")]
    if any(rule.step.kind == "connect" for rule in rules) and rules[0].step.kind != "connect":
        late = next(rule for rule in rules if rule.step.kind == "connect")
        late.line.alert(
            f"'{late.line.keyword}' : first step MUST also be a 'connect', optionally preceded by a 'set-var', an 'unset-var' or a "
            "'comment', when there is a 'connect' step in the tcp-check ruleset."
        )
