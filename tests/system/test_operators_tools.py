"""The tools that operators of HAProxy have, as they are: hatop in a terminal, haproxyadmin, haproxytool, haproxy-cli, Prometheus' exporter,
Nagios' check, Ansible's module, npm's haproxy. What they ask for and does not work is a bug here. ``tests/install-peers.sh`` brings them.
"""

from __future__ import annotations

import contextlib
import fcntl
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
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.peers import needs
from tests.ports import free_ports
from tests.system.conftest import ROOT, Proxy, eventually, get, gone

pytestmark = pytest.mark.system
PEERS = ROOT / "build" / "peers"
ANSIBLE = PEERS / "ansible"
NODE = PEERS / "node" / "node_modules" / "haproxy"

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
    return str(Path(sys.executable).parent / name)


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


@needs("hatop")
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


@needs("prometheus-haproxy-exporter")
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


#: what an operator's play says of server s2, and the state and weight that the module reports after it
PLAY: list[tuple[dict[str, object], tuple[str, str]]] = [
    ({"state": "disabled", "shutdown_sessions": True, "wait": True}, ("MAINT", "1")),
    ({"state": "enabled", "weight": "20", "wait": True, "wait_interval": 1}, ("UP", "20")),
    ({"state": "drain", "wait": True, "drain": True, "wait_interval": 1}, ("DRAIN", "20")),
    ({"state": "disabled", "drain": True, "wait": True, "wait_interval": 1}, ("MAINT", "20")),
    ({"state": "enabled", "weight": "50%", "health": True, "fail_on_not_found": True}, ("UP", "0")),
    ({"state": "enabled", "weight": "1", "backend": None}, ("UP", "1")),
    ({"state": "disabled", "host": "nope", "fail_on_not_found": True}, ("was not found!", "")),
]


@pytest.mark.skipif(not (ANSIBLE / ".done").exists(), reason="needs ansible in build/peers")
def test_ansible(service: Service, tmp_path: Path) -> None:
    """community.general.haproxy in a play on this host."""
    tasks: list[dict[str, Any]] = []
    for number, (words, _) in enumerate(PLAY):
        said = {"socket": service.socket, "backend": "be", "host": "s2", **words}
        said = {key: value for key, value in said.items() if value is not None}
        tasks.append({"community.general.haproxy": said, "register": f"r{number}", "ignore_errors": True})
    content = "{{ [" + ", ".join(f"r{number}" for number in range(len(PLAY))) + "] | to_json }}"
    tasks.append({"ansible.builtin.copy": {"dest": str(tmp_path / "found.json"), "content": content, "mode": "0600"}})
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        [sys.executable, "-m", "ansible.cli.playbook", "-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}",
         "play.yml"],
        cwd=tmp_path, capture_output=True, text=True, timeout=90,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ANSIBLE),
             "ANSIBLE_COLLECTIONS_PATH": str(ANSIBLE), "ANSIBLE_HOME": str(tmp_path / "ansible"), "ANSIBLE_LOCALHOST_WARNING": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    *reached, missing = found
    after = [result["state_after"][0] for result in reached]
    assert [(state["status"].partition(" ")[0], state["weight"]) for state in after] == [state for _, state in PLAY[:-1]]
    assert reached[0]["changed"] and PLAY[-1][1][0] in missing["msg"]
    answers = {line for result in reached for output in result["output"] for line in output.splitlines() if line}
    assert all(re.fullmatch(r"\d+ \(initial 1\)", line) for line in answers), "no command was refused"


@pytest.mark.skipif(not NODE.exists() or shutil.which("node") is None, reason="needs npm's haproxy in build/peers, and node")
def test_npms_haproxy(service: Service, tmp_path: Path) -> None:
    def call(options: dict[str, str], *calls: tuple[object, ...]) -> list[Any]:
        script = str(Path(__file__).with_name("npm_haproxy.js"))
        found: list[Any] = json.loads(run("node", script, str(NODE), json.dumps({"which": "/none", **options}), json.dumps(calls)))
        return found

    asked: list[tuple[tuple[object, ...], object]] = [
        (("weight", "be", "s2", 7), True), (("weight", "be", "s2"), {"current": 7, "initial": 1}), (("weight", "be", "s2", 1), True),
        (("disable", "be", "s2"), True), (("enable", "be", "s2"), True), (("pause", "fe"), True), (("resume", "fe"), True),
        (("maxconn", "fe", 90), True), (("ratelimit", 0), True),
        (("clear",), True), (("clear", True), True), (("disable", "be", "nope"), {"error": "No such server."}),
    ]  # fmt: skip
    *found, info, rows, row, sessions = call(
        {"socket": service.socket}, *(words for words, _ in asked), ("info",), ("stat",), ("stat", "-1", 4, -1), ("session",)
    )
    assert found == [answer for _, answer in asked]
    assert (info["Name"], info["Maxconn"], info["Nbthread"]) == ("HAProxy", 200, 2)
    assert [(one["pxname"], one["svname"]) for one in rows if one["pxname"] == "be"] == [("be", "s1"), ("be", "s2"), ("be", "BACKEND")]
    assert [one["svname"] for one in row] == ["s1", "s2"] and len(sessions) >= 1

    # it starts, reloads and ends a daemon of its own
    file, pids = tmp_path / "own.cfg", tmp_path / "own.pid"
    (port,) = free_ports(1)
    file.write_text(f"defaults\n  mode http\n  timeout client 5s\nfrontend f\n  bind 127.0.0.1:{port}\n  http-request return status 200\n")
    program = tmp_path / "haproxy"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/bin/forkproxy "$@"\n')
    program.chmod(0o755)
    own = {"which": str(program), "pidFile": str(pids), "config": str(file)}
    call(own, ("verify",), ("start",))
    first = int(pids.read_text())
    try:
        assert get(port)[0] == 200
        call({**own, "pid": str(first)}, ("reload",))
        second = int(pids.read_text())
        assert second != first and get(port)[0] == 200
    finally:
        call({**own, "pid": pids.read_text().strip()}, ("stop",))
    for pid in (first, second):
        with contextlib.suppress(psutil.NoSuchProcess):
            eventually(partial(gone, [psutil.Process(pid)]), "its end")
