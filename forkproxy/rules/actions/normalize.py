"""``http-request normalize-uri``: one spelling for targets that mean the same (manual 4.4, RFC 3986 section 6.2).

Each normalizer is a pure function over path and query as they stand in the request line; asterisk and authority forms have neither and
are let be. A strict one answers 400 to a percent sign that begins no pair of hexadecimal digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from forkproxy.plan import Step
from forkproxy.registry import Needs, action
from forkproxy.rules.action import HTTP_REQ, Parser, keep_request_line
from forkproxy.rules.verdict import Reply
from forkproxy.rules.web import origin_of, path_query_of

_ENCODED = re.compile(rb"%([0-9a-fA-F]{2})")
_BROKEN = re.compile(rb"%(?![0-9a-fA-F]{2})").search
_SLASHES = re.compile(rb"//+")
_UNRESERVED = re.compile(rb"[A-Za-z0-9\-._~]").fullmatch
_BAD_REQUEST = Reply("deny", status=400, denied=True, default_error=True)


def fragment_encode(pathq: bytes) -> bytes:
    """Write a number sign as what it is in a path."""
    return pathq.replace(b"#", b"%23")


def fragment_strip(pathq: bytes) -> bytes:
    """Cut the fragment, which no client should send (RFC 3986, 3.5)."""
    return pathq.partition(b"#")[0]


def merge_slashes(path: bytes) -> bytes:
    """One slash for several in a row."""
    return _SLASHES.sub(b"/", path)


def strip_dot(path: bytes) -> bytes:
    """Segments that say "here" go, with the slash behind them (RFC 3986, 6.2.2.3)."""
    *segments, last = path.split(b"/")
    kept = [segment for segment in segments if segment != b"."]
    return b"/".join([*kept, b"" if last == b"." else last])


def strip_dotdot(path: bytes) -> bytes:
    """Segments that say "up" go, with the segment before them; those that lead above the root stay."""
    return _up(path, False)


def strip_dotdot_full(path: bytes) -> bytes:
    """As :func:`strip_dotdot`; those that lead above the root go, too."""
    return _up(path, True)


def _up(path: bytes, full: bool) -> bytes:
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    above = 0
    for segment in segments:
        if segment != b"..":
            kept.append(segment)
        elif len(kept) > above:
            kept.pop()
        elif not full:
            kept.append(segment)
            above += 1
    if segments[-1] == b"..":
        kept.append(b"")
    return b"/" + b"/".join(kept)


def decode_unreserved(pathq: bytes) -> bytes:
    """Characters that need no encoding stand for themselves (RFC 3986, 6.2.2.2); one pass, so "%%36%36" becomes "%66"."""

    def plain(match: re.Match[bytes]) -> bytes:
        char = bytes([int(match[1], 16)])
        return char if _UNRESERVED(char) else match[0]

    return _ENCODED.sub(plain, pathq)


def to_uppercase(pathq: bytes) -> bytes:
    """Hexadecimal digits behind percent signs in upper case (RFC 3986, 6.2.2.1)."""
    return _ENCODED.sub(lambda match: match[0].upper(), pathq)


def sort_query(pathq: bytes) -> bytes:
    """Parameters in the order of their names; those with one name stay in their order."""
    path, mark, query = pathq.partition(b"?")
    pairs: list[bytes] = query.split(b"&")
    pairs.sort(key=lambda pair: pair.partition(b"=")[0])
    return path + mark + b"&".join(pairs)


def _of_path(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """``change`` for the path alone; the query stays."""

    def changed(pathq: bytes) -> bytes:
        path, mark, query = pathq.partition(b"?")
        return change(path) + mark + query

    return changed


#: name → (what it does, the option that it has, what it does with that)
NORMALIZERS: dict[str, tuple[Callable[[bytes], bytes], str, Callable[[bytes], bytes] | None]] = {
    "fragment-encode": (fragment_encode, "", None),
    "fragment-strip": (fragment_strip, "", None),
    "path-merge-slashes": (_of_path(merge_slashes), "", None),
    "path-strip-dot": (_of_path(strip_dot), "", None),
    "path-strip-dotdot": (_of_path(strip_dotdot), "full", _of_path(strip_dotdot_full)),
    "percent-decode-unreserved": (decode_unreserved, "strict", None),
    "percent-to-uppercase": (to_uppercase, "strict", None),
    "query-sort-by-name": (sort_query, "", None),
}


@action("normalize-uri", at=(HTTP_REQ,), synopsis="<normalizer> [ full | strict ]")
def normalize_uri(p: Parser) -> Step:
    """Give the target one of the spellings that mean the same: fragment-encode, fragment-strip, path-merge-slashes, path-strip-dot,
    path-strip-dotdot [ full ], percent-decode-unreserved [ strict ], percent-to-uppercase [ strict ], query-sort-by-name."""
    name = p.word("a normalizer")
    if name not in NORMALIZERS:
        p.words.fail(f"unknown normalizer '{name}'", hint="one of " + ", ".join(NORMALIZERS))
    change, option, other = NORMALIZERS[name]
    strict = False
    if option and p.words.accept(option):
        strict = option == "strict"
        change = other or change
    p.needs |= Needs.HEADERS

    def step(txn: Any) -> Reply | None:
        req = txn.req
        old = path_query_of(req.target)
        if old is None:
            return None
        if strict and _BROKEN(old):
            return _BAD_REQUEST
        new = change(old)
        if new != old:
            keep_request_line(txn)
            req.set_target(origin_of(req.target) + new)
        return None

    return step
