"""What frontends log: targets, formats and log profiles of one proxy, resolved and compiled."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from forkproxy.config.build_rules import compile_format
from forkproxy.config.diagnostics import Diagnostics, did_you_mean
from forkproxy.config.drafts import GlobalDraft, ProxyDraft
from forkproxy.config.keywords.log_profile import LogProfileDraft
from forkproxy.errors import ConfigError
from forkproxy.plan import Frontend, LogTarget, Render
from forkproxy.registry import Needs
from forkproxy.rules import logformat
from forkproxy.rules.context import RuleContext
from forkproxy.rules.logprofile import Change, LogProfile
from forkproxy.values import replace

_FORMATS = {
    "httplog": logformat.HTTPLOG,
    "clf": logformat.CLF,
    "tcplog": logformat.TCPLOG,
    "tcpclf": logformat.TCPCLF,
    "httpslog": logformat.HTTPSLOG,
}


def log_targets(draft: ProxyDraft, settings: GlobalDraft, profiles: Mapping[str, LogProfileDraft]) -> tuple[LogTarget, ...]:
    """The targets of ``draft``, each with the tag of its lines."""
    tag = draft.log_tag or settings.settings.get("log_tag", "haproxy")
    targets: list[LogTarget] = []
    for target in draft.log_targets:
        targets += settings.log_targets if target is None else [target]
    return tuple(replace(t, tag=(profiles[t.profile].tag if t.profile else "") or tag) for t in targets)


def log_format(
    draft: ProxyDraft, targets: tuple[LogTarget, ...], context: RuleContext, diag: Diagnostics
) -> tuple[Render | None, Render | None, Needs]:
    """(format of log lines, of error lines, what both need)."""
    kind = draft.log_format_kind
    if kind and not targets and not draft.disabled:
        diag.warning(f"log format ignored for {draft.label} '{draft.name}' since it has no log address.")
    render, needs = compile_format(draft.log_format, context)
    errors, error_needs = compile_format(draft.error_log_format, context)
    if not targets:
        return None, None, Needs.NONE
    if kind != "custom":
        text = _FORMATS.get(kind) or logformat.CONNECTLOG.format(mode=draft.mode.upper())
        if draft.mode != "http" and kind in ("httplog", "clf", "httpslog"):
            text = logformat.TCPLOG
            draft.settings["log-format-line"].warn(
                f"'option {'httplog' if kind == 'clf' else kind}' not usable with {draft.label} '{draft.name}' "
                "(needs 'mode http'). Falling back to 'option tcplog'.", 1,
            )  # fmt: skip
        try:
            made = logformat.compile_format(text, context.at("log"), style="log")
            render, needs = made.render, made.needs
        except ConfigError as exc:  # a format of HAProxy's that speaks of what forkproxy does not have
            draft.settings["log-format-line"].alert(f"'option {kind}' : {exc.message}", 1)
    return render, errors, needs | error_needs


def find_profile(profiles: Mapping[str, LogProfileDraft], name: str, proxy: str) -> None:
    """A rule of ``proxy`` names a profile. Raises ValueError when there is none of that name."""
    found = profiles.get(name)
    if found is None:
        near = did_you_mean(name, profiles)
        raise ValueError(f"unable to find log-profile '{name}'" + (f" ({near.rstrip(' ?')}?)" if near else ""))
    found.users.add(proxy)


def with_profiles(
    frontend: Frontend, context: RuleContext, profiles: Mapping[str, LogProfileDraft], backends: Collection[str]
) -> Frontend:
    """``frontend`` with the profiles that its ``log`` lines, its rules, or those of a backend name, compiled for it."""
    if not frontend.log_targets:
        return frontend
    own = {target.profile for target in frontend.log_targets}
    wanted = [
        draft
        for name, draft in profiles.items()
        if name in own or any(user == frontend.name or user in backends for user in draft.users)
    ]
    if not wanted:
        return frontend
    total = Needs.NONE
    made: dict[str, LogProfile] = {}
    for draft in wanted:
        changes = {}
        for instant, change in draft.changes.items():
            text, text_needs = compile_format(change.format, context)
            sd, sd_needs = compile_format(change.sd, context)
            total |= text_needs | sd_needs
            changes[instant] = Change(drop=change.drop, format=text, sd=sd)
        made[draft.name] = LogProfile(name=draft.name, tag=draft.tag, changes=changes)
    capabilities: dict[str, Any] = {**frontend.capabilities, "log-profiles": made}
    return replace(frontend, capabilities=capabilities, log_needs=frontend.log_needs | total)
