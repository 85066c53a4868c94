"""Converters of text and bytes (manual 7.3.1)."""

from __future__ import annotations

import base64
import binascii
import json as _json
import re
from collections.abc import Callable
from typing import Any

from forkproxy.registry import Type, converter
from forkproxy.rules.actions.headers import expand
from forkproxy.rules.args import Int, OneOf, Str, Var
from forkproxy.rules.expr import Pure
from forkproxy.rules.patterns import compile_regex
from forkproxy.rules.types import INT64_MAX, INT64_MIN, bin_to_str, wrap64
from forkproxy.rules.variables import check_name, getter
from forkproxy.rules.words import to_text

_STR: dict[str, Any] = {"into": Type.STR, "out": Type.STR}
_BIN_STR: dict[str, Any] = {"into": Type.BIN, "out": Type.STR}


@converter("lower", **_STR)
def lower() -> Pure:
    """Letters in lower case."""
    return Pure(bytes.lower)


@converter("upper", **_STR)
def upper() -> Pure:
    """Letters in upper case."""
    return Pure(bytes.upper)


@converter("reverse", **_STR)
def reverse() -> Pure:
    """The bytes in reverse order."""
    return Pure(lambda value: value[::-1])


@converter("reverse_dom", **_STR)
def reverse_dom() -> Pure:
    """The labels of a domain name in reverse order; a dot at its end is dropped."""
    return Pure(lambda value: b".".join(reversed(value.removesuffix(b".").split(b"."))))


@converter("length", into=Type.STR, out=Type.SINT)
def length() -> Pure:
    """How many bytes it has."""
    return Pure(len)


@converter("hex", **_BIN_STR)
def hex_() -> Pure:
    """Hexadecimal digits, upper case."""
    return Pure(lambda value: value.hex().upper().encode())


@converter("hex2i", into=Type.STR, out=Type.SINT)
def hex2i() -> Pure:
    """An integer written in hexadecimal digits."""
    digits = re.compile(rb"[0-9A-Fa-f]+")

    def convert(value: bytes) -> int:
        found = digits.match(value)
        return wrap64(int(found[0], 16)) if found is not None else 0

    return Pure(convert)


@converter("base64", **_BIN_STR)
def base64_() -> Pure:
    """Base64 with padding (RFC 4648)."""
    return Pure(base64.b64encode)


@converter("b64dec", into=Type.STR, out=Type.BIN)
def b64dec() -> Pure:
    """Decoded base64; nothing when it is not valid."""

    def convert(value: bytes) -> bytes | None:
        try:
            return binascii.a2b_base64(value, strict_mode=True) if value else b""
        except binascii.Error:
            return None

    return Pure(convert)


@converter("ub64enc", **_BIN_STR)
def ub64enc() -> Pure:
    """Base64 for URLs, without padding."""
    return Pure(lambda value: base64.urlsafe_b64encode(value).rstrip(b"="))


@converter("ub64dec", into=Type.STR, out=Type.BIN)
def ub64dec() -> Pure:
    """Decoded base64 for URLs; nothing when it is not valid."""

    def convert(value: bytes) -> bytes | None:
        plain = value.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        try:
            return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True) if plain else b""
        except binascii.Error:
            return None

    return Pure(convert)


@converter("base2", **_BIN_STR)
def base2() -> Pure:
    """Binary digits, eight for each byte."""
    return Pure(lambda value: b"".join([b"%b" % format(c, "08b").encode() for c in value]))


def _chunks(value: bytes, size: int, truncate: int) -> list[bytes]:
    whole = [value[i : i + size] for i in range(0, len(value), size)]
    return whole[:-1] if truncate and whole and len(whole[-1]) < size else whole


def _to_decimal(order: Any) -> Callable[[bytes, int, int], Pure]:
    def factory(separator: bytes, size: int, truncate: int) -> Pure:
        """Chunks of bytes as unsigned decimal numbers, joined by a separator."""
        return Pure(lambda value: separator.join(b"%d" % int.from_bytes(c, order) for c in _chunks(value, size, truncate)))

    return factory


