"""What the reading of a rule may know of the section that the rule stands in. Made by ``config``, only read here.

Also the table that says which column of ``registry.USES`` each kind of rule belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from forkproxy.rules.keyring import Keyring
from forkproxy.values import field, record, replace

if TYPE_CHECKING:
    from forkproxy.rules.acl import AclTest
    from forkproxy.rules.bandwidth import Bandwidth
    from forkproxy.rules.patternfiles import PatternFiles
    from forkproxy.rules.userlist import Userlist
    from forkproxy.state.stickspec import TableRef

#: kind of rule → (columns on the frontend's side, columns on the backend's side)
_COLUMNS: dict[str, tuple[str, str]] = {
    "tcp-req-conn": ("fe-tcp-conn", ""),
    "tcp-req-sess": ("fe-tcp-sess", ""),
    "tcp-req-cont": ("fe-tcp-content", "be-tcp-content"),
    "tcp-res-cont": ("fe-tcp-res", "be-tcp-res"),
    "http-req": ("fe-http-req", "be-http-req"),
    "http-res": ("fe-http-res", "be-http-res"),
    "http-after-res": ("fe-http-res", "be-http-res"),
    "http-error": ("fe-http-req fe-http-res", "be-http-req be-http-res"),
    "use-backend": ("fe-use-backend", ""),
    "use-server": ("", "be-server"),
    "balance": ("", "be-server"),
    "stick": ("", "be-server"),
    "stick-store": ("", "be-store"),
    "log": ("log", "log"),
    "check": ("", "be-check"),
    "config": ("config", "config"),
    "cli": ("cli", "cli"),
}

#: what a kind of rule is called in messages
KIND_LABELS = {
    "tcp-req-conn": "tcp-request connection",
    "tcp-req-sess": "tcp-request session",
    "tcp-req-cont": "tcp-request content",
    "tcp-res-cont": "tcp-response content",
    "http-req": "http-request",
    "http-res": "http-response",
    "http-after-res": "http-after-response",
    "http-error": "http-error",
    "use-backend": "use_backend",
    "use-server": "use-server",
    "balance": "balance",
    "stick": "stick",
    "stick-store": "stick store-response",
    "log": "log-format",
    "check": "check",
    "config": "global",
    "cli": "CLI",
}


def _ignore(message: str, index: int = 0) -> None:
    return None


def _unheard(kind: str, name: str) -> None:
    return None


def _no_files() -> PatternFiles:
    from forkproxy.rules.patternfiles import PatternFiles  # imported late: patterns and context describe each other

    return PatternFiles()


@record
class RuleContext:
    """The surroundings of a rule.

    ``acls`` maps a name to its compiled lines (``acl.compile_acl``); the reader of an ``acl`` line appends there.
    ``caps`` is "frontend", "backend", "listen" or "defaults". ``errors`` maps the name of an ``http-errors`` section to
    its replies by status. ``files`` is shared by the whole configuration, so that a map used twice is loaded once.
    ``captures`` are the declared (request, response) capture slots of the proxy so far. ``warn`` takes the text of a warning and
    the index of its word, ``note`` those of a note; ``place`` is the file and line that is being read.
    ``find`` is asked for what an expression names, by kind ("backend", "frontend", "server") and name ("": the
    own proxy), and raises ValueError when there is no such thing.
    """

    mode: str = "http"
    caps: str = "listen"
    kind: str = ""
    name: str = ""
    acls: dict[str, list[AclTest]] = field(default_factory=dict)
    userlists: Mapping[str, Userlist] = field(default_factory=dict)
    errors: Mapping[str, Mapping[int, Any]] = field(default_factory=dict)
    files: PatternFiles = field(default_factory=_no_files)
    captures: tuple[list[tuple[bytes, int]], list[tuple[bytes, int]]] = field(default_factory=lambda: ([], []))
    warn: Callable[..., None] = _ignore
    note: Callable[..., None] = _ignore
    place: tuple[str, int] = ("", 0)
    find: Callable[[str, str], None] = _unheard
    logasap: bool = False
    #: somebody asks which rule ended a set
    traced: bool = False
    #: stick tables of the whole configuration by name, and how many entries may be tracked at once (tune.stick-counters)
    tables: Mapping[str, TableRef] = field(default_factory=dict)
    stick_counters: int = 3
    #: the section's own bandwidth limits by name
    filters: Mapping[str, Bandwidth] = field(default_factory=dict)
    #: what servers' answers count as in them, by status; None: as usual (``rules.tables``)
    verdicts: Mapping[int, tuple[str, ...]] | None = None
    #: the keys that rules of the whole configuration name by their files
    keyring: Keyring = field(default_factory=Keyring)
    #: names that HAProxy has, by "fetch", "converter", "acl", "action", so that a missing one is refused as known
    known: Mapping[str, Collection[str]] = field(default_factory=dict)

    def unknown(self, kind: str, name: str, have: Iterable[str]) -> tuple[str, str]:
        """The message and the hint for a ``name`` that no table has; ``have`` are the names that exist."""
        if name in self.known.get(kind, ()):
            return f"{kind} '{name}' is known to HAProxy, not supported by forkproxy", ""
        from difflib import get_close_matches  # only those who err pay for it

        near = get_close_matches(name, list(have), 1)
        return f"unknown {kind} '{name}'", f"did you mean '{near[0]}' maybe ?" if near else ""

    def at(self, kind: str) -> RuleContext:
        """The same surroundings for another kind of rule."""
        return self if kind == self.kind else replace(self, kind=kind)

    def userlist(self, name: str) -> Userlist:
        """The user list ``name``. Raises ValueError when there is none."""
        found = self.userlists.get(name)
        if found is None:
            raise ValueError(f"unable to find userlist '{name}'")
        return found

    @property
    def where(self) -> str:
        """:attr:`place` in words, for the operator."""
        return f"file '{self.place[0]}' line {self.place[1]}"

    @property
    def columns(self) -> frozenset[str]:
        """The columns of ``registry.USES`` that a fetch must have one of here; empty: anything goes."""
        front, back = _COLUMNS.get(self.kind, ("", ""))
        wanted = {"frontend": (front,), "backend": (back,)}.get(self.caps, (front, back))
        return frozenset(column for side in wanted for column in side.split())
