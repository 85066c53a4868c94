"""ACLs: a criterion (a sample), a match method and patterns, compiled to one predicate (manual 7.1).

``compile_acl`` reads what follows the name on an ``acl`` line, or what stands between braces.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from forkproxy.registry import ACL_ALIASES, FETCHES, Needs, Type
from forkproxy.rules.context import RuleContext
from forkproxy.rules.errors import NotYet
from forkproxy.rules.expr import ExprError, Sample, cast_sample, parse_sample
from forkproxy.rules.patternfiles import View
from forkproxy.rules.patterns import METHODS, Entry, Find, build_index, parse_range
from forkproxy.rules.words import Words, to_bytes
from forkproxy.values import frozen

Pred = Callable[[Any], Any]
#: an expression as source, and what the names in it mean: tests become part of whatever asks for them, since a call costs as much as
#: most of them do
Code = tuple[str, dict[str, Any]]

_DEFAULT_METHODS = {
    Type.BOOL: "bool",
    Type.SINT: "int",
    Type.ADDR: "ip",
    Type.IPV4: "ip",
    Type.IPV6: "ip",
    Type.STR: "str",
    Type.METH: "str",
}
_OPERATORS = ("eq", "ge", "gt", "le", "lt")


@frozen
class Exact:
    """The shape "this sample equals one of these strings", by which many rules can be folded into one look-up."""

    sample: Sample
    patterns: tuple[bytes, ...]
    icase: bool


@frozen
class AclTest:
    """One compiled line. ``match(txn)`` is true or false by truth value; ``code`` is the same as an expression that has ``txn``."""

    match: Pred
    code: Code
    needs: Needs
    uses: frozenset[str]
    text: str
    exact: Exact | None = None
    constant: bool | None = None


def compile_acl(words: Words, ctx: RuleContext, stop: str | None = None) -> AclTest:
    """Compile the criterion, flags and patterns that follow in ``words``, up to the word ``stop`` or the end."""
    start = words.pos
    text = words.next("a criterion")
    sample, method, dotted = _criterion(text, words, ctx)
    if words.peek() in (None, stop) and method not in ("", "bool", "found"):
        ctx.warn(
            f"'{text}' has no pattern to be compared with, so that it will never match; '--' behind it says that this is meant, "
            "'-m found' asks whether there is such a thing", start,
        )  # fmt: skip
    icase, resolve, as_map, given = False, True, False, False
    number = -1
    finders: list[Find] = []
    views: list[View] = []
    files: list[tuple[str, bool]] = []
    while (word := words.peek()) is not None and word != stop and word.startswith("-"):
        match words.next():
            case "-i":
                icase = True
            case "-n":
                resolve = False
            case "-M":
                as_map = True
            case "-u":
                number = _number(words)
            case "-f":
                files.append((words.next("a file name after '-f'"), icase))
            case "-m":
                if given:
                    words.fail("only one '-m' is allowed")
                if files:
                    words.fail("'-m' must come before '-f'")
                method, given = words.next("a matching method after '-m'"), True
                if method not in METHODS:
                    words.fail(f"unknown matching method '{method}' when parsing ACL expression", hint="one of " + " ".join(METHODS))
            case "--":
                break
            case other:
                words.fail(f"'{other}' is not a valid ACL option. Please use '--' before any pattern beginning with a '-'.")
    if not method:
        words.fail(
            f"matching method must be specified first (using '-m') when using a sample expression of type '{sample.out.label}' ('{text}')",
            start,
        )
    try:
        cast = cast_sample(sample, METHODS[method])
    except ExprError as err:
        words.fail(f"matching method '{method}' cannot be used : {err}", start)
    for name, nocase in files:
        try:
            views.append(ctx.files.get(name, as_map, "acl", ctx.where).view(method, nocase, resolve))
        except ValueError as err:
            words.fail(str(err))
    operator = "eq"
    patterns: list[Entry] = []
    while (word := words.peek()) is not None and word != stop:
        words.next()
        if method in ("found", "bool"):
            continue  # they take no pattern (the manual: not recommended, ignored)
        if method in ("int", "len") and word in _OPERATORS:
            operator = word  # of the patterns up to the next one
            continue
        try:
            patterns.append(_range(word, operator, dotted) if method in ("int", "len") else Entry(to_bytes(word)))
            build_index(method, patterns[-1:], icase=icase, resolve=resolve)
        except ValueError as err:
            words.fail(str(err))
    if number >= 0:
        try:
            listed = ctx.files.inline(number, f"acl '{sample.name}' {ctx.where}")
            for pattern in patterns:
                listed.contents.add(pattern)
            views.append(listed.view(method, icase, resolve))
        except ValueError as err:
            words.fail(str(err))
        patterns = []
    if patterns or not views:
        finders.append(build_index(method, patterns, icase=icase, resolve=resolve))
    exact = None
    if method == "str" and not views:
        exact = Exact(cast, tuple(p.text for p in patterns), icase)
    code = _test(cast, _check(method, finders, views, patterns, icase))
    match = function(f"return {code[0]}", code[1])
    if not sample.converted and words.words[start].partition("(")[0] in _GROWING:
        match = _patient(match)
        code = "match(txn)", {"match": match}
    constant = bool(match(None)) if cast.constant and not views else None
    return AclTest(match, code, sample.needs, sample.uses, " ".join(words.words[start : words.pos]), exact, constant)


def _range(text: str, operator: str, dotted: bool) -> Entry:
    """A number or range under an operator, as the range that it means: an index knows no operators."""
    lo, hi = parse_range(text, operator, dotted)
    if lo is not None and lo == hi:
        return Entry(b"%d" % lo)
    return Entry(b"%b:%b" % (b"" if lo is None else b"%d" % lo, b"" if hi is None else b"%d" % hi))


def _number(words: Words) -> int:
    """The identifier that an ACL's own patterns get."""
    text = words.next("an identifier after '-u'")
    if not text.isdecimal():
        words.fail(f"'-u' expects an integer, and not '{text}'")
    return int(text)


