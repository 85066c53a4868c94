"""The runtime CLI beside Debian's haproxy: the same file, the same commands, the same answers, line by line.

Answers that the versions word differently, that hold times or numbers of the inside, or that are ours alone are looked at by themselves.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ports
from tests.ports import free_ports
from tests.system.conftest import eventually
from tests.system.duet import BESIDE_HAPROXY, COMMANDS

pytestmark = BESIDE_HAPROXY

CONFIG = """
global
  stats socket {dir}/{name}.sock level admin
  stats socket {dir}/{name}.user level user
  maxconn 200
  nbthread 1
  setenv FOO bar
  set-var proc.word str(hello)
  set-var proc.number int(5)
  set-var proc.flag bool(1)
  set-var proc.net str(1.2.3.4),ipmask(24)
ring kept
  format raw
  size 32764
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend fe
  bind 127.0.0.1:{fe}
  maxconn 100
  log ring@kept format raw local0
  log-format "%HU"
  use_backend silent if {{ path /silent }}
  use_backend bad if {{ path /bad }}
  default_backend be
backend be
  server s1 127.0.0.1:{origin} check inter 400ms weight 4
  server s2 127.0.0.1:{origin} weight 5 backup
  server s3 127.0.0.1:{origin} disabled
  server tr 127.0.0.1:{origin} track s1
backend fixed
  balance static-rr
  server x 127.0.0.1:{origin} weight 10
backend asked
  option httpchk
  server good 127.0.0.1:{origin} check inter 400ms
  server bad 127.0.0.1:{fe} check inter 400ms fall 1
  server none 127.0.0.1:1 check inter 400ms fall 1
backend known
  cookie SRV insert dynamic
  dynamic-cookie-key secret
  server a 127.0.0.1:8001
  server b 127.0.0.1:8002 cookie own
  server d 127.0.0.1:8003 cookie other agent-check agent-port 1 agent-inter 400ms
backend table
  stick-table type ip size 100
backend unknown
  cookie SRV insert
  server a 127.0.0.1:8001
backend silent
  server s 127.0.0.1:{silent}
backend bad
  server b 127.0.0.1:{bad}
listen raw
  mode tcp
  bind 127.0.0.1:{raw}
  server t 127.0.0.1:{silent}
frontend origin
  bind 127.0.0.1:{origin}
  http-request return status 200 content-type text/plain string hello
"""


def say(path: Path, text: str) -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(f"{text}\n".encode())
        parts = []
        while data := sock.recv(65536):
            parts.append(data)
        return b"".join(parts).decode()


class Pair:
    """Both balancers with their own ports; ``silent`` takes connections and says nothing, ``bad`` answers what is no HTTP."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.silent = ports.listener()
        self.bad = ports.listener()
        self.bad.settimeout(10)
        self.ports: dict[str, dict[str, int]] = {}
        self.running: list[subprocess.Popen[bytes]] = []
        for name, command in COMMANDS.items():
            fe, origin, raw = free_ports(3)
            self.ports[name] = {"fe": fe, "origin": origin, "raw": raw}
            file = directory / f"{name}.cfg"
            silent, bad = self.silent.getsockname()[1], self.bad.getsockname()[1]
            file.write_text(CONFIG.format(dir=directory, name=name, silent=silent, bad=bad, **self.ports[name]))
            self.running.append(subprocess.Popen([*command, "-f", file], stderr=subprocess.DEVNULL))
        for name in COMMANDS:
            eventually(lambda: (directory / f"{name}.sock").exists() and self.serves(name), name)  # noqa: B023

    def connect(self, name: str, port: str = "fe") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[name][port]), 5)

    def serves(self, name: str) -> bool:
        """Whether it accepts already."""
        try:
            self.connect(name).close()
        except OSError:
            return False
        return True

    def both(self, text: str, level: str = "sock") -> tuple[str, str]:
        """The answers, haproxy's first, without what is each one's own."""
        answers = []
        for name in COMMANDS:
            answer = say(self.directory / f"{name}.{level}", text.format(**self.ports[name]))
            for port, number in self.ports[name].items():
                answer = answer.replace(str(number), port.upper())
            answers.append(answer)
        return answers[0], answers[1]

    def close(self) -> None:
        for process in self.running:
            process.terminate()
            process.wait(10)
        self.silent.close()
        self.bad.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("cli"))
    yield made
    made.close()


