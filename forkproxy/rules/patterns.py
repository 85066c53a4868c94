"""Patterns: lists of things to match a value against, for ACLs and maps (manual 7.1), from lines or from files.

Theory: a list is turned into the structure that answers fastest for its method. Exact strings are a dictionary; prefixes a
dictionary per length, longest first; networks are flattened into disjoint ranges of integers, each with the most specific
entry that covers it, and found by bisection (17 steps in C for 100,000 networks); everything else is tried in order. The
same structure serves ACLs (is there an entry?) and maps (which?): :func:`build_index` returns ``find(value) -> entry | None``.

Lists that change at run time are ``patternfiles``' business.
"""

from __future__ import annotations

import re
import socket
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from forkproxy.progress import each
from forkproxy.registry import Type
from forkproxy.rules.types import Addr
from forkproxy.rules.words import to_bytes

#: methods of ``-m`` and the type that each wants its value in
METHODS: dict[str, Type] = {
    "found": Type.ANY,
    "bool": Type.BOOL,
    "int": Type.SINT,
    "ip": Type.ADDR,
    "bin": Type.BIN,
    "len": Type.STR,
    "str": Type.STR,
    "sub": Type.STR,
    "reg": Type.STR,
    "beg": Type.STR,
    "end": Type.STR,
    "dir": Type.STR,
    "dom": Type.STR,
}

Find = Callable[[Any], Any]


class Entry:
    """One pattern with what it maps to (None in ACLs); ``text`` as written."""

    __slots__ = ("text", "value")

    def __init__(self, text: bytes, value: bytes | None = None) -> None:
        self.text = text
        self.value = value


# -- parsing of single patterns --------------------------------------------------------------------------------------------


def parse_range(text: str, operator: str = "eq", dotted: bool = False) -> tuple[int | None, int | None]:
    """An integer or a range ``lo:hi`` under an operator, as inclusive bounds (None: open). Raises ValueError.

    ``dotted`` reads ``major.minor`` as ``major << 16 | minor``.
    """

    def number(word: str) -> int:
        if dotted and re.fullmatch(r"\d+(\.\d+)?", word):
            major, _, minor = word.partition(".")
            return int(major) << 16 | int(minor or 0)
        try:
            return int(word)
        except ValueError:
            raise ValueError(f"'{text}' is not a number or a range") from None

    low, colon, high = text.partition(":")
    lo = number(low) if low else None
    hi = (number(high) if high else None) if colon else lo
    if not colon and lo is None:
        raise ValueError(f"'{text}' is not a number or a range")
    if lo is not None and hi is not None and lo > hi:
        raise ValueError(f"invalid integer range '{text}'")
    match operator:
        case "eq":
            return lo, hi
        case "ge":
            return lo, None
        case "gt":
            return (hi + 1 if hi is not None else lo), None
        case "le":
            return None, hi
        case _:  # lt
            return None, (lo - 1 if lo is not None else hi)


def parse_network(text: str, resolve: bool = True) -> tuple[int, int, bool]:
    """A network as (first address, last address, is IPv6?), integers. Host names only where ``resolve``. Raises ValueError."""
    host, slash, mask = text.partition("/")
    if ":" in host:
        try:
            base = int.from_bytes(socket.inet_pton(socket.AF_INET6, host), "big")
        except OSError:
            raise ValueError(f"'{text}' is not a valid IPv4 or IPv6 address") from None
        bits = int(mask) if mask.isdigit() else 129 if slash else 128
        if bits > 128:
            raise ValueError(f"'{mask}' is not a valid mask for an IPv6 network")
        size = 1 << (128 - bits)
        first = base & ~(size - 1)
        return first, first + size - 1, True
    base = _ipv4_number(host, resolve)
    if not slash:
        return base, base, False
    if mask.isdigit() and int(mask) <= 32:
        ones = ((1 << int(mask)) - 1) << (32 - int(mask))
    else:
        try:
            ones = int.from_bytes(socket.inet_pton(socket.AF_INET, mask), "big")
        except OSError:
            raise ValueError(f"'{mask}' is not a valid IPv4 netmask") from None
        if (ones | (ones - 1)) & 0xFFFFFFFF != 0xFFFFFFFF:
            raise ValueError(f"netmask '{mask}' is not contiguous")
    first = base & ones
    return first, first | (~ones & 0xFFFFFFFF), False


