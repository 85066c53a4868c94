"""From lines to drafts: which section a line belongs to, which keyword it is, and who writes it down.

A section's first line is answered by a starter (``SECTIONS``) that returns the draft into which the keywords of that section write.
Keywords come from ``registry.KEYWORDS``; a name that is missing there is refused, with its nearest spelling or as "known to HAProxy".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forkproxy import registry
from forkproxy.config import args, known
from forkproxy.config.diagnostics import Diagnostics, did_you_mean
from forkproxy.config.drafts import GlobalDraft, ProxyDraft
from forkproxy.config.line import Line
from forkproxy.config.options import Options
from forkproxy.errors import ConfigError

#: Keywords besides "option …" that a leading "no" turns round.
NEGATABLE = frozenset(
    {
        "busy-polling", "h2-workaround-bogus-websocket-clients", "insecure-fork-wanted", "insecure-setuid-wanted", "limited-quic", "log",
        "numa-cpu-mapping", "option", "set-dumpable", "strict-limits",
    }
)  # fmt: skip
#: Sections that HAProxy has and forkproxy does not yet (beside ``SECTIONS``; not looked up in ``known``, which costs reading it).
REFUSED_SECTIONS = frozenset(
    {
        "acme", "cache", "crt-store", "fcgi-app", "log-forward", "mailers", "peers", "program", "resolvers", "traces",
    }
)  # fmt: skip
PROXY_SECTIONS = frozenset({"defaults", "frontend", "backend", "listen"})
_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:")
#: Keywords are at most this many words long ("http-check send-state", "stats socket", "option http-server-close").
_LONGEST = 3


class Fatal(Exception):
    """Reading cannot go on: what follows would be misunderstood. The alert has been given."""


class Reading:
    """Everything that one run over the files collects.

    ``draft`` is where lines of the current section go (None: the section is refused, its lines are skipped).
    ``objects`` has named things by "kind/name". Owned by one ``load``; nothing outlives it.
    """

    __slots__ = (
        "anonymous_defaults", "defaults", "diag", "draft", "global_draft", "named", "objects", "options", "proxies",
        "section", "section_name",
    )  # fmt: skip

    def __init__(self, diag: Diagnostics, options: Options) -> None:
        self.diag = diag
        self.options = options
        self.global_draft = GlobalDraft(bool(options.localpeer))
        self.proxies: list[ProxyDraft] = []
        self.defaults: dict[str, ProxyDraft] = {}
        self.anonymous_defaults: ProxyDraft | None = None
        self.objects: dict[str, Any] = {}
        self.named: dict[tuple[str, str], Line] = {}
        self.section = ""
        self.section_name = ""
        self.draft: Any = None

    def feed(self, line: Line) -> None:
        """Take one line. Problems become alerts; only Fatal comes out."""
        try:
            starter = SECTIONS.get(line.words[0])
            if starter is not None or line.words[0] in REFUSED_SECTIONS:
                self._start(line, starter)
            elif not self.section:
                line.fail(f"unknown keyword '{line.words[0]}' out of section.", 0, self._near_section(line.words[0]))
            elif self.draft is not None:
                dispatch(line, self.draft)
        except ConfigError as exc:
            self.diag.error(exc)

    def end_of_file(self) -> None:
        """A section ends with its file."""
        self.section = self.section_name = ""
        self.draft = None

    def _start(self, line: Line, starter: Callable[[Reading, Line], Any] | None) -> None:
        self.section = line.section = line.words[0]
        self.section_name = line.section_name = line.words[1] if len(line.words) > 1 else ""
        self.draft = None
        if starter is None:
            line.fail(f"section {known.refusal(self.section)}")
        self.draft = starter(self, line)

    @staticmethod
    def _near_section(word: str) -> str:
        return did_you_mean(word, SECTIONS)


def dispatch(line: Line, draft: Any) -> None:
    """Find the keyword of ``line``, read its arguments and let it write into ``draft``. Raises ConfigError."""
    words = line.words
    if words[0] in ("no", "default") and len(words) > 1:
        if words[1] not in NEGATABLE:
            line.fail(
                "negation/default currently supported only for options, log, busy-polling, set-dumpable, strict-limits, "
                "insecure-fork-wanted and numa-cpu-mapping.",
                1,
            )
        line.negated = words[0] == "no"
        line.default = not line.negated
        del words[0], line.columns[0]
    for count in range(min(_LONGEST, len(words)), 0, -1):
        name = " ".join(words[:count])
        entry = registry.KEYWORDS.get((line.section, name))
        if entry is not None:
            line.keyword = name
            line.kwlen = count
            values = args.apply(entry.args, line)
            entry.handler(draft, line, *values)
            if entry.note:
                line.note(f"'{name}' : {entry.note}")
            return
    _unknown(line)


def _unknown(line: Line) -> None:
    """Refuse a line whose keyword is not registered for its section."""
    words, section = line.words, line.section
    here = [name for s, name in registry.KEYWORDS if s == section]
    family = [name.partition(" ")[2] for name in here if name.startswith(words[0] + " ")]
    found = known.find(section, words)
    if found:
        elsewhere = sorted(s for s, name in registry.KEYWORDS if name == found and s in PROXY_SECTIONS)
        if elsewhere:
            line.fail(f"'{found}' is not allowed in '{section}' sections (only in: {', '.join(elsewhere)})")
        if not family or " " in found:
            line.fail(known.refusal(found), found.count(" "))
    elif not family and any(name.startswith(words[0] + " ") for name in known.names(section)):
        line.fail(known.refusal(words[0]))
    if family:
        _unknown_member(line, family)
    hint = did_you_mean(words[0], {name.partition(" ")[0] for name in here} | SECTIONS.keys())
    line.fail(f"unknown keyword '{words[0]}' in '{section}' section", 0, hint)


def _unknown_member(line: Line, family: list[str]) -> None:
    """Refuse the second word of "option x", "timeout x", "stats x" …"""
    first = line.words[0]
    names = sorted({member.partition(" ")[0] for member in family})
    if len(line.words) < 2:
        line.fail(f"'{first}' expects an option name." if first == "option" else f"'{first}' expects one of: {', '.join(names)}.", 1)
    second = line.words[1]
    if second in known.names(first) or f"{first} {second}" in known.names(line.section):
        line.fail(known.refusal(f"{first} {second}"), 1)
    hint = did_you_mean(second, names)
    if first == "option":
        line.fail(f"unknown option '{second}'" + ("" if hint else "."), 1, hint)
    listed = [f"'{n}'" for n in names]
    text = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
    line.fail(f"'{first}' supports {text} (got '{second}')", 1, hint)


# -- section starters ------------------------------------------------------------------------------------------------------


def check_name(line: Line, index: int = 1) -> str:
    """The section's name at word ``index``: present, and of permitted characters. Raises ConfigError."""
    kind = line.words[0]
    if index >= len(line.words) or not line.words[index]:
        line.fail(f"'{kind}' expects an <id> argument", index)
    name = line.words[index]
    for c in name:
        if c not in _NAME_CHARACTERS:
            line.fail(f"character '{c}' is not permitted in '{kind}' name '{name}'.", index)
    return name


