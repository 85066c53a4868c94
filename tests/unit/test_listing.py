"""-dK: the layout that HAProxy prints, read back by a program as an outside tool would."""

from __future__ import annotations

import re

import pytest

from forkproxy import cli, listing, registry
from tests.build import COMPILED

_FETCH = re.compile(r"\[((?: [Y.]){22}) \] ([^(:]+)(?:\(([^)]*)\))?: (\w+)")
_CONVERTER = re.compile(r"([^(:]+)(?:\((.*)\))?: (\w+) => (\w+)")


def parse(text: str) -> dict[str, dict[str, object]]:
    """A dump as tables: class → name → what stands beside it."""
    tables: dict[str, dict[str, object]] = {}
    table: dict[str, object] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("# List of registered "):
            title = line.removeprefix("# List of registered ").rstrip(":")
            table = tables.setdefault(title, {})
        elif line.startswith("#") or not line:
            continue
        elif title == "configuration keywords":
            if not line.startswith("\t"):
                section = line
                table[section] = None
            else:
                table[f"{section}/{line.strip()}"] = None
        elif title == "ACL keywords":
            name, _, what = line.partition(" = ")
            table[name] = what
        elif title == "sample fetch functions":
            match = _FETCH.fullmatch(line)
            assert match, line
            table[match[2]] = (match[1].split(), match[3], match[4])
        elif title == "sample converter functions":
            match = _CONVERTER.fullmatch(line)
            assert match, line
            table[match[1]] = match.groups()[1:]
        elif title == "CLI keywords":
            name, _, where = line.rstrip().partition(" [")
            table[name] = where
        else:
            table[line.split()[0]] = None
    return tables


@pytest.fixture(scope="module")
def tables() -> dict[str, dict[str, object]]:
    return parse(listing.dump(("all",)))


def test_all_classes_in_haproxys_order(tables: dict[str, dict[str, object]]) -> None:
    assert list(tables) == [
        "ACL keywords", "configuration keywords", "CLI keywords", "sample converter functions", "filter names",
        "sample fetch functions", "service names",
    ]  # fmt: skip


def test_everything_registered_is_listed(tables: dict[str, dict[str, object]]) -> None:
    assert set(tables["sample fetch functions"]) == set(registry.FETCHES)
    assert set(tables["sample converter functions"]) == set(registry.CONVERTERS)
    assert set(tables["ACL keywords"]) == set(registry.ACL_ALIASES)
    assert set(tables["service names"]) == set(registry.SERVICES)
    assert set(tables["CLI keywords"]) == {*registry.COMMANDS, *registry.PREFIXES}
    config = tables["configuration keywords"]
    for section, name in registry.KEYWORDS:
        if section in ("global", "userlist", "http-errors"):
            assert f"{section}/{name}" in config
    for name in ("bind", "timeout client", "http-request deny", "bind <addr> maxconn +1", "bind <addr> accept-proxy"):
        assert f"listen/{name}" in config, name
    assert "listen/option dontlognull [ FE ]" in config
    assert "listen/option http-no-delay [ FE BE HTTP ]" in config


def test_the_fetch_matrix_tells_where(tables: dict[str, dict[str, object]]) -> None:
    row = tables["sample fetch functions"]["src"]
    assert isinstance(row, tuple)
    uses, _args, out = row
    assert len(uses) == len(registry.USES) == 22 and out == "addr"
    assert {use for use, flag in zip(registry.USES, uses, strict=True) if flag == "Y"} == registry.FETCHES["src"].uses


def test_the_legend_points_at_the_columns() -> None:
    lines = listing.smp()
    first = lines[1]
    assert first == "#                       _.---------------------- frontend tcp-request connection rule"
    assert lines[22] == "#  " + "/ " * 21 + "_.- CLI parser"
    assert lines[24] == "# " + "| " * 22


def test_help_and_unknown_classes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-dKhelp"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[:3] == ["# List of supported keyword classes:", "all: list all keywords", "acl: ACL keywords"]
    assert listing.dump(("nonsense",)) == text


def test_one_class_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-dKsvc"]) == 0
    assert capsys.readouterr().out.startswith("# List of registered service names:\n")


def test_the_build_is_told() -> None:
    assert f"\nData path: {'compiled' if COMPILED else 'interpreted'}\n" in listing.details()
