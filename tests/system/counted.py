"""What the statistics of two balancers count of each exchange that is played through both (``duet``)."""

from __future__ import annotations

import csv
import io
import socket
import time
from functools import partial
from pathlib import Path

from tests.system.duet import Duet, Side, read_all

COUNTERS = (
    "stot", "dreq", "dresp", "ereq", "econ", "eresp", "wretr", "wredis", "lbtot", "hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx",
    "hrsp_5xx", "hrsp_other", "req_tot", "cli_abrt", "srv_abrt", "conn_tot", "intercepted", "dcon", "dses", "wrew", "connect", "reuse",
    "eint", "chkfail", "chkdown", "bin", "bout",
)  # fmt: skip


class Counted(Duet):
    """Both balancers, and what their statistics count of each exchange, which is over when nobody holds a connection of it."""

    def __init__(self, directory: Path, text: str) -> None:
        super().__init__(directory, text)
        self._directory = directory
        self.title = ""
        #: title → by name of the balancer what it counted of it: (proxy, server, column) → how much more
        self.counted: dict[str, dict[str, dict[tuple[str, str, str], int]]] = {}
        self._before: dict[str, dict[tuple[str, str, str], int]] = {}
        for side in (self.reference, self.ours):
            self._before[side.name] = self._cells(side)
            side.between = partial(self._attribute, side)

    def __enter__(self) -> Counted:
        return self

    def _attribute(self, side: Side) -> None:
        """What was counted belongs to the exchange that has just been."""
        old, new = self._before[side.name], self._cells(side)
        if self.title:
            self.counted.setdefault(self.title, {})[side.name] = {key: new[key] - old[key] for key in new if new[key] != old[key]}
        self._before[side.name] = new

    def _cells(self, side: Side) -> dict[tuple[str, str, str], int]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            while sock.connect_ex(f"{self._directory}/{side.name}.sock"):
                time.sleep(0.01)  # it serves already, and binds this a moment later
            sock.sendall(b"show stat\n")
            rows = csv.DictReader(io.StringIO(read_all(sock).decode().removeprefix("# ")))
        return {(row["pxname"], row["svname"], column): int(row[column] or 0) for row in rows for column in COUNTERS}
