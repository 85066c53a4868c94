"""Errors as values with a side and a phase, and THE table that says what each one means to client, log and counters.

Three kinds: :class:`ConfigError` (the operator's file), :class:`ProtocolError` (a message that is wrong or ambiguous) and
:class:`StreamError` (a stream that could not go on). Only the last one needs the table: who failed in which phase gives
the status for the client, the two termination flags of the log (manual 8.5), the counters and whether a retry is safe.
Knows nothing of sockets, configuration or counters' addresses.
"""

from __future__ import annotations

from enum import Enum

from forkproxy.values import frozen


class ConfigError(Exception):
    """One thing wrong in a configuration, with its place.

    ``file``/``line`` name the place (line 0: no line, e.g. the command line), ``column`` is the 1-based column of the
    offending word in ``source`` (0: unknown), ``hint`` what would be right.
    """

    def __init__(
        self, message: str, *, file: str = "", line: int = 0, column: int = 0, source: str = "", hint: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.source = source
        self.hint = hint


class ProtocolError(Exception):
    """A message that must not be forwarded.

    ``status`` is what a client gets for its own bad request (400, 413, 414, 422, 431); a response with this error
    always becomes 502. ``offset`` is the position of the offending byte in what was parsed (-1: unknown).
    """

    def __init__(self, reason: str, status: int = 400, offset: int = -1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.offset = offset


class Phase(Enum):
    """Where a stream stands; the value is the second termination flag of the log (manual 8.5)."""

    REQUEST = "R"  # waiting for a complete, valid request (HTTP), or inspecting content (TCP)
    QUEUE = "Q"  # waiting for a server's slot
    CONNECT = "C"  # connection to the server being established
    HEADERS = "H"  # waiting for complete, valid response headers
    DATA = "D"  # in the data phase
    LAST = "L"  # server has finished, data still on its way to the client
    TARPIT = "T"  # held in the tarpit
    NONE = "-"


class Cause(Enum):
    """Who ended a stream and how; the value is the first termination flag of the log (manual 8.5)."""

    CLIENT_ABORT = "C"
    SERVER_ABORT = "S"
    PROXY = "P"  # the proxy refused: a rule, a limit, an invalid message
    LOCAL = "L"  # processed locally (statistics, redirects, returns by the frontend)
    RESOURCE = "R"  # descriptors, memory, ports exhausted
    INTERNAL = "I"  # our own fault
    DOWN = "D"  # killed because the server went down
    UP = "U"  # killed because a preferred server came back
    KILLED = "K"  # killed by the operator
    CLIENT_TIMEOUT = "c"
    SERVER_TIMEOUT = "s"
    NORMAL = "-"


@frozen
class StreamError:
    """Why a stream ended: ``cause`` and ``phase`` (together the log's flags), and what follows from them.

    ``status`` is the HTTP status for a client that has not been answered yet (0: close silently), ``counter`` the name
    of the counter (``state.layout``) that it raises ("" for none; a tuple's scope is the layout's business),
    ``retry`` whether another attempt may be made when nothing of the request was consumed.
    """

    name: str
    cause: Cause
    phase: Phase
    status: int = 0
    counter: str = ""
    retry: bool = False

    @property
    def flags(self) -> bytes:
        """The two termination flags as the log shows them."""
        return (self.cause.value + self.phase.value).encode()


def _table(*rows: StreamError) -> dict[str, StreamError]:
    return {row.name: row for row in rows}


_C, _P = Cause, Phase


def _wherever(name: str, cause: Cause, counter: str) -> list[StreamError]:
    """Rows of what may happen in any phase, called ``name-phase`` by the words of ``finish.phase``."""
    before = ("request", _P.REQUEST), ("tarpit", _P.TARPIT), ("queue", _P.QUEUE), ("connect", _P.CONNECT), ("headers", _P.HEADERS)
    rows = [StreamError(f"{name}-{word}", cause, phase, 502, counter) for word, phase in before]
    after = ("data", _P.DATA), ("last", _P.LAST), ("session", _P.NONE)  # the last one of TCP, as observed
    return rows + [StreamError(f"{name}-{word}", cause, phase, 0, counter) for word, phase in after]


#: THE table. Source: configuration manual 8.5 and 1.3; observed behaviour of HAProxy 3.4 where the manual is silent.
ERRORS: dict[str, StreamError] = _table(
    # the client
    StreamError("client-abort-request", _C.CLIENT_ABORT, _P.REQUEST, 400, "req_errors"),
    StreamError("client-abort-queue", _C.CLIENT_ABORT, _P.QUEUE, 400, "cli_aborts"),
    StreamError("client-abort-connect", _C.CLIENT_ABORT, _P.CONNECT, 400, "cli_aborts"),
    StreamError("client-abort-headers", _C.CLIENT_ABORT, _P.HEADERS, 400, "cli_aborts"),
    StreamError("client-abort-data", _C.CLIENT_ABORT, _P.DATA, 0, "cli_aborts"),
    StreamError("client-abort-last", _C.CLIENT_ABORT, _P.LAST, 0, "cli_aborts"),
    StreamError("client-timeout-request", _C.CLIENT_TIMEOUT, _P.REQUEST, 408, "req_errors"),
    StreamError("client-timeout-headers", _C.CLIENT_TIMEOUT, _P.HEADERS, 400, "cli_aborts"),
    StreamError("client-timeout-data", _C.CLIENT_TIMEOUT, _P.DATA, 0, "cli_aborts"),
    StreamError("client-timeout-last", _C.CLIENT_TIMEOUT, _P.LAST, 0, "cli_aborts"),
    StreamError("client-abort-tarpit", _C.CLIENT_ABORT, _P.TARPIT, 0, ""),
    # us
    StreamError("bad-request", _C.PROXY, _P.REQUEST, 400, "req_errors"),
    StreamError("bad-request-headers", _C.PROXY, _P.HEADERS, 400, "req_errors"),
    StreamError("bad-request-data", _C.PROXY, _P.DATA, 0, "req_errors"),
    StreamError("rewrite-failed", _C.PROXY, _P.REQUEST, 500, "internal_errors"),
    StreamError("response-rewrite-failed", _C.PROXY, _P.HEADERS, 500, "internal_errors"),
    StreamError("request-rejected", _C.PROXY, _P.REQUEST, 0, "req_denied"),
    StreamError("no-backend", _C.SERVER_ABORT, _P.CONNECT, 503, ""),
    StreamError("bad-response", _C.PROXY, _P.HEADERS, 502, "resp_errors"),
    StreamError("response-denied", _C.PROXY, _P.HEADERS, 502, "resp_denied"),
    StreamError("resource-connect", _C.RESOURCE, _P.CONNECT, 503, "conn_errors", True),
    StreamError("descriptors-connect", _C.PROXY, _P.CONNECT, 503, "conn_errors", True),
    *_wherever("internal", _C.INTERNAL, "internal_errors"),
    # the server
    StreamError("no-server", _C.SERVER_ABORT, _P.CONNECT, 503, "conn_errors"),
    StreamError("queue-full", _C.SERVER_ABORT, _P.QUEUE, 503, "conn_errors"),
    StreamError("queue-timeout", _C.SERVER_TIMEOUT, _P.QUEUE, 503, "conn_errors"),
    StreamError("connect-refused", _C.SERVER_ABORT, _P.CONNECT, 503, "conn_errors", True),
    StreamError("connect-timeout", _C.SERVER_TIMEOUT, _P.CONNECT, 503, "conn_errors", True),
    StreamError("server-abort-headers", _C.SERVER_ABORT, _P.HEADERS, 502, "resp_errors"),
    StreamError("server-timeout-headers", _C.SERVER_TIMEOUT, _P.HEADERS, 504, "resp_errors"),
    StreamError("server-abort-data", _C.SERVER_ABORT, _P.DATA, 0, "srv_aborts"),
    StreamError("server-timeout-data", _C.SERVER_TIMEOUT, _P.DATA, 0, "srv_aborts"),
    StreamError("response-rejected", _C.PROXY, _P.DATA, 0, "resp_denied"),
    StreamError("bad-response-data", _C.PROXY, _P.DATA, 0, "resp_errors"),
    *_wherever("server-went-down", _C.DOWN, "srv_aborts"),
    *_wherever("better-server-up", _C.UP, "srv_aborts"),
    *_wherever("killed", _C.KILLED, ""),
)