#: In this order: what one changes the next one sees.
SAME = """
show backend
show env FOO
show env NOPE
get var proc.word
get var proc.number
get var proc.flag
get var proc.net
get var proc.nope
get var sess.x
get var
set var proc.z int(3)
experimental-mode on; set var
experimental-mode on; set var proc.z
experimental-mode on; set var sess.z int(3)
experimental-mode on; set var proc.z int(3); get var proc.z
experimental-mode on; set var proc.z expr str(a),upper; get var proc.z
experimental-mode on; set var proc.z fmt a\\ %[var(proc.number)]\\ b; get var proc.z
experimental-mode on; set var proc.z str(a) str(b)
experimental-mode on; set var proc.z var(proc.nope); get var proc.z
experimental-mode on; set var proc.z nbsrv(be); get var proc.z
experimental-mode on; set var proc.z srv_iweight(be/s1),add(1); get var proc.z
experimental-mode on; set var proc.z fmt %[nbsrv(be)]/%[fe_conn(raw)],%[date,ltime(%Y)]; get var proc.z
experimental-mode on; set var proc.z str(10.0.0.1),in_table(table); get var proc.z
experimental-mode on; set var proc.z env(FOO); get var proc.z
get weight be/s1
get weight #3/#2
get weight nope/s
get weight be/nope
get weight be
set weight be/s1
set weight be/s1 300
set weight be/s1 -1
set weight be/s1 200%; get weight be/s1
set weight be/s1 2; get weight be/s1
set weight fixed/x 5
set weight fixed/x 0; get weight fixed/x; set weight fixed/x 100%
set maxconn server be/s1
set maxconn server be/nope 5
set maxconn server be/s1 5
set maxconn frontend nope 5
set maxconn frontend fe
set maxconn frontend fe 50
set maxconn global 100000
set maxconn global 150
set profiling
set profiling x
set timeout
set timeout cli x
set timeout cli 5
set timeout cli 5s
set timeout cli 0
set timeout cli -1
set server
set server be/s1 state nope
set server be/s1 state drain
set server be/s1 state ready
set server be/s1 health nope
set server be/tr health down
set server be/s1 health down
set server be/s1 health up
set server be/s1 addr
set server be/s1 addr nope.example
set server be/s1 addr 127.0.0.2
set server be/s1 addr 127.0.0.2
set server be/s1 addr 127.0.0.1 port {raw}
set server be/s1 addr 127.0.0.1 port {origin}
set server be/s1 addr 127.0.0.1 port +1
set server be/s1 check-addr 127.0.0.1 port {origin}
set server be/s1 check-port {origin}
set server be/s1 check-port x
set server be/s1 check-port
set server be/s1 check-addr
set server be/s1 check-addr nope.example
set server be/s1 fqdn x
set server be/s1 nope
set server be/s1
set server be/s1 agent up
set server be/s1 agent-send x
set server be/s1 agent-port 1
set server known/d agent nope
set server known/d agent-port x
set server known/d agent-port
set server known/d agent-addr
set server known/d agent-addr nope.example
set server known/d agent-addr 127.0.0.1 port 1
set server known/d agent-send
disable agent known/d
set server known/d agent up
enable agent known/d
enable agent be/s1
disable agent be/s1
set rate-limit connections global
set rate-limit connections global -1
set rate-limit connections global 1000
set rate-limit sessions global 0
set rate-limit connections global 0
disable server
disable server be/x
disable server be/s2; enable server be/s2
enable server be/s3; disable server be/s3
enable health be/s2
enable health be/s1
disable frontend
disable frontend nope
disable frontend fe; disable frontend fe
enable frontend fe; enable frontend fe
shutdown session
shutdown session x
shutdown session 0x1
shutdown sessions server be/nope
shutdown sessions server be/s1
clear counters
set severity-output nope
set severity-output number; disable server be/nope
set severity-output string; disable server be/nope; set server be/s1 addr 127.0.0.1
expert-mode
expert-mode on; expert-mode
experimental-mode
show cli level; operator; show cli level; user; show cli level; operator
show servers state nope
show servers conn nope
show stat nope -1 -1
show errors nope
show sess 0x1
add server be/s1 127.0.0.1:1
add server be/n
add server be/n 127.0.0.1:1 nope
add server be/n 127.0.0.1:1 cookie x
add server fixed/n 127.0.0.1:1
add server be/n 127.0.0.1:{origin} weight 3 id 5 disabled
add server be/m 127.0.0.1:1 track be/n
add server be/m 127.0.0.1:1 track be/nope
add server be/m 127.0.0.1:1 track nope/x
add server be/m 127.0.0.1:1 track x
add server be/m 127.0.0.1:1 track be/s1 check
add server be/m 127.0.0.1:1 track be/s2
add server be/m 127.0.0.1:1 track tr; get weight be/m; del server be/m
add server be/ag 127.0.0.1:1 agent-check agent-port 1 agent-inter 1h slowstart 5s source 127.0.0.1 send-proxy maxconn 3 minconn 1
set weight be/ag 2; get weight be/ag
del server be/ag
get weight be/#5
get weight be/n
del server be/nope
del server be/s1
enable server be/n; del server be/n
disable server be/n; del server be/n; get weight be/n
prompt; show cli level; quit
set weight be/s1 <<
7

""".strip("\n").split("\n")