_CHUNK_ARGS = (Str(), Int(optional=True, default=2, lo=1, hi=8), Int(optional=True, default=0))
converter("be2dec", args=_CHUNK_ARGS, **_BIN_STR)(_to_decimal("big"))
converter("le2dec", args=_CHUNK_ARGS, **_BIN_STR)(_to_decimal("little"))


@converter("be2hex", args=(Str(), Int(optional=True, default=1, lo=1), Int(optional=True, default=0)), **_BIN_STR)
def be2hex(separator: bytes, size: int, truncate: int) -> Pure:
    """Chunks of bytes as hexadecimal digits, joined by a separator."""
    return Pure(lambda value: separator.join(c.hex().upper().encode() for c in _chunks(value, size, truncate)))


@converter("rtrim", args=(Str(),), **_STR)
def rtrim(chars: bytes) -> Pure:
    """Without any of the characters at its end."""
    return Pure(lambda value: value.rstrip(chars))


@converter("ltrim", args=(Str(),), **_STR)
def ltrim(chars: bytes) -> Pure:
    """Without any of the characters at its start."""
    return Pure(lambda value: value.lstrip(chars))


@converter("cut_crlf", **_STR)
def cut_crlf() -> Pure:
    """What stands before the first CR or LF."""
    return Pure(lambda value: re.split(rb"[\r\n]", value, maxsplit=1)[0])


# -- words and fields ----------------------------------------------------------------------------------------------------


def _pieces(value: bytes, delimiters: bytes, empty: bool) -> list[tuple[int, int]]:
    """The (start, end) of what stands between delimiters; ``empty`` ones count or not."""
    pieces: list[tuple[int, int]] = []
    start = 0
    for i, c in enumerate(value):
        if c in delimiters:
            if empty or i > start:
                pieces.append((start, i))
            start = i + 1
    if empty or start < len(value):
        pieces.append((start, len(value)))
    return pieces


def _between(empty: bool) -> Callable[[int, bytes, int], Pure]:
    def factory(index: int, delimiters: bytes, count: int) -> Pure:
        """The piece with that number between delimiters, from 1 on or backwards from -1; ``count`` pieces, 0 for all that follow."""
        if index == 0:
            raise ValueError("the index starts at 1")

        def convert(value: bytes) -> bytes | None:
            pieces = _pieces(value, delimiters, empty)
            at = index - 1 if index > 0 else len(pieces) + index
            if not 0 <= at < len(pieces):
                return None if empty else b""  # as haproxy 2.6: no such field is nothing, no such word is empty
            if index > 0:
                last = len(pieces) - 1 if count == 0 else min(at + count, len(pieces)) - 1
                return value[pieces[at][0] : pieces[last][1]]
            first = 0 if count == 0 else max(at - count + 1, 0)
            return value[pieces[first][0] : pieces[at][1]]

        return Pure(convert)

    return factory


_PIECE_ARGS = (Int(), Str(), Int(optional=True, default=1, lo=0))
converter("word", args=_PIECE_ARGS, **_STR)(_between(False))
converter("field", args=_PIECE_ARGS, **_STR)(_between(True))


def _offset(spec: bytes) -> Callable[[Any], int | None]:
    """An argument that is a number or a variable."""
    try:
        number = int(spec)
        return lambda txn: number
    except ValueError:
        get = getter(check_name(to_text(spec)))

        def from_variable(txn: Any) -> int | None:
            value = get(txn)
            return value if isinstance(value, int) else int(value) if isinstance(value, bytes) and value.isdigit() else None

        return from_variable


@converter("bytes", args=(Str(), Str(optional=True)), into=Type.BIN, out=Type.BIN)
def bytes_(offset: bytes, count: bytes | None) -> Any:
    """The bytes from an offset on, all of them or as many as the second argument says; both may be variables."""
    first = _offset(offset)
    many = _offset(count) if count is not None else None

    def convert(value: bytes, txn: Any) -> bytes | None:
        start = first(txn)
        if start is None or start < 0:
            return None
        if many is None:
            return value[start:]
        size = many(txn)
        return value[start : start + size] if size is not None and size >= 0 else None

    if offset.isdigit() and (count is None or count.isdigit()):
        return Pure(lambda value: convert(value, None))
    return convert


