"""``-dK``: the registered keywords in the layout that HAProxy prints, so that a program can compare the two lists.

Also the details of ``-vv``, ``-dL`` and ``-dC``. Reads the registry: what is listed is what the program has.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from forkproxy import clock, registry
from forkproxy.rules.args import Name
from forkproxy.rules.bandwidth import KINDS

_PROXY_SECTIONS = ("defaults", "frontend", "listen", "backend")
RULE_SETS = (
    ("tcp-req-conn", "tcp-request connection"),
    ("tcp-req-sess", "tcp-request session"),
    ("tcp-req-cont", "tcp-request content"),
    ("tcp-res-cont", "tcp-response content"),
    ("http-req", "http-request"),
    ("http-res", "http-response"),
    ("http-after-res", "http-after-response"),
)
#: the legend above the fetch matrix, one line per column of ``registry.USES``
_LEGEND = (
    "frontend tcp-request connection rule", "frontend tcp-request session rule", "frontend tcp-request content rule",
    "frontend http-request header rule", "frontend http-request body rule", "frontend use-backend rule",
    "backend tcp-request content rule", "backend http-request header rule", "backend http-request body rule",
    "backend use-server, balance or stick-match rule", "server source selection", "backend tcp-response content rule",
    "backend http-response header rule", "backend http-response body rule", "backend stick-store rule",
    "frontend tcp-response content rule", "frontend http-response header rule", "frontend http-response body rule", "logs",
    "backend tcp-check rule", "configuration parser", "CLI parser",
)  # fmt: skip


def register_all() -> None:
    """Import the rooms that register without config: algorithms, checks and commands come with them."""
    from forkproxy.config.load import register

    register()
    for package in ("rules.fetches", "rules.converters", "rules.actions", "balance", "health", "stats", "master.commands"):
        registry.gather(f"forkproxy.{package}")


# -- classes ---------------------------------------------------------------------------------------------------------------


def acl() -> list[str]:
    """ACL names that stand for a fetch with a match method."""
    lines = ["# List of registered ACL keywords:"]
    for name, (fetch, match) in sorted(registry.ACL_ALIASES.items()):
        lines.append(f"{name} = {fetch} -m {match}")
    return lines


def _suffix(entry: registry.Keyword) -> str:
    """`` +1`` for an option of a bind or server line that takes a value."""
    return " +1" if entry.args else ""


def cfg() -> list[str]:
    """Configuration keywords by section; the proxy sections together under ``listen``."""
    sections: dict[str, dict[str, registry.Keyword]] = {}
    for (section, name), entry in registry.KEYWORDS.items():
        sections.setdefault(section, {})[name] = entry
    lines = ["# List of registered configuration keywords:", "global"]
    lines += [f"\t{name}" for name in sorted(sections.pop("global", {}))]
    lines.append("listen")
    proxy: dict[str, set[str]] = {}
    for section in _PROXY_SECTIONS:
        for name in sections.pop(section, {}):
            proxy.setdefault(name, set()).add(section)
    lines += [f"\t{name}" for name in sorted(proxy) if not name.startswith("option ")]
    lines += [f"\tbind <addr> {n}{_suffix(e)}" for n, e in sorted(sections.pop("bind", {}).items())]
    lines += [f"\tserver <name> <addr> {n}{_suffix(e)}" for n, e in sorted(sections.pop("server", {}).items())]
    lines += [_option(name, proxy[name]) for name in sorted(proxy) if name.startswith("option ")]
    for rule_set, shown in RULE_SETS:
        names = {n: a for (place, n), a in registry.ACTIONS.items() if place == rule_set}
        lines += [f"\t{shown} {name}{'*' if action.prefix else ''}" for name, action in sorted(names.items())]
    for section in sorted(sections):
        lines.append(section)
        lines += [f"\t{name}" for name in sorted(sections[section])]
    return lines


def _option(name: str, sections: set[str]) -> str:
    """An ``option`` with the sides and the mode in which it means something."""
    from forkproxy.config.keywords.options import BACK_ONLY, FRONT_ONLY, HTTP_ONLY

    bare = name.removeprefix("option ")
    marks = []
    if "frontend" in sections and bare not in BACK_ONLY:
        marks.append("FE")
    if "backend" in sections and bare not in FRONT_ONLY:
        marks.append("BE")
    if bare in HTTP_ONLY:
        marks.append("HTTP")
    return f"\t{name} [ {' '.join(marks)} ]"


def cli() -> list[str]:
    """Commands of the runtime CLI and where they are answered."""
    lines = ["# List of registered CLI keywords:", *(f"{name} [MASTER] " for name in registry.PREFIXES)]
    for name, entry in sorted(registry.COMMANDS.items()):
        lines.append(f"{name} {''.join(f'[{where.upper()}] ' for where in entry.where)}")
    return lines


def arguments(args: Iterable[Any]) -> str:
    """``(string[,integer])``: the labels of the arguments; those that may be left out in brackets."""
    written = [a for a in args if a.label]  # one without a label is filled in by the parser
    needed = [str(a.label) for a in written if not a.optional or isinstance(a, Name)]  # as HAProxy has it, whose default is the own proxy
    optional = [str(a.label) for a in written if a.optional and not isinstance(a, Name)]
    if not needed and not optional:
        return ""
    inner = ",".join(needed)
    if optional:
        inner += "[" + ("," if needed else "") + ",".join(optional) + "]"
    return f"({inner})"


def cnv() -> list[str]:
    """Sample converters with their types: what comes out, then what goes in, which is how HAProxy prints it."""
    lines = ["# List of registered sample converter functions:"]
    for name, entry in sorted(registry.CONVERTERS.items()):
        lines.append(f"{name}{arguments(entry.args)}: {entry.out.label} => {entry.into.label}")
    return lines


def flt() -> list[str]:
    """Filters, with the part of the program that brings them."""
    return ["# List of registered filter names:", *(f"{name} [BWLIM]" for name in KINDS)]


def smp() -> list[str]:
    """Sample fetches under the matrix that tells where each may be used."""
    lines = ["# List of registered sample fetch functions:"]
    count = len(_LEGEND)
    for i, text in enumerate(_LEGEND):
        lines.append("#" + " " * (count + 1 - i) + "/ " * i + "_." + "-" * (count - i) + " " + text)
    lines.append("# " + "/ " * count + " ")
    lines.append("# " + "| " * count)
    for name, entry in sorted(registry.FETCHES.items()):
        row = " ".join("Y" if use in entry.uses else "." for use in registry.USES)
        lines.append(f"[ {row} ] {name}{arguments(entry.args)}: {entry.out.label}")
    return lines


def svc() -> list[str]:
    """Services for ``http-request use-service``."""
    return ["# List of registered service names:", *sorted(registry.SERVICES)]


CLASSES: dict[str, tuple[str, Callable[[], list[str]]]] = {
    "acl": ("ACL keywords", acl),
    "cfg": ("configuration keywords", cfg),
    "cli": ("CLI keywords", cli),
    "cnv": ("sample converter keywords", cnv),
    "flt": ("filter names", flt),
    "smp": ("sample fetch functions", smp),
    "svc": ("service names", svc),
}


def dump(classes: Sequence[str]) -> str:
    """The lists of ``classes`` ("all": every one; "help" or an unknown one: which there are)."""
    if "all" in classes:
        classes = tuple(CLASSES)
    if any(name not in CLASSES for name in classes):
        lines = ["# List of supported keyword classes:", "all: list all keywords"]
        return "\n".join(lines + [f"{name}: {text}" for name, (text, _) in CLASSES.items()]) + "\n"
    register_all()
    return "".join("\n".join(CLASSES[name][1]()) + "\n" for name in classes)


# -- the rest of -v and -d -----------------------------------------------------------------------------------------------------


def details() -> str:
    """What ``-vv`` says below the first line: system, interpreter, features, defaults."""
    from forkproxy.config.conditions import FEATURES
    from forkproxy.plan import Global

    defaults = Global()
    features = " ".join(("+" if on else "-") + name for name, on in sorted(FEATURES.items()))
    uname = os.uname()
    return f"""\
