"""The reference in ``docs/reference/``, made from the registry: what a page says is what the program has.

``python -m forkproxy.reference DIRECTORY`` writes the pages, ``forkproxy --dump-keywords`` prints them one after the other. A test compares
the committed pages with these. Knows the registry, the table of counters and the names that only HAProxy has; judges nothing
(``config.reasons`` does).
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from forkproxy import registry
from forkproxy.config import known
from forkproxy.config.reasons import why
from forkproxy.listing import RULE_SETS, arguments, register_all
from forkproxy.registry import Ends, Keyword, Level, Needs
from forkproxy.rules.bandwidth import KINDS
from forkproxy.rules.patterns import METHODS
from forkproxy.state.layout import COUNTERS, Counter

_PROXIES = ("defaults", "frontend", "listen", "backend")
_GENERATED = "<!-- Made by `make reference` from the registry. Change the docstrings, not this page. -->\n"
_ENDS = {Ends.RULESET: "No later rule of the same set is looked at.", Ends.STREAM: "Ends the stream."}
_WAITS = (
    (Needs.BODY, "the request's body"),
    (Needs.HEADERS, "the request's head"),
    (Needs.L6, "the client's first bytes"),
    (Needs.RES_BODY, "the response's body"),
    (Needs.RES_HEADERS, "the response's head"),
    (Needs.RES_L6, "the server's first bytes"),
    (Needs.SERVER, "a connection to a server"),
    (Needs.END, "the end of the stream (logs)"),
)


# -- pieces ----------------------------------------------------------------------------------------------------------------


def _cell(text: str) -> str:
    """``text`` in one cell of a table."""
    return " ".join(text.replace("|", "\\|").split())


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(_cell(c) for c in row) + " |" for row in rows]


def _code(text: str) -> str:
    """``text`` as code; a bar inside stays a bar even in a table."""
    return f"`{text}`"


def _prose(doc: str) -> str:
    """A docstring as Markdown: without its margin, double backticks become single ones."""
    return inspect.cleandoc(doc).replace("``", "`")


def _said(entry: Any) -> str:
    """What an entry says of itself, as Markdown. Compiled functions have no docstring, but the source that they were made of lies beside
    them; an inner one goes by the name of its class."""
    made = entry.factory
    name = getattr(made, "__name__", type(made).__name__)
    return _prose(entry.doc or _docstrings(made.__module__).get(name, ""))


@lru_cache
def _docstrings(module: str) -> dict[str, str]:
    """The docstrings of a module's functions and classes by name, those of inner functions by what mypyc calls them."""
    place = sys.modules[module].__file__
    assert place is not None
    found: dict[str, str] = {}
    for outer in ast.parse((Path(place).parent / f"{module.rpartition('.')[2]}.py").read_text()).body:
        for node in ast.walk(outer):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                name = node.name if node is outer else f"{node.name}_{getattr(outer, 'name', '')}_obj"
                found[name] = ast.get_docstring(node, clean=False) or ""
    return found


def _synopsis(entry: Keyword) -> str:
    return entry.synopsis or " ".join(arg.synopsis for arg in entry.args)


def _kind(entry: Keyword) -> str:
    """Where an entry belongs on its page: "has" an effect, "note", "refused" as by HAProxy, or "" (inner: catches what does not exist)."""
    if entry.note:
        return "note"
    if entry.doc.startswith("Catches "):
        return ""
    return "refused" if "efused as by HAProxy" in entry.doc else "has"


def _keywords(entries: dict[str, Keyword], sections: dict[str, list[str]] | None = None, prefix: str = "") -> list[str]:
    """What a section has: honoured ones with their text, then the tables of those without effect and of the refused ones."""
    lines: list[str] = []
    for name, entry in sorted(entries.items()):
        if _kind(entry) != "has":
            continue
        lines += [f"### {_code(f'{prefix}{name} {_synopsis(entry)}'.strip())}", "", _prose(entry.doc), ""]
        facts = []
        if sections is not None and sections[name] != list(_PROXIES):
            facts.append(f"In: {', '.join(sections[name])}.")
        if entry.default:
            facts.append(f"Default: {_code(entry.default)}.")
        if facts:
            lines += [" ".join(facts), ""]
    noted = [(_code(prefix + n), e.note) for n, e in sorted(entries.items()) if _kind(e) == "note"]
    if noted:
        lines += ["## Accepted without effect", "", "The note is shown with `-V`, `-dD`; it is never a warning.", ""]
        lines += [*_table(("keyword", "note"), noted), ""]
    refused = [(_code(prefix + n), _prose(e.doc)) for n, e in sorted(entries.items()) if _kind(e) == "refused"]
    if refused:
        lines += ["## Refused, as by HAProxy", "", *_table(("keyword", ""), refused), ""]
    return lines


def _section(*names: str) -> tuple[dict[str, Keyword], dict[str, list[str]]]:
    """The keywords of some sections together, and for each the sections that have it."""
    entries: dict[str, Keyword] = {}
    where: dict[str, list[str]] = {}
    for section in names:
        for (owner, name), entry in registry.KEYWORDS.items():
            if owner == section:
                entries.setdefault(name, entry)
                where.setdefault(name, []).append(section)
    return entries, where