def _ipv4_number(host: str, resolve: bool) -> int:
    if re.fullmatch(r"\d+(\.\d+){0,3}", host):
        # Omitted octets are zeroes before the last one (10.12 is 10.0.0.12), as the C library reads them.
        parts = [int(p) for p in host.split(".")]
        if all(p < 256 for p in parts):
            parts[-1:-1] = [0] * (4 - len(parts))
            return int.from_bytes(bytes(parts), "big")
    elif resolve and host:
        try:
            return int.from_bytes(socket.inet_aton(socket.gethostbyname(host)), "big")
        except (OSError, UnicodeError):
            pass
    raise ValueError(f"'{host}' is not a valid IPv4 or IPv6 address")


#: what PCRE2 has and ``re`` has not, to say why an expression is refused
_FOREIGN = (
    (re.compile(r"\\[QE]"), "\\Q…\\E quoting"),
    (re.compile(r"\(\?(?:[R0-9&]|P>)"), "recursion"),
    (re.compile(r"\(\?\|"), "branch reset"),
    (re.compile(r"\(\*[A-Z]"), "verbs"),
    (re.compile(r"\\K"), "\\K"),
    (re.compile(r"\\[pPXR]"), "Unicode properties and sequences"),
    (re.compile(r"\\(?:[hHvVGzgoceNkCL]|x\{)"), "the escapes \\h \\v \\G \\z \\g \\k \\o \\c \\e \\N \\C \\x{}"),
    (re.compile(r".\(\?[a-z]+\)", re.DOTALL), "flags that are set in the middle"),
    (re.compile(r"\(\?(?:[a-z]*-[a-z]+\)|[UJnC])"), "these flags, or callouts"),
    (re.compile(r"\(\?<[=!]"), "look-behind of several lengths"),
)
_POSIX = {
    "alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "upper": "A-Z", "lower": "a-z", "xdigit": "0-9A-Fa-f",
    "space": r"\s", "blank": r" \t", "word": r"\w", "punct": r"!-/:-@\[-`{-~", "cntrl": r"\x00-\x1f\x7f", "print": " -~", "graph": "!-~",
}  # fmt: skip
_CLASS = re.compile(r"\[:(\^?)(\w+):\]")


def _translated(text: str) -> str:
    """A PCRE2 expression as ``re`` reads it: named groups, POSIX classes. Raises ValueError for what ``re`` would take for something
    else."""
    out: list[str] = []
    i, first, within = 0, -1, False
    while i < len(text):
        c, step = text[i], 1
        posix = _CLASS.match(text, i) if c == "[" else None
        if c == "\\":
            c, step = text[i : i + 2], 2
            if c == "\\v":
                raise ValueError("Python's re means one character by \\v, not all vertical space")
        elif posix is not None:
            if not within:
                raise ValueError(f"'{posix[0]}' is a class only between brackets, as in '[{posix[0]}]'")
            if posix[2] not in _POSIX:
                raise ValueError(f"there is no class '{posix[0]}'")
            if posix[1]:
                raise ValueError(f"Python's re does not have negated classes such as '{posix[0]}'")
            c, step = _POSIX[posix[2]], len(posix[0])
        elif within:
            if c == "]" and i > first:
                within = False
            elif c in "[]" or (c in "&|~" and text[i + 1 : i + 2] == c):
                c = "\\" + c  # of no meaning there yet, but re announces one
        elif c == "[":
            within = True
            if text[i + 1 : i + 2] == "^":
                c, step = "[^", 2
            first = i + step
        elif text.startswith("(?<", i) and (text[i + 3 : i + 4].isalpha() or text[i + 3 : i + 4] == "_"):
            c, step = "(?P<", 3
        out.append(c)
        i += step
    return "".join(out)


