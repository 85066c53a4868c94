"""The table of expressions (tests/unit/rules/rows.py) through Debian's haproxy and through ours: one request, one body with all values."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, Proxy, eventually, refused
from tests.unit.rules.rows import LIVE, MAPS, REQUEST, ROWS

pytestmark = pytest.mark.system

HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

FILE = """
{defaults}
userlist ul
  user user insecure-password pass
frontend fe
  bind 127.0.0.1:{port}
  http-request set-var(txn.v) str(value)
  http-request set-var(txn.n) int(7)
  http-request set-var(txn.ip) ipv4(10.1.2.3)
  http-request return content-type text/plain lf-file {body}
"""
ALL = ROWS + LIVE
#: between two values
END = "\x1e"


def answer(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(REQUEST)
        data = b""
        while more := sock.recv(65536):
            data += more
    return data.partition(b"\r\n\r\n")[2]


@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
def test_every_row(start: Callable[..., Proxy], tmp_path: Path) -> None:
    for name, text in MAPS.items():
        (tmp_path / name).write_text(text)
    expressions = [re.sub(r"\bMAP[A-Z]*\b", lambda found: f"{tmp_path}/{found[0]}", row[0]) for row in ALL]
    (tmp_path / "body").write_text(END.join(f"%[{e}]" for e in expressions))
    ours, theirs = free_ports(2)
    (tmp_path / "ha.cfg").write_text(FILE.format(defaults=DEFAULTS, port=theirs, body=tmp_path / "body"))
    start(FILE.format(defaults=DEFAULTS, port=ours, body=tmp_path / "body")).ready()
    assert HAPROXY is not None
    process = subprocess.Popen([HAPROXY, "-db", "-f", str(tmp_path / "ha.cfg")], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: not refused(theirs), "haproxy")
        got, wanted = answer(ours).split(END.encode()), answer(theirs).split(END.encode())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(5)
    assert len(got) == len(wanted) == len(ALL)
    different = [(row[0], ha, fp) for row, ha, fp in zip(ALL, wanted, got, strict=True) if ha != fp]
    stale = [(row[0], row[1], ha) for row, ha in zip(ALL, wanted, strict=True) if ha != row[1]]
    assert not different and not stale