def lines(answer: str) -> list[str]:
    """Without empty lines, of which a few answers of 2.6 have one less."""
    return [line for line in answer.split("\n") if line.strip()]


def test_answers_are_the_same(pair: Pair) -> None:
    wrong = []
    for command in SAME[:-3]:
        theirs, ours = pair.both(command)
        if lines(theirs) != lines(ours):
            wrong.append((command, theirs, ours))
    for text in ("\n".join(SAME[-3:]), "prompt\nset weight be/s1 <<\n7\n\nshow cli level\nquit", "show cli level\nshow backend"):
        theirs, ours = pair.both(text)
        if theirs != ours:
            wrong.append((text, theirs, ours))
    assert wrong == []


@pytest.mark.interpreted
def test_profiling(pair: Pair) -> None:
    """What was measured has HAProxy's columns for calls and time; what else is there is of another program."""
    pair.both("set profiling tasks on; set profiling memory on", "sock")
    for name in COMMANDS:
        with pair.connect(name) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert sock.makefile("rb").read().endswith(b"hello")
    states = [line.partition("#")[0] for answer in pair.both("show profiling status") for line in lines(answer)]
    assert states[0] == states[2] and [state.split()[-1] for state in states[2:]] == ["on", "on"]
    theirs, ours = (lines(answer) for answer in pair.both("show profiling tasks 3"))
    assert theirs[0] == ours[0] and theirs[1].split()[:4] == ours[1].split()[:4] and len(ours) == 5
    row = re.compile(r"  \S.* +\d+( +\d\S*s){4}$")
    assert all(row.match(line) for line in ours[2:]) and "proxy/client.py:await_head" in pair.both("show profiling")[1]
    assert re.search(r"\n  \S+\.py:\d+ +\d+ +\d+ +\d+\n", pair.both("show profiling memory")[1])
    pair.both("set profiling tasks off; set profiling memory off")


def test_httpclient(pair: Pair) -> None:
    for command in ("httpclient GET http://127.0.0.1:{origin}/x", "httpclient HEAD http://127.0.0.1:{origin}/", "httpclient GET"):
        theirs, ours = (lines(answer) for answer in pair.both(f"expert-mode on; {command}"))
        assert theirs[0] == ours[0] and theirs[-1] == ours[-1], command
    for answer in pair.both("httpclient GET http://127.0.0.1:{origin}/"):
        assert lines(answer) == ["This command is restricted to expert mode only."]
    path = pair.directory / "forkproxy.sock"
    sent = f"expert-mode on; httpclient POST http://127.0.0.1:{pair.ports['forkproxy']['origin']}/ <<\nbody\n"
    assert "\nHTTP/1.1 200 OK\n" in say(path, sent) and say(path, sent).endswith("hello\n\n")


