"""The ``ring`` section (manual 12.5): buffers for log lines, and the servers that get them over connections."""

from __future__ import annotations

from forkproxy.config.address import parse_address
from forkproxy.config.args import OneOf, Rest, Size, Time, Word
from forkproxy.config.known import names, refusal
from forkproxy.config.line import Line
from forkproxy.config.log_target import FORMATS, SYSLOG_PORT
from forkproxy.plan import Ring, RingServer
from forkproxy.registry import keyword

FRAMINGS = ("legacy", "octet-count")


class RingDraft:
    """The section while it is read; ``settings`` has the field names of ``plan.Ring``."""

    __slots__ = ("line", "name", "servers", "settings", "size_bytes")

    def __init__(self, name: str, line: Line) -> None:
        self.name = name
        self.line = line
        self.size_bytes = 0
        self.settings: dict[str, object] = {}
        self.servers: dict[str, RingServer] = {}

    def finish(self, bufsize_bytes: int) -> Ring:
        """The ring; sizes that were not said are those of a buffer."""
        given = {"maxlen": bufsize_bytes, **self.settings, "size_bytes": max(self.size_bytes, bufsize_bytes)}
        if 0 < self.size_bytes < bufsize_bytes:
            self.line.warn(f"ignoring size '{self.size_bytes}' of ring '{self.name}', which is smaller than a buffer ({bufsize_bytes}).")
        return Ring(name=self.name, servers=tuple(self.servers.values()), **given)  # type: ignore[arg-type]


@keyword("ring", "description", args=(Rest(),), synopsis="<text>")
def description(draft: RingDraft, line: Line, start: int) -> None:
    """What ``show events`` says about the ring (its name when nothing is said)."""
    draft.settings["description"] = " ".join(line.words[start:])


@keyword("ring", "format", args=(OneOf(*FORMATS),), default="raw")
def form(draft: RingDraft, line: Line, name: str) -> None:
    """The header of the lines in this ring, whatever format ``log`` lines that lead here have."""
    draft.settings["format"] = name


@keyword("ring", "maxlen", args=(Size(1),), default="tune.bufsize")
def maxlen(draft: RingDraft, line: Line, value: int) -> None:
    """Longest line in this ring, its header included."""
    draft.settings["maxlen"] = value


@keyword("ring", "size", args=(Size(1),), default="tune.bufsize")
def size(draft: RingDraft, line: Line, value: int) -> None:
    """Bytes that each worker keeps, and that may wait there for each server."""
    draft.size_bytes = value


@keyword("ring", "timeout connect", args=(Time("ms"),))
def timeout_connect(draft: RingDraft, line: Line, value_s: float) -> None:
    """How long an attempt to connect to a server may take."""
    draft.settings["connect_s"] = value_s or None


@keyword("ring", "timeout server", args=(Time("ms"),))
def timeout_server(draft: RingDraft, line: Line, value_s: float) -> None:
    """How long a server may take nothing of what waits for it before its connection is made anew."""
    draft.settings["server_s"] = value_s or None


@keyword(
    "ring", "server", args=(Word("<name>"), Word("<address>"), Rest()), synopsis="<name> <address> [log-proto { legacy | octet-count }]"
)
def server(draft: RingDraft, line: Line, name: str, text: str, start: int) -> None:
    """Send every line of this ring to a syslog server over a connection of its own from each worker: lines end with a line feed
    ("legacy"), or their length comes first ("octet-count"). A server that does not keep up does not hold up the others."""
    if name in draft.servers:
        line.fail(f"server '{name}' is defined twice in ring '{draft.name}'.", 1)
    try:
        address = parse_address(text, default_port=SYSLOG_PORT, allow_fd=False)[0]
    except ValueError as exc:
        line.fail(f"'server {name}' : {exc}", 2)
    octets = False
    while start < len(line.words):
        word = line.words[start]
        value = line.words[start + 1] if start + 1 < len(line.words) else ""
        if word != "log-proto":
            line.fail(f"'server {name}' in a ring : {refusal(word)}" if word in names("server") else f"unknown keyword '{word}'.", start)
        if value not in FRAMINGS:
            line.fail(f"'server {name}' : 'log-proto' expects 'legacy' or 'octet-count' (got '{value}')", start + 1)
        octets = value == "octet-count"
        start += 2
    draft.servers[name] = RingServer(name=name, address=address, octet_count=octets)
