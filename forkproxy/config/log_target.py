"""``log`` lines of the global section and of proxies (manual 3.1 and 4.2, "log"): target, options, facility, levels. Knows no section."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from forkproxy.config.address import parse_address
from forkproxy.config.diagnostics import Diagnostics, did_you_mean
from forkproxy.config.known import refusal
from forkproxy.config.line import Line
from forkproxy.errors import ConfigError
from forkproxy.plan import LogTarget, Ring, RingServer
from forkproxy.values import replace

FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "auth2", "ftp", "ntp", "audit", "alert", "cron2",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
FORMATS = ("local", "rfc3164", "rfc5424", "priority", "short", "timed", "iso", "raw")
SYSLOG_PORT = 514
#: patience with a server that a ``log`` line names by itself, seconds (HAProxy's)
CONNECT_S, SERVER_S = 1.0, 5.0
#: what stands in ``LogTarget.format`` until the whole file is read: the default depends on ``log-send-hostname``
UNSAID = ""


class _Named:
    """A log profile, as a line names it."""

    __slots__ = ("at", "line", "name")

    def __init__(self, line: Line, at: int) -> None:
        self.line = line
        self.at = at
        self.name = line.words[at] if at < len(line.words) else ""


def read_log(line: Line, index: int = 1) -> LogTarget:
    """The target that the words from ``index`` on describe; its format is UNSAID when the line gives none. Raises ConfigError."""
    words = line.words
    if len(words) <= index + 1:
        where = "" if line.section == "global" else " or global"
        line.fail(f"log : expects <address> and <facility>{where} as arguments", len(words))
    target = _target(line, index)
    at = index + 1
    while at < len(words) and words[at] in ("len", "format", "sample", "profile"):
        target = _option(line, at, target)
        at += 2
    if at >= len(words) or words[at] not in FACILITIES:
        line.fail(f"log : unknown log facility '{words[at] if at < len(words) else ''}'", at)
    target = replace(target, facility=FACILITIES.index(words[at]))
    if at + 1 < len(words):
        target = replace(target, level=_level(line, at + 1))
    if at + 2 < len(words):
        target = replace(target, minlevel=_level(line, at + 2))
    if at + 3 < len(words):
        line.fail(f"log : cannot handle unexpected argument '{words[at + 3]}'", at + 3)
    return target


def _target(line: Line, index: int) -> LogTarget:
    word = line.words[index]
    if word in ("stdout", "stderr"):
        return LogTarget(address=None, stream=word, format=UNSAID)
    if word.startswith("ring@"):
        return LogTarget(address=None, ring=Ring(name=word[5:], place=line.place), format=UNSAID)
    if word.startswith("backend@"):
        line.fail(f"log : log backends: {refusal(word)}", index)
    try:
        address = parse_address(word, default_port=SYSLOG_PORT, dgram=True, either=True)[0]
    except ValueError as exc:
        line.fail(f"log : {exc}", index)
    if address.family == "fd" and address.host in ("1", "2"):
        return LogTarget(address=None, stream=("stdout", "stderr")[int(address.host) - 1], format=UNSAID)
    if address.kind == "stream" and address.family != "fd":
        ring = Ring(connect_s=CONNECT_S, server_s=SERVER_S, servers=(RingServer("", address),))
        return LogTarget(address=None, ring=ring, format=UNSAID)
    return LogTarget(address=address, format=UNSAID)


def _option(line: Line, at: int, target: LogTarget) -> LogTarget:
    name = line.words[at]
    value = line.words[at + 1] if at + 1 < len(line.words) else ""
    if name == "len":
        if not (value.isascii() and value.isdigit() and 80 <= int(value) <= 65535):
            line.fail(f"log : invalid log length '{value}', must be between 80 and 65535", at + 1)
        return replace(target, length=int(value))
    if name == "format":
        if value not in FORMATS:
            line.fail(f"log : unknown log format '{value}'", at + 1)
        return replace(target, format=value)
    if name == "profile":
        if not value:
            line.fail("log : 'profile' expects the name of a log-profile", at + 1)
        return replace(target, profile=_Named(line, at + 1))  # a name when the whole file is read
    ranges, size = _sample(line, at + 1, value)
    return replace(target, sample_ranges=ranges, sample_size=size)


def _sample(line: Line, at: int, text: str) -> tuple[tuple[tuple[int, int], ...], int]:
    """``1,3-5:8``: of every eight messages the first, and the third to the fifth."""
    listed, _, size_text = text.rpartition(":")
    ranges = []
    for part in listed.split(",") if listed else []:
        low, dash, high = part.partition("-")
        if not low.isdigit() or int(low) == 0 or (dash and not (high.isdigit() and int(high) >= int(low))):
            line.fail(f"log : wrong sample range '{part}'", at)
        ranges.append((int(low), int(high) if dash else int(low)))
    if not size_text.isdigit() or int(size_text) == 0 or not ranges:
        line.fail(f"log : wrong sample size '{size_text}' for sample range '{listed}'", at)
    ranges.sort()
    for (_, before), (after, _) in pairwise(ranges):
        if after <= before:
            line.fail("log : ranges are overlapping", at)
    size, top = int(size_text), max(high for _, high in ranges)
    if size < top:
        line.fail(
            f"log : sample size {size} should be greater or equal to {top} the maximum of the high ranges limits", at
        )
    return tuple(ranges), size


def _level(line: Line, at: int) -> int:
    word = line.words[at]
    if word not in LEVELS:
        line.fail(f"log : unknown optional log level '{word}'", at)
    return LEVELS.index(word)


def settle_all(
    lists: Iterable[list[Any]], send_hostname: bool, objects: Mapping[str, Any], bufsize_bytes: int, diag: Diagnostics
) -> None:
    """Fill in what the targets in ``lists`` (None among them: those of the global section) left to the rest of the file."""
    for targets in lists:
        for i, target in enumerate(targets):
            if target is not None:
                try:
                    targets[i] = settle(target, send_hostname, objects, bufsize_bytes)
                except ConfigError as exc:
                    diag.error(exc)
                    targets[i] = replace(target, profile="")  # nobody looks at it any more but the rest of this check


def settle(target: LogTarget, send_hostname: bool, objects: Mapping[str, Any], bufsize_bytes: int) -> LogTarget:
    """``target`` with everything filled in: the default format ("local", or with ``log-send-hostname`` "rfc3164"), and the ring of its
    name in ``objects``, whose format and longest line prevail. Raises ConfigError when there is no such ring or log profile."""
    wanted: Any = target.profile
    if isinstance(wanted, _Named):
        if f"log-profile/{wanted.name}" not in objects:
            hint = did_you_mean(wanted.name, [name[12:] for name in objects if name.startswith("log-profile/")])
            wanted.line.fail(f"log : log-profile '{wanted.name}' is declared nowhere", wanted.at, hint)
        target = replace(target, profile=wanted.name)
    ring = target.ring
    if ring is not None and ring.name:
        found: Ring | None = objects.get(f"ring/{ring.name}")
        if found is None:
            hint = did_you_mean(ring.name, [name[5:] for name in objects if name.startswith("ring/")])
            raise ConfigError(f"log : ring '{ring.name}' is declared nowhere", file=ring.place.file, line=ring.place.line, hint=hint)
        return replace(target, ring=found, format=found.format, length=min(target.length, found.maxlen))
    if ring is not None:
        target = replace(target, ring=replace(ring, size_bytes=bufsize_bytes))
    if target.format != UNSAID:
        return target
    return replace(target, format="rfc3164" if send_hostname else "local")
