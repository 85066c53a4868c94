"""What the documents say is there is there: configurations load without a warning, links lead somewhere, files and functions exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forkproxy import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^```haproxy\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
#: `proxy/flow.py`, or `proxy/request.py: begin`
_PLACE = re.compile(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+\.py)(?:: ([a-z_]+))?`")
#: `dispatch.failed`: a function of the room proxy/
_FUNCTION = re.compile(r"`([a-z_]+)\.(?!py`)([a-z_]+)`")
BLOCKS = [
    pytest.param(text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, text in enumerate(_BLOCK.findall(page.read_text(encoding="utf-8")), 1)
]


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 6


@pytest.mark.parametrize("text", BLOCKS)
def test_it_loads_without_a_word(text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "block.cfg"
    path.write_text(text, encoding="utf-8")
    status = cli.main(["-c", "-dW", "-f", str(path)])
    assert (status, *capfd.readouterr()) == (0, "", "")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not broken


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    missing = [path.name for path in (ROOT / "docs" / "decisions").glob("0*.md") if path.name not in index]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_exist(page: Path) -> None:
    wrong = []
    for name, function in _PLACE.findall(page.read_text(encoding="utf-8")):
        found = [path for path in (ROOT / "forkproxy" / name, ROOT / name) if path.exists()]
        if not found or (function and f"def {function}(" not in found[0].read_text(encoding="utf-8")):
            wrong.append(f"{name} {function}".strip())
    for module, function in _FUNCTION.findall(page.read_text(encoding="utf-8")) if page.name == "life-of-a-request.md" else ():
        file = ROOT / "forkproxy" / "proxy" / f"{module}.py"
        if file.exists() and f"def {function}(" not in file.read_text(encoding="utf-8"):
            wrong.append(f"{module}.{function}")
    assert not wrong
