#!/usr/bin/env python3
"""What one ``-dKall`` list has and another has not, by kind: ``compare_keywords.py THEIRS [OURS] [--allowed PAGE] [--details]``.

THEIRS is the output of ``haproxy -dKall -q -c -f /dev/null``; OURS that of forkproxy (made here when it is not given).
``--allowed`` names a page such as docs/reference/not-supported.md: what is listed there is known to be missing.
``--details`` also compares what stands beside the names (types, arguments, where a fetch may be used). Status 1 when
something is missing that is not allowed to be. Knows the layout only.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path

#: kind → name → what stands beside it
Table = dict[str, dict[str, str]]

_TITLE = re.compile(r"# List of registered (.*):")
_FETCH = re.compile(r"\[ ((?:[Y.] )+)\] ([^(:\s]+)(.*)")
_RULES = re.compile(r"((?:tcp-(?:request|response) \w+|http-(?:request|response|after-response)) )(\S+?)(\*?)$")
#: two addresses of the same table in our page and in the dump
_KINDS = {
    "ACL keywords": "acl", "CLI keywords": "cli", "sample converter functions": "converter", "filter names": "filter",
    "service names": "service",
}  # fmt: skip


def parse(text: str) -> Table:
    """The names of a dump by kind, in the words of the page of what is missing (bind, server, fetch, action http-request …)."""
    table: Table = {}
    title = section = ""
    for raw in text.splitlines():
        if found := _TITLE.fullmatch(raw):
            title = found[1]
        elif raw.startswith("#") or not raw.strip():
            continue
        elif title == "configuration keywords":
            if raw[0] != "\t":
                section = raw.strip()
                table.setdefault("section", {})[section] = ""
            else:
                _keyword(table, section, raw.strip())
        elif title == "sample fetch functions":
            if match := _FETCH.match(raw):
                table.setdefault("fetch", {})[match[2]] = f"{match[3]} [{match[1].replace(' ', '')}]"
        elif title == "ACL keywords":
            name, _, meaning = raw.partition(" = ")
            table.setdefault("acl", {})[name] = meaning
        elif title == "CLI keywords":
            name = re.split(r"(?:^|\s+)(?=\[(?:MASTER|WORKER|EXPERT|EXPERIM|MCLI)|\[)|\s*:", raw.strip())[0]
            table.setdefault("cli", {})[name.strip()] = ""
        elif title in _KINDS:
            match = re.match(r"([^(:\s]+)(.*)", raw)
            if match is not None:
                table.setdefault(_KINDS[title], {})[match[1]] = match[2].strip()
    return table


def _keyword(table: Table, section: str, text: str) -> None:
    text, _, sides = text.partition(" [ ")
    beside = sides.rstrip(" ]")
    for prefix, kind in (("bind <addr> ", "bind"), ("server <name> <addr> ", "server")):
        if text.startswith(prefix):
            name, _, count = text.removeprefix(prefix).partition(" +")
            name = name.removeprefix("ssl ")  # only says that it needs TLS
            table.setdefault(kind, {})[name] = count
            return
    if section != "listen":
        table.setdefault(section, {})[text] = beside
        return
    if match := _RULES.match(text):
        table.setdefault(f"action {match[1].strip()}", {})[match[2]] = ""
    else:
        table.setdefault("proxy", {})[text] = beside


def allowed(page: str) -> dict[str, set[str]]:
    """What a page like docs/reference/not-supported.md lists: kind → names."""
    result: dict[str, set[str]] = {}
    kind = ""
    for line in page.splitlines():
        if line.startswith("## "):
            kind = line[3:].rpartition(" (")[0] or line[3:]
        elif kind:
            result.setdefault(kind, set()).update(re.findall(r"`([^`]+)`", line))
    return result


def missing(theirs: Table, ours: Table) -> dict[str, list[str]]:
    """kind → names that ``theirs`` has and ``ours`` has not, sorted; kinds without any are left out.

    A first word of a family ("stats") is there when a member of it is ("stats socket").
    """
    gaps = {}
    for kind, names in theirs.items():
        have = ours.get(kind, {})
        gaps[kind] = sorted(n for n in names if n not in have and not any(h.startswith(n + " ") for h in have))
    return {kind: names for kind, names in gaps.items() if names}


def surprises(gaps: dict[str, list[str]], theirs: Table, known: dict[str, set[str]]) -> dict[str, list[str]]:
    """``gaps`` without what a page lists. A section that is missing is missing with all its keywords, and a fetch with its ACL names."""
    without = known.get("section", set()) | {"crt-list"}  # which is the syntax of a file, and listed as a section
    result: dict[str, list[str]] = {}
    for kind, names in gaps.items():
        if kind in without:
            continue
        left = [n for n in names if n not in known.get(kind, ()) and not (kind == "section" and n in without)]
        if kind == "acl":
            left = [n for n in left if theirs["acl"][n].partition(" ")[0] not in known.get("fetch", ())]
        if left:
            result[kind] = left
    return result


def different(theirs: Table, ours: Table) -> dict[str, list[str]]:
    """kind → "name: theirs | ours" where both have the name and something else stands beside it."""
    result: dict[str, list[str]] = {}
    for kind, names in theirs.items():
        for name, beside in sorted(names.items()):
            mine = ours.get(kind, {}).get(name)
            if mine is not None and mine != beside:
                result.setdefault(kind, []).append(f"{name}: {beside} | {mine}")
    return result


def _show(title: str, rows: dict[str, list[str]], separator: str) -> Iterable[str]:
    for kind, names in sorted(rows.items()):
        yield f"{title} {kind} ({len(names)}):{separator}{separator.join(names)}"


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("theirs", type=Path)
    parser.add_argument("ours", type=Path, nargs="?")
    parser.add_argument("--allowed", type=Path)
    parser.add_argument("--details", action="store_true")
    given = parser.parse_args(argv)
    if given.ours is None:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        from forkproxy.listing import dump

        ours = parse(dump(("all",)))
    else:
        ours = parse(given.ours.read_text())
    theirs = parse(given.theirs.read_text())
    gaps = missing(theirs, ours)
    if given.allowed is not None:
        gaps = surprises(gaps, theirs, allowed(given.allowed.read_text()))
    for line in _show("missing", gaps, " "):
        print(line)
    if given.details:
        for line in _show("different", different(theirs, ours), "\n  "):
            print(line)
    return 1 if gaps else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
