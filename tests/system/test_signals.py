"""Signals and exit statuses, for the master and for -db; compared with HAProxy where it is installed."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ports
from tests.peers import rest_needs
from tests.ports import free_ports
from tests.system.conftest import DEFAULTS, Proxy, eventually, get, hello, listening, refused

pytestmark = pytest.mark.system

Start = Callable[..., Proxy]


@pytest.mark.parametrize(
    ("mode", "signum", "status"),
    [
        ("-W", signal.SIGTERM, 0),
        ("-W", signal.SIGINT, 130),
        ("-W", signal.SIGUSR1, 0),
        ("-Ws", signal.SIGTERM, 0),
        ("-db", signal.SIGTERM, -signal.SIGTERM),  # a shell shows 143
        ("-db", signal.SIGINT, -signal.SIGINT),  # 130
        ("-db", signal.SIGUSR1, 0),
        ("-d", signal.SIGTERM, -signal.SIGTERM),
        ("-db master-worker", signal.SIGTERM, 0),  # the keyword of the global section does what -W does
    ],
)
def test_end(start: Start, mode: str, signum: int, status: int) -> None:
    (port,) = free_ports(1)
    mode, _, keyword = mode.partition(" ")
    proxy = start(f"global\n  {keyword}\n" + hello(port), mode).ready()
    if keyword:
        proxy.signal(signal.SIGUSR2)
        eventually(lambda: proxy.stderr.count("Loading success") == 2, "the end of the reload")
    proxy.signal(signum)
    assert proxy.wait() == status
    assert refused(port)


@pytest.mark.parametrize(("mode", "signum"), [("-db", signal.SIGINT), ("-db", signal.SIGTERM), ("-db", signal.SIGUSR1)])
def test_end_as_haproxy(tmp_path: Path, start: Start, mode: str, signum: int) -> None:
    rest_needs("haproxy")
    one, two = free_ports(2)
    config = tmp_path / "oracle.cfg"
    config.write_text(f"{DEFAULTS}\nfrontend f\n  bind 127.0.0.1:{one}\n  http-request return status 200\n")
    with subprocess.Popen(["haproxy", mode, "-f", str(config)], stderr=subprocess.DEVNULL) as oracle:
        eventually(lambda: not refused(one), "haproxy listens")
        oracle.send_signal(signum)
        expected = oracle.wait(10)
    proxy = start(hello(two), mode).ready()
    proxy.signal(signum)
    assert proxy.wait() == expected


def test_usr1_finishes_what_there_is(start: Start) -> None:
    (port,) = free_ports(1)
    with ports.listener() as origin:
        config = f"""
global
  nbthread 2
defaults
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen t
  mode tcp
  bind 127.0.0.1:{port}
  server s 127.0.0.1:{origin.getsockname()[1]}
"""
        proxy = start(config).ready()
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            server, _ = origin.accept()
            with server:
                proxy.signal(signal.SIGUSR1)
                eventually(lambda: not listening(proxy.pid, port), "no more connections")
                client.sendall(b"still here")
                assert server.recv(20) == b"still here"
                assert proxy.process.poll() is None
                assert refused(port)
        assert proxy.wait() == 0


def test_grace_keeps_accepting_for_a_while(start: Start) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port).replace("global\n", "global\n  grace 700ms\n")).ready()
    proxy.signal(signal.SIGUSR1)
    proxy.event("STOPPING=1")
    assert get(port)[0] == 200
    assert proxy.wait() == 0


def test_usr2_is_ignored_and_hup_shows_servers_with_db(start: Start) -> None:
    port, down = free_ports(2)
    config = hello(port, more=f"backend b\n  server s1 127.0.0.1:{down}\n")
    proxy = start(config, "-db").ready()
    before = [w.pid for w in proxy.workers]
    proxy.signal(signal.SIGUSR2)
    proxy.signal(signal.SIGHUP)
    proxy.says("Server b/s1 is UP")
    assert [w.pid for w in proxy.workers] == before
    assert not any("RELOADING" in event for event in proxy.events)
    assert get(port)[0] == 200


def test_pause_and_resume(start: Start) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port)).ready()
    proxy.signal(signal.SIGTTOU)
    eventually(lambda: refused(port), "paused")
    proxy.signal(signal.SIGTTIN)
    eventually(lambda: not refused(port), "resumed")
    assert get(port) == (200, b"hello")


def test_a_worker_that_ignores_term_is_killed(start: Start) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port)).ready()
    proxy.workers[0].suspend()
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 0


def test_term_while_reloading(start: Start) -> None:
    (port,) = free_ports(1)
    proxy = start(hello(port)).ready()
    proxy.signal(signal.SIGUSR2)
    proxy.event("RELOADING=1")
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 0