def test_names_may_be_hidden(pair: Pair) -> None:
    """Ours alone: 2.6 has no such mode."""
    path = pair.directory / "forkproxy.sock"

    def hidden(command: str) -> list[str]:
        return say(path, f"set anon on 5; {command}").removeprefix("\n").removesuffix("\n\n").split("\n\n")

    assert hidden("show anon; set anon off; show anon") == ["Anonymized mode enabled\nKey : 5", "\nAnonymized mode disabled"]
    first, second = hidden("show backend")[0].split("\n"), hidden("show servers state")[0].split("\n")
    assert len(first) > 5 and first[0] == "# name" and all(re.fullmatch("[0-9a-f]{6}", name) for name in first[1:])
    assert second[2].split()[1] == first[1] and "127.0.0.1" not in "".join(second)
    assert hidden("show env FOO")[0] == f"FOO={hidden('show env FOO')[0][4:]}" != "FOO=bar"
    assert say(path, "set anon nope").startswith("'set anon' only supports :")
    assert say(path, "set anon global-key 4294967296").startswith("The key must be")
    assert say(path, "set anon global-key 77; set anon on; show anon").endswith("Key : 77\n\n")
    assert say(pair.directory / "forkproxy.user", "set anon on; show anon; set anon global-key 1") == (
        "\nAnonymized mode enabled\n\nPermission denied\n\n"
    )


def test_events_are_followed(pair: Pair) -> None:
    """What is there, or what comes, until the client says anything."""

    def request(name: str, path: str) -> None:
        with pair.connect(name) as sock:
            sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            assert sock.makefile("rb").read().endswith(b"hello")

    for name in COMMANDS:
        request(name, "/before")
        eventually(lambda: "/before" in say(pair.directory / f"{name}.sock", "show events kept"), name)  # noqa: B023
        assert "/before" not in say(pair.directory / f"{name}.sock", "show events kept -n")
        for flags, wanted in (("-w", rb"^(.*\n)?/before\n.*/after\n"), ("-nw", rb"^(?!.*/before).*/after\n")):
            with socket.socket(socket.AF_UNIX) as follower:
                follower.connect(str(pair.directory / f"{name}.sock"))
                follower.sendall(f"show events kept {flags}\n".encode())
                got, follower_up = b"", time.monotonic() + 15
                while not re.search(wanted, got, re.S):  # until it follows, a request may come too early
                    assert time.monotonic() < follower_up, (name, got)
                    request(name, "/after")
                    follower.settimeout(0.5)
                    with contextlib.suppress(TimeoutError):
                        got += follower.recv(4096)
                follower.settimeout(10)
                follower.sendall(b"\n")
                while follower.recv(4096):
                    pass
    assert "/before\0" in say(pair.directory / "forkproxy.sock", "show events kept -0")


#: Every command that both have: who may not give it is told so, and nothing else.
LEVELS = """
show stat|show info|show errors|show sess|show sess all|show fd|show activity|show pools|show threads|show tasks|show env|show backend
show servers state|show servers conn|show table|show map|show acl|show cli level|show cli sockets|show libs|show events|show startup-logs
show profiling|show version|show schema json|clear counters|clear counters all|clear map x|clear acl x|set map x y z|add map x y z
del map x y|get map x y|add acl x y|del acl x y|get acl x y|prepare map x|commit map @1 x|prepare acl x|get weight be/s1|get var proc.x
set weight be/s1 3|set server be/s1 weight 3|set maxconn server be/s1 3|set maxconn frontend fe 100|set maxconn global 100
set rate-limit connections global 0|set timeout cli 5|set severity-output none|set profiling tasks off|set dynamic-cookie-key backend be x
enable dynamic-cookie backend be|disable dynamic-cookie backend be|enable server be/s1|disable server be/x|enable agent be/x
disable agent be/x|enable health be/x|disable health be/x|enable frontend nope|disable frontend nope|shutdown frontend nope
shutdown session 0x1|shutdown sessions server be/nope|add server be/s1|del server be/nope|expert-mode on|experimental-mode on|operator
"""


