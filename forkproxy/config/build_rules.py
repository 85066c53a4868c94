"""Rule lines of one proxy to compiled rule sets: the one place where ``config`` calls ``rules``.

Lines are compiled in the order of the file, because an ACL is known only from its line on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from forkproxy.config.build_stick import compile_stick
from forkproxy.config.drafts import ProxyDraft, RuleDraft
from forkproxy.config.line import Line
from forkproxy.errors import ConfigError
from forkproxy.plan import ErrorReply, Render, Steps, Stick
from forkproxy.registry import Needs
from forkproxy.rules import forwarded, logformat
from forkproxy.rules.acl import compile_acl
from forkproxy.rules.action import Parser
from forkproxy.rules.actions.reply import read_reply
from forkproxy.rules.conditions import read_condition
from forkproxy.rules.context import RuleContext
from forkproxy.rules.expr import compile_sample
from forkproxy.rules.oldrules import deny_lines
from forkproxy.rules.ruleset import Choice, Rule, fold_use_backend, parse_rule, parse_use_backend, steps_of
from forkproxy.rules.words import Words, to_text

#: keyword → rule set of ``rules``
KINDS = {
    "tcp-request connection": "tcp-req-conn",
    "tcp-request session": "tcp-req-sess",
    "tcp-request content": "tcp-req-cont",
    "tcp-response content": "tcp-res-cont",
    "http-request": "http-req",
    "http-response": "http-res",
    "http-after-response": "http-after-res",
    "stats http-request": "http-req",
}
#: rule sets that nothing runs in TCP mode
HTTP_KINDS = ("http-request", "http-response", "http-after-response", "redirect", "block", "reqdeny", "reqideny", "rspdeny", "rspideny")
_STATS_KINDS = ("stats http-request", "stats admin")


def cursor(line: Line, start: int) -> Words:
    """The words of ``line`` from index ``start`` on, as ``rules`` reads them."""
    return Words(line.words, line.columns, file=line.file, line=line.number, source=line.source, start=start)


class RuleSets:
    """What became of the rule lines of one proxy. Attributes are None or empty where there are none.

    ``rules`` by keyword; ``use_backend`` choices with their lines, in order; ``use_server`` (static name or "", predicate,
    name of a stream's server, line); ``persist`` (predicate, force-persist or ignore-persist); ``errors`` those of http-error;
    ``conditions`` those of "monitor fail", "stats admin" and "force-be-switch", by keyword.
    """

    __slots__ = (
        "conditions", "context", "draft", "errors", "final", "needs", "persist", "rules", "stick", "use_backend", "use_server",
    )  # fmt: skip

    def __init__(self, draft: ProxyDraft, context: RuleContext) -> None:
        self.draft = draft
        self.context = context
        self.rules: dict[str, list[Rule]] = {}
        self.needs: dict[str, Needs] = {}
        self.final: dict[str, bool] = {}  # whether the last rule of a kind ends its set in any case
        self.use_backend: list[tuple[Choice, Line]] = []
        self.use_server: list[tuple[str, Callable[[Any], bool] | None, Callable[[Any], str], Line]] = []
        self.stick: list[Stick] = []
        self.persist: list[tuple[Callable[[Any], bool], bool]] = []
        self.conditions: dict[str, list[Callable[[Any], bool]]] = {}
        self.errors: dict[int, ErrorReply] = {}

    def compile(self) -> None:
        """Compile every line; what is wrong becomes an alert of its line."""
        http = self.draft.speaks_http
        for rule in self.draft.rules:
            if not http and rule.kind in (*HTTP_KINDS, *_STATS_KINDS):
                continue  # warned of by build
            # warnings of a rule belong to its line
            self.context.warn = rule.line.warn
            self.context.note = rule.line.note
            self.context.place = (rule.line.file, rule.line.number)
            try:
                self._one(rule)
            except ConfigError as exc:
                exc.message = f"error detected in {self.draft.label} '{self.draft.name}' while parsing {_shown(rule)} : {exc.message}"
                if not exc.line:  # raised by something built in that the line refers to
                    exc.file, exc.line = rule.line.file, rule.line.number
                rule.line.diag.error(exc)

    def all_needs(self) -> Needs:
        """The OR over all rule sets."""
        total = Needs.NONE
        for needs in self.needs.values():
            total |= needs
        return total

    def of(self, *kinds: str) -> Steps:
        """The steps of these kinds, one after the other."""
        return tuple(steps_of(rule for kind in kinds for rule in self.rules.get(kind, ()))) or None

    def _one(self, rule: RuleDraft) -> None:
        words = cursor(rule.line, rule.start)
        match rule.kind:
            case "acl":
                self._acl(words)
            case "use_backend":
                self._use_backend(rule, words)
            case "use-server":
                self._use_server(rule, words)
            case "monitor fail" | "stats admin" | "force-be-switch":
                condition = read_condition(words, self.context.at("use-backend" if rule.kind == "force-be-switch" else "http-req"))
                assert condition is not None  # the keyword looked for "if"
                self.conditions.setdefault(rule.kind, []).append(condition.pred)
                self._need(rule.kind, condition.needs)
            case "force-persist" | "ignore-persist":
                condition = read_condition(words, self.context.at("use-server"))
                assert condition is not None  # the keyword looked for "if"
                self.persist.append((condition.pred, rule.kind == "force-persist"))
                self._need(rule.kind, condition.needs)
            case "redirect":
                words.pos = rule.start - 1  # the keyword is the action's name
                self._step("redirect", "http-req", words)
            case "http-error":
                self._http_error(words)
            case "block":
                words.pos = rule.start - 1  # the keyword is the action's name
                self._step("block", "http-req", words)
            case "reqdeny" | "reqideny" | "rspdeny" | "rspideny":
                self._add(rule.kind, deny_lines(rule.kind, words, self.context))
            case "stick":
                made, needs = compile_stick(words, self.context)
                self.stick.append(made)
                self._need(rule.kind, needs)
            case kind:
                self._step(kind, KINDS[kind], words)

    def _need(self, kind: str, needs: Needs) -> None:
        self.needs[kind] = self.needs.get(kind, Needs.NONE) | needs

    def _acl(self, words: Words) -> None:
        name = words.next("an ACL name")
        test = compile_acl(words, self.context)
        self.context.acls.setdefault(name, []).append(test)

    def _step(self, kind: str, rule_set: str, words: Words) -> None:
        rule = parse_rule(rule_set, words, self.context)
        if self.final.get(kind):
            self.context.warn(f"previous '{kind}' action is final and has no condition attached, further entries are NOOP.")
        self.final[kind] = rule.final and kind.startswith("http-")
        self._add(kind, rule)

    def _add(self, kind: str, rule: Rule) -> None:
        self.rules.setdefault(kind, []).append(rule)
        self._need(kind, rule.needs)

    def _use_backend(self, rule: RuleDraft, words: Words) -> None:
        choice = parse_use_backend(words, self.context)
        self.use_backend.append((choice, rule.line))
        self._need("use_backend", choice.needs)

    def _use_server(self, rule: RuleDraft, words: Words) -> None:
        choice = parse_use_backend(words, self.context, "use-server")
        pred = None if choice.condition is None else choice.condition.pred
        self.use_server.append((choice.target, pred, _namer(choice), rule.line))
        self._need("use-server", choice.needs)

    def _http_error(self, words: Words) -> None:
        reply = read_reply(Parser(words, self.context.at("http-error"), "http-res", "http-error", ""), "reply", 200, False)
        words.end("http-error")
        self.errors[reply.status] = ErrorReply(status=reply.status, raw=reply.raw, reply=reply)


def switching(rules: RuleSets) -> dict[str, Any]:
    """The fields of a frontend's plan that choose the backend."""
    but_for = partial(fold_use_backend, [choice for choice, _line in rules.use_backend])
    return {"use_backend": but_for(), "but_for": but_for, "force_switch": tuple(rules.conditions.get("force-be-switch", ()))}


def _namer(choice: Choice) -> Callable[[Any], str]:
    target, render = choice.target, choice.render
    if render is None:
        return lambda txn: target
    return lambda txn: to_text(render(txn))


def _shown(rule: RuleDraft) -> str:
    if rule.kind == "acl":
        return f"ACL '{rule.line.words[rule.start]}'" if rule.start < len(rule.line.words) else "ACL"
    if rule.kind in ("use_backend", "use-server"):
        return "switching rule" if rule.kind == "use_backend" else "'use-server' rule"
    action = rule.line.words[rule.start] if rule.kind in KINDS and rule.start < len(rule.line.words) else ""
    return f"'{rule.kind}{' ' + action if action else ''}' rule"


def compile_format(rule: RuleDraft | None, context: RuleContext, *, kind: str = "log", style: str = "log") -> tuple[Render | None, Needs]:
    """The format that a line holds, compiled; (None, NONE) for no line or a wrong one, which becomes an alert."""
    if rule is None:
        return None, Needs.NONE
    try:
        made = logformat.compile_format(cursor(rule.line, rule.start), context.at(kind), style=style)
    except ConfigError as exc:
        exc.message = f"failed to parse {rule.kind} : {exc.message}"
        rule.line.diag.error(exc)
        return None, Needs.NONE
    return made.render, made.needs


def compile_forwarded(rule: RuleDraft | None, context: RuleContext) -> tuple[Render | None, Needs]:
    """What "option forwarded" adds; (None, NONE) for no line or a wrong one, which becomes an alert."""
    if rule is None:
        return None, Needs.NONE
    try:
        return forwarded.compile_forwarded(cursor(rule.line, rule.start), context.at("http-req"))
    except ConfigError as exc:
        rule.line.diag.error(exc)
        return None, Needs.NONE


def compile_key(rule: RuleDraft, context: RuleContext) -> tuple[Callable[[Any], Any] | None, Needs]:
    """The expression of ``balance hash``; a wrong one becomes an alert."""
    words = cursor(rule.line, rule.start + 1)
    try:
        sample = compile_sample(words, context.at("balance"))
        words.end("balance hash")
    except ConfigError as exc:
        exc.message = f"balance hash : {exc.message}"
        rule.line.diag.error(exc)
        return None, Needs.NONE
    return sample.fetch, sample.needs