@lru_cache(4096)
def compile_regex(text: str, icase: bool = False) -> re.Pattern[bytes]:
    """``text`` as a pattern of Python's ``re`` over bytes. POSIX classes and named groups are translated.

    Raises ValueError with what ``re`` cannot do.
    """
    try:
        return re.compile(to_bytes(_translated(text)), re.IGNORECASE if icase else 0)
    except (re.error, OverflowError) as err:
        for pattern, what in _FOREIGN:
            if pattern.search(text):
                raise ValueError(f"regex '{text}' is invalid : Python's re does not have {what} ({err})") from None
        raise ValueError(f"regex '{text}' is invalid : {err}") from None
    except ValueError as err:
        raise ValueError(f"regex '{text}' is invalid : {err}") from None


# -- indexes -----------------------------------------------------------------------------------------------------------------


def build_index(method: str, entries: Sequence[Entry], *, icase: bool = False, resolve: bool = True) -> Find:
    """``find(value) -> Entry | None`` for a value of the type that ``method`` wants. Raises ValueError for a bad pattern."""
    match method:
        case "found":
            always = entries[0] if entries else Entry(b"")
            return lambda value: always
        case "bool":
            yes = Entry(b"")
            return lambda value: yes if value else None
        case "int" | "len":
            return _integers(entries, length=method == "len")
        case "ip":
            return _networks(entries, resolve)
        case "str":
            return _exact(entries, icase)
        case "bin":
            return _binary(entries)
        case "beg":
            return _prefixes(entries) if not icase else _in_order(entries, True, bytes.startswith)
        case "end":
            return _in_order(entries, icase, bytes.endswith)
        case "sub":
            return _within(entries, icase)
        case "dir":
            return _delimited(entries, icase, b"/?")
        case "dom":
            return _delimited(entries, icase, b"./:?")
        case "reg":
            return _regexes(entries, icase)
    raise ValueError(f"unknown pattern matching method '{method}'")


def _exact(entries: Sequence[Entry], icase: bool) -> Find:
    table: dict[bytes, Entry] = {}
    for entry in entries:
        table.setdefault(entry.text.lower() if icase else entry.text, entry)
    if icase:
        get = table.get
        return lambda value: get(value.lower())
    return table.get


def _binary(entries: Sequence[Entry]) -> Find:
    table: dict[bytes, Entry] = {}
    for entry in entries:
        try:
            table.setdefault(bytes.fromhex(entry.text.decode("ascii", "replace")), entry)
        except ValueError:
            raise ValueError(f"'{entry.text.decode('utf-8', 'replace')}' is not an even number of hexadecimal digits") from None
    return table.get


def _prefixes(entries: Sequence[Entry]) -> Find:
    by_length: dict[int, dict[bytes, Entry]] = {}
    for entry in entries:
        by_length.setdefault(len(entry.text), {}).setdefault(entry.text, entry)
    lengths = [(n, by_length[n].get) for n in sorted(by_length, reverse=True)]

    def find(value: bytes) -> Entry | None:
        for n, get in lengths:
            found = get(value[:n])
            if found is not None:
                return found
        return None

    return find


def _within(entries: Sequence[Entry], icase: bool) -> Find:
    pairs = [((entry.text.lower() if icase else entry.text).decode("latin-1"), entry) for entry in entries]

    def find(value: bytes) -> Entry | None:
        text = (value.lower() if icase else value).decode("latin-1")  # in bytes, "in" tries a number first
        for part, entry in pairs:
            if part in text:
                return entry
        return None

    return find


def _in_order(entries: Sequence[Entry], icase: bool, test: Callable[[bytes, bytes], bool]) -> Find:
    pairs = [(entry.text.lower() if icase else entry.text, entry) for entry in entries]

    def find(value: bytes) -> Entry | None:
        if icase:
            value = value.lower()
        for text, entry in pairs:
            if test(value, text):
                return entry
        return None

    return find


