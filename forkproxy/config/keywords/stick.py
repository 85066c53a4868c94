"""Stick tables and stickiness (manual 4.2 "stick-table", "stick on" …, 11.1)."""

from __future__ import annotations

import re

from forkproxy.config.args import Rest
from forkproxy.config.drafts import ProxyDraft, RuleDraft
from forkproxy.config.keywords.caps import PROXIES, backend_side, not_in_defaults
from forkproxy.config.line import Line
from forkproxy.config.units import UnitError, parse_size, parse_time
from forkproxy.registry import keyword
from forkproxy.state.stickspec import DATA_TYPES, KEY_BYTES, Shape, Store, TableSpec

#: types that have a length of their own, and what it is when none is given
_WITH_LENGTH = {"string": 31, "binary": 32}
_STORE = re.compile(r"([a-z0-9_]+)(?:\(([^()]*)\))?")
#: what HAProxy has and this does not, by its word in the line
_MISSING = ("peers", "write-to", "recv-only")


@keyword(
    PROXIES,
    "stick-table",
    args=(Rest(),),
    synopsis="type {ip|ipv4|ipv6|integer|string [len <n>]|binary [len <n>]} size <n> [expire <time>] [nopurge] [srvkey {name|addr}] "
    "[store <data type>[,...]]*",
)
def stick_table(draft: ProxyDraft, line: Line, start: int) -> None:
    """Declare a table of this section's name, shared by all workers, whose entries rules count in and servers are kept in."""
    not_in_defaults(draft, line)
    before = draft.settings.get("stick-table-line")
    if before is not None:
        line.fail(
            f"stick-table name '{draft.name}' conflicts with table declared in {draft.label} '{draft.name}' "
            f"at {before.file}:{before.number}."
        )
    draft.settings["stick-table-line"] = line
    draft.settings["stick-table"] = _Reader(line, start).read(draft.name)


