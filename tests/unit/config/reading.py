"""Helpers of the tests in this directory: text to plan, text to messages."""

from __future__ import annotations

import tempfile
from pathlib import Path

from forkproxy import plan
from forkproxy.config.diagnostics import Severity
from forkproxy.config.load import Result, load
from forkproxy.config.options import Options

#: what keeps HAProxy's famous warning away
TIMEOUTS = "defaults\n timeout connect 1s\n timeout client 2s\n timeout server 3s\n"


def read(text: str, *, timeouts: bool = True, **options: object) -> Result:
    """The result of loading ``text``, after a defaults section with timeouts unless told otherwise."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "f.cfg"
        path.write_text((TIMEOUTS if timeouts else "") + text)
        return load([str(path)], Options(**options))  # type: ignore[arg-type]


def good(text: str, *, timeouts: bool = True, **options: object) -> plan.Plan:
    """The plan of a text about which nothing at all may be said."""
    result = read(text, timeouts=timeouts, **options)
    assert [m.text for m in result.diagnostics.messages if m.severity >= Severity.WARNING] == []
    assert result.plan is not None
    return result.plan


def said(text: str, severity: Severity, *, timeouts: bool = True) -> list[str]:
    """The messages of one severity, without the closing sentences."""
    found = read(text, timeouts=timeouts).diagnostics.messages
    closing = ("Error(s) found", "Fatal errors")
    return [m.text for m in found if m.severity is severity and not m.text.startswith(closing)]


def alerts(text: str, *, timeouts: bool = True) -> list[str]:
    return said(text, Severity.ALERT, timeouts=timeouts)


def warnings(text: str, *, timeouts: bool = True) -> list[str]:
    return said(text, Severity.WARNING, timeouts=timeouts)


def notes(text: str, *, timeouts: bool = True) -> list[str]:
    return said(text, Severity.NOTE, timeouts=timeouts)


def frontend(lines: str, *, mode: str = "http") -> plan.Frontend:
    """The one frontend that has these lines."""
    made = good(f"frontend f\n bind 127.0.0.1:18080\n mode {mode}\n {lines}\nbackend b\n mode {mode}\n server s 127.0.0.1:1\n")
    return made.frontends[0]


def backend(lines: str, *, mode: str = "http") -> plan.Backend:
    """The one backend that has these lines."""
    return good(f"frontend f\n bind 127.0.0.1:18080\n mode {mode}\nbackend b\n mode {mode}\n {lines}\n").backends["b"]


def server(options: str, *, lines: str = "", mode: str = "http") -> plan.Server:
    """The one server with these options, in a backend with these lines before it."""
    return backend(f"{lines}\n server s 127.0.0.1:80 {options}", mode=mode).servers[0]
