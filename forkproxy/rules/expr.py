"""Sample expressions: a fetch with arguments and a chain of converters, compiled to one function (manual 7.3).

Types are followed while reading: between two steps stands the cast that the types ask for, or nothing. A converter
factory returns ``convert(value, txn)``, or :class:`Pure` around ``convert(value)`` when it needs nothing of the stream; an
expression of a constant and pure converters is computed once, here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from forkproxy.errors import ConfigError
from forkproxy.registry import CONVERTERS, FETCHES, Needs, Type
from forkproxy.rules import inflight, phases
from forkproxy.rules.args import Arg, Context, split_args
from forkproxy.rules.context import KIND_LABELS, RuleContext
from forkproxy.rules.types import NEVER, find_cast
from forkproxy.rules.words import Words
from forkproxy.values import frozen, replace

if TYPE_CHECKING:
    from forkproxy.rules.txn import Txn

FetchFn = Callable[["Txn"], Any]
EachFn = Callable[["Txn"], Iterable[Any]]


@frozen
class Pure:
    """A converter that looks at nothing but its value."""

    fn: Callable[[Any], Any]


@frozen
class Multi:
    """What the factory of a fetch returns when there may be several values: ``one`` for expressions (the last value, as
    the manual has it), ``each`` for ACLs, which try them all."""

    one: FetchFn
    each: EachFn


@frozen
class Texted:
    """What the factory of a fetch returns that has a shorter way to its value as a string than by the cast."""

    fn: FetchFn
    as_text: FetchFn


@frozen
class Const:
    """What the factory of a constant fetch returns."""

    value: Any


@frozen
class Typed:
    """What a factory returns when its arguments decide the type of what it gives."""

    fn: Any
    out: Type


@frozen
class Sample:
    """A compiled expression. ``fetch(txn)`` gives a Python value of type ``out`` or None for "not found".

    ``each`` (None for single-valued ones) gives all values. ``text`` is the expression as written; two samples with the same
    text mean the same. ``constant`` tells that ``fetch`` ignores its argument, ``converted`` that converters follow the fetch.
    ``as_text`` gives the same as ``fetch`` and the cast to a string, cheaper. ``name`` is the fetch's.
    """

    fetch: FetchFn
    out: Type
    needs: Needs
    uses: frozenset[str]
    text: str
    each: EachFn | None = None
    constant: bool = False
    converted: bool = False
    as_text: FetchFn | None = None
    name: str = ""


class ExprError(ValueError):
    """Something wrong in an expression; ``hint`` may say what would be right."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


#: of a request a rule of a proxy in TCP mode may see the head
_IN_FLIGHT = Needs.HEADERS | Needs.BODY | Needs.RES_HEADERS
_NAME = re.compile(r"[A-Za-z0-9_.:+-]+")


def compile_sample(source: Words | str, ctx: RuleContext, *, want: Type = Type.ANY, check: bool = True) -> Sample:
    """Compile the next word of a cursor, or a text, which must be used up.

    ``want`` is a type that the result must be castable to (the cast is included). ``check`` False leaves the question whether
    this place can have the sample to the caller (named ACLs). Raises ConfigError (from a bare text: without a place).
    """
    words = source if isinstance(source, Words) else None
    text = words.next("a sample expression") if words is not None else source
    assert isinstance(text, str)
    try:
        sample, end = parse_sample(text, 0, ctx, check=check)
        if end != len(text):
            raise ExprError(f"unexpected '{text[end:]}' after '{text[:end]}'")
        if want not in (Type.ANY, Type.SAME):
            sample = cast_sample(sample, want)
    except ExprError as err:
        message = f"failed to parse sample expression <{text}> : {err}"
        if words is not None:
            words.fail(message, hint=err.hint)
        raise ConfigError(message, hint=err.hint) from None
    return sample


def cast_sample(sample: Sample, want: Type) -> Sample:
    """``sample`` as a value of type ``want``. Raises ExprError when there is no such cast."""
    step = find_cast(sample.out, want)
    if step is None:
        return sample
    if step is NEVER:
        raise ExprError(f"'{sample.text}' gives a value of type '{sample.out.label}', which cannot become '{want.label}'")
    links = [(step, False)]
    fetch = sample.as_text if want == Type.STR and sample.as_text is not None else _chain(sample.fetch, links)
    return replace(sample, fetch=fetch, out=want, each=_chain(sample.each, links, True), as_text=None)


