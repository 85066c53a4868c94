"""The runtime CLI and the endpoint of a running master."""

from __future__ import annotations

import csv
import io
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers import rest_needs
from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, Proxy, eventually, get, hello, listens, refused

pytestmark = pytest.mark.system

Start = Callable[..., Proxy]


def ask(path: Path, text: str) -> str:
    """What the socket answers until it closes; the client half-closes, as socat does."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(text.encode())
        sock.shutdown(socket.SHUT_WR)
        data = b""
        while chunk := sock.recv(65536):
            data += chunk
    return data.decode()


def with_sockets(port: int, tmp_path: Path, more: str = "") -> str:
    return hello(port).replace("global\n", f"global\n  stats socket {tmp_path}/s level admin mode 600 {more}\n")


def stot(path: Path, name: str = "f", kind: str = "FRONTEND") -> int:
    text = ask(path, "show stat\n").removeprefix("# ")
    row = next(r for r in csv.DictReader(io.StringIO(text)) if r["pxname"] == name and r["svname"] == kind)
    return int(row["stot"])


def test_counters_survive_reloads_and_dead_workers(start: Start, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    path = tmp_path / "s"
    proxy = start(with_sockets(port, tmp_path)).ready()
    for _ in range(20):
        get(port)
    eventually(lambda: stot(path) == 20, "20 sessions")
    proxy.workers[0].kill()
    proxy.says("starting another one")
    proxy.reload()
    for _ in range(10):
        get(port)
    eventually(lambda: stot(path) == 30, "30 sessions")
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


def test_what_comes_together_is_answered_then_it_closes_unless_prompt(start: Start, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    start(with_sockets(port, tmp_path)).ready()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(tmp_path / "s"))
        sock.sendall(b"show version;show version\r\nshow version\n")
        data = b""
        while chunk := sock.recv(4096):
            data += chunk
        assert data == b"3.4.0\n\n" * 3
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(tmp_path / "s"))
        sock.sendall(b"prompt\n")
        assert sock.recv(100) == b"\n> "
        for _ in range(2):
            sock.sendall(b"show version\n")
            assert sock.recv(100) == b"3.4.0\n\n> "
        sock.sendall(b"quit\n")
        assert sock.recv(100) == b""
    info = dict(line.split(": ", 1) for line in ask(tmp_path / "s", "show info\n").splitlines() if ": " in line)
    assert info["Name"] == "HAProxy"
    assert info["Version"].startswith("3.4")


def test_master_cli(start: Start, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    path = tmp_path / "m"
    proxy = start(hello(port), "-W", "-S", str(path)).ready()
    first, second = proxy.workers
    lines = ask(path, "show proc\n").splitlines()
    assert lines[0].split() == ["#<PID>", "<type>", "<reloads>", "<uptime>", "<version>"]
    assert lines[1].split()[:4] == [str(proxy.pid), "master", "0", "[failed:"]
    assert [line.split()[0] for line in lines[3:5]] == [str(first.pid), str(second.pid)]
    assert " state=serving slot=" in ask(path, "show proc debug\n").splitlines()[3]
    facts = dict(line.strip().split(": ", 1) for line in ask(path, "@1 show dev\n").splitlines() if ": " in line)
    assert facts["pid"] == str(proxy.pid) and facts["workers"] == f"{first.pid} {second.pid}" and int(facts["fd limit (soft)"]) > 0
    assert facts["OS name"] == "Linux" and facts["node name"] == os.uname().nodename and facts["python"].startswith("CPython 3.")
    assert os.uname().nodename not in ask(path, "@1 set anon on; @1 show dev\n")
    assert ask(path, "@1 show info\n").startswith("Name: HAProxy\n")
    assert ask(path, f"@!{second.pid} show version; @ show version\n") == "3.4.0\n\n3.4.0\n\n"
    assert ask(path, "@9 show info\n") == "Can't find the target PID matching the prefix '@9'\n"
    assert ask(path, "prompt\n@2\nshow version\n") == f"master> {second.pid}> 3.4.0\n\n{second.pid}> "
    assert ask(path, "show info\n").startswith("Unknown command")  # of a worker


def test_reload_by_the_master_cli(start: Start, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    path = tmp_path / "m"
    proxy = start(hello(port), "-W", "-S", str(path)).ready()
    proxy.config.write_text(hello(port, text="new"))
    answer = ask(path, "reload\n")
    assert answer.startswith("Success=1\n--\n"), answer
    assert get(port) == (200, b"new")
    proxy.config.write_text("frontend f\n  bnid :1\n")
    answer = ask(path, "reload\n")
    assert answer.startswith("Success=0\n--\n"), answer
    assert "unknown keyword 'bnid'" in answer
    assert "[failed: 1]" in ask(path, "show proc\n")
    assert ask(path, "prompt\n") == "master[ReloadFailed]> "
    assert get(port) == (200, b"new")


def test_levels(start: Start, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    start(with_sockets(port, tmp_path).replace("level admin", "level user")).ready()
    assert ask(tmp_path / "s", "show env\n") == "Permission denied\n\n"
    assert ask(tmp_path / "s", "show cli level\n") == "user\n\n"


@pytest.mark.parametrize("old", ["forkproxy", "haproxy"])
def test_sockets_from_an_old_process_with_x(start: Start, tmp_path: Path, old: str) -> None:
    """``-x`` follows another forkproxy (of another file, so that the rendezvous does not help) and HAProxy itself."""
    import subprocess

    if old == "haproxy":
        rest_needs("haproxy")
    (port,) = free_ports(1)
    config = with_sockets(port, tmp_path, "expose-fd listeners")
    if old == "haproxy":
        (tmp_path / "old.cfg").write_text(config)
        first = subprocess.Popen(["haproxy", "-db", "-f", str(tmp_path / "old.cfg")], stderr=subprocess.DEVNULL)
    else:
        first = start(config, "-W", name="old.cfg").ready().process
    try:
        eventually(lambda: listens(tmp_path / "s"), "the old process")
        second = start(hello(port, text="second"), "-W", "-x", str(tmp_path / "s"), "-sf", str(first.pid)).ready()
        assert first.wait(10) == 0
    finally:
        if first.poll() is None:
            first.kill()
            first.wait()
    assert "Failed to get" not in second.stderr
    for _ in range(20):
        assert get(port) == (200, b"second")


def test_haproxy_follows_us_with_x(start: Start, tmp_path: Path) -> None:
    import subprocess

    rest_needs("haproxy")
    (port,) = free_ports(1)
    first = start(with_sockets(port, tmp_path, "expose-fd listeners")).ready()
    config = tmp_path / "new.cfg"
    config.write_text(hello(port, text="haproxy"))
    with subprocess.Popen(
        ["haproxy", "-db", "-f", str(config), "-x", str(tmp_path / "s"), "-sf", str(first.pid)], stderr=subprocess.PIPE, text=True
    ) as second:
        try:
            assert first.wait() == 0
            assert get(port) == (200, b"haproxy")
        finally:
            second.send_signal(signal.SIGTERM)
            assert "Failed" not in (second.stderr.read() if second.stderr else "")


def test_the_endpoint_shows_metrics_and_survives_a_reload(start: Start) -> None:
    port, endpoint, added = free_ports(3)

    def config(address: int) -> str:
        return hello(port).replace("global\n", f"global\n  stats-endpoint 127.0.0.1:{address}\n")

    proxy = start(config(endpoint)).ready()
    get(port)
    eventually(lambda: b'haproxy_frontend_sessions_total{proxy="f"} 1' in get(endpoint, "/metrics")[1], "a session in the metrics")
    assert get(endpoint, "/health")[0] == 200
    proxy.reload(config(added))
    assert b'haproxy_frontend_sessions_total{proxy="f"} 1' in get(added, "/metrics")[1]


def test_the_exporter_inside_a_frontend(start: Start) -> None:
    port, metrics = free_ports(2)
    config = hello(port, more=f"frontend m\n  bind 127.0.0.1:{metrics}\n  http-request use-service prometheus-exporter\n")
    start(config).ready()
    status, body = get(metrics, "/metrics")
    assert status == 200
    assert b"haproxy_process_nbproc" in body or b"haproxy_process_nbthread" in body


def test_server_states_reach_workers_and_survive_a_reload(start: Start, tmp_path: Path) -> None:
    port, origin_port = free_ports(2)
    config = f"""