def test_levels(pair: Pair) -> None:
    wrong = []
    for command in LEVELS.strip().replace("\n", "|").split("|"):
        answers = [*pair.both(command, "user"), *pair.both(f"operator; {command}")]
        denied = ["Permission denied" in answer for answer in answers]
        if denied[0] != denied[1] or denied[2] != denied[3]:
            wrong.append((command, denied))
    assert wrong == []


def test_a_paused_frontend_refuses_and_comes_back(pair: Pair) -> None:
    pair.both("disable frontend fe")
    for name in COMMANDS:
        with pytest.raises(ConnectionRefusedError):
            pair.connect(name)
    assert [status(answer, "fe") for answer in pair.both("show stat")] == ["PAUSED", "PAUSED"]
    pair.both("enable frontend fe")
    for name in COMMANDS:
        pair.connect(name).close()
    assert [status(answer, "fe") for answer in pair.both("show stat")] == ["OPEN", "OPEN"]


def status(answer: str, proxy: str) -> str:
    return next(line.split(",")[17] for line in answer.splitlines() if line.startswith(f"{proxy},FRONTEND"))


def test_sessions_are_listed_and_shut_down(pair: Pair) -> None:
    held = [pair.connect(name) for name in COMMANDS]
    raw = [pair.connect(name, "raw") for name in COMMANDS]
    for sock in held:
        sock.sendall(b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n")
    wanted = re.compile(r"(0x[0-9a-f]+): (proto=\S+ src=127.0.0.1:)\d+ (fe=\S+ be=(?:silent|raw) srv=\S+ ts=00) ")

    def found() -> list[list[tuple[str, ...]]]:
        return [wanted.findall(answer) for answer in pair.both("show sess")]

    eventually(lambda: [len(f) for f in found()] == [2, 2], "two sessions each")
    theirs, ours = found()
    assert [one[1:] for one in theirs] == [one[1:] for one in ours]
    busy = pair.both("disable server silent/s; del server silent/s; enable server silent/s")
    assert lines(busy[0]) == lines(busy[1]) == ["Server still has connections attached to it, cannot remove it."]
    for name, sessions in zip(COMMANDS, (theirs, ours), strict=True):
        number = next(one[0] for one in sessions if "be=silent" in one[2])
        path = pair.directory / f"{name}.sock"
        assert lines(say(path, f"show sess {number}"))[0].startswith(f"{number}: [")
        assert say(path, f"shutdown session {number}") == "\n"
    assert [sock.recv(13) for sock in held] == [b"HTTP/1.1 502 "] * 2
    assert pair.both("shutdown sessions server raw/t") == ("\n", "\n")
    assert [sock.recv(1) for sock in raw] == [b"", b""]
    for sock in (*held, *raw):
        sock.close()


def test_errors_are_kept_with_the_byte_at_fault(pair: Pair) -> None:
    for name in COMMANDS:
        with pair.connect(name) as sock:
            sock.sendall(b"GET /silent HTTP/1.1\r\nHost: a\r\nbad name: \xe9\\\t\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 400"
        with pair.connect(name) as sock:
            sock.sendall(b"GET /bad HTTP/1.1\r\nHost: a\r\n\r\n")
            server, _ = pair.bad.accept()
            with server:
                server.recv(4096)
                server.sendall(b"HTTP/1.1 200 OK\r\nLong: " + b"x" * 100 + b"\r\nBad Name: y\r\n\r\n")
                assert sock.recv(12) == b"HTTP/1.1 502"

    def facts(answer: str) -> list[str]:
        """What both tell: who, where, and the message itself; we also mark the line."""
        kept = []
        for line in answer.splitlines()[1:]:
            line = re.sub(r"^\[.*?\] ", "", line).replace("*", " ")
            line = re.sub(r"event #\d+|127.0.0.1:\d+|wraps at \d+, ", "", line)
            if re.match(r"\s*(frontend|backend|len|\d{5})", line):
                kept.append(line)
        return kept

    for which in ("", " fe", " bad response", " -1 request"):
        theirs, ours = pair.both(f"show errors{which}")
        assert facts(theirs) == facts(ours) and len(facts(ours)) >= 3, which


def test_columns_of_statistics_and_states(pair: Pair) -> None:
    """Names, order and number of columns; and all values that are neither times nor rates nor counts of the tests before."""
    eventually(lambda: all(",INI," not in answer for answer in pair.both("show stat")), "the first checks")
    theirs, ours = (answer.splitlines() for answer in pair.both("show servers state"))
    assert theirs[1] == ours[1]
    for one, other in zip(theirs[2:], ours[2:], strict=True):
        a, b = one.split(" "), other.split(" ")
        for column in (12, 9):  # health of servers without checks follows their past in haproxy; seconds since the last change
            del a[column : column + 1], b[column : column + 1]
        if a[1:2] != ["asked"] and a[3:4] != ["s1"]:  # checks every 400 ms may be late, or under way, in one of them
            assert a == b
    theirs, ours = (answer.splitlines() for answer in pair.both("show stat"))
    head = theirs[0].rstrip(",").removeprefix("# ").split(",")
    assert ours[0].removeprefix("# ").split(",")[:83] == head[:83]
    for one, other in zip(theirs[1:-1], ours[1:-1], strict=True):
        a, b = one.split(","), other.split(",")
        for name in ("pxname", "svname", "slim", "weight", "bck", "qlimit", "pid", "iid", "sid", "tracked", "type", "mode"):
            at = head.index(name)
            if (a[:2], name) != (["asked", "BACKEND"], "weight"):  # a check of one of its servers may have been late
                assert a[at] == b[at], (a[:2], name)


def test_suspended_checks_show_nothing(pair: Pair) -> None:
    """Neither of the server nor of those who track it; of an agent's answer neither."""

    def shown() -> list[list[list[str]]]:
        found = []
        for answer in pair.both("show stat"):
            rows = [line.removeprefix("# ").split(",") for line in answer.splitlines() if line]
            wanted = [rows[0].index(name) for name in ("status", "check_status", "check_health", "check_rise", "chkfail", "agent_status")]
            found.append([[row[at] for at in wanted] for row in rows if row[:2] in (["be", "s1"], ["be", "tr"], ["known", "d"])])
        return found

    pair.both("set server be/s1 state ready; disable health be/s1; disable agent known/d")
    theirs, ours = shown()
    assert theirs == ours and ours[0] == ["no check", "", "", "", "", ""] and ours[2][5] == ""
    pair.both("enable health be/s1; enable agent known/d")
    eventually(lambda: all(rows[0][0] == "UP" and "L4OK" in rows[0][1] and "L4CON" in rows[2][5] for rows in shown()), "checks go on")


COOKIES = """
show version
set dynamic-cookie-key backend known other
set server known/a addr 127.0.0.2
set server known/b addr 127.0.0.2
disable dynamic-cookie backend known
set server known/a addr 127.0.0.3
enable dynamic-cookie backend known
set dynamic-cookie-key backend unknown x
enable dynamic-cookie backend unknown
set dynamic-cookie-key backend known
set dynamic-cookie-key backend
set dynamic-cookie-key backend nope x
disable dynamic-cookie backend
set server known/a addr 127.0.0.1 port 8009
""".strip().split("\n")


def test_dynamic_cookies(pair: Pair) -> None:
    def cookies(answer: str) -> list[str]:
        rows = [line.removeprefix("# ").split(",") for line in answer.splitlines() if line]
        return [row[rows[0].index("cookie")] for row in rows if row[0].endswith("known") and row[1] in ("a", "b")]

    for command in COOKIES:
        theirs, ours = pair.both(command)
        if command != "show version":
            assert theirs == ours, command
        theirs, ours = pair.both("show stat")
        assert cookies(theirs) == cookies(ours) and len(cookies(ours)) == 3, command


def test_a_frontend_that_is_shut_down_stays_down(pair: Pair) -> None:
    """Last in this file: nothing brings it back."""
    for command in ("shutdown frontend raw", "shutdown frontend raw", "enable frontend raw"):
        theirs, ours = pair.both(command)
        assert lines(theirs) == lines(ours), command
    for name in COMMANDS:
        with pytest.raises(ConnectionRefusedError):
            pair.connect(name, "raw")
    assert [status(answer, "raw") for answer in pair.both("show stat")] == ["STOP", "STOP"]