def parse_sample(text: str, start: int, ctx: RuleContext, *, check: bool = True) -> tuple[Sample, int]:
    """Compile the expression that begins at ``start``; returns it and the offset after it. Raises ExprError."""
    found = _NAME.match(text, start)
    if found is None:
        raise ExprError(f"missing fetch method in '{text[start:]}'")
    name, end = found[0], found.end()
    entry = FETCHES.get(name)
    if entry is None:
        message, hint = ctx.unknown("fetch", name, FETCHES)
        raise ExprError(message.replace("unknown fetch", "unknown fetch method"), hint)
    values, end = _arguments(f"fetch method '{name}'", entry.args, text, end, ctx)
    if check and ctx.kind and ctx.columns and not entry.uses & ctx.columns:
        raise ExprError(
            f"sample fetch <{text[start:end]}> may not be used in '{KIND_LABELS.get(ctx.kind, ctx.kind)}': "
            f"it needs {phases.describe(entry.uses)}"
        )
    made = _build(f"fetch method '{name}'", entry.factory, values)
    out = entry.out
    if isinstance(made, Typed):
        made, out = made.fn, made.out
    constant, each, as_text = False, None, None
    if isinstance(made, Multi):
        fetch, each = made.one, made.each
    elif isinstance(made, Const):
        fetch, constant = _constant(made.value), True
    elif isinstance(made, Texted):
        fetch, as_text = made.fn, made.as_text
    else:
        fetch = made
    needs = entry.needs
    if ctx.mode == "tcp" and needs & _IN_FLIGHT == Needs.HEADERS and ctx.kind in inflight.KINDS:
        fetch, each, as_text = inflight.seeing(fetch), inflight.seeing_all(each), inflight.seeing(as_text)
        needs |= Needs.L6
    links: list[Link] = []
    after = end
    while text[end : end + 1] == ",":
        while text[end : end + 1] == ",":  # several are one, and one at the end is none
            end += 1
        found = _NAME.match(text, end)
        if found is None:
            break
        conv_name, end = found[0], found.end()
        conv = CONVERTERS.get(conv_name)
        if conv is None:
            message, hint = ctx.unknown("converter", conv_name, CONVERTERS)
            raise ExprError(message, hint)
        values, end = _arguments(f"converter '{conv_name}'", conv.args, text, end, ctx)
        step = find_cast(out, conv.into)
        if step is NEVER:
            raise ExprError(
                f"converter '{conv_name}' cannot be applied: it takes type '{conv.into.label}' and gets '{out.label}'"
            )
        if step is not None:
            if as_text is not None and not links and conv.into == Type.STR:
                fetch = as_text
            else:
                links.append((step, False))
        made = _build(f"converter '{conv_name}'", conv.factory, values)
        given = conv.out
        if isinstance(made, Typed):
            made, given = made.fn, made.out
        if isinstance(made, Pure):
            links.append((made.fn, False))
        else:
            links.append((made, True))
            constant = False
        out = (out if conv.into in (Type.ANY, Type.SAME) else conv.into) if given == Type.SAME else given
        as_text = None
    fetch, converted = _chain(fetch, links), end > after
    if constant:
        fetch = _constant(fetch(None))
    return Sample(fetch, out, needs, entry.uses, text[start:end], _chain(each, links, True), constant, converted, as_text, name), end


def _arguments(what: str, specs: tuple[Arg, ...], text: str, end: int, ctx: RuleContext) -> tuple[list[Any], int]:
    """The values for ``specs`` from the parentheses at ``end``, if there are any."""
    given: list[str] = []
    if text[end : end + 1] == "(":
        try:
            given, end = split_args(text, end + 1)
            given = given or [""]  # empty parentheses are one empty argument
        except ValueError as err:
            raise ExprError(f"{what} : {err}") from None
    takes = [s for s in specs if not isinstance(s, Context)]
    if len(given) > len(takes) and (takes or given != [""]):
        raise ExprError(f"{what} : too many arguments, at most {len(takes)} expected" if takes else f"{what} takes no argument")
    values: list[Any] = []
    for i, spec in enumerate(specs):
        if isinstance(spec, Context):
            values.append(ctx)
            continue
        try:
            if i < len(given) and (given[i] != "" or not spec.optional):
                values.append(spec.parse(given[i], ctx))
            elif spec.optional:
                values.append(spec.absent(ctx))
            elif spec.label == "string" and i == 0 and all(s.optional for s in takes[1:]):
                values.append(spec.parse("", ctx))  # the only argument that is wanted is a text: an empty one
            else:
                raise ExprError(f"missing args for {what} : argument {i + 1} must be a {spec.label}")
        except ExprError:
            raise
        except ValueError as err:
            raise ExprError(f"{what} : invalid argument {i + 1} : {err}") from None
    return values, end


def _build(what: str, factory: Callable[..., Any], values: list[Any]) -> Any:
    try:
        return factory(*values)
    except ExprError:
        raise
    except ValueError as err:
        raise ExprError(f"{what} : {err}") from None


def _constant(value: Any) -> FetchFn:
    return lambda txn: value


#: one step behind a fetch: a function, and whether it wants the transaction, too
Link = tuple[Callable[..., Any], bool]


@lru_cache
def _chainer(shape: tuple[bool, ...], many: bool) -> Callable[..., Any]:
    """What joins a fetch and as many steps as ``shape`` is long (true: it takes the transaction) to one function; ``many``: a fetch of
    several values.

    Made as source, since a closure around a closure for each step costs one more Python call each (0.06 µs).
    """
    gone = "continue" if many else "return None"
    body = []
    for i, wants in enumerate(shape):
        body += [f"if value is None: {gone}", f"value = s{i}(value{', txn' if wants else ''})"]
    if many:
        body = ["found = []", "for value in fetch(txn):", *(" " + line for line in (*body, "if value is not None: found.append(value)"))]
        body.append("return found")
    else:
        body = ["value = fetch(txn)", *body, "return value"]
    names = "".join(f", s{i}" for i in range(len(shape)))
    source = f"def make(fetch{names}):\n def run(txn):\n" + "".join(f"  {line}\n" for line in body) + " return run"
    space: dict[str, Any] = {}
    exec(source, space)  # of words made here only
    made: Callable[..., Any] = space["make"]
    return made


def _chain(fetch: Any, links: Sequence[Link], many: bool = False) -> Any:
    """``fetch`` followed by ``links``; what is not found stays so."""
    if fetch is None or not links:
        return fetch
    return _chainer(tuple(wants for _, wants in links), many)(fetch, *(fn for fn, _ in links))
