"""Every keyword with all kinds of arguments: whatever is written, there is a plan or an alert with its place, never a traceback."""

from __future__ import annotations

import itertools

import pytest

from forkproxy import registry
from forkproxy.config.diagnostics import Severity
from forkproxy.config.load import register
from tests.unit.config.reading import read

register()
ARGUMENTS = (
    "", "x", "1", "-1", "if TRUE", "x 1", "x if TRUE", "1 2 3", "( )", "%[", "a b c d e", "/dev/null", "400 /dev/null", "{", "x{", "é",
)  # fmt: skip
PLACES = {"defaults": "defaults d", "frontend": "frontend f\n bind :18001", "listen": "listen l", "backend": "backend b"}


def lines(section: str) -> list[str]:
    names = sorted(name for place, name in registry.KEYWORDS if place == section)
    return [f" {prefix}{name} {argument}".rstrip() for name, argument in itertools.product(names, ARGUMENTS)
            for prefix in (("", "no ") if name.startswith("option") and argument in ("", "x") else ("",))]  # fmt: skip


@pytest.mark.parametrize("mode", ["tcp", "http"])
@pytest.mark.parametrize("section", PLACES)
def test_a_proxy_line_never_surprises(section: str, mode: str) -> None:
    """All lines of a section in one file: every problem stays with its line."""
    result = read(f"{PLACES[section]}\n mode {mode}\n" + "\n".join(lines(section)) + "\n")
    assert result.plan is None
    placed = [m for m in result.diagnostics.messages if m.severity is Severity.ALERT and m.line]
    assert len(placed) > 100 and all(m.source and m.text for m in placed if m.column)


@pytest.mark.parametrize(("option", "head"), [("bind", " bind :18001"), ("server", " server s 127.0.0.1:1"), ("server", " default-server")])
def test_an_option_never_surprises(option: str, head: str) -> None:
    text = "".join(f"listen l{i}\n{head}{line}\n" for i, line in enumerate(lines(option)))
    result = read(text)
    assert result.plan is None and result.diagnostics.failed
    quiet = read("".join(f"listen l{i}\n{head} {name}\n" for i, name in enumerate(n for s, n in registry.KEYWORDS if s == option)))
    alerts = [m for m in quiet.diagnostics.messages if m.severity is Severity.ALERT]
    assert alerts and all(m.column or not m.line for m in alerts)