global
  nbthread 2
  stats socket {tmp_path}/s level admin
{DEFAULTS}
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  server s1 127.0.0.1:{origin_port} check inter 50ms fall 1 rise 1
"""
    proxy = start(config).ready()
    proxy.says("Server b/s1 is DOWN")
    assert get(port)[0] == 503
    assert " s1 127.0.0.1 0 0 " in ask(tmp_path / "s", "show servers state b\n")
    proxy.reload()
    assert " s1 127.0.0.1 0 0 " in ask(tmp_path / "s", "show servers state b\n")
    origin = start(hello(origin_port, text="origin"), name="origin.cfg").ready()
    proxy.says("Server b/s1 is UP")
    eventually(lambda: get(port) == (200, b"origin"), "the server serves")
    assert origin.process.poll() is None


def test_what_the_operator_changed_holds_in_workers_that_are_forked_later_and_ends_with_a_reload(start: Start, tmp_path: Path) -> None:
    port, other, one, two = free_ports(4)
    config = f"""
global
  stats socket {tmp_path}/s level admin
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend f
  bind 127.0.0.1:{port}
  default_backend b
frontend g
  bind 127.0.0.1:{other}
  default_backend b
backend b
  server s 127.0.0.1:{one}
  server off 127.0.0.1:{one} disabled
