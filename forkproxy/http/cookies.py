"""Cookies in the lines that carry them: reading and changing one of them while the others stay as they are (RFC 6265 4, RFC 2965 3).

A Cookie line is cut at semicolons and commas outside quotes. What begins with ``$`` is an attribute of the cookie before it and goes with
it; a piece without an equal sign is nobody's and stays. Pure functions over bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

#: a piece up to its separator: name, and what stands between the equal sign and the end when there is one
_piece = re.compile(rb'([^=;,]*)(=(?:[^";,]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))*+)?', re.DOTALL).match
_BLANK = b" \t"

#: ``change(value)`` answers with the value to be there, which may be the same, or None: the cookie goes.
Change = Callable[[bytes], "bytes | None"]


def change_cookie(line: bytes, name: bytes, change: Change) -> bytes | None:
    """The value of a Cookie field after ``change`` was asked about every cookie called ``name``; None: nothing is left, the field goes."""
    out = b""
    kept = changed = False  # whether a cookie stays that makes the field worth sending
    cut = False  # the piece before was taken out
    at, end = 0, len(line)
    first = True
    while True:
        found = _piece(line, at)
        assert found is not None  # it matches the empty string
        raw, after = found[0], found.end()
        label, value = found[1].strip(_BLANK), found[2]
        attribute = label[:1] == b"$"
        new: bytes | None = raw
        if value is not None and not attribute:
            text = value[1:].lstrip(_BLANK)
            old = text.rstrip(_BLANK)
            answer = change(old) if label == name else old
            # blanks around an equal sign go, as they do in HAProxy
            new = None if answer is None else raw[: raw.index(label)] + label + b"=" + answer + text[len(old) :]
            changed = changed or new != raw
        if new is None:
            cut = True
        elif not (attribute and cut):
            kept = kept or not attribute
            out, cut = _joined(out, line[at - 1 : at] if at else b"", new, first, cut), False
        first = False
        if after >= end:
            break
        at = after + 1
    if not changed:
        return line
    return out if out and kept else None


def _joined(out: bytes, separator: bytes, raw: bytes, first: bool, cut: bool) -> bytes:
    """One more piece behind what is there already; where something was cut between them one blank stands behind the separator."""
    if first:
        return raw
    if not cut:
        return out + separator + raw
    raw = raw.lstrip(_BLANK)
    return out.rstrip(_BLANK) + separator + b" " + raw if out else raw


def change_set_cookie(line: bytes, name: bytes, change: Change) -> bytes | None:
    """The same for the value of a Set-Cookie field: one cookie, its attributes follow."""
    found = _piece(line)
    assert found is not None  # it matches the empty string
    label, value = found[1].strip(_BLANK), found[2]
    if value is None:
        return line
    text = value[1:].lstrip(_BLANK)
    old = text.rstrip(_BLANK)
    new = change(old) if label == name else old
    return None if new is None else label + b"=" + new + text[len(old) :] + line[found.end() :]


#: cookies as browsers write them: visible ASCII, no quotes, attributes, commas, and no blanks but one behind each semicolon
_usual = re.compile(rb"[!#%-+\--:<>-~]++=[!#%-+\--:<-~]*+(?:; [!#%-+\--:<>-~]++=[!#%-+\--:<-~]*+)*+").fullmatch


def find_plain(fields: bytes, name: bytes) -> tuple[int, int, int, int] | None:
    """Where the cookie ``name`` stands in field lines that are as browsers write them: the beginning of its line, of its value, the end of
    its value and of its line. None: it is not there, is there twice, or the line has to be looked at by :func:`change_cookie`."""
    needle = name + b"="
    at = fields.find(needle)
    if at < 0 or fields.find(name, at + 1) >= 0:
        return None
    line = fields.rfind(b"\n", 0, at) + 1
    if fields[line : line + 8].lower() != b"cookie: " or (at != line + 8 and fields[at - 2 : at] != b"; "):
        return None
    end = fields.index(b"\r", at)
    if _usual(fields, line + 8, end) is None:
        return None
    stop = fields.find(b";", at, end)
    return line, at + len(needle), end if stop < 0 else stop, end


def without_plain(fields: bytes, name: bytes, line: int, start: int, stop: int, end: int) -> bytes:
    """The field lines without the cookie that :func:`find_plain` found."""
    at = start - len(name) - 1
    if at > line + 8:
        return fields[: at - 2] + fields[stop:]
    return fields[:at] + fields[stop + 2 :] if stop < end else fields[:line] + fields[end + 2 :]
