"""Logging of the proxy sections (manual 4.2, 8): log targets, formats, tags, unique identifiers."""

from __future__ import annotations

import os

from forkproxy.config.args import Rest, Word
from forkproxy.config.diagnostics import did_you_mean
from forkproxy.config.drafts import ProxyDraft, RuleDraft
from forkproxy.config.keywords.caps import PROXIES, frontend_side
from forkproxy.config.keywords.options import choose_log_format
from forkproxy.config.line import Line
from forkproxy.config.log_target import read_log
from forkproxy.registry import keyword
from forkproxy.rules.logprofile import STEPS


@keyword(
    PROXIES, "log", args=(Rest(),),
    synopsis="global | <target> [len <length>] [format <format>] [sample <ranges>:<size>] [profile <name>] <facility>"
    " [<level> [<minlevel>]]",
)  # fmt: skip
def _log(draft: ProxyDraft, line: Line, start: int) -> None:
    """Where this proxy's logs go; ``log global`` adds those of the global section, ``no log`` drops all so far."""
    if line.negated:
        if start < len(line.words):
            line.fail("log : 'no log' does not expect arguments", start)
        draft.log_targets = []
        return
    if line.words[start:] == ["global"]:
        draft.log_targets.append(None)
        return
    draft.log_targets.append(read_log(line, start))


def _one_format(line: Line, start: int) -> None:
    name = line.words[0]
    if start >= len(line.words):
        line.fail(f"{name} expects an argument.", start)
    if start + 1 < len(line.words):
        line.fail(f"{name} expects only one argument, don't forget to escape spaces!", start + 1)


@keyword(PROXIES, "log-format", args=(Rest(),), synopsis="<format>")
def _log_format(draft: ProxyDraft, line: Line, start: int) -> None:
    """The format of log lines."""
    _one_format(line, start)
    if choose_log_format(draft, line, "custom"):
        draft.log_format = RuleDraft("log-format", line, start)


@keyword(PROXIES, "error-log-format", args=(Rest(),), synopsis="<format>")
def _error_log_format(draft: ProxyDraft, line: Line, start: int) -> None:
    """The format of log lines of connections that failed before they carried a stream."""
    _one_format(line, start)
    if not draft.is_frontend:
        line.warn(f"backend '{draft.name}' : 'error-log-format' directive is ignored in backends.")
        return
    draft.error_log_format = RuleDraft("error-log-format", line, start)


@keyword(PROXIES, "log-format-sd", args=(Rest(),), synopsis="<format>")
def _log_format_sd(draft: ProxyDraft, line: Line, start: int) -> None:
    """The format of the structured data in log lines of RFC 5424's form."""
    _one_format(line, start)
    if not draft.is_frontend and draft.kind != "defaults":
        line.warn(f"backend '{draft.name}' : 'log-format-sd' directive is ignored in backends.")
        return
    draft.log_format_sd = RuleDraft("log-format-sd", line, start)


@keyword(PROXIES, "log-steps", args=(Word("<steps>"),), synopsis="all | <step>[,<step>]*")
def _log_steps(draft: ProxyDraft, line: Line, text: str) -> None:
    """When lines are written, in the place of the one line at the end: at all steps of a stream, or at some of "accept" (it begins),
    "request" (the head of the request is there), "connect" (the server's connection stands), "response" (the head of the answer is
    there), "close" (the end)."""
    if draft.kind == "backend":
        frontend_side(draft, line)
        return
    named = STEPS if text == "all" else tuple(text.split(","))
    for step in named:
        if step not in STEPS:
            line.fail(f"'log-steps' : unknown step '{step}', expected 'all' or some of: {', '.join(STEPS)}.", 1, did_you_mean(step, STEPS))
    draft.settings["log-steps"] = frozenset(named)


@keyword(PROXIES, "log-tag", args=(Rest(),), synopsis="<tag>")
def _log_tag(draft: ProxyDraft, line: Line, start: int) -> None:
    """The program's name in log lines."""
    if start >= len(line.words) or not line.words[start]:
        line.fail("'log-tag' expects a tag for use in syslog.", start)
    draft.log_tag = line.words[start]


@keyword(PROXIES, "unique-id-format", args=(Rest(),), synopsis="<format>")
def _unique_id_format(draft: ProxyDraft, line: Line, start: int) -> None:
    """What identifies a request: %ID in logs, the fetch unique-id."""
    _one_format(line, start)
    draft.unique_id_format = RuleDraft("unique-id-format", line, start)


@keyword(PROXIES, "unique-id-header", args=(Rest(),), synopsis="<name>")
def _unique_id_header(draft: ProxyDraft, line: Line, start: int) -> None:
    """The header that takes the unique identifier to servers."""
    if start >= len(line.words) or not line.words[start]:
        line.fail("unique-id-header expects an argument.", start)
    if draft.is_frontend:
        draft.unique_id_header = os.fsencode(line.words[start])
    else:
        line.note(f"'unique-id-header' has no effect in backend '{draft.name}'")
