"""The ``stats`` family of the global section (manual 3.1 "stats socket"), and ``stats-endpoint``, the master's own metrics."""

from __future__ import annotations

import os

from forkproxy.config.args import Int, Rest, Size, Time, Word
from forkproxy.config.drafts import BindDraft, GlobalDraft
from forkproxy.config.keywords.bind import read_bind
from forkproxy.config.line import Line
from forkproxy.errors import ConfigError
from forkproxy.registry import keyword


def _listener(line: Line, start: int) -> BindDraft:
    """A listening line of the global section: complaints name its own keyword."""
    if start >= len(line.words) or not line.words[start]:
        line.fail(f"'{line.keyword}' in global section expects an address or a path to a UNIX socket", start)
    name = line.keyword
    try:
        bind = read_bind(line, start, f"'{name}'")
    except ConfigError as exc:
        if exc.message.startswith("'bind' :"):
            exc.message = f"'{name}' :" + exc.message.removeprefix("'bind' :")
        raise
    if bind.settings.get("accept_proxy"):
        line.fail(f"'{name}' : 'accept-proxy' is not supported on it by forkproxy", line.words.index("accept-proxy"))
    return bind


@keyword("global", "stats socket", args=(Rest(),), synopsis="<address:port>|<path> [param*]")
def stats_socket(draft: GlobalDraft, line: Line, start: int) -> None:
    """Serve the runtime CLI on this socket; takes the options of ``bind`` and ``level``, ``mode``, ``user``, ``expose-fd`` …"""
    draft.stats_sockets.append(_listener(line, start))


@keyword("global", "stats-endpoint", args=(Rest(),), synopsis="<address:port>|<path> [param*]")
def stats_endpoint(draft: GlobalDraft, line: Line, start: int) -> None:
    """Serve metrics for Prometheus from the master itself on this address (forkproxy's own keyword)."""
    draft.stats_endpoint.append(_listener(line, start))


@keyword("global", "stats timeout", args=(Time("ms"),), default="10s")
def stats_timeout(draft: GlobalDraft, line: Line, limit_s: float) -> None:
    """Close a CLI connection that has been idle for this long."""
    if not limit_s:
        line.fail("'stats timeout' expects a positive value", 2)
    draft.settings["stats_timeout_s"] = limit_s


@keyword("global", "tune.cli.max-payload-size", args=(Size(),), default="128k")
def max_payload_size(draft: GlobalDraft, line: Line, size_bytes: int) -> None:
    """The most bytes of a payload of a command."""
    draft.settings["cli_payload_bytes"] = size_bytes


@keyword("global", "stats maxconn", args=(Int(),), default=10)
def stats_maxconn(draft: GlobalDraft, line: Line, count: int) -> None:
    """The most CLI connections at a time."""
    if count <= 0:
        line.fail("'stats maxconn' expects a positive value", 2)
    draft.settings["stats_maxconn"] = count


@keyword("global", "stats-file", args=(Word("a file path"),))
def stats_file(draft: GlobalDraft, line: Line, path: str) -> None:
    """Begin with the counters of this file, which ``dump stats-file`` wrote. (Over a reload forkproxy keeps counters by itself.)"""
    draft.options["stats-file"] = os.path.abspath(path)


@keyword("global", "anonkey", args=(Int(0, 0xFFFFFFFF),), default=0)
def anonkey(draft: GlobalDraft, line: Line, key: int) -> None:
    """The key with which ``set anon on`` hides names in answers of the CLI; 0: each session has its own."""
    draft.options["anonkey"] = key
