"""What a service gets from outside: inherited sockets, the environment, limits of descriptors."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ports
from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, ROOT, Load, Proxy, eventually, get, gone, hello, listening, refused
from tests.system.test_processes_cli import ask

pytestmark = pytest.mark.system

Start = Callable[..., Proxy]

#: Hands descriptors over as systemd does: from number 3 on, with our process id.
ACTIVATE = """
import fcntl, os, sys
held = [fcntl.fcntl(int(n), fcntl.F_DUPFD, 100) for n in os.environ.pop("PASS").split()]
for number, fd in enumerate(held):
    os.dup2(fd, 3 + number)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(held)), LISTEN_FDNAMES=os.environ.pop("NAMES"))
os.execv(sys.executable, [sys.executable, PROGRAM, *sys.argv[1:]])
"""


def test_socket_activation(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "activate.py"
    script.write_text(ACTIVATE.replace("PROGRAM", repr(str(ROOT / "bin" / "forkproxy"))))
    cli, master_cli = tmp_path / "cli", tmp_path / "master"
    with ports.listener() as web, socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        port = web.getsockname()[1]
        for sock, path in ((one, cli), (two, master_cli)):
            sock.bind(str(path))
            sock.listen()
        fds = tuple(sock.fileno() for sock in (web, one, two))

        def config(text: str) -> str:
            return f"""
global
  nbthread 2
  stats socket fd@${{my_cli}} level admin
{DEFAULTS}
frontend f
  bind fd@3
  http-request return status 200 content-type text/plain string "{text}"
"""

        proxy = start(
            config("one"), "-W", "-S", "fd@5", program=script, pass_fds=fds,
            env={"PASS": " ".join(map(str, fds)), "NAMES": "web:my-cli:unknown"},
        ).ready()  # fmt: skip
        assert get(port) == (200, b"one")
        assert ask(cli, "show version\n").startswith("3.4")
        assert "worker" in ask(master_cli, "show proc\n")
        proxy.reload(config("two"))
        assert get(port) == (200, b"two")
        assert ask(cli, "show version\n").startswith("3.4")
        assert "LISTEN_" not in ask(cli, "show env\n")


def test_without_reuseport_all_workers_share_one_socket(start: Start, load: Callable[..., Load]) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port, workers=3), "-W", "-dR").ready()
    assert listening(proxy.pid, port) == 1
    clients = load(port, 4, keep=False)
    clients.more(100)
    proxy.reload(hello(port, workers=2, text="new"))
    clients.more(100)
    clients.stop()
    assert clients.failures == []
    assert listening(proxy.pid, port) == 1
    # nobody else can bind beside it
    second = start(hello(port), name="second.cfg")
    assert second.wait() == 1
    assert "Address already in use" in second.stderr


def test_noreuseport_may_come_with_a_reload(start: Start, load: Callable[..., Load]) -> None:
    (port,) = free_ports(1)
    with_it, without = hello(port), hello(port).replace("global\n", "global\n  noreuseport\n")
    proxy = start(with_it).ready()
    clients = load(port, 4, keep=False)
    proxy.reload(without)
    clients.more(100)
    eventually(lambda: listening(proxy.pid, port) == 1, "one socket")
    proxy.reload(with_it)
    clients.more(100)
    clients.stop()
    assert clients.failures == []


def test_the_environment_of_the_file_is_the_workers_and_begins_anew(start: Start) -> None:
    (port,) = free_ports(1)

    def config(lines: str) -> str:
        text = hello(port).replace("global\n", f"global\n{lines}")
        return text.replace('string "hello"', 'lf-string "%[env(FORKPROXY_A)],%[env(FORKPROXY_B)],%[env(FORKPROXY_C)]"')

    env = {"FORKPROXY_A": "a", "FORKPROXY_B": "b"}
    proxy = start(config("  setenv FORKPROXY_A new\n  presetenv FORKPROXY_B no\n  setenv FORKPROXY_C c\n"), env=env).ready()
    worker = proxy.workers[0]
    assert get(port) == (200, b"new,b,c")
    proxy.reload(config("  unsetenv FORKPROXY_B\n  presetenv FORKPROXY_A no\n"))
    eventually(lambda: gone([worker]), "the old workers' end")
    assert get(port) == (200, b"a,,")
    proxy.reload(config("  resetenv PATH\n"))  # NOTIFY_SOCKET goes, too: the manager is told all the same
    assert get(port) == (200, b",,")


def as_nobody(directory: Path, config: str) -> subprocess.CompletedProcess[str]:
    """Start with 200 descriptors, as somebody who may not have more."""
    if os.geteuid() != 0:
        pytest.skip("needs root to take rights away")
    (directory / "f.cfg").write_text(config)
    program = [sys.executable, str(ROOT / "bin" / "forkproxy"), "-W", "-f", str(directory / "f.cfg")]
    code = (
        "import ctypes, os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))\n"
        "ctypes.CDLL(None).prctl(24, 24)\n"  # PR_CAPBSET_DROP CAP_SYS_RESOURCE
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    return subprocess.run([sys.executable, "-c", code, *program], capture_output=True, text=True, timeout=15, check=False)


def test_too_few_descriptors_are_fatal_unless_limits_are_not_strict(start: Start, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    config = hello(port).replace("global\n", "global\n  maxconn 3000\n")
    done = as_nobody(tmp_path, config)
    assert done.returncode == 1
    assert "Cannot raise FD limit to 60" in done.stderr
    assert "limit is 200." in done.stderr
    done = as_nobody(tmp_path, config.replace("global\n", "global\n  no strict-limits\n") + f"frontend g\n  bind 192.0.2.1:{port}\n")
    assert "[WARNING]" in done.stderr.partition("Cannot raise FD limit to 60")[0].splitlines()[-1]
    assert "for proxy g: cannot bind" in done.stderr  # it went on until the address that is not ours


def test_a_group_signal_is_no_death(start: Start) -> None:
    """TERM to everybody of a service (a terminal, a container, systemd) ends it without a word of dead workers."""
    (port,) = free_ports(1)
    proxy = start(hello(port, workers=4), "-db", start_new_session=True).ready()
    os.killpg(proxy.pid, signal.SIGTERM)
    assert proxy.wait() == -signal.SIGTERM
    assert "starting another one" not in proxy.stderr
    assert refused(port)


def test_a_worker_that_was_told_to_end_is_replaced(start: Start) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port)).ready()
    worker = proxy.workers[0]
    worker.terminate()
    proxy.says("exited with code 0; starting another one")
    eventually(lambda: gone([worker]) and len(proxy.workers) == 2, "another one")
    for _ in range(10):
        assert get(port)[0] == 200


def test_a_reload_while_paused_stays_paused(start: Start) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port)).ready()
    proxy.signal(signal.SIGTTOU)
    eventually(lambda: refused(port), "paused")
    proxy.reload(hello(port, text="new"))
    eventually(lambda: refused(port), "still paused")
    proxy.signal(signal.SIGTTIN)
    eventually(lambda: not refused(port), "resumed")
    assert get(port) == (200, b"new")
