"""The ``http-errors`` section (manual 3, "http-errors sections"): named sets of error files, read when the configuration is.

:func:`read_errorfile` also serves ``errorfile`` in proxies: one place that reads such a file.
"""

from __future__ import annotations

from forkproxy.config.args import Rest
from forkproxy.config.line import Line
from forkproxy.plan import ErrorReply
from forkproxy.registry import keyword

#: The status codes whose answer may be replaced (manual 4.2 "errorfile").
STATUSES = (200, 400, 401, 403, 404, 405, 407, 408, 410, 413, 414, 421, 422, 425, 429, 431, 500, 501, 502, 503, 504)


class HttpErrors(dict[int, ErrorReply]):
    """The replies of one section by status; ``lines`` tells where each was written."""

    __slots__ = ("lines", "name")

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.lines: dict[int, Line] = {}

    def check(self, bufsize_bytes: int) -> None:
        """Refuse messages that do not fit a buffer, now that its size is known."""
        for status, reply in self.items():
            if reply.raw is not None and len(reply.raw) > bufsize_bytes:
                self.lines[status].alert(
                    f"errorfile : the message is larger than a buffer ({len(reply.raw)} bytes, {bufsize_bytes} fit).", 2
                )


def read_errorfile(line: Line) -> ErrorReply:
    """The reply of a line ``errorfile <code> <file>``; the file holds a whole HTTP message. Raises ConfigError.

    Whether it fits a buffer is checked when the size of buffers is known.
    """
    given = line.args
    if len(given) < 2:
        line.fail("errorfile: expects <status_code> and <file> as arguments.", len(line.words))
    if len(given) > 2:
        line.fail(f"'errorfile' cannot handle unexpected argument '{given[2]}'.", line.kwlen + 2)
    if not given[0].isdigit() or int(given[0]) not in STATUSES:
        line.fail(f"errorfile : status code '{given[0]}' not handled.", line.kwlen)
    try:
        with open(given[1], "rb") as file:
            raw = file.read()
    except OSError:
        line.fail(f"errorfile : error opening file '{given[1]}'.", line.kwlen + 1)
    return ErrorReply(status=int(given[0]), raw=raw)


@keyword("http-errors", "errorfile", args=(Rest(),), synopsis="<code> <file>")
def errorfile(draft: HttpErrors, line: Line, _start: int) -> None:
    """Answer status <code> with the HTTP message in <file>; /dev/null closes the connection silently."""
    reply = read_errorfile(line)
    draft[reply.status] = reply
    draft.lines[reply.status] = line
