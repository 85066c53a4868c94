"""The house: imports point upward only, and files stay readable."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import pytest

import forkproxy

PACKAGE = Path(forkproxy.__file__).parent
#: From the top of the house to its bottom: a room may import rooms above it.
ORDER = [
    "compiled", "values", "errors", "registry", "clock", "progress", "http", "wire", "state", "net", "plan", "rules", "balance", "health",
    "config", "proxy", "stats", "worker", "master", "arguments", "listing", "reference",
    "manual", "cli",
]
#: Never, although it stands above: what serves traffic knows no configuration text.
FORBIDDEN = {("proxy", "config"), ("worker", "config"), ("stats", "config")}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The rooms that a file imports, those for type checkers only included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            parts = node.module.split(".")
            if parts[0] == "forkproxy":
                found.update([parts[1]] if len(parts) > 1 else [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            found.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("forkproxy."))
    return found & set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_upward(path: Path) -> None:
    own = room(path)
    if own == "__init__":
        return
    assert own in ORDER, f"{own} is not a room of the house"
    for other in imports(path) - {own}:
        assert ORDER.index(other) < ORDER.index(own), f"{path.name} ({own}) imports {other}, which stands below"
        assert (own, other) not in FORBIDDEN, f"{own} must not know {other}"


def test_any_module_of_a_stream_may_be_the_first() -> None:
    """The modules of the proxy call each other, so their imports are a circle: it must not matter where it is entered."""
    names = sorted(f"forkproxy.proxy.{path.stem}" for path in (PACKAGE / "proxy").glob("*.py") if path.stem != "__init__")
    package = importlib.import_module("forkproxy.proxy")
    for name in names:
        kept = {other: sys.modules.pop(other) for other in list(sys.modules) if other.startswith("forkproxy.proxy")}
        try:
            importlib.import_module(name)
        finally:
            for other in [other for other in sys.modules if other.startswith("forkproxy.proxy")]:
                del sys.modules[other]
            sys.modules.update(kept)
            forkproxy.proxy = package  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_file_says_what_it_is_for(path: Path) -> None:
    doc = ast.get_docstring(ast.parse(path.read_text()))
    assert doc and "to be written" not in doc


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_asyncio_and_no_second_clock(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert "asyncio" not in names