frontend one
  bind 127.0.0.1:{one}
  http-request return status 200 content-type text/plain string "one"
frontend two
  bind 127.0.0.1:{two}
  http-request return status 200 content-type text/plain string "two"
"""
    path = tmp_path / "s"
    proxy = start(config).ready()

    def stat(name: str, svname: str, column: int) -> str:
        return next(line.split(",")[column] for line in ask(path, "show stat\n").splitlines() if line.startswith(f"{name},{svname},"))

    def changed() -> None:
        assert get(port) == (200, b"two")
        assert refused(other)
        assert (stat("f", "FRONTEND", 6), stat("g", "FRONTEND", 17), stat("b", "s", 6)) == ("7", "PAUSED", "3")

    assert get(port) == (200, b"one") == get(other)
    for command in (
        f"set server b/s addr 127.0.0.1 port {two}", "set maxconn server b/s 3", "set maxconn frontend f 7", "disable frontend g",
        f"add server b/n 127.0.0.1:{two}; enable server b/n; set server b/s state drain",
    ):  # fmt: skip
        ask(path, f"{command}\n")
    changed()
    victim = proxy.workers[0].pid
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: [w.pid for w in proxy.workers] not in ([], [victim]), "another worker")
    changed()
    assert stat("b", "n", 7) == "2"
    assert ask(path, "wait 5s srv-removable b/s\n").startswith("Only servers in maintenance mode can be deleted.")
    ask(path, "enable frontend g\n")
    assert get(other) == (200, b"two")
    assert ask(path, "disable server b/n; del server b/n\n").endswith("Server deleted.\n\n")
    ask(path, f"add server b/m 127.0.0.1:{two}; enable server b/m\n")  # takes the row over that was given back
    assert stat("b", "m", 7) == "0"
    assert get(port) == (200, b"two")
    eventually(lambda: stat("b", "m", 7) == "1", "its session is counted")
    assert ask(path, "disable server b/m; del server b/m\n").endswith("Server deleted.\n\n")
    ask(path, "enable server b/s\n")
    assert get(port) == (200, b"two")
    ask(path, "disable frontend g\n")
    proxy.reload(config)
    assert get(port) == (200, b"one") == get(other)
    assert (stat("f", "FRONTEND", 6), stat("b", "s", 6)) != ("7", "3")
