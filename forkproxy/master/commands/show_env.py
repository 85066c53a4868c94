"""``show env`` (management manual 9.3)."""

from __future__ import annotations

import os

from forkproxy.master.cli_session import Refused, Session
from forkproxy.registry import Level, command


@command("show env", level=Level.OPERATOR, synopsis="show env [var]")
def show_env(session: Session, words: list[str]) -> str:
    """Dump environment variables known to the process."""
    env = dict(os.environ)
    for name, value in session.master.plan.global_.options.get("environment", {}).items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    if session.hidden is not None:
        env = {name: session.hidden.hash(value) for name, value in env.items()}
    if len(words) > 2:
        if words[2] not in env:
            raise Refused("Variable not found")
        return f"{words[2]}={env[words[2]]}\n"
    return "".join(f"{name}={value}\n" for name, value in env.items())
