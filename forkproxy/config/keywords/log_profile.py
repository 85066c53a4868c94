"""The ``log-profile`` section (manual 8.3.5): formats and a tag for the log lines of some targets. Knows its own draft."""

from __future__ import annotations

from forkproxy.config.args import Rest, Word
from forkproxy.config.diagnostics import did_you_mean
from forkproxy.config.drafts import RuleDraft
from forkproxy.config.known import refusal
from forkproxy.config.line import Line
from forkproxy.registry import keyword
from forkproxy.rules.logprofile import INSTANTS


class ChangeDraft:
    """What ``on`` lines said of one instant; formats are compiled for each frontend that uses the profile."""

    __slots__ = ("drop", "format", "sd")

    def __init__(self) -> None:
        self.drop = False
        self.format: RuleDraft | None = None
        self.sd: RuleDraft | None = None


class LogProfileDraft:
    """The section. ``users`` are the names of proxies with a rule that names it."""

    __slots__ = ("changes", "line", "name", "tag", "users")

    def __init__(self, name: str, line: Line) -> None:
        self.name = name
        self.line = line
        self.tag = ""
        self.changes: dict[str, ChangeDraft] = {}
        self.users: set[str] = set()


@keyword("log-profile", "log-tag", args=(Word("<tag>"),), synopsis="<tag>")
def log_tag(draft: LogProfileDraft, line: Line, tag: str) -> None:
    """The program's name in lines of the targets that use this profile."""
    draft.tag = tag


@keyword("log-profile", "on", args=(Word("<step>"), Rest()), synopsis="<step> [drop] [format <format>] [sd <format>]")
def on(draft: LogProfileDraft, line: Line, step: str, start: int) -> None:
    """What is different at a step: no line ("drop"), another format than log-format's or, at "error", error-log-format's, other structured
    data than log-format-sd's. Steps are "accept", "request", "connect", "response", "close", "error", the rule sets in which "do-log"
    stands ("tcp-req-conn", "tcp-req-sess", "tcp-req-cont", "tcp-res-cont", "http-req", "http-res", "http-after-res"), and "any" for
    those that have no line of their own."""
    if step == "quic-init":
        line.fail(f"'on' : {refusal(step)}", 1)
    if step not in INSTANTS:
        line.fail(f"'on' : unknown step '{step}', expected one of: {', '.join(INSTANTS)}.", 1, did_you_mean(step, INSTANTS))
    if start >= len(line.words):
        line.fail(f"'on {step}' expects 'drop', 'format <format>' or 'sd <format>'.", start)
    change = draft.changes.setdefault(step, ChangeDraft())
    while start < len(line.words):
        word = line.words[start]
        if word == "drop":
            change.drop = True
            start += 1
            continue
        if word not in ("format", "sd"):
            line.fail(f"'on {step}' : unexpected '{word}', expects 'drop', 'format <format>' or 'sd <format>'.", start)
        if start + 1 >= len(line.words):
            line.fail(f"'on {step}' : '{word}' expects a format.", start + 1)
        rule = RuleDraft(f"on {step} {word}", line, start + 1)
        if word == "format":
            change.format = rule
        else:
            change.sd = rule
        start += 2
