"""Streams that something outside of them ends, beside Debian's haproxy: the operator, a server that goes down or comes up (manual 8.5)."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from tests.system.duet import BESIDE_HAPROXY, Duet, Script, read_all
from tests.system.scripts import LAST, Case, command, differences, hangs
from tests.system.test_states_duet import DEFAULTS, HTTP, PART, PAUSE_S, rounded, sends

pytestmark = BESIDE_HAPROXY

#: title → (what is asked for, what the server does, what the operator says meanwhile, and afterwards)
COMMANDS: dict[str, tuple[bytes, Script, str, str]] = {
    "KH": (b"/killed", hangs, "shutdown sessions server killed/s", ""),
    "KD": (b"/killed", sends(PART), "shutdown sessions server killed/s", ""),
    "DH": (b"/went-down", hangs, "disable server down-soon/s", "enable server down-soon/s"),
    "DD": (b"/went-down", sends(PART), "disable server down-soon/s", "enable server down-soon/s"),
    "UH": (b"/came-up", hangs, "enable server up-soon/s", "disable server up-soon/s"),
    "UD": (b"/came-up", sends(PART), "enable server up-soon/s", "disable server up-soon/s"),
}


def test_ended_by_others(tmp_path: Path) -> None:
    """The operator, or a change of a server's state, ends a stream."""
    text = (DEFAULTS + HTTP).replace("MODE", "http").replace("FORMAT", "http").replace("HOLE", "1")
    with Duet(tmp_path, text) as both:
        names = {side.port: side.name for side in (both.reference, both.ours)}

        def ordered(path: bytes, before: str, after: str) -> Script:
            def script(sock: socket.socket) -> bytes:
                cli = tmp_path / f"{names[sock.getpeername()[1]]}.sock"
                sock.sendall(LAST % (path, b""))
                time.sleep(PAUSE_S)
                command(cli, before)
                got = read_all(sock)
                if after:
                    command(cli, after)
                return got

            return script

        cases: dict[str, Case] = {
            title: (ordered(path, before, after), server, 1) for title, (path, server, before, after) in COMMANDS.items()
        }
        wrong = differences(both, cases, {}, rounded, lambda title: f" {title}-- ")
    assert not wrong, "\n".join(wrong)
