"""Process-wide variables of the global section (manual 3.1 "set-var", "set-var-fmt"): evaluated here, set in every worker that begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkproxy.config.args import Rest
from forkproxy.config.drafts import GlobalDraft
from forkproxy.config.line import Line
from forkproxy.registry import keyword

if TYPE_CHECKING:
    from forkproxy.rules.words import Words


def evaluate(words: Words, held: dict[str, Any], as_format: bool, what: str) -> Any:
    """The value of what is left of ``words``, an expression or a log format of what is known without traffic, where the variables are
    ``held``; None where it has none. ``what`` is how messages call the line. Raises ConfigError."""
    import forkproxy.rules.library  # noqa: F401  (only files with variables pay for it here)
    from forkproxy.rules import variables
    from forkproxy.rules.context import RuleContext
    from forkproxy.rules.expr import compile_sample
    from forkproxy.rules.logformat import compile_format

    context = RuleContext(kind="config", caps="listen", name="global")
    fetch = compile_format(words, context, style="raw").render if as_format else compile_sample(words, context).fetch
    words.end(what)
    with variables.process(held):
        return fetch(None)  # type: ignore[arg-type]  # there is no stream, and what asks for one is not for this place


def _set(draft: GlobalDraft, line: Line, start: int, as_format: bool) -> None:
    from forkproxy.rules import variables
    from forkproxy.rules.words import Words

    words = Words(line.words, line.columns, file=line.file, line=line.number, source=line.source, start=start)
    name = words.next("a variable name")
    if not name.startswith("proc."):
        line.fail(f"'{line.keyword}' : variable name '{name}' must be process-wide ('proc.').", start)
    try:
        variables.check_name(name)
    except ValueError as err:
        line.fail(f"'{line.keyword}' : {err}", start)
    held: dict[str, Any] = draft.options.setdefault("variables", {})
    value = evaluate(words, held, as_format, f"'{line.keyword}'")
    if value is None:
        line.fail(f"'{line.keyword}' : the expression has no value here.", start + 1)
    held[name] = value


@keyword("global", "set-var", args=(Rest(),), synopsis="<var-name> <expr>")
def set_var(draft: GlobalDraft, line: Line, start: int) -> None:
    """Set a process-wide variable (proc.…) to an expression of what is known without traffic."""
    _set(draft, line, start, False)


@keyword("global", "set-var-fmt", args=(Rest(),), synopsis="<var-name> <fmt>")
def set_var_fmt(draft: GlobalDraft, line: Line, start: int) -> None:
    """Set a process-wide variable (proc.…) to a rendered log format."""
    _set(draft, line, start, True)
