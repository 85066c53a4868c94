"""Rules: an action and its condition as one step; rule sets as tuples of steps; ``use_backend`` rules as one function.

``parse_rule`` reads everything after ``http-request`` and its kin. A condition becomes part of the step, so that a phase is
nothing but ``for step in steps: verdict = step(txn)``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import forkproxy.rules.library  # noqa: F401  (fills the registry)
from forkproxy.plan import Step
from forkproxy.registry import ACTIONS, Needs
from forkproxy.rules.action import Parser, mark
from forkproxy.rules.actions.headers import Edit, together
from forkproxy.rules.conditions import PARTIAL, Condition, read_condition
from forkproxy.rules.context import KIND_LABELS, RuleContext
from forkproxy.rules.errors import NotYet
from forkproxy.rules.logformat import compile_format
from forkproxy.rules.verdict import WAIT, Pause
from forkproxy.rules.words import Words, to_text
from forkproxy.values import frozen

KINDS = ("tcp-req-conn", "tcp-req-sess", "tcp-req-cont", "tcp-res-cont", "http-req", "http-res", "http-after-res")


@frozen
class Rule:
    """One rule: an action and its condition. ``final``: no rule behind it in the same set is ever reached. ``watched``: its file and line,
    where somebody asks what a stream waits for. ``edit``: all that it does to a head, without a condition."""

    act: Step
    condition: Condition | None
    needs: Needs
    final: bool = False
    watched: tuple[str, int] | None = None
    edit: Edit | None = None

    @property
    def step(self) -> Step:
        """The action with its condition around it; asked for when the section has been read. One that may be undecided asks to wait."""
        step = self.act
        if self.condition is not None and self.condition.constant is not True:
            step = self.condition.function("act(txn)", act=step)
        if self.needs & PARTIAL:
            step = _patient(step)
        return step if self.watched is None else _watched(step, self.watched)


def parse_rule(kind: str, words: Words, ctx: RuleContext) -> Rule:
    """Read one rule of ``kind`` (one of KINDS) from its action on. Raises ConfigError."""
    ctx = ctx.at(kind)
    label = KIND_LABELS[kind]
    word = words.next(f"an action after '{label}'")
    name, bracket, inside = word.partition("(")
    entry = ACTIONS.get((kind, "track-sc*" if name.startswith("track-sc") else name))
    if entry is not None and bracket and not entry.prefix:
        entry = None
    if entry is None:
        have = [n for k, n in ACTIONS if k == kind]
        message, hint = ctx.unknown("action", name, have)
        if message.startswith("unknown"):
            elsewhere = sorted(KIND_LABELS[k] for k, n in ACTIONS if n == name)
            message = f"'{label}' does not have the action '{name}'" if elsewhere else f"unknown action '{name}' in '{label}'"
            hint = f"it exists in {', '.join(elsewhere)}" if elsewhere else hint
        words.fail(message, hint=hint)
    if bracket and not inside.endswith(")"):
        words.fail(f"missing ')' in '{word}'")
    if entry.prefix and not bracket:
        words.fail(f"'{name}' expects its argument in parentheses, as in '{name}(txn.name)'")
    parser = Parser(words, ctx, kind, name, inside[:-1] if bracket else "")
    act = entry.factory(parser)
    if kind in _INSPECTING and parser.needs & PARTIAL and not name.startswith("track-sc"):
        act = _hasty(act)
    if entry.ends and ctx.traced:
        act = _traced(act, (words.file, words.line))
    condition = read_condition(words, ctx)
    needs = parser.needs | (condition.needs if condition is not None else Needs.NONE)
    place = (words.file, words.line) if ctx.traced else None
    edit = parser.edit if condition is None and place is None and not needs & PARTIAL else None
    return Rule(act, condition, needs, condition is None and bool(entry.ends), place, edit)


def steps_of(rules: Iterable[Rule]) -> list[Step]:
    """The steps of rules that follow each other; edits of one head that do not depend on each other are one step."""
    steps: list[Step] = []
    run: list[Edit] = []
    for rule in rules:
        edit = rule.edit
        if run and (edit is None or not edit.joins(run)):
            steps.append(together(run))
            run = []
        if edit is not None:
            run.append(edit)
        else:
            steps.append(rule.step)
    return [*steps, together(run)] if run else steps


#: rules on bytes: their conditions wait for what they look at, but only tracking waits for its key, too (observed)
_INSPECTING = ("tcp-req-cont", "tcp-res-cont")


def _hasty(act: Step) -> Step:
    """``act``, which does with the bytes that are there."""

    def step(txn: Any) -> Any:
        try:
            return act(txn)
        except NotYet:
            before = txn.body_done, txn.res_done
            txn.body_done = txn.res_done = True
            try:
                return act(txn)
            finally:
                txn.body_done, txn.res_done = before

    return step


def _traced(act: Step, place: tuple[str, int]) -> Step:
    """``act``, a rule that ends its set, with its place left for last_rule_file and last_rule_line."""

    def step(txn: Any) -> Any:
        verdict = act(txn)
        if verdict is not None and verdict is not WAIT:
            mark(txn, "last_rule", place)
        return verdict

    return step


def _watched(step: Step, place: tuple[str, int]) -> Step:
    """``step`` with its place left for waiting_entity while it waits."""

    def watched(txn: Any) -> Any:
        verdict = step(txn)
        if verdict is WAIT or isinstance(verdict, Pause):
            mark(txn, "waiting_rule", place)
        elif txn.marks is not None:
            txn.marks.pop("waiting_rule", None)
        return verdict

    return watched


def _patient(step: Step) -> Step:
    def patient(txn: Any) -> Any:
        try:
            return step(txn)
        except NotYet:
            return WAIT

    return patient


# -- use_backend ---------------------------------------------------------------------------------------------------------


@frozen
class Choice:
    """One ``use_backend`` (or ``use-server``) rule: ``target`` is a name, or made from the stream by ``render``."""

    target: str
    render: Callable[[Any], bytes] | None
    condition: Condition | None
    needs: Needs
    line: int = 0


def parse_use_backend(words: Words, ctx: RuleContext, kind: str = "use-backend") -> Choice:
    """Read ``<name or format> [if …]``. The caller checks that a static name exists."""
    ctx = ctx.at(kind)
    made = compile_format(words, ctx, style="raw")
    condition = read_condition(words, ctx)
    needs = made.needs | (condition.needs if condition is not None else Needs.NONE)
    if made.constant is not None:
        return Choice(to_text(made.constant), None, condition, needs, words.line)
    return Choice("", made.render, condition, needs, words.line)


#: one step of a choice: ``(is it chosen?, name, or how to make it)``
_Target = Callable[[Any], str]


def fold_use_backend(rules: Sequence[Choice], hidden: Collection[str] = ()) -> Callable[[Any], str | None] | None:
    """``choose(txn) -> name | None`` over all rules, the first match wins; None without rules. Rules that lead to one of ``hidden`` are
    passed over.

    Runs of rules that compare the same sample with strings become one dictionary, so that a thousand hosts cost one look-up.
    A name made at run time may not exist: then the caller falls back to the default backend. Raises NotYet when undecided.
    """
    rules = [rule for rule in rules if rule.target not in hidden]
    if not rules:
        return None
    stages: list[Callable[[Any], str | None]] = []
    i = 0
    while i < len(rules):
        run = _same_sample(rules, i)
        if len(run) >= 3 and not (hidden and any(rule.render is not None for rule in run)):
            stages.append(_dispatch(run))
            i += len(run)
        else:
            stages.append(_unless(_single(rules[i]), hidden))
            i += 1
    if len(stages) == 1:
        return stages[0]
    fixed = tuple(stages)

    def choose(txn: Any) -> str | None:
        for stage in fixed:
            name = stage(txn)
            if name is not None:
                return name
        return None

    return choose


def _unless(choose: Callable[[Any], str | None], hidden: Collection[str]) -> Callable[[Any], str | None]:
    """``choose``, but for the names that are hidden."""
    if not hidden:
        return choose

    def visible(txn: Any) -> str | None:
        name = choose(txn)
        return None if name in hidden else name

    return visible


def _namer(rule: Choice) -> _Target:
    render = rule.render
    if render is not None:
        return lambda txn: render(txn).decode("utf-8", "surrogateescape")
    target = rule.target
    return lambda txn: target


def _single(rule: Choice) -> Callable[[Any], str | None]:
    if rule.condition is None or rule.condition.constant is True:
        return _namer(rule)
    if rule.render is None:
        return rule.condition.function("target", target=rule.target)
    return rule.condition.function("name(txn)", name=_namer(rule))


def _same_sample(rules: Sequence[Choice], start: int) -> Sequence[Choice]:
    """The longest run from ``start`` on whose conditions all compare the same sample in the same way."""
    key: tuple[str, bool] | None = None
    end = start
    while end < len(rules):
        condition = rules[end].condition
        exact = condition.exact if condition is not None else None
        if exact is None or exact.sample.needs & PARTIAL:
            break
        mine = (exact.sample.text, exact.icase)
        if key is None:
            key = mine
        elif key != mine:
            break
        end += 1
    return rules[start:end]


def _dispatch(run: Sequence[Choice]) -> Callable[[Any], str | None]:
    """One dictionary from string to the first rule that names it."""
    table: dict[bytes, int] = {}
    names = [_namer(rule) for rule in run]
    fixed = [rule.target if rule.render is None else None for rule in run]
    sample = None
    icase = False
    for index, rule in enumerate(run):
        assert rule.condition is not None and rule.condition.exact is not None
        exact = rule.condition.exact
        sample, icase = exact.sample, exact.icase
        for pattern in exact.patterns:
            table.setdefault(pattern.lower() if icase else pattern, index)
    assert sample is not None
    get = table.get
    if sample.each is not None:
        each = sample.each

        def by_each(txn: Any) -> str | None:
            best: int | None = None
            for value in each(txn):
                index = get(value.lower() if icase else value)
                if index is not None and (best is None or index < best):
                    best = index
            return None if best is None else fixed[best] or names[best](txn)

        return by_each
    fetch = sample.fetch

    def by_value(txn: Any) -> str | None:
        value = fetch(txn)
        if value is None:
            return None
        index = get(value.lower() if icase else value)
        return None if index is None else fixed[index] or names[index](txn)

    return by_value
