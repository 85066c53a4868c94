"""Log profiles (manual 8.3.5): for the instants at which log lines are written, what takes the place of a frontend's formats.

An instant is a step of a stream, or a set of rules in which ``do-log`` stands. Knows no section of a configuration and no target.
"""

from __future__ import annotations

from collections.abc import Mapping

from forkproxy.plan import Render
from forkproxy.values import field, frozen

#: the instants of a stream at which ``log-steps`` may have a line written
STEPS = ("accept", "request", "connect", "response", "close")
#: those of ``do-log``, which are kinds of rules
RULE_SETS = ("tcp-req-conn", "tcp-req-sess", "tcp-req-cont", "tcp-res-cont", "http-req", "http-res", "http-after-res")
#: what stands for any other instant
ANY = "any"
#: everything that a profile may speak of; "error" is the line of what failed before it was a request
INSTANTS = (*STEPS, "error", *RULE_SETS, ANY)


@frozen
class Change:
    """What is different at an instant: no line at all, or another format of its text or its structured data (None: the usual one)."""

    drop: bool = False
    format: Render | None = None
    sd: Render | None = None


@frozen
class LogProfile:
    """``tag`` "" leaves the usual one. The formats are compiled for one frontend."""

    name: str
    tag: str = ""
    changes: Mapping[str, Change] = field(default_factory=dict)

    def at(self, instant: str) -> Change | None:
        """What this profile says of an instant; None: nothing."""
        return self.changes.get(instant) or self.changes.get(ANY)

    @property
    def structured(self) -> bool:
        """Does it have structured data of its own?"""
        return any(change.sd is not None for change in self.changes.values())
