"""The tools that operators of HAProxy have, as they are: hatop in a terminal, haproxyadmin, haproxytool, haproxy-cli, Prometheus' exporter,
Nagios' check. What they ask for and does not work is a bug here.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_ports
from tests.system.conftest import Proxy, eventually, get

pytestmark = pytest.mark.system

CONFIG = """
global
  stats socket {dir}/s level admin
  maxconn 200
  nbthread 2
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend fe
  bind 127.0.0.1:{port}
  maxconn 100
  default_backend be
frontend spare
  bind 127.0.0.1:{spare}
  default_backend be
backend be
  server s1 127.0.0.1:{origin} check inter 300ms
  server s2 127.0.0.1:{origin} check inter 300ms
frontend origin
  bind 127.0.0.1:{origin}
  http-request return status 200 content-type text/plain string hello
"""


class Service:
    """One forkproxy for all tools; ``socket`` is its CLI."""

    def __init__(self, directory: Path) -> None:
        self.port, spare, self.origin = free_ports(3)
        self.socket = str(directory / "s")
        self.proxy = Proxy(directory, CONFIG.format(dir=directory, port=self.port, spare=spare, origin=self.origin))
        self.proxy.ready()
        get(self.port)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("tools"))
    yield made
    made.proxy.end()


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def tool(name: str) -> str:
    """A program that pip installed beside this interpreter."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        pytest.skip(f"needs {name}")
    return str(path)


@pytest.mark.skipif(importlib.util.find_spec("haproxyadmin") is None, reason="needs haproxyadmin")
def test_haproxyadmin(service: Service) -> None:
    from haproxyadmin import haproxy

    made: Any = haproxy.HAProxy(socket_file=service.socket)
    assert {f.name for f in made.frontends()} == {"fe", "origin", "spare"}
    assert (made.maxconn, made.metric("Maxconn")) == (200, 200) and made.totalrequests >= 1 and int(made.uptimesec) >= 0
    assert made.setmaxconn(150) and made.maxconn == 150 and made.setmaxconn(200)
    assert made.setratelimitconn(500) and made.ratelimitconn == 500 and made.setratelimitconn(0)
    assert made.setratelimitsess(500) and made.ratelimitsess == 500 and made.setratelimitsess(0)
    assert made.command("show version")[0][1] == ["3.4.0"]
    front = made.frontend("fe")
    assert (front.status, front.maxconn) == ("OPEN", 100)
    assert front.setmaxconn(50) and front.maxconn == 50
    assert front.disable() and front.status == "PAUSED" and front.enable() and front.status == "OPEN"
    assert get(service.port) == (200, b"hello")
    back = made.backend("be")
    assert (back.status, back.metric("act")) == ("UP", 2)
    server = back.server("s1")
    assert (server.address, server.port, server.check_status) == ("127.0.0.1", str(service.origin), "L4OK")
    for state, status in (("disable", "MAINT"), ("enable", "UP"), ("drain", "DRAIN"), ("ready", "UP"), ("maint", "MAINT"), ("ready", "UP")):
        assert server.setstate(state) and server.status.startswith(status), state
    assert server.setweight(50) and server.weight == "50" and server.setweight("300%") and server.weight == "3" and server.setweight("100%")
    server.address = "127.0.0.2"
    assert server.address == "127.0.0.2"
    server.address = "127.0.0.1"
    server.port = str(service.origin)
    assert server.shutdown() and made.errors()[0][1][0].startswith("Total events captured on [")
    assert made.clearcounters() and made.clearcounters(all=True) and front.metric("stot") == 0


def test_haproxytool_and_haproxy_cli(service: Service) -> None:
    program = tool("haproxytool")
    asked = {
        "haproxy -m Maxconn": "Maxconn = 200",
        "haproxy -w maxconn 180": "set maxconn to 180",
        "haproxy -w maxconn 200": "set maxconn to 200",
        "frontend -s fe": "fe OPEN",
        "frontend -d fe": "fe disabled",
        "frontend -e fe": "fe enabled",
        "frontend -w maxconn 77 fe": "fe set maxconn to 77",
        "frontend -c fe": "fe 77",
        "frontend -t spare": "spare shutdown",
        "backend -s be": "be UP",
        "server -w 3 s2": "s2 backend set weight to 3 in be backend",
        "server -n s2": "s2 set to drain in be backend",
        "server -R s2": "s2 set to ready in be backend",
    }
    for words, answer in asked.items():
        kind, *rest = words.split()
        assert run(program, kind, "-F", service.socket, *rest).splitlines()[0].strip() == answer, words
    client = tool("haproxy-cli")
    assert "be" in run(client, "-k", service.socket, "-c", "backends")
    run(client, "-k", service.socket, "-c", "set-weight", "-b", "be", "-s", "s2", "-w", "1")
    assert "1 (initial 1)" in run(client, "-k", service.socket, "-c", "get-weight", "-b", "be", "-s", "s2")