def _delimited(entries: Sequence[Entry], icase: bool, delimiters: bytes) -> Find:
    border = b"[" + re.escape(delimiters) + b"]"
    flags = re.IGNORECASE if icase else 0
    pairs = [
        (re.compile(b"(?:^|%b)%b(?:%b|\\Z)" % (border, re.escape(entry.text.strip(delimiters)), border), flags | re.DOTALL).search, entry)
        for entry in entries
    ]

    def find(value: bytes) -> Entry | None:
        for search, entry in pairs:
            if search(value):
                return entry
        return None

    return find


def _regexes(entries: Sequence[Entry], icase: bool) -> Find:
    pairs = [(compile_regex(entry.text.decode("utf-8", "surrogateescape"), icase).search, entry) for entry in entries]
    if len(pairs) == 1:
        only, single = pairs[0]
        return lambda value: single if only(value) else None

    def find(value: bytes) -> Entry | None:
        for search, entry in pairs:
            if search(value):
                return entry
        return None

    return find


def _integers(entries: Sequence[Entry], length: bool) -> Find:
    exact: dict[int, Entry] = {}
    ranges: list[tuple[int, int, Entry]] = []
    for entry in entries:
        lo, hi = parse_range(entry.text.decode("utf-8", "replace"))
        if lo is not None and lo == hi:
            exact.setdefault(lo, entry)
        else:
            ranges.append((-(1 << 63) if lo is None else lo, (1 << 63) if hi is None else hi, entry))

    def find(value: int) -> Entry | None:
        found = exact.get(value)
        if found is None:
            for lo, hi, entry in ranges:
                if lo <= value <= hi:
                    return entry
        return found

    chosen: Find = find if ranges else exact.get
    if length:
        return lambda value: chosen(len(value))
    return chosen


def _networks(entries: Sequence[Entry], resolve: bool) -> Find:
    v4: list[tuple[int, int, Entry]] = []
    v6: list[tuple[int, int, Entry]] = []
    for entry in each(entries, "indexing networks", "entries"):
        first, last, six = parse_network(entry.text.decode("utf-8", "replace"), resolve)
        (v6 if six else v4).append((first, last, entry))
    starts4, ends4 = flatten(v4)
    starts6, ends6 = flatten(v6)
    from_bytes = int.from_bytes

    def find(value: Addr) -> Entry | None:
        raw = value.packed
        if len(raw) == 4:
            number = from_bytes(raw, "big")
            i = bisect_right(starts4, number)
            if i and (found := ends4[i - 1]) is not None:
                return found
            if not starts6:
                return None
            return ends6[i - 1] if (i := bisect_right(starts6, 0xFFFF00000000 | number)) else None
        if len(raw) != 16:
            return None
        i = bisect_right(starts6, from_bytes(raw, "big"))
        if i and (found := ends6[i - 1]) is not None:
            return found
        inner = value.as_v4()
        if inner is None:
            return None
        return ends4[i - 1] if (i := bisect_right(starts4, from_bytes(inner.packed, "big"))) else None

    return find


def flatten(ranges: list[tuple[int, int, Entry]]) -> tuple[list[int], list[Entry | None]]:
    """Nested or disjoint ranges as (starts, what holds from there on), the innermost range winning; None: nothing holds."""
    starts: list[int] = []
    holds: list[Entry | None] = []

    def mark(at: int, entry: Entry | None) -> None:
        if starts and starts[-1] == at:
            holds[-1] = entry
        else:
            starts.append(at)
            holds.append(entry)

    open_: list[tuple[int, Entry]] = []
    seen: tuple[int, int] | None = None
    for first, last, entry in sorted(ranges, key=lambda r: (r[0], -r[1])):
        if (first, last) == seen:
            continue  # a duplicate: the first one stands
        seen = (first, last)
        while open_ and open_[-1][0] < first:
            end, _ = open_.pop()
            mark(end + 1, open_[-1][1] if open_ else None)
        open_.append((last, entry))
        mark(first, entry)
    while open_:
        end, _ = open_.pop()
        mark(end + 1, open_[-1][1] if open_ else None)
    return starts, holds