def no_more(line: Line, count: int) -> None:
    """Refuse words from index ``count`` on."""
    if len(line.words) > count:
        line.fail(f"'{line.words[0]}' cannot handle unexpected argument '{line.words[count]}'.", count)


def _global(reading: Reading, line: Line) -> GlobalDraft:
    no_more(line, 1)
    return reading.global_draft


def _from(reading: Reading, line: Line, index: int) -> ProxyDraft | None:
    """The defaults section that ``from NAME`` at word ``index`` names, or the last anonymous one."""
    words = line.words
    if len(words) <= index:
        return reading.anonymous_defaults
    if words[index] != "from":
        line.fail(f"'{words[0]}' cannot handle unexpected argument '{words[index]}'.", index)
    if len(words) <= index + 1:
        line.fail(f"'from' expects the name of a 'defaults' section in '{words[0]}'.", index)
    no_more(line, index + 2)
    name = words[index + 1]
    found = reading.defaults.get(name)
    if found is None:
        owner = f" for {words[0]} '{words[1]}'" if index > 1 else ""
        line.fail(f"defaults section '{name}' not found{owner}.", index + 1, did_you_mean(name, reading.defaults))
    return found


def _defaults(reading: Reading, line: Line) -> ProxyDraft:
    named = len(line.words) > 1 and line.words[1] != "from"
    name = check_name(line) if named else ""
    parent = _from(reading, line, 2 if named else 1) if len(line.words) > (2 if named else 1) else None
    if name in reading.defaults:
        first = reading.defaults[name].line
        assert first is not None
        line.warn(f"defaults section '{name}' was already declared at {first.file}:{first.number}; the last one counts.", 1)
    draft = ProxyDraft(kind="defaults", name=name, line=line)
    if parent is not None:
        draft.inherit(parent)
    _relax(reading, draft)
    # Any defaults section, named or not, is what later proxies without "from" inherit from.
    reading.anonymous_defaults = draft
    if name:
        reading.defaults[name] = draft
    return draft