@pytest.mark.skipif(shutil.which("hatop") is None, reason="needs hatop")
def test_hatop(service: Service) -> None:
    """Its status screen, then a command in its shell."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execvp("hatop", ["hatop", "-s", service.socket, "-i", "1"])
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 132, 0, 0))
    seen = b""

    def shows(*words: str) -> Callable[[], bool]:
        def look() -> bool:
            nonlocal seen
            while select.select([fd], [], [], 0.05)[0]:
                try:
                    seen += os.read(fd, 65536)
                except OSError:
                    return False
            text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-Z0-9]|\x1b[=>]", b" ", seen).decode("latin-1")
            return all(word in text for word in words)

        return look

    try:
        eventually(shows("HATop version", ">>> fe", ">>> be", "s1", "UP"), "hatop's status")
        os.write(fd, b"5")
        eventually(shows("haproxy command line"), "hatop's shell")
        for key in b"show cli level\r":
            os.write(fd, bytes((key,)))
            time.sleep(0.02)  # it reads a terminal, key by key
        eventually(shows("admin"), "an answer")
    finally:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGTERM)
        os.close(fd)
        os.waitpid(pid, 0)


@pytest.mark.skipif(shutil.which("prometheus-haproxy-exporter") is None, reason="needs prometheus-haproxy-exporter")
def test_prometheus_exporter(service: Service) -> None:
    (port,) = free_ports(1)
    command = ["prometheus-haproxy-exporter", f"--haproxy.scrape-uri=unix:{service.socket}", f"--web.listen-address=127.0.0.1:{port}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as exporter:
        try:
            text = ""

            def scraped() -> bool:
                nonlocal text
                with contextlib.suppress(OSError):
                    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
                return "haproxy_up 1" in text

            eventually(scraped, "a scrape")
        finally:
            exporter.terminate()
    assert "haproxy_exporter_csv_parse_failures_total 0" in text
    assert 'haproxy_server_up{backend="be",server="s1"} 1' in text and 'haproxy_frontend_limit_sessions{frontend="fe"}' in text


def test_check_haproxy_stats(service: Service) -> None:
    path = Path("/usr/lib/nagios/plugins/check_haproxy_stats")
    if not path.exists():
        pytest.skip("needs monitoring-plugins-contrib")
    assert run("perl", str(path), "-s", service.socket, "-p", "fe,be,origin").startswith("Check haproxy OK - checked ")


@pytest.mark.skipif(importlib.util.find_spec("ansible_collections") is None, reason="needs ansible")
def test_ansibles_module(service: Service, tmp_path: Path) -> None:
    """community.general.haproxy, run as Ansible runs it on a host: arguments in a file, the result as JSON."""

    def play(**arguments: object) -> dict[str, Any]:
        file = tmp_path / "arguments.json"
        file.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {"socket": service.socket, "backend": "be", "host": "s2", **arguments}}))
        done = subprocess.run(
            [sys.executable, "-m", "ansible_collections.community.general.plugins.modules.haproxy", str(file)],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    def after(result: dict[str, Any]) -> tuple[str, str]:
        return result["state_after"][0]["status"].partition(" ")[0], result["state_after"][0]["weight"]

    assert after(play(state="disabled")) == ("MAINT", "1")
    assert after(play(state="enabled", weight="20", wait=True)) == ("UP", "20")
    assert after(play(state="drain", wait=True, shutdown_sessions=True)) == ("DRAIN", "20")
    assert after(play(state="enabled", weight="1", health=True, fail_on_not_found=True)) == ("UP", "1")
    assert "was not found" in play(state="enabled", host="nope", fail_on_not_found=True)["msg"]
