"""Whatever the words: every registered keyword answers nonsense with an alert, a warning or a plan, never with a traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from forkproxy import registry
from forkproxy.config.diagnostics import did_you_mean
from forkproxy.config.load import load, register
from forkproxy.config.options import Options
from tests.cost import cpu_s

register()
STARTS = {"bind": "listen l\n bind :18081", "server": "listen l\n mode http\n server s 127.0.0.1:1"}
TAILS = (
    "", "x", "1", "-1", "0", "x y z", "if", "if {", "if { src", "unless TRUE", "%[", "%[src", "'%{+Q}o' x", "\\x01", "é", "9" * 30, "3s 4s",
    "127.0.0.1:80", "/nonexistent", "( )", "a,b,c", "on", "off", "400 /nonexistent", "status 999", "''", "expect", "request x if y",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_args: object, **_kw: object) -> list[object]:
        raise OSError("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)


def sections() -> list[str]:
    return sorted({section for section, _name in registry.KEYWORDS})


@pytest.mark.parametrize("section", sections())
def test_nonsense_is_answered(section: str, tmp_path: Path) -> None:
    names = sorted(name for s, name in registry.KEYWORDS if s == section)
    start = STARTS.get(section) or (section if section == "global" else f"{section} n")
    path = tmp_path / "f.cfg"
    for tail in TAILS:
        if section in STARTS:
            text = "".join(f"{start.replace(' l', f' l{i}')} {name} {tail}\n" for i, name in enumerate(names))
        else:
            text = start + "\n" + "".join(f" {name} {tail}\n no {name} {tail}\n" for name in names if name != "setenv")
        path.write_text(text)
        result = load([str(path)], Options())
        assert result.plan is None or not result.diagnostics.failed


@pytest.mark.parametrize("section", ["frontend", "backend", "listen"])
def test_each_keyword_alone_too(section: str, tmp_path: Path) -> None:
    """One line per file, so that the plan is built from it where nothing was wrong."""
    path = tmp_path / "f.cfg"
    for name in sorted(name for s, name in registry.KEYWORDS if s == section):
        for tail in ("", "x", "1", "request x"):
            path.write_text(f"{section} n\n mode http\n {name} {tail}\n")
            result = load([str(path)], Options())
            assert (result.plan is None) == result.diagnostics.failed


def test_variables_cannot_grow_without_bound(tmp_path: Path) -> None:
    path = tmp_path / "f.cfg"
    path.write_text("global\n setenv A0 xx\n" + "".join(f' setenv A{i} "${{A{i - 1}}}${{A{i - 1}}}"\n' for i in range(1, 64)))
    result = load([str(path)], Options())
    first = result.diagnostics.messages[0]
    assert result.plan is None and first.text.startswith("variables expand to more than 1048576 characters") and first.line == 22


def test_a_file_of_another_program_is_judged_soon(tmp_path: Path) -> None:
    """10,000 mistakes, each with its nearest spelling looked for among all names of the section."""
    path = tmp_path / "f.cfg"
    path.write_text("listen l\n" + "".join(f" worker_conections_{i} {i};\n" for i in range(10_000)))
    told: list[int] = []
    assert cpu_s(lambda: told.append(len(load([str(path)], Options()).diagnostics.messages)), 15) < 15  # 2 when it was written
    assert told[0] == 10_002


def test_the_nearest_spelling_is_found_among_many() -> None:
    names = [f"backend-{i}" for i in range(5000)] + ["mode", "maxconn", "default_backend"]
    for word, near in (("mdoe", "mode"), ("maxcon", "maxconn"), ("defualt_backend", "default_backend"), ("bakend-77", "backend-77")):
        assert did_you_mean(word, names) == f"did you mean '{near}' maybe ?"
    assert did_you_mean("zzz", names) == did_you_mean("mode", names) == did_you_mean("", names) == did_you_mean("x", []) == ""