Running on: {uname.sysname} {uname.release} {uname.version} {uname.machine}
Python: {platform.python_implementation()} {platform.python_version()} ({sys.executable})
Data path: {"interpreted" if clock.__file__.endswith(".py") else "compiled"}

Feature list : {features}

Default settings :
  bufsize = {defaults.bufsize_bytes}, maxrewrite = {defaults.maxrewrite_bytes}, maxhdr = {defaults.maxhdr}

Workers : one process per usable CPU (default={len(os.sched_getaffinity(0))}).

Available polling systems :
      epoll : pref=300,  test result OK
Total: 1 (1 usable), will use epoll.

Available services : prometheus-exporter
"""


def libraries() -> str:
    """The shared objects that this process has mapped, one per line, the interpreter first (``-dL``)."""
    found = {os.path.realpath(sys.executable): None}
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if path.endswith(".so") or ".so." in path:
                found["/" + path] = None
    return "".join(f"{path}\n" for path in found)


def configuration(lines: Iterable[tuple[str, tuple[str, ...]]]) -> str:
    """The words of each line, section starts flush left, everything else indented (``-dC``)."""
    out = []
    previous = ""
    for section, words in lines:
        starts = section == "" or words[0] in _SECTION_STARTS
        text = " ".join(_quoted(word) for word in words)
        if starts and previous:
            out.append("")
        out.append(text if starts else f"\t{text}")
        previous = text
    return "".join(f"{line}\n" for line in out)


_SECTION_STARTS = frozenset({"global", "defaults", "frontend", "backend", "listen", "userlist", "http-errors"})


def _quoted(word: str) -> str:
    """``word`` so that reading it again gives the same word."""
    if word and not any(c in " \t\"'\\#\n\r" for c in word):
        return word
    if "'" not in word and "\n" not in word and "\r" not in word:
        return f"'{word}'"
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
