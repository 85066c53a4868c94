"""The tables of expressions and conditions (tests/unit/rules) through Debian's haproxy and through ours: one request each, one body."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers import needs
from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, Proxy, eventually, refused
from tests.unit.rules import condition_rows
from tests.unit.rules.rows import LIVE, MAPS, REQUEST, ROWS

pytestmark = pytest.mark.system


FILE = """
{defaults}
userlist ul
  user user insecure-password pass
frontend fe
  bind 127.0.0.1:{port}
  http-request set-var(txn.v) str(value)
  http-request set-var(txn.n) int(7)
  http-request set-var(txn.ip) ipv4(10.1.2.3)
{rules}
  http-request return content-type text/plain lf-file {body}
"""
ALL = ROWS + LIVE
#: between two values
END = "\x1e"


def answer(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(request)
        data = b""
        while more := sock.recv(65536):
            data += more
    return data.partition(b"\r\n\r\n")[2]


def both(start: Callable[..., Proxy], where: Path, request: bytes, body: str, rules: str = "") -> tuple[list[bytes], list[bytes]]:
    """The values that ours and haproxy give."""
    (where / "body").write_text(body)
    ours, theirs = free_ports(2)
    (where / "ha.cfg").write_text(FILE.format(defaults=DEFAULTS, port=theirs, body=where / "body", rules=rules))
    start(FILE.format(defaults=DEFAULTS, port=ours, body=where / "body", rules=rules)).ready()
    process = subprocess.Popen(["haproxy", "-db", "-f", str(where / "ha.cfg")], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: not refused(theirs), "haproxy")
        return answer(ours, request).split(END.encode()), answer(theirs, request).split(END.encode())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(5)


@needs("haproxy")
def test_every_row(start: Callable[..., Proxy], tmp_path: Path) -> None:
    for name, text in MAPS.items():
        (tmp_path / name).write_text(text)
    expressions = [re.sub(r"\bMAP[A-Z]*\b", lambda found: f"{tmp_path}/{found[0]}", row[0]) for row in ALL]
    got, wanted = both(start, tmp_path, REQUEST, END.join(f"%[{e}]" for e in expressions))
    assert len(got) == len(wanted) == len(ALL)
    different = [(row[0], ha, fp) for row, ha, fp in zip(ALL, wanted, got, strict=True) if ha != fp]
    stale = [(row[0], row[1], ha) for row, ha in zip(ALL, wanted, strict=True) if ha != row[1]]
    assert not different and not stale


@needs("haproxy")
def test_every_condition(start: Callable[..., Proxy], tmp_path: Path) -> None:
    rows = condition_rows.ROWS
    rules = "\n".join(f"  http-request set-var-fmt(txn.all) %[var(txn.all)],{i} if {row[0]}" for i, row in enumerate(rows))
    got, wanted = both(start, tmp_path, condition_rows.REQUEST, "%[var(txn.all)]", rules)
    held = set(wanted[0].decode().split(",")) - {""}
    assert set(got[0].decode().split(",")) - {""} == held
    assert [row for i, row in enumerate(rows) if row[1] != (str(i) in held)] == []