@converter("param", args=(Str(), Str(optional=True, default=b"&")), **_STR)
def param(name: bytes, delimiter: bytes) -> Pure:
    """The value of a parameter in text of the form a=1&b=2."""
    if len(delimiter) != 1:
        raise ValueError("the delimiter must be a single character")

    def convert(value: bytes) -> bytes | None:
        for part in value.split(delimiter):
            key, _, found = part.partition(b"=")
            if key == name:
                return found
        return None

    return Pure(convert)


# -- replacing and joining -----------------------------------------------------------------------------------------------


@converter("regsub", args=(Str("regex"), Str(), Str(optional=True, default=b"")), **_STR)
def regsub(regex: bytes, replacement: bytes, flags: bytes) -> Pure:
    """The text with what matches replaced, once or (flag g) everywhere; flag i ignores case."""
    if flags.strip(b"gi"):
        raise ValueError(f"unknown flag in '{flags.decode('utf-8', 'replace')}', expected g or i")
    pattern = compile_regex(to_text(regex), b"i" in flags)
    count = 0 if b"g" in flags else 1
    return Pure(lambda value: pattern.sub(lambda found: expand(replacement, found), value, count))


def _as_text(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"%d" % value if isinstance(value, int) else bytes(value)


@converter("concat", args=(Str(), Var(optional=True), Str(optional=True, default=b"")), **_STR)
def concat(start: bytes, name: str | None, end: bytes) -> Any:
    """The text followed by a string, a variable's value and another string."""
    if name is None:
        return Pure(lambda value: value + start + end)
    get = getter(name)

    def convert(value: bytes, txn: Any) -> bytes:
        middle = get(txn)
        return value + start + (_as_text(middle) if middle is not None else b"") + end

    return convert


@converter("add_item", args=(Str(), Var(blank=True), Str(optional=True, default=b"")), **_STR)
def add_item(delimiter: bytes, name: str | None, suffix: bytes) -> Any:
    """The list with an item added: a variable's value and a suffix, after a delimiter where the list is not empty."""
    if name is None and not suffix:
        raise ValueError("one of the optional arguments has to be nonempty")
    get = getter(name) if name is not None else None

    def convert(value: bytes, txn: Any) -> bytes:
        found = get(txn) if get is not None else None
        item = _as_text(found) + suffix if found is not None else suffix
        if not item:
            return value
        return value + delimiter + item if value else item

    return convert


@converter("iif", args=(Str(), Str()), into=Type.BOOL, out=Type.STR)
def iif(yes: bytes, no: bytes) -> Pure:
    """One of two strings."""
    return Pure(lambda value: yes if value else no)


# -- URLs ----------------------------------------------------------------------------------------------------------------

_HEX = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ENCODED = [bytes([c]) if c in _UNRESERVED else b"%%%02X" % c for c in range(256)]


@converter("url_dec", args=(Int(optional=True, default=0),), **_STR)
def url_dec(in_form: int) -> Pure:
    """Percent-decoded text; a plus becomes a blank after the question mark, or everywhere with the argument 1."""

    def convert(value: bytes) -> bytes | None:
        if value.count(b"%") != len(_HEX.findall(value)):
            return None
        if in_form:
            value = value.replace(b"+", b" ")
        elif b"+" in value:
            path, mark, query = value.partition(b"?")
            value = path + mark + query.replace(b"+", b" ")
        return bin_to_str(_HEX.sub(lambda found: bytes.fromhex(found[1].decode()), value))

    return Pure(convert)


@converter("url_enc", args=(OneOf("string", default="query", words=("query",)),), **_STR)
def url_enc(kind: str) -> Pure:
    """Percent-encoded text: all but letters, digits and ``- . _ ~``."""
    return Pure(lambda value: b"".join([_ENCODED[c] for c in value]))


# -- JSON ----------------------------------------------------------------------------------------------------------------

_JSON_ESCAPES = {0x22: '\\"', 0x5C: "\\\\", 0x2F: "\\/", 0x08: "\\b", 0x0C: "\\f", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}


def _json_escape(text: str) -> str:
    return "".join(
        _JSON_ESCAPES.get(ord(c)) or (c if 32 <= ord(c) < 127 else f"\\u{ord(c) & 0xFFFF:04x}") for c in text
    )


@converter("json", args=(OneOf("string", default="ascii", words=("ascii", "utf8", "utf8s", "utf8p", "utf8ps")),), **_STR)
def json(code: str) -> Pure:
    """Text escaped so that it can stand between the quotes of a JSON string; the argument says what to do with bytes that are
    no UTF-8: fail (utf8), drop them (utf8s), keep their codes (utf8p), drop without complaint (utf8ps)."""

    def convert(value: bytes) -> bytes | None:
        if code == "ascii":
            text = value.decode("latin-1")
        else:
            try:
                text = value.decode()
            except UnicodeDecodeError:
                if code == "utf8":
                    return None
                if code == "utf8p":
                    text = value.decode("utf-8", "surrogateescape")
                    text = "".join(chr(ord(c) - 0xDC00) if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text)
                else:
                    text = value.decode("utf-8", "ignore")
        return _json_escape(text).encode()

    return Pure(convert)


_PATH_STEP = re.compile(r"\.((?:\\.|[^.\[\\])+)|\[(\d+)\]|\['((?:[^'\\]|\\.)*)'\]|\[\"((?:[^\"\\]|\\.)*)\"\]")


def json_path(text: str) -> list[str | int]:
    """The steps of a JSON path such as ``$.a.b[0]``. Raises ValueError."""
    if not text.startswith("$"):
        raise ValueError(f"'{text}' is not a JSON path, it must start with '$'")
    steps: list[str | int] = []
    at = 1
    while at < len(text):
        found = _PATH_STEP.match(text, at)
        if found is None:
            raise ValueError(f"'{text[at:]}' in the JSON path '{text}' cannot be read")
        key, index, single, double = found.groups()
        steps.append(int(index) if index is not None else re.sub(r"\\(.)", r"\1", key or single or double or ""))
        at = found.end()
    return steps


def json_lookup(value: bytes, steps: list[str | int], as_int: bool) -> Any:
    """What a JSON text has at the end of a path, as a sample's value; None where there is nothing usable."""
    try:
        at = _json.loads(value)
    except (ValueError, RecursionError):
        return None
    for step in steps:
        if isinstance(step, int):
            if not isinstance(at, list) or step >= len(at):
                return None
            at = at[step]
        else:
            if not isinstance(at, dict) or step not in at:
                return None
            at = at[step]
    if isinstance(at, bool):
        return at
    if isinstance(at, int | float):
        if as_int:
            return max(INT64_MIN, min(INT64_MAX, int(at)))
        return _json.dumps(at).encode()
    if isinstance(at, str):
        return at.encode("utf-8", "surrogatepass")
    if at is None:
        return None
    return _json.dumps(at, separators=(",", ":"), ensure_ascii=False).encode()


@converter("json_query", args=(Str(), OneOf("string", optional=True, default="", words=("int",))), into=Type.STR, out=Type.ANY)
def json_query(path: bytes, kind: str) -> Pure:
    """The value at a path of a JSON text; numbers as text, or as integers with "int"."""
    steps = json_path(to_text(path))
    return Pure(lambda value: json_lookup(value, steps, kind == "int"))


# -- languages -----------------------------------------------------------------------------------------------------------


@converter("language", args=(Str(), Str(optional=True)), **_STR)
def language(offered: bytes, default: bytes | None) -> Pure:
    """The best of the offered languages (separated by ``;``) for an Accept-Language value, or the default."""
    languages = offered.split(b";")

    def convert(value: bytes) -> bytes | None:
        best: tuple[float, int] | None = None
        for position, part in enumerate(value.split(b",")):
            name, _, rest = part.partition(b";")
            name = name.strip().lower()
            quality = 1.0
            for parameter in rest.split(b";"):
                key, _, number = parameter.strip().partition(b"=")
                if key.strip().lower() == b"q":
                    try:
                        quality = float(number)
                    except ValueError:
                        quality = 0.0
            if quality <= 0:
                continue
            for candidate in languages:
                if candidate.lower() == name and (best is None or quality > best[0]):
                    best, chosen = (quality, position), candidate
        return chosen if best is not None else default

    return Pure(convert)


