"""systemd's two protocols."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from forkproxy.net.notify import listen_fds, name_listen_fds, sd_notify


def test_path_and_abstract_addresses(tmp_path: Path) -> None:
    for address in (str(tmp_path / "notify"), f"\0forkproxy-notify-{os.getpid()}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(address)
            env = {"NOTIFY_SOCKET": address.replace("\0", "@")}
            assert sd_notify("READY=1\nMAINPID=1\n", env)
            assert manager.recv(100) == b"READY=1\nMAINPID=1\n"


def test_no_manager_or_a_deaf_one(tmp_path: Path) -> None:
    assert not sd_notify("READY=1", {})
    assert not sd_notify("READY=1", {"NOTIFY_SOCKET": "relative"})
    assert not sd_notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "nobody")})


def test_a_full_queue_does_not_block(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        for _ in range(100_000):
            if not sd_notify("STATUS=x", {"NOTIFY_SOCKET": path}):
                break
        else:
            raise AssertionError("never full")


def test_listen_fds_of_another_process() -> None:
    env = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b", "KEEP": "1"}
    assert listen_fds(env) == []
    assert env == {"KEEP": "1"}
    assert listen_fds({}) == []
    assert listen_fds({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"}) == []


def test_listen_fds_in_a_real_process() -> None:
    """Descriptors 3 and 4 with names, as systemd hands them over: seen once, close-on-exec from then on."""
    script = (
        "import os; from forkproxy.net.notify import listen_fds; os.environ['LISTEN_PID'] = str(os.getpid());"
        "print(listen_fds(), [os.get_inheritable(n) for n in (3, 4)], listen_fds())"
    )
    env = {**os.environ, "LISTEN_FDS": "3", "LISTEN_FDNAMES": "web:cli"}  # 5 is announced and not there
    with socket.socket() as a, socket.socket() as b:
        command = f'exec 3<&{a.fileno()} 4<&{b.fileno()} 5<&-; exec "$0" -c "$1"'
        done = subprocess.run(
            ["/bin/bash", "-c", command, sys.executable, script],
            pass_fds=(a.fileno(), b.fileno()),
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.strip() == "[(3, 'web'), (4, 'cli')] [False, False] []"


def test_names_become_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "set_inheritable", lambda fd, on: None)
    names = "web:my-cli:web:unknown::1st:taken"
    env = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "7", "LISTEN_FDNAMES": names, "taken": "before"}
    assert name_listen_fds(env) == [3, 4, 5, 6, 7, 8, 9]
    assert env == {"web": "3", "my_cli": "4", "web_2": "5", "taken": "before"}