def _waits(needs: Needs) -> str:
    """What must have arrived, in words; "" for the connection alone."""
    return ", ".join(text for flag, text in _WAITS if needs & flag)


# -- pages -----------------------------------------------------------------------------------------------------------------


def _global() -> list[str]:
    return _keywords(_section("global")[0])


def _proxies() -> list[str]:
    intro = ["Keywords of `defaults`, `frontend`, `listen` and `backend`; all four have them unless it says `In:`.", ""]
    return intro + _keywords(*_section(*_PROXIES))


def _bind() -> list[str]:
    return ["    bind [<address>]:<port>[,…] [ <option> … ]", "", *_keywords(_section("bind")[0])]


def _server() -> list[str]:
    intro = ["    server <name> <address>[:<port>] [ <option> … ]", "    default-server [ <option> … ]", ""]
    return intro + _keywords(_section("server")[0])


def _sections() -> list[str]:
    lines: list[str] = []
    for section in sorted({section for section, _ in registry.KEYWORDS} - {"global", "bind", "server", *_PROXIES}):
        lines += [f"## {section}", "", *_keywords(_section(section)[0])]
    return lines


def _actions() -> list[str]:
    lines = ["Each stands in the rule sets named under it, followed by `if` or `unless` and a condition where one is wanted.", ""]
    places: dict[str, list[str]] = {}
    entries: dict[str, registry.Action] = {}
    for rule_set, shown in RULE_SETS:
        for (place, name), entry in registry.ACTIONS.items():
            if place == rule_set:
                places.setdefault(name, []).append(shown)
                entries.setdefault(name, entry)
    for name, entry in sorted(entries.items()):
        title = f"{name}{'' if entry.prefix else ' '}{entry.synopsis}".strip()
        text = _said(entry) + (f"\n\n{_ENDS[entry.ends]}" if entry.ends else "")
        lines += [f"### {_code(title)}", "", text, "", "In: " + ", ".join(_code(p) for p in places[name]) + ".", ""]
    return lines


def _fetches() -> list[str]:
    rows = [
        (_code(f"{name}{arguments(entry.args)}"), entry.out.label, _said(entry), _waits(entry.needs))
        for name, entry in sorted(registry.FETCHES.items())
    ]
    intro = ["Where each may be used is in the matrix of `forkproxy -dKsmp`.", ""]
    return intro + _table(("fetch", "type", "", "needs"), rows)


def _converters() -> list[str]:
    rows = [
        (_code(f"{name}{arguments(entry.args)}"), f"{entry.into.label} → {entry.out.label}", _said(entry))
        for name, entry in sorted(registry.CONVERTERS.items())
    ]
    return _table(("converter", "types", ""), rows)


def _acls() -> list[str]:
    lines = ["    acl <name> <fetch>[,<converter> …] [ -i ] [ -m <method> ] [ -f <file> ] … [ -- ] <pattern> …", ""]
    lines += ["## Match methods", "", *_table(("method", "looks at"), ((_code(n), t.label) for n, t in METHODS.items())), ""]
    lines += ["## Names for a fetch with a method", ""]
    return lines + _table(("name", "means"), ((_code(n), _code(f"{f} -m {m}")) for n, (f, m) in sorted(registry.ACL_ALIASES.items())))


def _named(table: dict[str, registry.Named]) -> list[str]:
    lines: list[str] = []
    for name, entry in sorted(table.items()):
        lines += [f"## {_code(name)}", "", _said(entry), ""]
        if entry.synopsis and entry.synopsis != name:
            lines += [f"    {entry.synopsis}", ""]
    return lines


def _balance() -> list[str]:
    return ["What follows `balance`.", "", *_named(registry.ALGORITHMS)]


def _checks() -> list[str]:
    return ["What a `check` on a server line does; without an option that says otherwise it is `tcp`.", "", *_named(registry.CHECKS)]


def _services() -> list[str]:
    return ["What follows `http-request use-service`.", "", *_named(registry.SERVICES)]


def _log_format() -> list[str]:
    intro = ["Besides these a format may hold `%[<sample expression>]`, and flags in braces: `%{+Q}r`.", ""]
    return intro + _table(("alias", ""), ((_code("%" + n), _said(e)) for n, e in sorted(registry.FORMATTERS.items())))


def _cli() -> list[str]:
    lines = ["Commands of a `stats socket` (where: worker) and of the master's socket, `-S` (where: master).", ""]
    for name, entry in sorted(registry.COMMANDS.items()):
        if not name.startswith("_"):
            lines += [f"### {_code(entry.synopsis or name)}", "", _prose(entry.doc), ""]
            lines += [f"Level: {Level(entry.level).name.lower()}. Where: {', '.join(entry.where)}.", ""]
    return lines


