"""Actions on variables: set-var, set-var-fmt, unset-var (manual 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkproxy.plan import Step
from forkproxy.registry import action
from forkproxy.rules.action import CHECK, EVERYWHERE, Parser
from forkproxy.rules.variables import Setter, check_name, conditional_setter, setter

if TYPE_CHECKING:
    from forkproxy.rules.txn import Txn


def _allowed(p: Parser, name: str) -> str:
    """``name`` if rules of this kind may have it. Raises ValueError."""
    if p.kind == CHECK and name.partition(".")[0] not in ("proc", "sess", "check"):
        raise ValueError(f"invalid variable '{name}', a check only has the scopes 'proc', 'sess' and 'check'")
    return check_name(name)


def _target(p: Parser) -> Setter:
    """The setter for ``name[,cond…]`` in the parentheses."""
    name, *conditions = p.inside.split(",")
    try:
        return conditional_setter(_allowed(p, name), conditions)
    except ValueError as err:
        p.words.fail(str(err))


@action("set-var", at=(*EVERYWHERE, CHECK), prefix=True, synopsis="(<var-name>[,<cond>...]) <expr>")
def set_var(p: Parser) -> Step:
    """Set a variable to a sample's value; an absent sample leaves it as it is."""
    store = _target(p)
    fetch = p.sample().fetch

    def step(txn: Txn) -> None:
        value = fetch(txn)
        if value is not None:
            store(txn, value)

    return step


@action("set-var-fmt", at=(*EVERYWHERE, CHECK), prefix=True, synopsis="(<var-name>[,<cond>...]) <fmt>")
def set_var_fmt(p: Parser) -> Step:
    """Set a variable to a rendered log format."""
    store = _target(p)
    render = p.format(style="raw").render

    def step(txn: Txn) -> None:
        store(txn, render(txn))

    return step


@action("unset-var", at=(*EVERYWHERE, CHECK), prefix=True, synopsis="(<var-name>)")
def unset_var(p: Parser) -> Step:
    """Remove a variable."""
    try:
        store = setter(_allowed(p, p.inside))
    except ValueError as err:
        p.words.fail(str(err))

    def step(txn: Txn) -> None:
        store(txn, None)

    return step