class _Reader:
    """The words of one ``stick-table`` line."""

    def __init__(self, line: Line, start: int) -> None:
        self.line = line
        self.at = start
        self.type = self.srvkey = ""
        self.key_bytes = self.size = self.expire_ms = 0
        self.nopurge = False
        self.stores: dict[str, Store] = {}

    def read(self, name: str) -> TableSpec:
        """The table that the line declares."""
        words = self.line.words
        while self.at < len(words):
            word = words[self.at]
            self.at += 1
            match word:
                case "type":
                    self._type()
                case "size":
                    self.size = self._number(parse_size, "size")
                case "expire":
                    self.expire_ms = round(self._number(parse_time, "expire") * 1000)
                case "nopurge":
                    self.nopurge = True
                case "srvkey":
                    self._srvkey()
                case "store":
                    for text in re.split(r",(?![^()]*\))", self._value("store")):
                        self._store(text)
                case "brates-factor":
                    self._value(word)
                    self.line.note("stick-table: brates-factor is not needed, bytes are counted in 64 bits", self.at - 1)
                case _ if word in _MISSING:
                    self.line.fail(f"stick-table: '{word}' is known to HAProxy, not supported by forkproxy yet", self.at - 1)
                case _:
                    self.line.fail(f"stick-table: unknown argument '{word}'.", self.at - 1)
        if not self.size:
            self.line.fail("stick-table: missing size.")
        if not self.type:
            self.line.fail("stick-table: missing type.")
        for array, singles in (("gpc", ("gpc0", "gpc1")), ("gpc_rate", ("gpc0_rate", "gpc1_rate")), ("gpt", ("gpt0",))):
            if array in self.stores and any(single in self.stores for single in singles):
                self.line.fail(f"stick-table: simultaneous usage of '{array}' and '{singles[0]}' in a same table is not permitted.")
        return TableSpec(
            name=name,
            type=self.type,
            key_bytes=self.key_bytes,
            size=self.size,
            expire_ms=self.expire_ms,
            nopurge=self.nopurge,
            srvkey=self.srvkey or "name",
            stores=tuple(self.stores[known] for known in DATA_TYPES if known in self.stores),
        )

    def _value(self, word: str) -> str:
        if self.at >= len(self.line.words):
            self.line.fail(f"stick-table: missing argument after '{word}'.", self.at - 1)
        self.at += 1
        return self.line.words[self.at - 1]

    def _number(self, parse: object, word: str) -> int:
        text = self._value(word)
        try:
            return parse(text)  # type: ignore[operator,no-any-return]  # parse_size or parse_time
        except UnitError as exc:
            self.line.fail(f"stick-table: {exc} in argument of '{word}'.", self.at - 1)

    def _type(self) -> None:
        text = self._value("type")
        self.type = "ip" if text == "ipv4" else text
        if self.type not in KEY_BYTES:
            self.line.fail(f"stick-table: unknown type '{text}'.", self.at - 1)
        self.key_bytes = KEY_BYTES[self.type] or _WITH_LENGTH[self.type]
        if self.type in _WITH_LENGTH and self.line.words[self.at : self.at + 1] == ["len"]:
            self.at += 1
            length = self._value("len")
            if not length.isdecimal() or not 0 < int(length) <= 65536:
                self.line.fail(f"stick-table: '{length}' is no length of a key, 1 to 65536 are.", self.at - 1)
            self.key_bytes = int(length)

    def _srvkey(self) -> None:
        self.srvkey = self._value("srvkey")
        if self.srvkey not in ("name", "addr"):
            self.line.fail(f"stick-table : unknown server key type '{self.srvkey}'.", self.at - 1)

    def _store(self, text: str) -> None:
        found = _STORE.fullmatch(text)
        name = found[1] if found is not None else text
        kind = DATA_TYPES.get(name)
        if kind is None or found is None:
            self.line.fail(f"stick-table: unknown store option '{text}'.", self.at - 1)
        if name in self.stores:
            self.line.warn(f"stick-table: store option '{name}' already enabled, ignored.", self.at - 1)
            return
        wanted = kind.array + (kind.shape is Shape.RATE)
        given = [part.strip() for part in found[2].split(",")] if found[2] is not None else []
        if given and not wanted:
            self.line.fail(f"stick-table: unexpected argument to store option '{name}'.", self.at - 1)
        if len(given) < wanted or "" in given:
            self.line.fail(f"stick-table: missing argument to store option '{name}'.", self.at - 1)
        count, period_ms = 1, 0
        if kind.array:
            if not given[0].isdecimal() or not 1 <= int(given[0]) <= 100:
                self.line.fail(f"stick-table: array size is out of allowed range (1-100) for store option '{name}'.", self.at - 1)
            count = int(given.pop(0))
        if kind.shape is Shape.RATE:
            try:
                period_ms = round(parse_time(given.pop(0)) * 1000)
            except UnitError:
                period_ms = 0
            if not period_ms or given:
                self.line.fail(f"stick-table: error when processing store option '{name}'.", self.at - 1)
        self.stores[name] = Store(name, count, period_ms)


@keyword(
    PROXIES,
    "stick",
    args=(Rest(),),
    synopsis="{on|match|store-request|store-response} <expr> [table <table>] [ { if | unless } <condition> ]",
)
def stick(draft: ProxyDraft, line: Line, start: int) -> None:
    """Send a client to the server that a stick table has for it, and keep there the server that it was sent to."""
    not_in_defaults(draft, line)
    if not backend_side(draft, line):
        return
    if start >= len(line.words) or line.words[start] not in ("on", "match", "store-request", "store-response"):
        line.fail("'stick' expects 'on', 'match', or 'store'.", start)
    if start + 1 >= len(line.words):
        line.fail("'stick' expects a fetch method.", start + 1)
    draft.rules.append(RuleDraft("stick", line, start))