def _proxy(reading: Reading, line: Line) -> ProxyDraft:
    kind = line.words[0]
    name = check_name(line)
    sides = ("frontend", "backend") if kind == "listen" else (kind,)
    for side in sides:
        first = reading.named.get((side, name))
        if first is not None:
            # reported, but read on, so that mistakes inside are found in the same run
            line.alert(
                f"{'proxy' if kind == 'listen' else kind} '{name}' has the same name as {first.section} '{name}' "
                f"declared at {first.file}:{first.number}.",
                1,
            )
            break
    for side in sides:
        reading.named.setdefault((side, name), line)
    draft = ProxyDraft(kind=kind, name=name, line=line)
    defaults = _from(reading, line, 2)
    if defaults is not None:
        draft.inherit(defaults)
    _relax(reading, draft)
    reading.proxies.append(draft)
    return draft


def _relax(reading: Reading, draft: ProxyDraft) -> None:
    """``-dr``: servers whose name nobody knows start without an address instead of stopping the start."""
    if reading.options.ignore_resolution:
        draft.default_server.setdefault("init-addr", ("last", "libc", "none"))


def _named_object(reading: Reading, line: Line) -> str:
    """Name of a section that makes an object of its own kind, checked to be new."""
    kind, name = line.words[0], check_name(line)
    no_more(line, 2)
    if (first := reading.named.get((kind, name))) is not None:
        line.fail(f"{kind} '{name}' has the same name as another {kind} declared at {first.file}:{first.number}.", 1)
    reading.named[kind, name] = line
    return name


def _userlist(reading: Reading, line: Line) -> Any:
    from forkproxy.config.keywords.userlist import UserList

    name = _named_object(reading, line)
    reading.objects[f"userlist/{name}"] = draft = UserList(name, line)
    return draft


def _http_errors(reading: Reading, line: Line) -> Any:
    from forkproxy.config.keywords.http_errors import HttpErrors

    name = _named_object(reading, line)
    reading.objects[f"http-errors/{name}"] = draft = HttpErrors(name)
    return draft


def _ring(reading: Reading, line: Line) -> Any:
    from forkproxy.config.keywords.ring import RingDraft

    name = _named_object(reading, line)
    reading.objects[f"ring/{name}"] = draft = RingDraft(name, line)
    return draft


def _log_profile(reading: Reading, line: Line) -> Any:
    from forkproxy.config.keywords.log_profile import LogProfileDraft

    name = _named_object(reading, line)
    reading.objects[f"log-profile/{name}"] = draft = LogProfileDraft(name, line)
    return draft


SECTIONS: dict[str, Callable[[Reading, Line], Any]] = {
    "global": _global,
    "defaults": _defaults,
    "frontend": _proxy,
    "backend": _proxy,
    "listen": _proxy,
    "userlist": _userlist,
    "http-errors": _http_errors,
    "ring": _ring,
    "log-profile": _log_profile,
}
