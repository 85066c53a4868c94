"""What live traffic says of a server (``observe``): a worker writes it into its own row of the server, the master judges (manual 5.2).

Cells: good and bad events so far, the bad ones since the last good one, and what the last bad one was. Servers that are not observed have
no :class:`Watch`, and a request asks no more than whether there is one.
"""

from __future__ import annotations

from forkproxy.health.observed import Why
from forkproxy.state import layout as L

#: rows of errors.ERRORS that speak of a server's answer
_FAULTS = {
    "bad-response": Why.BAD_HEADERS,
    "bad-response-data": Why.BAD_RESPONSE,
    "server-abort-headers": Why.CLOSED,
    "server-timeout-headers": Why.TIMEOUT,
}


class Watch:
    """One observed server in this worker. ``answers`` is true for layer7: answers count, else connections do."""

    __slots__ = ("_row", "answers")

    def __init__(self, row: memoryview, layer: str) -> None:
        self._row = row
        self.answers = layer == "layer7"

    def _good(self) -> None:
        row = self._row
        row[L.OBSERVED_GOOD] += 1
        row[L.OBSERVED_RUN] = 0

    def _bad(self, why: Why) -> None:
        row = self._row
        row[L.OBSERVED_BAD] += 1
        row[L.OBSERVED_RUN] += 1
        row[L.OBSERVED_WHY] = why

    def connected(self) -> None:
        """A connection stands."""
        if not self.answers:
            self._good()

    def refused(self) -> None:
        """A connection could not be made: at both layers a fault of the server."""
        self._bad(Why.CONNECT)

    def answered(self, status: int) -> None:
        """An answer with this status: 100 to 499, 501 and 505 are good ones."""
        if self.answers:
            if 100 <= status < 500 or status in (501, 505):
                self._good()
            else:
                self._bad(Why.STATUS)

    def failed(self, row: str) -> None:
        """A stream failed for this reason (a name of errors.ERRORS)."""
        why = _FAULTS.get(row) if self.answers else None
        if why is not None:
            self._bad(why)
