"""State files: what "show servers state" told of the servers of an earlier process (manual 4.2 "load-server-state-from-file", management
manual 9.3). The only reader of such files; what is made of a state is the business of ``health.board``.

Nothing in such a file stops a start: what cannot be read is warned of, and the servers begin as the configuration says.
"""

from __future__ import annotations

import os

from forkproxy.config.diagnostics import Diagnostics
from forkproxy.config.drafts import ProxyDraft
from forkproxy.plan import SavedState

_FEWEST_FIELDS = 20
_ENABLED = 0x04  # of srv_check_state


class States:
    """The files of one run, each read when the first backend asks for it."""

    __slots__ = ("_base", "_diag", "_file", "_global")

    def __init__(self, base: str, file: str, diag: Diagnostics) -> None:
        self._base = base
        self._file = file
        self._diag = diag
        self._global: dict[str, dict[str, SavedState]] | None = None

    def of(self, draft: ProxyDraft) -> dict[str, SavedState]:
        """What is known of the servers of a backend, by name."""
        where = draft.settings.get("load-server-state", "none")
        if where == "local":
            name = draft.settings.get("server-state-file-name") or draft.name
            return self._read(name, f"Proxy '{draft.name}': ", "").get(draft.name, {})
        if where != "global":
            return {}
        if self._global is None:
            self._global = {}
            if self._file:
                self._global = self._read(self._file, "config: ", "global ")
            else:
                self._diag.warning(
                    f"{draft.label} '{draft.name}' configured to load server state file from global section 'server-state-file' "
                    "directive. Unfortunately, 'server-state-file' is not set!"
                )
        return self._global.get(draft.name, {})

    def _read(self, file: str, who: str, kind: str) -> dict[str, dict[str, SavedState]]:
        """All states in a file, by backend and server."""
        path = os.path.join(self._base, file)
        found: dict[str, dict[str, SavedState]] = {}
        try:
            with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as text:
                if text.readline() != "1\n":
                    self._diag.warning(f"{who}Can't get version of the {kind}server state file '{path}'.")
                    return found
                for number, line in enumerate(text, 1):
                    fields = line.split()
                    if not fields or line[0] == "#":
                        continue
                    if len(fields) < _FEWEST_FIELDS:
                        self._diag.warning(f"{who}corrupted {kind}server state file '{path}' at line {number}.")
                        break
                    self._one(found, fields)
        except OSError as exc:
            end = "" if kind else "."
            self._diag.warning(f"{who}Can't open {kind}server state file '{path}': {exc.strerror}{end}")
        return found

    def _one(self, found: dict[str, dict[str, SavedState]], fields: list[str]) -> None:
        backend, server = fields[1], fields[3]
        numbers = []
        for at, name, most in (
            (5, "srv_op_state", 3), (6, "srv_admin_state", None), (7, "srv_uweight", 256), (8, "srv_iweight", 256),
            (9, "srv_time_since_last_change", None), (10, "srv_check_status", None), (12, "srv_check_health", None),
            (13, "srv_check_state", None),
        ):  # fmt: skip
            try:
                number = int(fields[at])
            except ValueError:
                number = -1
            if name == "srv_time_since_last_change":
                number = max(number, 0)
            if number < 0 or (most is not None and number > most):
                self._diag.warning(f"server-state application failed for server '{backend}/{server}', invalid {name} value '{fields[at]}'")
                return
            numbers.append(number)
        op, admin, uweight, iweight, age_s, status, _health, check = numbers
        port = fields[18]
        found.setdefault(backend, {})[server] = SavedState(
            op=op, admin=admin, uweight=uweight, iweight=iweight, age_s=age_s, check_status=status,
            checking=bool(check & _ENABLED), address="" if fields[4] == "-" else fields[4],
            port=int(port) if port.isascii() and port.isdigit() and int(port) < 65536 else 0,
        )  # fmt: skip
