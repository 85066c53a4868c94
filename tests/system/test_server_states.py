"""A state file read by Debian's haproxy and by forkproxy: the servers of both begin alike ("show servers state" tells)."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.peers import needs
from tests.system.conftest import eventually, listens
from tests.system.duet import Duet, Side

pytestmark = [pytest.mark.system, needs("haproxy")]

#: options of the server now; operational and administrative state, user's and initial weight then
CASES = [
    (options, op, admin, uweight, iweight)
    for options in ("", "disabled", "weight 3", "weight 0")
    for op, admin, uweight, iweight in (
        (0, 0, 1, 1), (2, 0, 7, 1), (2, 0, 7, 3), (2, 1, 1, 1), (2, 8, 1, 1), (2, 8, 0, 0), (2, 5, 1, 1), (2, 4, 1, 1), (2, 2, 1, 1),
    )
]  # fmt: skip


def states(side: Side, path: Path) -> list[tuple[str, ...]]:
    """(backend, server, operational state, administrative state, weights) of every server."""
    with socket.socket(socket.AF_UNIX) as cli:
        cli.settimeout(5)
        cli.connect(str(path))
        cli.sendall(b"show servers state\n")
        text = b""
        while data := cli.recv(65536):
            text += data
    rows = [line.split() for line in text.decode().splitlines()[2:] if line]
    return [(row[1], row[3], *row[5:9]) for row in rows]


def test_servers_begin_as_a_state_file_tells(tmp_path: Path) -> None:
    lines = [f"9 b{i} 1 s 127.0.0.1 {op} {admin} {u} {w} 100 6 3 4 6 0 0 0 - 0 -\n" for i, (_, op, admin, u, w) in enumerate(CASES)]
    (tmp_path / "all").write_text("1\n# be_id\n" + "".join(lines) + "9 own 1 s 127.0.0.1 2 1 1 1 9 6 3 4 6 0 0 0 - 0 -\n")
    (tmp_path / "own").write_text("1\n9 own 1 s 127.0.0.1 2 0 5 1 9 6 3 4 6 0 0 0 - 0 -\n")
    server = "  server s 127.0.0.1:{dead} check inter 100s "  # the first check, which fails, changes nothing of what is compared
    backends = "".join(f"backend b{i}\n{server}{case[0]}\n" for i, case in enumerate(CASES))
    text = f"""
global
  stats socket {{dir}}/{{name}}.sock level admin
  server-state-base {{dir}}
  server-state-file all
defaults
  mode http
  timeout client 3s
  timeout connect 3s
  timeout server 3s
  load-server-state-from-file global
frontend f
  bind 127.0.0.1:{{port}}
{backends}
backend own
  load-server-state-from-file local
{server}
backend none
  load-server-state-from-file none
  server s 127.0.0.1:{{origin}}
"""
    with Duet(tmp_path, text) as both:
        for name in ("haproxy", "forkproxy"):
            eventually(lambda name=name: listens(tmp_path / f"{name}.sock"), name)  # type: ignore[misc]
        theirs = states(both.reference, tmp_path / "haproxy.sock")
        assert states(both.ours, tmp_path / "forkproxy.sock") == theirs
        assert len(theirs) == len(CASES) + 2
        assert theirs[-2:] == [("own", "s", "2", "0", "5", "1"), ("none", "s", "2", "0", "1", "1")]
        assert len({row[2:] for row in theirs}) > 8
