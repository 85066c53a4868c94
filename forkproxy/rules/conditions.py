"""Conditions: what follows ``if`` and ``unless`` (manual 7.2), compiled to one predicate; and the predefined ACLs (7.4).

Some fetches look at bytes that may still arrive; they raise :class:`NotYet`. A condition with such a fetch is evaluated
with three values, as the manual's inspection delay asks for: it is true as soon as one alternative is, false when all
are, and NotYet otherwise. All other conditions compile to plain boolean closures.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from forkproxy.registry import Needs
from forkproxy.rules import phases
from forkproxy.rules.acl import AclTest, Exact, Pred, compile_acl, function
from forkproxy.rules.context import KIND_LABELS, RuleContext
from forkproxy.rules.errors import NotYet
from forkproxy.rules.words import Words
from forkproxy.values import frozen

#: fetches with one of these needs may be undecided
PARTIAL = Needs.L6 | Needs.RES_L6 | Needs.BODY | Needs.RES_BODY

PREDEFINED = {
    "FALSE": "always_false",
    "HTTP": "req.proto_http",
    "HTTP_1.0": "req.ver 1.0",
    "HTTP_1.1": "req.ver 1.1",
    "HTTP_2.0": "req.ver 2.0",
    "HTTP_3.0": "req.ver 3.0",
    "HTTP_CONTENT": "req.hdr_val(content-length) gt 0",
    "HTTP_URL_ABS": "url_reg ^[^/:]*://",
    "HTTP_URL_SLASH": "url_beg /",
    "HTTP_URL_STAR": "url *",
    "LOCALHOST": "src 127.0.0.1/8 ::1",
    "METH_CONNECT": "method CONNECT",
    "METH_DELETE": "method DELETE",
    "METH_GET": "method GET HEAD",
    "METH_HEAD": "method HEAD",
    "METH_OPTIONS": "method OPTIONS",
    "METH_POST": "method POST",
    "METH_PUT": "method PUT",
    "METH_TRACE": "method TRACE",
    "RDP_COOKIE": "req.rdp_cookie_cnt gt 0",
    "REQ_CONTENT": "req.len gt 0",
    "TRUE": "always_true",
    "WAIT_END": "wait_end",
}


@frozen
class Term:
    """One ACL of a condition: ``tests`` are its lines, still growing unless ``fixed``.

    ``columns`` are the places of ``registry.USES`` where it stands: a line that looks at what is not there in any of them never matches,
    even where forkproxy could tell (as in HAProxy, which forgets a request once it is forwarded)."""

    tests: list[AclTest]
    negated: bool
    fixed: bool  # nobody can add a line any more
    columns: frozenset[str] = frozenset()

    @property
    def settled(self) -> Term:
        """The same, once all lines are there, without those that never match."""
        usable = [test for test in self.tests if _fits(test, self.columns)]
        return self if len(usable) == len(self.tests) else Term(usable, self.negated, True)


@frozen
class Condition:
    """A condition in disjunctive form, ``negated`` for ``unless``; iterating gives ``(pred, needs)``.

    An ACL may get more lines as long as its section is being read, so :meth:`function` is asked for when that is over.
    """

    needs: Needs
    suites: tuple[tuple[Term, ...], ...]
    negated: bool = False

    def __iter__(self) -> Any:
        return iter((self.pred, self.needs))

    @property
    def pred(self) -> Pred:
        """``pred(txn)`` raises NotYet when undecided. May be asked for at any time, and costs one call more."""
        linked: Pred | None = None

        def pred(txn: Any) -> bool:
            nonlocal linked
            if linked is None:
                linked = self.function("True")
            return linked(txn) is not None

        return pred

    def function(self, result: str, **names: Any) -> Callable[[Any], Any]:
        """A function of ``txn`` that gives the expression ``result`` (in which ``names`` mean what is said here) where the condition
        holds, else None; it raises NotYet when undecided. The section has been read."""
        suites = tuple(tuple(term.settled for term in suite) for suite in self.suites)
        if self.needs & PARTIAL:
            return function(f"return {result} if pred(txn) else None", {"pred": _three_valued(suites, self.negated), **names})
        code = " or ".join(" and ".join(_source(term, names) for term in suite) for suite in suites)
        return function(f"return {result} if {'not ' if self.negated else ''}({code}) else None", names)

    @property
    def exact(self) -> Exact | None:
        """The comparison that this condition is, if it is nothing but one sample compared with strings."""
        if self.negated or len(self.suites) != 1 or len(self.suites[0]) != 1:
            return None
        term = self.suites[0][0]
        if term.negated or len(term.tests) != 1 or not _fits(term.tests[0], term.columns):
            return None
        return term.tests[0].exact

    @property
    def constant(self) -> bool | None:
        """What this condition always is, if that is known."""
        if len(self.suites) == 1 and len(self.suites[0]) == 1 and len(self.suites[0][0].tests) == 1:
            term = self.suites[0][0]
            value = term.tests[0].constant
            return None if value is None else value != (term.negated != self.negated)
        return None


def read_condition(words: Words, ctx: RuleContext) -> Condition | None:
    """The condition introduced by a following ``if`` or ``unless``; None at the end of the line. Anything else is an error."""
    word = words.accept("if", "unless")
    if word is None:
        words.end()
        return None
    return compile_condition(words, ctx, negated=word == "unless")


def compile_condition(words: Words, ctx: RuleContext, *, negated: bool = False) -> Condition:
    """Compile all words that are left (those after ``if``/``unless``); ``negated`` for ``unless``."""
    suites: list[list[Term]] = [[]]
    needs = Needs.NONE
    neg = False
    begin = words.pos
    while words:
        word = words.next()
        if word in ("or", "||"):
            if suites[-1]:
                suites.append([])  # haproxy takes one without a term beside it, and it means nothing
            neg = False
            continue
        while word.startswith("!"):
            neg, word = not neg, word[1:]
        if not word:
            continue  # a lone exclamation mark belongs to the next word
        fixed = word not in ctx.acls
        tests = _term(word, words, ctx)
        for test in tests:
            needs |= test.needs
        suites[-1].append(Term(tests, neg, fixed, ctx.columns))
        neg = False
    if not suites[-1] and len(suites) > 1:
        suites.pop()
    if not suites[-1] or neg:
        words.fail("missing ACL name or expression in condition", max(begin - 1, words.pos - 1))
    frozen = tuple(tuple(s) for s in suites)
    return Condition(needs, frozen, negated)


def _term(word: str, words: Words, ctx: RuleContext) -> list[AclTest]:
    at = words.pos - 1
    if word == "{":
        if "}" not in words.words[words.pos :]:
            words.fail("missing closing '}' in condition", at)
        test = compile_acl(words, ctx, stop="}")
        words.next()
        tests, name = [test], "{ " + test.text + " }"
    elif word in ctx.acls:
        tests, name = ctx.acls[word], word
    elif word in PREDEFINED:
        tests, name = [compile_acl(Words.of(PREDEFINED[word]), ctx)], word
    else:
        _, hint = ctx.unknown("acl", word, [*ctx.acls, *PREDEFINED])
        words.fail(f"no such ACL : '{word}'", hint=hint)
    unfit = [test for test in tests if not _fits(test, ctx.columns)]
    if unfit:
        place, needed = KIND_LABELS.get(ctx.kind, ctx.kind), phases.describe(unfit[0].uses)
        if len(unfit) == len(tests):
            ctx.warn(f"acl '{name}' will never match in '{place}' because it needs {needed}", at)
        else:
            ctx.warn(f"acl '{name}' has lines that will never match in '{place}' because they need {needed}", at)
    return tests


def _fits(test: AclTest, columns: frozenset[str]) -> bool:
    """Can a line of an ACL match in these places?"""
    return not columns or bool(test.uses & columns)


def _source(term: Term, names: dict[str, Any]) -> str:
    """One ACL as an expression; its names go to ``names``, each with a number behind it."""
    codes = []
    for test in term.tests:
        code, own = test.code
        number = len(names)
        for name in own:
            code = re.sub(rf"\b{name}\b", f"{name}_{number}", code)
            names[f"{name}_{number}"] = own[name]
        codes.append(f"({code})")
    return f"{'not ' if term.negated else ''}({' or '.join(codes) or False})"


def _three_valued(suites: tuple[tuple[Term, ...], ...], negated: bool) -> Pred:
    def pred(txn: Any) -> bool:
        undecided: NotYet | None = None
        for suite in suites:
            waiting: NotYet | None = None
            for term in suite:
                try:
                    holds = _ask(term, txn)
                except NotYet as err:
                    waiting = err
                    continue
                if not holds:
                    break
            else:
                if waiting is None:
                    return not negated
                undecided = waiting
        if undecided is not None:
            raise undecided
        return negated

    return pred


def _ask(term: Term, txn: Any) -> bool:
    """Does the term hold? Raises NotYet when no line says yes and one cannot tell."""
    undecided: NotYet | None = None
    for test in term.tests:
        try:
            if test.match(txn):
                return not term.negated
        except NotYet as err:
            undecided = err
    if undecided is not None:
        raise undecided
    return term.negated