def _criterion(text: str, words: Words, ctx: RuleContext) -> tuple[Sample, str, bool]:
    """The sample of a criterion, its default method ("" for none) and whether its integers are versions."""
    name = text.split("(", 1)[0].split(",", 1)[0]
    alias = ACL_ALIASES.get(name)
    method = ""
    if alias is not None:
        text = alias[0] + text[len(name) :]
        method = alias[1]
    elif name not in FETCHES:
        message, hint = ctx.unknown("acl", name, [*FETCHES, *ACL_ALIASES])
        words.fail(message.replace("unknown acl", "unknown fetch method") + f" in ACL expression '{text}'", hint=hint)
    try:
        sample, end = parse_sample(text, 0, ctx, check=False)
    except ExprError as err:
        words.fail(f"{err} in ACL expression '{text}'", hint=err.hint)
    if end != len(text):
        words.fail(f"unexpected '{text[end:]}' in ACL expression '{text}'")
    if sample.converted or not method:
        method = _DEFAULT_METHODS.get(sample.out, "")
        if sample.out == Type.ANY:
            method = ""
    return sample, method, name in ("req.ssl_ver", "req_ssl_ver")


def _check(method: str, finders: list[Find], views: list[View], patterns: list[Entry], icase: bool) -> Code:
    """What is true when any list has ``value``."""
    if not views:
        if method in ("found", "bool"):
            return "True" if method == "found" else "value", {}
        if method == "str":
            exact = frozenset(p.text.lower() if icase else p.text for p in patterns)
            return "value.lower() in exact" if icase else "value in exact", {"exact": exact}
        if method in ("beg", "end") and not icase and len(patterns) <= 32:
            call = "startswith" if method == "beg" else "endswith"
            return f"value.{call}(texts)", {"texts": tuple(p.text for p in patterns)}
    names: dict[str, Any] = {f"view{i}": view for i, view in enumerate(views)}
    calls = [f"{name}.find" for name in names]
    for i, find in enumerate(finders):
        names[f"find{i}"] = find
        calls.append(f"find{i}")
    return " or ".join(f"{call}(value) is not None" for call in calls), names


#: Samples that are there at once and change while bytes come in: a test that fails is not decided before the last byte.
_GROWING = frozenset({"req.len", "req_len"})


def _patient(match: Pred) -> Pred:
    def decided(txn: Any) -> Any:
        if match(txn):
            return True
        if not txn.body_done:
            raise NotYet
        return False

    return decided


def _test(sample: Sample, check: Code) -> Code:
    """The whole test as an expression: what ``check`` says of the sample's value, or of any of its values."""
    code, names = check
    if sample.each is not None:
        body = f"for value in fetch(txn):\n   if {code}: return True\n  return False"
        return "match(txn)", {"match": function(body, {"fetch": sample.each, **names})}
    if code == "value":
        return "fetch(txn)", {"fetch": sample.fetch}  # None and False are both no
    return f"(value := fetch(txn)) is not None and ({code})", {"fetch": sample.fetch, **names}


def function(body: str, names: dict[str, Any]) -> Callable[[Any], Any]:
    """A function of ``txn`` with this body, of words made in this room only, in which ``names`` have these values."""
    made: Callable[[Any], Any] = _maker(body, tuple(names))(*names.values())
    return made


@lru_cache(4096)
def _maker(body: str, names: tuple[str, ...]) -> Callable[..., Callable[[Any], Any]]:
    """Rules of the same shape share one piece of code."""
    space: dict[str, Any] = {}
    exec(f"def make({', '.join(names)}):\n def run(txn):\n  {body}\n return run", space)
    made: Callable[..., Callable[[Any], Any]] = space["make"]
    return made
