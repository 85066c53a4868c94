"""What is measured: one :class:`Case` per kind of traffic, and the configuration that both proxies get for it."""

from __future__ import annotations

from dataclasses import dataclass

_TIMEOUTS = """\
    timeout connect 5s
    timeout client 30s
    timeout server 30s
"""


@dataclass(frozen=True, slots=True)
class Case:
    """``path`` is what wrk asks the origin for; ``lua`` a script that makes the requests instead; ``logged`` adds log and forwardfor."""

    name: str
    what: str
    mode: str = "http"
    path: str = "/small"
    connections: int = 32
    close: bool = False
    logged: bool = False
    lua: str = ""

    def config(self, port: int, origin_port: int, sink: str) -> str:
        """The file for both proxies."""
        text = "global\n    nbthread 1\n    maxconn 4000\n"
        if self.logged:
            text += f"    log {sink} len 2048 local0\n"
        text += f"defaults\n    mode {self.mode}\n" + _TIMEOUTS
        if self.logged:
            text += (
                "    timeout http-request 10s\n    timeout http-keep-alive 30s\n    log global\n    option httplog\n    option forwardfor\n"
            )
        text += f"frontend bench\n    bind 127.0.0.1:{port}\n    default_backend origin\n"
        return text + f"backend origin\n    server origin 127.0.0.1:{origin_port}\n"


CASES = {
    case.name: case
    for case in (
        Case(
            "http-keepalive",
            "keep-alive, 12 browser fields, httplog to a datagram socket, forwardfor, all timeouts",
            logged=True,
            lua="realistic",
        ),
        Case("http-keepalive-1", "the same with a single connection: nothing can be batched", logged=True, lua="realistic", connections=1),
        Case("http-small", "keep-alive, one field, no log"),
        Case("http-close", "one connection per request", close=True),
        Case("http-10k", "keep-alive, 10 KiB responses", path="/10k"),
        Case("http-1m", "keep-alive, 1 MiB responses", path="/1m", connections=8),
        Case("tcp-small", "TCP mode, small exchanges on kept connections", mode="tcp"),
        Case("tcp-conn", "TCP mode, one connection per exchange", mode="tcp", close=True),
        Case("tcp-1m", "TCP mode, 1 MiB responses on kept connections", mode="tcp", path="/1m", connections=8),
    )
}

#: Names for ``--cases``.
SETS = {
    "all": tuple(CASES),
    "http": tuple(name for name, case in CASES.items() if case.mode == "http"),
    "tcp": tuple(name for name, case in CASES.items() if case.mode == "tcp"),
    "wanted": ("http-keepalive", "tcp-small", "tcp-1m"),
}
