"""Cutting HTTP texts: targets, lists of values, cookies, parameters. Pure functions over bytes (RFC 9110, 9112, 6265)."""

from __future__ import annotations

import re
from collections.abc import Callable

_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")
#: one list element: quoted strings may contain commas
_ELEMENT = re.compile(rb'(?:[^,"\\]|"(?:[^"\\]|\\.)*(?:"|\Z)|\\.?)*', re.DOTALL)


def path_query_of(target: bytes) -> bytes | None:
    """Path and query of a request target; None for the asterisk and authority forms."""
    if target[:1] == b"/":
        return target
    found = _ABSOLUTE.match(target)
    if found is None:
        return None
    rest = target[found.end() :]
    return rest if rest[:1] == b"/" else b"/" + rest


def path_of(target: bytes) -> bytes | None:
    """The path of a request target without its query."""
    found = path_query_of(target)
    return None if found is None else found.partition(b"?")[0]


def query_of(target: bytes) -> bytes | None:
    """The query of a request target without the question mark; b"" when there is none."""
    return target.partition(b"?")[2]


def origin_of(target: bytes) -> bytes:
    """Scheme and authority of an absolute target, else b""."""
    if target[:1] == b"/":
        return b""
    found = _ABSOLUTE.match(target)
    return found[0] if found is not None else b""


def split_values(line: bytes) -> list[bytes]:
    """The comma-separated values of a field line, blanks around them removed; commas in quotes do not separate."""
    if b'"' not in line:
        return [part.strip(b" \t") for part in line.split(b",")]
    values: list[bytes] = []
    at = 0
    while True:
        found = _ELEMENT.match(line, at)
        assert found is not None  # it matches the empty string
        values.append(found[0].strip(b" \t"))
        if found.end() >= len(line):
            return values
        at = found.end() + 1


def replace_values(line: bytes, replace: Callable[[bytes], bytes | None]) -> bytes:
    """``line`` with its list elements replaced where ``replace(element)`` gives another one, which stands right behind its comma; the
    others stay as they are, blanks included."""
    made: list[bytes] = []
    at = 0
    while True:
        found = _ELEMENT.match(line, at)
        assert found is not None  # it matches the empty string
        new = replace(found[0].strip(b" \t"))
        made.append(found[0] if new is None else new)
        if found.end() >= len(line):
            return b",".join(made)
        at = found.end() + 1


def cookie_values(line: bytes, request: bool) -> list[tuple[bytes, bytes]]:
    """The (name, value) pairs of a Cookie line; of a Set-Cookie line only the first pair, its attributes are no cookies."""
    pairs: list[tuple[bytes, bytes]] = []
    for part in line.split(b";") if request else (line.partition(b";")[0],):
        name, equals, value = part.partition(b"=")
        name = name.strip(b" \t")
        if name and equals:
            pairs.append((name, value.strip(b" \t")))
    return pairs


def params(text: bytes, delimiter: bytes = b"?") -> list[tuple[bytes, bytes]]:
    """The (name, value) pairs of a query string; with another first delimiter than ``?`` that one separates, too."""
    text = text.replace(b";", b"&") if b";" in text else text
    if delimiter not in (b"?", b"&", b";"):
        text = text.replace(delimiter, b"&")
    pairs: list[tuple[bytes, bytes]] = []
    for part in text.split(b"&"):
        name, equals, value = part.partition(b"=")
        if equals:
            pairs.append((name, value))
    return pairs
