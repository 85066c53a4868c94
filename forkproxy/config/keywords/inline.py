"""Options inside a line: ``bind :80 accept-proxy maxconn 10``, ``server s 10.0.0.1 check inter 2s``.

They are keywords of the sections "bind" and "server" in the registry. While one is read, ``line.keyword`` is its name and
``line.kwlen`` the index of its first argument, so that argument parsers and handlers complain about the right word.
"""

from __future__ import annotations

from typing import Any, NoReturn

from forkproxy import registry
from forkproxy.config import known
from forkproxy.config.diagnostics import did_you_mean
from forkproxy.config.line import Line
from forkproxy.errors import ConfigError


def read_options(kind: str, draft: Any, line: Line, index: int, shown: str, hint: str = "") -> None:
    """Read all options from word ``index`` to the end into ``draft``; messages begin with ``shown``. Raises ConfigError."""
    words = line.words
    count = len(words)
    keywords = registry.KEYWORDS
    while index < count:
        name = words[index]
        entry = keywords.get((kind, name))
        try:
            if entry is None:
                _unknown(kind, line, index, hint)
            line.keyword = name
            index += 1
            line.kwlen = index
            values = []
            for arg in entry.args:
                value, index = arg.read(line, index)
                values.append(value)
            entry.handler(draft, line, *values)
        except ConfigError as exc:
            exc.message = f"{shown} : {exc.message}"
            raise
        if entry.note:
            line.note(f"'{name}' : {entry.note}", line.kwlen - 1)


def _unknown(kind: str, line: Line, index: int, hint: str) -> NoReturn:
    name = line.words[index]
    if name in known.names(kind):
        line.fail(known.refusal(name), index)
    near = did_you_mean(name, [n for section, n in registry.KEYWORDS if section == kind])
    line.fail(f"unknown keyword '{name}'{'' if near else '.'}{hint}", index, near)
