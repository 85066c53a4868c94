"""The statuses of a check: HAProxy's names, what they mean in words, and whether they speak for or against the server.

Source: management manual 9.1, column ``check_status``. Knows nothing else.
"""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """How the last check ended. The numbers are those of "show servers state" and of state files, their order that of the exporter."""

    UNK = 0
    INI = 1
    CHECKED = 3  # an agent's answer that says nothing of the state
    HANA = 4
    SOCKERR = 5
    L4OK = 6
    L4TOUT = 7
    L4CON = 8
    L6OK = 9
    L6TOUT = 10
    L6RSP = 11
    L7TOUT = 12
    L7RSP = 13
    L7OK = 15
    L7OKC = 16
    L7STS = 17
    PROCERR = 18
    PROCTOUT = 19
    PROCOK = 20

    @property
    def text(self) -> str:
        """The words for logs and the ``check_desc`` column."""
        return _TEXTS[self]

    @property
    def passed(self) -> bool:
        """The server answered as it should (also "conditionally")."""
        return self in _PASSED

    @property
    def has_code(self) -> bool:
        """A code of the application goes with it."""
        return self in _WITH_CODE


_TEXTS = {
    Status.UNK: "Unknown",
    Status.INI: "Initializing",
    Status.HANA: "Health analyze",
    Status.SOCKERR: "Socket error",
    Status.L4OK: "Layer4 check passed",
    Status.L4TOUT: "Layer4 timeout",
    Status.L4CON: "Layer4 connection problem",
    Status.L6OK: "Layer6 check passed",
    Status.L6TOUT: "Layer6 timeout",
    Status.L6RSP: "Layer6 invalid response",
    Status.L7TOUT: "Layer7 timeout",
    Status.L7RSP: "Layer7 invalid response",
    Status.L7OK: "Layer7 check passed",
    Status.L7OKC: "Layer7 check conditionally passed",
    Status.L7STS: "Layer7 wrong status",
    Status.PROCERR: "External check error",
    Status.PROCTOUT: "External check timeout",
    Status.PROCOK: "External check passed",
    Status.CHECKED: "No status change",
}
_PASSED = frozenset({Status.L4OK, Status.L6OK, Status.L7OK, Status.L7OKC, Status.PROCOK})
_WITH_CODE = frozenset({Status.L7OK, Status.L7OKC, Status.L7STS, Status.PROCERR, Status.PROCTOUT, Status.PROCOK})

#: What the exporter lists as ``state`` of a check.
EXPORTED = tuple(status for status in Status if Status.HANA <= status <= Status.PROCOK)
