"""What the statistics of two balancers count of each exchange that is played through both (``duet``)."""

from __future__ import annotations

import csv
import io
import socket
import time
from pathlib import Path

from tests.system.duet import Duet, Script, Seen, Server, Side, held, read_all

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
        self._before = [self._cells(side) for side in (self.reference, self.ours)]
        self.title = ""
        #: title → what (haproxy, we) counted of it: (proxy, server, column) → how much more
        self.counted: dict[str, list[dict[tuple[str, str, str], int]]] = {}

    def __enter__(self) -> Counted:
        return self

    def run(self, client: Script, server: Server, log_lines: int = 1, settle: bool = False) -> tuple[Seen, Seen]:
        self.close_exchange()
        return super().run(client, server, log_lines, settle)

    def close_exchange(self) -> None:
        """Attribute what was counted to the exchange that has just been."""
        after = []
        for side in (self.reference, self.ours):
            end = time.monotonic() + 1.0
            while held(side.port, side.origin.port) and time.monotonic() < end:
                time.sleep(0.005)
            after.append(self._cells(side))
        if self.title:
            self.counted[self.title] = [
                {key: new[key] - old[key] for key in new if new[key] != old[key]} for old, new in zip(self._before, after, strict=True)
            ]
        self._before = after

    def _cells(self, side: Side) -> dict[tuple[str, str, str], int]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            while sock.connect_ex(f"{self._directory}/{side.name}.sock"):
                time.sleep(0.01)  # it serves already, and binds this a moment later
            sock.sendall(b"show stat\n")
            rows = csv.DictReader(io.StringIO(read_all(sock).decode().removeprefix("# ")))
        return {(row["pxname"], row["svname"], column): int(row[column] or 0) for row in rows for column in COUNTERS}
