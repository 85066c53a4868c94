"""Log lines as a syslog receiver wants them (manual 4.2 "log", argument ``format``; RFC 3164, RFC 5424): header, text, line feed.

Sans I/O: gives functions from level, time and text to bytes. Whatever of a header does not change within a second is made once per
second and level, so a line costs a comparison, a look-up and a concatenation.
"""

from __future__ import annotations

from collections.abc import Callable
from time import localtime

#: ``line(level, wall_s, text) -> bytes``: ``level`` 0 (emerg) to 7 (debug), ``wall_s`` seconds since the epoch, ``text`` without line feed.
Line = Callable[[int, float, bytes], bytes]

FORMATS = ("local", "rfc3164", "rfc5424", "priority", "short", "timed", "iso", "raw")

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _stamp(second: int) -> str:
    t = localtime(second)
    return f"{_MONTHS[t.tm_mon - 1]} {t.tm_mday:2d} {t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d}"


def _iso(second: int) -> tuple[str, str]:
    """An ISO date up to the seconds, and its zone; the fraction belongs between them."""
    t = localtime(second)
    minutes = abs(t.tm_gmtoff) // 60
    zone = f"{'-' if t.tm_gmtoff < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{t.tm_year:04d}-{t.tm_mon:02d}-{t.tm_mday:02d}T{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d}", zone


def make(fmt: str, facility: int, length: int, tag: str, pid: int, hostname: str = "") -> Line:
    """The function that writes lines of one log target.

    ``fmt`` is one of FORMATS, ``facility`` 0 to 23, ``length`` the limit of a line in bytes without its line feed, header included.
    ``tag`` is the program's name in headers. ``hostname`` "" is written as ``localhost`` in RFC 3164 and ``-`` in RFC 5424.
    Raises ValueError for an unknown format.
    """
    base = facility << 3
    if fmt == "raw":
        return lambda level, wall_s, text: text[:length] + b"\n"
    if fmt == "short":
        return _fixed(length, lambda level: f"<{level}>")
    if fmt == "priority":
        return _fixed(length, lambda level: f"<{base | level}>")
    if fmt == "local":
        return _by_second(length, lambda level, second: f"<{base | level}>{_stamp(second)} {tag}[{pid}]: ")
    if fmt == "rfc3164":
        host = hostname or "localhost"
        return _by_second(length, lambda level, second: f"<{base | level}>{_stamp(second)} {host} {tag}[{pid}]: ")
    if fmt == "rfc5424":
        return _with_fraction(length, lambda level: f"<{base | level}>1 ", f" {hostname or '-'} {tag or '-'} {pid} - - ")
    if fmt == "timed":
        return _with_fraction(length, lambda level: f"<{level}>", " ")
    if fmt == "iso":
        return _with_fraction(length, lambda level: "", " ")
    raise ValueError(f"unknown log format '{fmt}'")


def _cut(line: bytes, length: int) -> bytes:
    return line + b"\n" if len(line) <= length else line[:length] + b"\n"


def _fixed(length: int, header: Callable[[int], str]) -> Line:
    heads = [header(level).encode() for level in range(8)]
    return lambda level, wall_s, text: _cut(heads[level] + text, length)


def _by_second(length: int, header: Callable[[int, int], str]) -> Line:
    heads: dict[int, bytes] = {}
    current = -1

    def line(level: int, wall_s: float, text: bytes) -> bytes:
        nonlocal current
        second = int(wall_s)
        if second != current:
            heads.clear()
            current = second
        head = heads.get(level)
        if head is None:
            head = heads[level] = header(level, second).encode("utf-8", "surrogateescape")
        if len(head) + len(text) <= length:  # one copy, no call: this is the form of most access logs
            return b"%b%b\n" % (head, text)
        return _cut(head + text, length)

    return line


def _with_fraction(length: int, start: Callable[[int], str], end: str) -> Line:
    heads: dict[int, tuple[bytes, bytes]] = {}
    current = -1

    def line(level: int, wall_s: float, text: bytes) -> bytes:
        nonlocal current
        second = int(wall_s)
        if second != current:
            heads.clear()
            current = second
        pair = heads.get(level)
        if pair is None:
            date, zone = _iso(second)
            pair = heads[level] = (f"{start(level)}{date}.".encode(), f"{zone}{end}".encode("utf-8", "surrogateescape"))
        return _cut(b"%b%06d%b%b" % (pair[0], min(int((wall_s - second) * 1e6 + 0.5), 999999), pair[1], text), length)

    return line
