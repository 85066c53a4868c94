"""The agent check beside Debian's haproxy: what an answer does to the server, what statistics and the log say of it."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import socket
import subprocess
import sys
from pathlib import Path

from tests.ports import free_ports
from tests.system.conftest import ROOT, eventually
from tests.system.duet import BESIDE_HAPROXY
from tests.system.test_checks_duet import Script, Service

pytestmark = BESIDE_HAPROXY

#: name → what the agent does; the server behind each backend has weight 20, maxconn 50, and answers its own checks
ANSWERS: dict[str, Script] = {
    "up": ("read", b"up\n"),
    "upper": ("read", b"UP\n"),
    "down": ("read", b"down\n"),
    "words": ("read", b"down # disk full\n"),
    "fail": ("read", b"fail #bad disk\r\n"),
    "stopped": ("read", b"stopped\n"),
    "ready": ("read", b"ready\n"),
    "drain": ("read", b"drain\n"),
    "maint": ("read", b"maint\n"),
    "percent": ("read", b"50%\n"),
    "twice": ("read", b"200%\n"),
    "zero": ("read", b"0%\n"),
    "maxconn": ("read", b"maxconn:30\n"),
    "many": ("read", b"ready,up,10%\tmaxconn:3\r\n"),
    "unknown": ("read", b"hello world\n"),
    "unknown-up": ("read", b"hello up\n"),
    "empty": ("read", b"\n"),
    "drain-up": ("read", b"drain up\n"),
    "maint-down": ("read", b"maint down #x\n"),
    "up-down": ("read", b"up down\n"),
    "down-up": ("read", b"down up\n"),
    "wrong-maxconn": ("read", b"maxconn:x\n"),
    "only-words": ("read", b"# just words\n"),
    "negative": ("read", b"-5%\n"),
    "no-line": ("read", b"up", "close"),
    "closed": ("read", "close"),
    "silent": ("hang",),
    # 3.4 has "weight:" and 2.6 does not; what it does is compared with the same answer in older words
    "weight": ("read", b"weight:10\n"),
    "weight-percent": ("read", b"weight:50%\n"),
}
NEWER = {"weight": "percent", "weight-percent": "percent"}
#: 2.6 may wait for its timeout although the connection has ended
PATIENT = "no-line"
COLUMNS = ("status", "weight", "uweight", "slim", "agent_status", "agent_code", "agent_desc", "last_agt", "agent_rise", "agent_fall",
           "agent_health", "check_status", "check_health", "chkfail", "chkdown")  # fmt: skip


#: what the operator does to agents, and what the state of servers is then
COMMANDS = (
    "show servers state up", "set server up/s agent down", "show servers state up", "set server up/s agent nonsense",
    "disable agent up/s", "show servers state up", "enable agent up/s", "set server drain/s agent-port x",
    "set server drain/s agent-port 99999", "set server drain/s agent-port 7", "set server drain/s agent-addr 127.0.0.9",
    "set server drain/s agent-send what", "show servers state drain", "show servers state maint",
)  # fmt: skip


def state(answer: str) -> list[list[str]]:
    """What ``show servers state`` tells, without ids, times, ports of services and the health of checks that have just begun."""
    lines = [line.split() for line in answer.splitlines() if line]
    return [words[4:9] + words[10:12] + words[13:18] + words[23:24] if len(words) > 20 and words[0] != "#" else words for words in lines]


class Balancer:
    """One of the two with agents of its own."""

    def __init__(self, directory: Path, name: str, command: list[str]) -> None:
        self.agents = {case: Service(script) for case, script in ANSWERS.items()}
        self.server = Service(("hang",))
        self.sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sink.bind(("127.0.0.1", 0))
        self.sink.settimeout(0.05)
        self.lines: dict[str, list[str]] = {case: [] for case in ANSWERS}
        self.cli = str(directory / f"{name}.sock")
        (front,) = free_ports(1)
        text = f"""
