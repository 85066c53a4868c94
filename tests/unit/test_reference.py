"""The committed reference is what the registry gives, and every entry of it says something."""

from __future__ import annotations

from pathlib import Path

import pytest

from forkproxy import cli, reference, registry
from forkproxy.config.reasons import why

DIRECTORY = Path(__file__).resolve().parents[2] / "docs" / "reference"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return reference.pages()


def test_the_committed_pages_are_up_to_date(pages: dict[str, str]) -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*.md")}
    assert sorted(committed) == sorted(pages), "run: make reference"
    stale = [name for name, text in pages.items() if committed[name] != text]
    assert not stale, f"run: make reference (differ: {', '.join(stale)})"


def test_every_name_is_on_its_page(pages: dict[str, str]) -> None:
    for page, names in {
        "fetches.md": set(registry.FETCHES),
        "converters.md": set(registry.CONVERTERS),
        "actions.md": {name for _, name in registry.ACTIONS},
        "balance.md": set(registry.ALGORITHMS),
        "checks.md": set(registry.CHECKS),
        "global.md": {name for section, name in registry.KEYWORDS if section == "global"},
        "server.md": {name for section, name in registry.KEYWORDS if section == "server"},
    }.items():
        assert names, page
        missing = [name for name in names if f"`{name}" not in pages[page]]
        assert not missing, f"{page}: {missing}"


@pytest.mark.interpreted  # there the source says it
def test_everything_is_documented() -> None:
    reference.pages()
    tables = (registry.KEYWORDS, registry.FETCHES, registry.CONVERTERS, registry.ACTIONS, registry.ALGORITHMS, registry.CHECKS)
    more = (registry.SERVICES, registry.FORMATTERS, registry.COMMANDS)
    silent = [key for table in (*tables, *more) for key, entry in table.items() if not entry.doc]
    assert not silent


def test_what_is_listed_as_missing_is_refused_by_name() -> None:
    """One of each kind, so that the page and the messages tell the same."""
    text = reference.page("not-supported")
    for name in ("`peers`", "`ssl`", "`compression`"):
        assert name in text


def test_write_removes_pages_that_are_gone(tmp_path: Path) -> None:
    (tmp_path / "old.md").write_text("old")
    reference.write(tmp_path)
    assert not (tmp_path / "old.md").exists()
    assert (tmp_path / "README.md").exists()


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main([]) == 1
    assert "usage" in capsys.readouterr().err


def test_command_line(pages: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--dump-keywords"]) == 0
    text = capsys.readouterr().out
    assert pages["global.md"] in text and pages["cli.md"] in text


def test_whatever_is_missing_has_a_reason(pages: dict[str, str]) -> None:
    """And the first row of the table that fits says it: a name of TLS is not taken for one of HTTP/2."""
    assert {(kind, name) for kind, names in reference.missing().items() for name in names if not why(kind, name)} == set()
    told = {"bind alpn": "TLS", "server no-tlsv12": "TLS", "fetch ssl_fc_sni": "TLS", "cli set ssl cert": "TLS", "section crt-store": "TLS",
            "bind quic-socket": "QUIC", "server ws": "HTTP/2", "server resolvers": "DNS", "cli show resolvers": "DNS",
            "action http-request do-resolve": "DNS", "cli debug dev tkill": "inside", "global lua-load": "Lua"}  # fmt: skip
    for words, reason in told.items():
        kind, _, name = words.rpartition(" ") if not words.startswith("cli ") else words.partition(" ")
        assert reason in why(kind, name), words
    assert why("bind", "nobody-knows") == ""