def _counter(counter: Counter) -> tuple[str, ...]:
    scopes = {"L": "listener", "F": "frontend", "B": "backend", "S": "server", "P": "process", "W": "worker"}
    families: dict[str, list[str]] = {}
    for scope, family in counter.family.items():
        families.setdefault(family, []).append(scopes[scope])
    metrics = "; ".join(f"{_code(family)} ({', '.join(where)})" for family, where in families.items())
    csv = _code(counter.csv) if counter.csv else ""
    return counter.help, ", ".join(scopes[s] for s in counter.scopes), csv, _code(counter.info) if counter.info else "", metrics


def _counters() -> list[str]:
    intro = ["A metric's whole name is `haproxy_<scope>_<name>` (worker: `forkproxy_worker_<name>`).", ""]
    head = ("", "counted for", "`show stat`", "`show info`", "metric")
    return intro + _table(head, (_counter(c) for c in COUNTERS.values()))


def _is_form(name: str) -> bool:
    """Whether ``name`` is a keyword of proxies together with a word that its synopsis has ("stick on"), or the first word of one."""
    if any(own.startswith(name + " ") for section, own in registry.KEYWORDS if section in _PROXIES):
        return True
    first, _, word = name.partition(" ")
    entry = next((entry for (section, own), entry in registry.KEYWORDS.items() if own == first and section in _PROXIES), None)
    return entry is not None and bool(word) and word in re.split(r"[^a-z0-9-]+", entry.synopsis)


def missing() -> dict[str, list[str]]:
    """What ``config.known`` has and the registry has not, by kind."""
    have: dict[str, set[str]] = {
        "section": {"global", "userlist", "http-errors", "log-profile", "ring", *_PROXIES},
        "ring": {n for s, n in registry.KEYWORDS if s == "ring"},
        "global": {n for s, n in registry.KEYWORDS if s == "global"},
        "proxy": {n for s, n in registry.KEYWORDS if s in _PROXIES},
        "bind": {n for s, n in registry.KEYWORDS if s == "bind"},
        "server": {n for s, n in registry.KEYWORDS if s == "server"},
        "fetch": set(registry.FETCHES),
        "converter": set(registry.CONVERTERS),
        "service": set(registry.SERVICES),
        "filter": set(KINDS),
        "cli": {*registry.COMMANDS, *registry.PREFIXES},
    }
    for rule_set, shown in RULE_SETS:
        have[f"action {shown}"] = {n.removesuffix("*") for place, n in registry.ACTIONS if place == rule_set}
    return {kind: sorted(n for n in known.names(kind) - had if kind != "proxy" or not _is_form(n)) for kind, had in have.items()}


def _not_supported() -> list[str]:
    """What is missing, and why."""
    lines = ["Known to HAProxy 3.4 and refused by name, with file, line and column. The reason stands before the names.", ""]
    for kind, absent in missing().items():
        groups: dict[str, list[str]] = {}
        for name in absent:
            groups.setdefault(why(kind, name), []).append(_code(name))
        if absent:
            lines += [f"## {kind} ({len(absent)})", ""]
            lines += [f"- {reason}: {' '.join(names)}" for reason, names in groups.items()]
            lines.append("")
    return lines


PAGES: dict[str, tuple[str, Callable[[], list[str]]]] = {
    "global": ("The global section", _global),
    "proxies": ("Proxy sections", _proxies),
    "bind": ("bind lines", _bind),
    "server": ("server lines", _server),
    "sections": ("Other sections", _sections),
    "actions": ("Actions of rules", _actions),
    "fetches": ("Sample fetches", _fetches),
    "converters": ("Converters", _converters),
    "acls": ("ACLs", _acls),
    "balance": ("Balance algorithms", _balance),
    "checks": ("Health checks", _checks),
    "services": ("Services", _services),
    "log-format": ("Log format aliases", _log_format),
    "cli": ("Runtime commands", _cli),
    "counters": ("Counters and metrics", _counters),
    "not-supported": ("What HAProxy has and forkproxy has not", _not_supported),
}


def page(name: str) -> str:
    """The text of one page of :data:`PAGES`; :func:`listing.register_all` must have run."""
    title, make = PAGES[name]
    return "\n".join([_GENERATED, f"# {title}", "", *make()]).rstrip() + "\n"


def pages() -> dict[str, str]:
    """File name → text: every page, and the index."""
    register_all()
    found = {f"{name}.md": page(name) for name in PAGES}
    links = [f"- [{title}]({name}.md)" for name, (title, _) in PAGES.items()]
    manual = "Meaning and defaults are those of HAProxy's configuration manual; a page says where forkproxy differs."
    found["README.md"] = "\n".join([_GENERATED, "# Reference", "", manual, "", *links]) + "\n"
    return found


def write(directory: Path) -> None:
    """Write all pages, and remove those that are no longer made."""
    made = pages()
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (directory / name).write_text(text, encoding="utf-8")


def main(argv: list[Any]) -> int:
    """``python -m forkproxy.reference DIRECTORY``."""
    if len(argv) != 1:
        print("usage: python -m forkproxy.reference DIRECTORY", file=sys.stderr)
        return 1
    write(Path(argv[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