global
  log 127.0.0.1:{self.sink.getsockname()[1]} local0
  stats socket {self.cli} level admin
  max-spread-checks 300ms
defaults
  mode tcp
  log global
  option log-health-checks
  timeout connect 400ms
  timeout check 500ms
  timeout client 5s
  timeout server 5s
  default-server weight 20 maxconn 50 inter 60s agent-inter 60s agent-send "{name}\\n"
frontend f
  bind 127.0.0.1:{front}
"""
        for case, agent in self.agents.items():
            text += f"backend {case}\n  server s 127.0.0.1:{self.server.port} check agent-check agent-port {agent.port}\n"
        file = directory / f"{name}.cfg"
        file.write_text(text)
        self.output = open(directory / f"{name}.out", "wb")  # noqa: SIM115
        self.process = subprocess.Popen([*command, "-f", str(file)], stdout=self.output, stderr=self.output)

    def read(self) -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                text = self.sink.recv(65536).decode("latin-1").rstrip("\n").split("]: ", 1)[-1]
                match = re.search(r"(?:erver|backend) ([a-z-]+)[/ ]", text)
                if match and match[1] in self.lines:
                    self.lines[match[1]].append(re.sub(r"duration: \d+ms", "duration: Nms", text))

    def ask(self, command: str) -> str:
        """The answer of the runtime CLI."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(self.cli)
            sock.sendall(f"{command}\n".encode())
            data = b""
            while more := sock.recv(65536):
                data += more
        return data.decode(errors="replace")  # haproxy 2.6 shows what was in memory where a check has not ended yet

    def rows(self) -> dict[str, dict[str, str]]:
        found = csv.DictReader(io.StringIO(self.ask("show stat").removeprefix("# ")))
        return {row["pxname"]: {name: row[name] for name in COLUMNS} for row in found if row["svname"] == "s"}

    def settled(self) -> bool:
        """Every server and every agent was asked once."""
        self.read()
        try:
            rows = self.rows()
        except OSError:
            return False
        return len(rows) == len(ANSWERS) and all(
            row["agent_status"] not in ("", "INI") and not row["agent_status"].startswith("*") and row["check_status"] != "INI"
            and not row["check_status"].startswith("*") for row in rows.values()
        )  # fmt: skip

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        for service in (*self.agents.values(), self.server):
            service.close()
        self.sink.close()
        self.output.close()


def test_answers_do_the_same(tmp_path: Path) -> None:
    reference = Balancer(tmp_path, "haproxy", ["haproxy", "-db"])
    ours = Balancer(tmp_path, "forkproxy", [sys.executable, str(ROOT / "bin" / "forkproxy"), "-d"])
    try:
        eventually(lambda: reference.settled() and ours.settled(), "every agent was asked")
        reference.read()
        ours.read()
        rows = reference.rows(), ours.rows()
        wrong = []
        assert rows[1][PATIENT]["last_agt"] == "Ignoring incomplete line from agent"
        for case in ANSWERS.keys() - {PATIENT}:
            like = NEWER.get(case, case)
            # The order of the check and of the agent's answer is chance, and so is what the log says between the two.
            for what, theirs, mine in (
                ("statistics", rows[0][like], rows[1][case]),
                ("log", sorted(line.replace(like, case) for line in reference.lines[like]), sorted(ours.lines[case])),
            ):
                if theirs != mine:
                    wrong.append(f"{case} ({what}):\n  haproxy   {theirs}\n  forkproxy {mine}")
        assert not wrong, "\n".join(wrong)
        told = [[state(side.ask(command)) for command in COMMANDS] for side in (reference, ours)]
        assert told[1] == told[0]
        for name, side in (("haproxy", reference), ("forkproxy", ours)):
            asked = {bytes(got) for case, agent in side.agents.items() if case != "silent" for got in agent.got[:1]}
            assert asked == {name.encode() + b"\n"}
    finally:
        reference.close()
        ours.close()
