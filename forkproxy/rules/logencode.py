"""How values look in a rendered format: escaping for logs and for HTTP, JSON and CBOR (manual 8.2.6, 8.6)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from forkproxy.rules.types import Addr


def _marking(unsafe: bytes) -> bytes:
    """A table for ``translate`` that changes every byte that is not printable, or is one of ``unsafe``. A translation that changes nothing
    costs a third of one that takes safe bytes out."""
    return bytes(c if 32 <= c < 127 and c not in unsafe else c ^ 0x80 for c in range(256))


#: what they change has to be escaped in a log line; in a captured header
_MARK_LOG: Final = _marking(b'"#')
_MARK_HEADER: Final = _marking(b'"#{|}')
_MARK_JOINED: Final = _marking(b'"#{}')
_UNSAFE_HTTP = re.compile(rb"[\r\n\0]")
_UNSAFE_LOG = re.compile(rb'[^ -~]|["#]')
_UNSAFE_HEADER = re.compile(rb'[^ -~]|["#{|}]')
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_ESCAPED = re.compile(rb'["\\\]]')


def _hash_hex(found: re.Match[bytes]) -> bytes:
    return b"#%02X" % found[0][0]


def _percent_hex(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]


def log_safe(value: bytes) -> bytes:
    """``value`` with everything unprintable, ``"`` and ``#`` as ``#XX``."""
    return value if value.translate(_MARK_LOG) == value else _UNSAFE_LOG.sub(_hash_hex, value)


def header_safe(value: bytes) -> bytes:
    """The same for captured headers, which also escape ``{ | }``."""
    return value if value.translate(_MARK_HEADER) == value else _UNSAFE_HEADER.sub(_hash_hex, value)


def captured(values: list[bytes | None]) -> bytes:
    """Captured headers between braces."""
    joined = b"|".join(values if None not in values else [value or b"" for value in values])  # type: ignore[arg-type]  # no None is left
    if joined.translate(_MARK_JOINED) != joined or joined.count(b"|") >= len(values):  # more than the bars between them
        joined = b"|".join([header_safe(value) if value else b"" for value in values])
    return b"{" + joined + b"}"


def http_safe(value: bytes) -> bytes:
    """``value`` with what may not stand in a header field percent-encoded: CR, LF, NUL."""
    return _UNSAFE_HTTP.sub(_percent_hex, value) if _UNSAFE_HTTP.search(value) else value


def log_text(value: bytes | None) -> bytes:
    """A sample in a log line. HAProxy copies samples as they are; here controls become ``#XX``, since a line feed in a decoded
    value would forge a line of its own."""
    if not value:
        return b"-"
    return _CONTROL.sub(_hash_hex, value) if _CONTROL.search(value) else value


def quoted_text(value: bytes | None) -> bytes:
    """A sample between quotes in a log line: an absent one is empty."""
    return log_text(value) if value else b""


def http_text(value: bytes | None) -> bytes:
    """A sample in a header value, a body or a target."""
    if value is None:
        return b""
    return _UNSAFE_HTTP.sub(_percent_hex, value) if _UNSAFE_HTTP.search(value) else value


def raw_text(value: bytes | None) -> bytes:
    """A sample as it is."""
    return b"" if value is None else value


def escaped(value: bytes) -> bytes:
    """Flag E: ``"``, ``\\`` and ``]`` get a backslash."""
    return _ESCAPED.sub(rb"\\\g<0>", value)


def spaced(value: bytes) -> bytes:
    """``value`` and the blank that separates it from what follows; nothing when it is empty."""
    return value + b" " if value else b""


def _plain(value: Any, force: str) -> Any:
    """A Python value for an encoder; ``force`` is the item's type ("str", "sint", "bool" or "")."""
    if isinstance(value, Addr):
        value = value.text.encode()
    if force == "str" and isinstance(value, int):
        value = b"%d" % value
    elif force == "sint" and isinstance(value, bytes):
        digits = value.lstrip(b"+")
        value = int(digits) if digits.lstrip(b"-").isdigit() else None
    elif force == "bool" and value is not None:
        value = value not in (b"", b"0", b"false", 0)
    return value


def json_value(value: Any, force: str = "") -> bytes:
    """One value as JSON text; bytes that are no UTF-8 are replaced."""
    value = _plain(value, force)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return json.dumps(value, ensure_ascii=False).encode()


def json_object(pairs: Iterable[tuple[str, Any, str]]) -> bytes:
    """``(name, value, forced type)`` as one JSON object."""
    return b"{" + b", ".join(json.dumps(name).encode() + b": " + json_value(value, force) for name, value, force in pairs) + b"}"


def _head(major: int, count: int) -> bytes:
    for size, code in ((1, 24), (2, 25), (4, 26), (8, 27)):
        if count < 24:
            return bytes([major << 5 | count])
        if count < 1 << (8 * size):
            return bytes([major << 5 | code]) + count.to_bytes(size, "big")
    raise OverflowError("number too large for CBOR")


def cbor_value(value: Any, force: str = "") -> bytes:
    """One value as CBOR (RFC 8949); text that is no UTF-8 becomes a byte string."""
    value = _plain(value, force)
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    try:
        value.decode()
    except UnicodeDecodeError:
        return _head(2, len(value)) + bytes(value)
    return _head(3, len(value)) + bytes(value)


def cbor_hex(value: Any, force: str = "") -> bytes:
    """One value as CBOR in hexadecimal digits."""
    return cbor_value(value, force).hex().upper().encode()


def cbor_object_raw(pairs: Iterable[tuple[str, Any, str]]) -> bytes:
    """``(name, value, forced type)`` as one CBOR map of indefinite length."""
    body = b"".join(cbor_value(name.encode()) + cbor_value(value, force) for name, value, force in pairs)
    return b"\xbf" + body + b"\xff"


def cbor_object(pairs: Iterable[tuple[str, Any, str]]) -> bytes:
    """The same in hexadecimal digits."""
    return cbor_object_raw(pairs).hex().upper().encode()


#: what generated code may call
NAMES: dict[str, Any] = {
    "escaped": escaped,
    "spaced": spaced,
    "json_value": json_value,
    "cbor_hex": cbor_hex,
    "json_object": json_object,
    "cbor_object": cbor_object,
    "cbor_object_raw": cbor_object_raw,
}
